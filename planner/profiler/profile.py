"""Take a profile: measuring children started one after another, their figures put together.

Each child is a process of its own, so that what it measures is not what a measurement before it left behind, and a
child that dies takes nothing with it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from planner.document import content_id, decode, parse_json, to_json
from planner.errors import InputError, ModelError, RunError
from planner.model.heads import FILTERS
from planner.model.shapes import model_sizes
from planner.model.spec import Model
from planner.profiler.calibrate import Overhead
from planner.profiler.measure import Job, Measured, Progress
from planner.profiler.schema import Profile, Runtime, Storage
from planner.settings import Device, Optimizer
from planner.system.allocator import Policy
from planner.system.machine import fingerprint, installed_torch_version, probe
from planner.system.storage import measure_storage
from planner.units import MIB

Tell = Callable[[int, int, str], None]
"""Told (done, total, name) as the measurement goes on."""

_SLACK_BYTES = 4 * MIB
"""What a whole run's child holds beyond that: data readers, caches, Python objects that come with each block."""

_OVERHEAD_PERMILLE = 5
"""Their part that grows with the allocator's peak: page rounding and heap fragmentation under `tight`."""


@dataclass(frozen=True)
class ProfileRequest:
    """What to profile."""

    model: Model
    """The chain."""
    optimizer: Optimizer
    """Its optimizer."""
    batch: int
    """The batch that will be asked for; micro-batches up to it are measured."""
    threads: int
    """Threads for arithmetic."""
    filters: tuple[int, ...] = FILTERS
    """Filters of auxiliary heads."""


def micro_batches_for(batch: int) -> tuple[int, ...]:
    """The micro-batches to measure: the batch, its quarter, and so on down to 1, at most six."""
    sizes = {batch}
    while batch > 1 and len(sizes) < 5:
        batch = max(1, batch // 4)
        sizes.add(batch)
    return tuple(sorted(sizes | {1}))


def take_profile(request: ProfileRequest, tell: Tell, folder: Path | None = None) -> Profile:
    """Measure `request` on this machine's CPU. `folder` is where caches would lie: its storage is timed.

    Raises ModelError naming the unit that fails, RunError when a child dies.
    """
    model_sizes(request.model)
    torch_version = installed_torch_version()
    if torch_version is None:
        raise InputError("torch is not installed here; install torch >= 2.6 to profile (see the README)")
    machine = probe()
    job = Job(
        request.model,
        request.optimizer,
        micro_batches_for(request.batch),
        request.filters,
        "cpu",
        request.threads,
        "tight",
    )
    with tempfile.TemporaryDirectory(prefix="neuroflux-") as name:
        path = Path(name) / "job.json"
        path.write_text(to_json(job))
        runtime = _measure_runtime(job, path)
        measured = _measure(path, tell)
        speed = measure_storage(folder or Path(name))
    profile = Profile(
        schema="profile/1",
        id="",
        model=request.model,
        device=Device(
            machine.name,
            fingerprint(machine, torch_version, request.threads),
            "cpu",
            request.threads,
            torch_version,
            machine.total_bytes,
        ),
        dtype="float32",
        optimizer=request.optimizer,
        allocator="tight",
        runtime=runtime,
        storage=Storage(int(speed.write_bytes_per_second), int(speed.read_bytes_per_second)),
        units=measured.units,
        heads=measured.heads,
        uncounted_operators=measured.uncounted_operators,
    )
    return replace(profile, id=content_id(profile))


@dataclass(frozen=True)
class Start:
    """What supervisor and child cost before any training."""

    baseline_bytes: int
    """Resident bytes of the child after its first tiny step."""
    start_peak_bytes: int
    """Highest resident bytes of the child until then."""
    supervisor_bytes: int
    """Highest resident bytes of the supervisor while the child runs."""


def measure_start(allocator: Policy, threads: int) -> Start:
    """Start a supervisor and a child as a run does, and read what they take.

    They are started as a program of its own: the profiler does not import the runner, it runs what the runner runs.
    """
    return decode(Start, parse_json(_output("planner.runner.probe", allocator, str(threads))))


def _measure_runtime(job: Job, path: Path) -> Runtime:
    start = measure_start(job.allocator, job.threads)
    overhead = decode(Overhead, parse_json(_output("planner.profiler.calibrate", str(path))))
    return Runtime(
        baseline_bytes=start.baseline_bytes,
        start_peak_bytes=start.start_peak_bytes,
        supervisor_bytes=start.supervisor_bytes,
        overhead_bytes=overhead.growth_bytes + _SLACK_BYTES,
        overhead_permille=_OVERHEAD_PERMILLE,
    )


def _output(module: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise RunError(f"{module} failed while measuring: {_last_line(done.stderr)}")
    return done.stdout


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1][:300]


def _measure(path: Path, tell: Tell) -> Measured:
    command = [sys.executable, "-m", "planner.profiler.measure", str(path)]
    result: Measured | None = None
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as child,
    ):
        assert child.stdout is not None
        try:
            for line in child.stdout:
                progress = decode(Progress, parse_json(line))
                if progress.error is not None:
                    raise ModelError(progress.error)
                tell(progress.done, progress.total, progress.name)
                result = progress.result
        except BaseException:
            child.kill()
            raise
        if result is None:
            code = child.wait()
            log.seek(0)
            raise RunError(f"the measuring process ended early (exit {code}): {_last_line(log.read())}")
    return result
