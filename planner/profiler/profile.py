"""Taking a profile: measuring children are started one after another, and their figures put together.

Each child is a process of its own, so that no measurement sees what another left behind, and a child that dies loses
nothing. All of them are limited in memory and time (`planner.profiler.bounded`).
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from planner.errors import InfeasibleError, InputError, RunError, StorageError
from planner.heads.kinds import MEASURED_HEADS, AuxiliaryHead
from planner.model.shapes import model_sizes
from planner.profiler.bounded import Bounds
from planner.profiler.calibrate import Calibrated, calibrate
from planner.profiler.calibrate_accelerator import calibrate_accelerator
from planner.profiler.job import Job
from planner.profiler.schedule import ComponentMeasurements, MeasurementRun, MeasuringChild, OnProgress, first_line
from planner.profiler.torch_facts import complete
from planner.schema.codec import content_id, decode, parse_json, to_json
from planner.schema.common import (
    Device,
    DeviceKind,
    Dtype,
    Machine,
    OptimizerConfig,
    Policy,
    TorchStart,
    is_accelerator,
)
from planner.schema.disturbance import Disturbance, Samples
from planner.schema.model import Model
from planner.schema.profile import Limits, Profile, Storage
from planner.schema.runtime import Runtime
from planner.system.machine import check_dtype, fingerprint, probe
from planner.system.pressure import Busy
from planner.system.storage import measure_storage
from planner.units import MIB, format_bytes

_RUN_BYTES = 4 * MIB
"""What a whole run's child holds beyond its steps; `benchmarks/memory.py` shows what is left of it."""


@dataclass(frozen=True)
class ProfileRequest:
    """What to profile."""

    model: Model
    """The chain of units."""
    optimizer: OptimizerConfig
    """The optimizer whose state and step are measured."""
    batch: int
    """Samples of one optimizer step; micro-batches up to it are measured."""
    threads: int
    """Threads that torch computes with."""
    dtype: Dtype = "float32"
    """Type that units compute in."""
    device: DeviceKind = "cpu"
    """Where tensors live: in the processor's memory, or in the first accelerator's."""
    heads: tuple[AuxiliaryHead, ...] = MEASURED_HEADS
    """Auxiliary heads to measure behind every unit."""
    max_bytes: int | None = None
    """Most resident bytes of each measuring process; None: 80 % of what is available."""
    max_seconds: float | None = None
    """Most seconds of the whole measurement; None: 10 minutes."""


def micro_batches_for(batch: int) -> tuple[int, ...]:
    """The micro-batches to measure: the batch, its quarter, and so on down to 1, at most six."""
    sizes = {batch}
    while batch > 1 and len(sizes) < 5:
        batch = max(1, batch // 4)
        sizes.add(batch)
    return tuple(sorted(sizes | {1}))


def take_profile(request: ProfileRequest, on_progress: OnProgress, folder: Path | None = None) -> Profile:
    """Measure on this machine what training a model costs. Takes minutes.

    Args:
        request: what to measure, and within which limits. Micro-batches that do not fit are left out, and named in
            `Profile.limits`.
        on_progress: called with (measurements done, measurements in all, name of the next).
        folder: whose storage speed is measured, see `measured_storage`.

    Returns:
        The profile, its id included.

    Raises:
        ModelError: a unit fails; the error names it.
        InfeasibleError: a component does not fit even at its smallest micro-batch.
        InputError: torch or the accelerator is missing, or time ended before every component was measured once.
        RunError: a child failed.
        StorageError: `folder` cannot be written to.
    """
    model_sizes(request.model)
    machine = probe()
    if machine.torch_version is None:
        raise InputError(
            "torch is not installed here; install torch >= 2.6 to profile (docs/how-to/board.md says which)"
        )
    elsewhere = is_accelerator(request.device)
    if elsewhere:
        machine = with_accelerator(machine, request.device, request.max_seconds)
    else:
        check_dtype(machine, request.dtype)
    before = Busy.read()
    bounds = Bounds.begin(request.max_bytes, request.max_seconds, machine.gpu_total_bytes if elsewhere else None)
    sizes = micro_batches_for(request.batch)
    job = Job(
        request.model,
        request.optimizer,
        sizes,
        request.heads,
        request.device,
        request.threads,
        "tight",
        bounds.max_bytes,
        request.dtype,
    )
    with tempfile.TemporaryDirectory(prefix="neuroflux-") as name:
        path = Path(name) / "job.json"
        described = Path(name) / "model.json"
        described.write_text(to_json(request.model))
        storage = measured_storage(folder)  # first, for a folder that cannot be written to ends it

        def measure(job: Job) -> tuple[Start, Calibrated, ComponentMeasurements]:
            start = start_of_accelerator(machine) if elsewhere else _measure_start(job, described, bounds)
            job = replace(job, start=start.start)
            path.write_text(to_json(job))
            calibrated = (calibrate_accelerator if elsewhere else calibrate)(job, path, bounds)
            run = MeasurementRun(job, bounds, lambda: MeasuringChild(bounds, path, os.getpid()), on_progress)
            return start, calibrated, run.run()

        notes: tuple[str, ...] = ()
        try:
            start, calibrated, found = measure(replace(job, start="plain" if elsewhere else "lean"))
        except RunError as error:
            if elsewhere:
                raise
            # Perhaps the network needs something of torch that a lean start leaves out.
            start, calibrated, found = measure(job)
            notes = (f"torch is started plainly, for measuring failed when it was started leanly: {error}",)
    profile = Profile(
        schema="profile/1",
        id="",
        model=request.model,
        device=_device(machine, request),
        dtype=request.dtype,
        optimizer=request.optimizer,
        allocator="tight",
        runtime=Runtime(
            baseline_bytes=start.baseline_bytes,
            start_peak_bytes=start.start_peak_bytes,
            supervisor_bytes=start.supervisor_bytes,
            overhead_bytes=calibrated.overhead_bytes,
            overhead_permille=calibrated.overhead_permille,
            small_micro_batch=calibrated.small_micro_batch,
            large_micro_batch=calibrated.large_micro_batch,
            growing_bytes=calibrated.growing_bytes,
            run_bytes=_RUN_BYTES,
            finishing=calibrated.finishing(start.baseline_bytes, _RUN_BYTES),
            start=start.start,
        ),
        storage=storage,
        units=found.units,
        heads=found.heads,
        uncounted_operators=(),
        calibration_seconds=calibrated.calibration_seconds,
        machine=complete(machine, request.max_seconds) if machine.gpu_name and not elsewhere else machine,
        policies=calibrated.policies,
        limits=Limits(bounds.max_bytes, bounds.max_seconds, found.left_out),
        notes=(*notes, *calibrated.notes, *found.notes),
        disturbance=_disturbance(found.samples, before, Busy.read()),
    )
    return replace(profile, id=content_id(profile))


def _disturbance(samples: Samples, before: Busy, after: Busy) -> Disturbance:
    pressure, stolen = after.pressure_permille(before), after.stolen_permille(before)
    return Disturbance(samples, pressure, stolen, after.switches - before.switches)


def measured_storage(folder: Path | None = None) -> Storage:
    """Measure the speed of the storage that activation caches go to.

    Args:
        folder: where they go; None: where runs go by default (./runs), or, if nothing can be written there, the
            folder for temporary files.

    Raises:
        StorageError: `folder` cannot be written to, or has too little room.
    """
    unasked = Path("runs") if Path("runs").is_dir() else Path()
    try:
        speed = measure_storage(folder or unasked)
    except StorageError:
        if folder is not None:
            raise
        speed = measure_storage(tempfile.gettempdir())
    return Storage(int(speed.write_bytes_per_second), int(speed.read_bytes_per_second), speed.file_system)


def _device(machine: Machine, request: ProfileRequest) -> Device:
    identity = fingerprint(machine, machine.torch_version, request.threads, request.device)
    name, total = machine.name, machine.total_bytes
    if is_accelerator(request.device):
        name, total = machine.gpu_name or name, machine.gpu_total_bytes or 0
    return Device(name, identity, request.device, request.threads, machine.torch_version or "", total)


def with_accelerator(machine: Machine, kind: DeviceKind, max_seconds: float | None = None) -> Machine:
    """The machine with what torch knows of its accelerator, which is asked in a child.

    Raises:
        InputError: torch reaches no accelerator of that kind, or it shares its memory with the CPU.
        RunError: torch does not answer within `max_seconds` (None: two minutes).
    """
    if machine.unified_memory:
        raise InputError(
            f"device is {kind}, but CPU and GPU share one memory here, whose use by both is not accounted for yet; "
            "use cpu"
        )
    found = complete(machine, max_seconds, (kind,)) if machine.gpu_name else machine
    if found.gpu_total_bytes is None or found.gpu_context_bytes is None:
        raise InputError(
            f"device is {kind}, but torch {machine.torch_version} reaches no GPU here (neuroflux doctor shows what is "
            "found); install its driver and a build of torch for it, or use cpu"
        )
    return found


@dataclass(frozen=True)
class Start:
    """Resident bytes of a run's supervisor and child before any training."""

    baseline_bytes: int
    """Resident bytes of the child after its first tiny step."""
    start_peak_bytes: int
    """Highest resident bytes of the child until then."""
    supervisor_bytes: int
    """Highest resident bytes of the supervisor while the child runs."""
    start: TorchStart = "plain"
    """How the child imported torch."""


def start_of_accelerator(machine: Machine) -> Start:
    """The same of an accelerator's memory, which holds the child's context alone."""
    context = machine.gpu_context_bytes or 0
    return Start(context, context, 0)


def measure_start(
    allocator: Policy,
    threads: int,
    bounds: Bounds | None = None,
    described: Path | None = None,
    start: TorchStart = "lean",
) -> Start:
    """Start a supervisor and a child as a run does, and read their resident bytes.

    They are started as a program: the profiler does not import the runner. Torch is imported plainly where it cannot be
    imported leanly, whatever `start` asks for.

    Args:
        allocator: the child's policy.
        threads: that the child computes with.
        bounds: of the measurement.
        described: the file of the network's description, which both hold; none: of none.
        start: how the child is to import torch.

    Raises:
        InfeasibleError, InputError, RunError: as `first_line`.
    """
    models = [] if described is None else [str(described)]
    arguments = [allocator, str(threads), start, *models]
    line = first_line(bounds or Bounds.begin(), "planner.runner.supervise.probe", *arguments)
    return decode(Start, parse_json(line))


def _measure_start(job: Job, described: Path, bounds: Bounds) -> Start:
    start = measure_start(job.allocator, job.threads, bounds, described, job.start)
    if start.start_peak_bytes > bounds.max_bytes:
        raise InfeasibleError(
            f"{format_bytes(bounds.max_bytes)} are too little to measure in (--max-bytes, or what is available): "
            f"torch alone takes {format_bytes(start.start_peak_bytes)} while it starts",
            start.start_peak_bytes,
            "runtime",
        )
    return start
