"""What a step's peak consists of: `python -m planner.profiler.child.account JOB POLICY MICRO_BATCH [TIMED...]`.

A process like the training child takes whole training steps of the model by backpropagation and accounts for the
resident bytes of the highest one. Every part has its own source: mappings (/proc/self/smaps) for interpreter, libraries
and stacks, glibc's `mallinfo2` for what malloc retains, torch.profiler's allocator events for live tensors, the
kernel's VmHWM for the whole. What they do not explain is `rest_bytes`. Answers with one line of JSON (`AccountResult`).
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from planner.errors import RunError
from planner.profiler.bounded import OwnLimit
from planner.profiler.child.finishing import data_bytes, watch_finishing
from planner.profiler.job import Job
from planner.schema.codec import read_document, to_json
from planner.schema.common import Policy
from planner.schema.runtime import Account, Finishing, StepTime
from planner.system.allocator import HeapUse, heap_use, taking_steps
from planner.system.answers import Answers
from planner.system.exhaustion import problem_of
from planner.system.mappings import Mapped, read_mapped
from planner.system.proc import CANNOT_BEGIN_ANEW, read_memory, reset_peak
from planner.system.waiting import Clock
from planner.training.runtime import release_memory, trim_after_each
from planner.training.start import start_child

if TYPE_CHECKING:
    from torch import Tensor, nn

    from planner.model.activations import Activations
    from planner.profiler.child.meter import Node
    from planner.profiler.child.network import WholeNetwork

_BLOCK_HEADER = 80
"""Bytes in front of a block that has a mapping of its own: malloc's header, and torch's alignment to 64 bytes."""

_OWN_MAPPING = 64 * 1024
"""From this size on `tight` gives every block its own mapping."""

_WATCHED_STEPS = 3

_TIMED_STEPS = 2
_ENOUGH_SECONDS = 0.3
_TIMING_SECONDS = 10.0
"""Longest that the steps at one micro-batch may take."""


@dataclass(frozen=True)
class Accounts:
    """Memory and times of whole steps under one policy."""

    baseline_bytes: int
    """Resident bytes after the first tiny step."""
    live_bytes: int
    """Most bytes that torch's allocator had given out at one time: tensors and scratch of libraries."""
    untouched_bytes: int
    """Part of it that never became resident: scratch that an operator allocated and, by the kernel's peak, never wrote.

    Some of oneDNN's kernels ask for more than their shape needs (its gemm convolution on AVX2, for one).
    """
    growing_bytes: int
    """The part of the account's retention that grows with live bytes."""
    steps: tuple[StepTime, ...]
    """Times at the account's micro-batch and, where they fit, at the others asked for, rising."""
    calibration_seconds: float
    """Time of the calibration kernel, right before."""
    account: Account
    """What the step's peak consists of."""
    finishing: Finishing
    """Resident bytes after training, at the account's micro-batch."""
    start_peak_bytes: int = 0
    """Highest resident bytes until the end of the first tiny step."""


@dataclass(frozen=True)
class AccountResult:
    """The child's one line."""

    accounts: Accounts | None
    """Null where no step could be taken."""
    problem: str | None = None
    """Why not."""


@dataclass(frozen=True)
class _Peak:
    """Allocated bytes at the peak of a step, from allocator events."""

    live_bytes: int
    """Bytes allocated by the step."""
    gradient_bytes: int
    """Part of it: gradients of parameters."""
    scratch_bytes: int
    """Part of it: blocks that the operator frees again itself."""
    rounding_bytes: int
    """Bytes beyond it by which mappings are rounded up to whole pages."""


def _find_peak(network: WholeNetwork, data: tuple[Tensor, Tensor]) -> _Peak:
    """Record a step's allocator events and add up the blocks that were live at its peak."""
    from planner.profiler.child.meter import meter_for
    from planner.training.segment import train_segment

    gradients: set[int] = set()

    def run() -> None:
        train_segment(network.units, None, network.task.loss, *data)
        gradients.update(p.grad.untyped_storage().data_ptr() for p in network.parameters if p.grad is not None)
        network.optimizer.step(network.parameters)

    nodes = meter_for("cpu").nodes(run, with_operands=False)
    for parameter in network.parameters:
        parameter.grad = None
    blocks = _blocks_at_peak(nodes)
    sizes = [block.bytes for block in blocks]
    rounded = (-(size + _BLOCK_HEADER) % mmap.PAGESIZE + _BLOCK_HEADER for size in sizes if size >= _OWN_MAPPING)
    # A block that was there before a gradient, at its address, is none.
    kept = sum(block.bytes for block in blocks if block.is_kept and block.address in gradients)
    return _Peak(sum(sizes), kept, sum(block.bytes for block in blocks if block.is_scratch), sum(rounded))


class _Block(NamedTuple):
    """A block of torch's allocator."""

    address: int
    bytes: int
    is_scratch: bool
    """Whether the operator that allocated it freed it itself."""
    is_kept: bool = False
    """Whether the step leaves it allocated."""


def _blocks_at_peak(nodes: list[Node]) -> list[_Block]:
    from planner.profiler.child.meter import is_allocation, scratch_of

    scratch = scratch_of(nodes)
    live: dict[int, _Block] = {}
    highest: list[_Block] = []
    level = peak = 0
    for index, node in enumerate(nodes):
        if not is_allocation(node):
            continue
        address, size = node.fields.ptr, node.fields.alloc_size
        if size > 0:
            live[address] = _Block(address, size, index in scratch)
            level += size
        elif freed := live.pop(address, None):  # what was there before the step is not the step's
            level -= freed.bytes
        if level > peak:
            peak, highest = level, list(live.values())
    return [block._replace(is_kept=live.get(block.address) is block) for block in highest]


@dataclass(frozen=True)
class _Step:
    """Measurements of one whole step."""

    peak_bytes: int
    """Peak resident bytes (VmHWM)."""
    seconds: float
    heaps: tuple[HeapUse, ...]
    """glibc's `mallinfo2` after every layer's forward and before its backward; empty with other C libraries."""


def _watch_step(clock: Clock, network: WholeNetwork, data: tuple[Tensor, Tensor]) -> _Step:
    """Measure peak, time and heap of one and the same step: fragmentation differs from step to step."""
    seen: list[HeapUse] = []
    with _watching_heap(network.units, seen):
        reset_peak()
        seconds = _timed(clock, network, data)
    return _Step(read_memory().peak_bytes, seconds, tuple(seen))


@contextmanager
def _watching_heap(units: list[nn.Module], seen: list[HeapUse]) -> Iterator[None]:
    """In the `with` block, append `heap_use()` to `seen` after every layer's forward and before its backward."""

    from planner.model.activations import tensors_of

    def look(*arguments: object) -> None:
        found = heap_use()
        if found is not None:
            seen.append(found)

    def look_twice(module: nn.Module, inputs: object, output: Activations) -> None:
        look()
        for tensor in tensors_of(output):
            if tensor.requires_grad:
                tensor.register_hook(look)  # type: ignore[no-untyped-call]  # torch gives it no type

    layers = [layer for unit in units for layer in unit.modules() if not any(layer.children())]
    handles = [layer.register_forward_hook(look_twice) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _retention(policy: Policy, start: HeapUse, quiet: HeapUse, step: _Step, live: int, static: int) -> int:
    """Bytes that malloc holds free at a step's peak.

    Under `tight` blocks have mappings that go when they are freed, and what is retained are free blocks in the heaps.
    Under the others heaps grow to the peak and stay: what was allocated at the peak is known from events, and what is
    allocated beside tensors (compiled kernels) from the heap between steps.

    Args:
        policy: of the allocator.
        start: the heap before the network was made.
        quiet: the heap between steps.
        step: the step with the highest peak.
        live: bytes of tensors and scratch at its peak.
        static: part of `live` that is allocated between steps as well.
    """
    if policy == "tight":
        return max(use.free_bytes for use in step.heaps)
    held = max(use.held_bytes for use in step.heaps)
    beside_tensors = max(0, quiet.used_bytes - start.used_bytes - static)
    return max(0, held - start.used_bytes - live - beside_tensors)


def take_accounts(answers: Answers, job: Job, policy: Policy, micro_batch: int, timed: Sequence[int] = ()) -> Accounts:
    """Measure whole steps, after the dry steps that a run takes as well.

    Args:
        answers: where the process answers (`start_child`).
        job: what is profiled.
        policy: of the allocator; the process must not have started torch before.
        micro_batch: samples of the step that is accounted for.
        timed: further micro-batches, at which steps are timed alone.

    Raises:
        RunError: the kernel lets no process reset its peak.
        RuntimeError, MemoryError: a step does not fit, or a unit fails.
    """
    if not reset_peak():
        raise RunError(CANNOT_BEGIN_ANEW)
    interpreter = read_memory().anonymous_bytes
    started = start_child(answers, policy, job.threads, job.start)
    baseline = started.baseline_bytes
    base, start_heap = _mapped(), heap_use()
    from planner.training.calibration import calibration_seconds

    calibration = calibration_seconds()
    release_memory()
    OwnLimit(job.max_bytes).renew()
    from planner.profiler.child.network import WholeNetwork

    with taking_steps(policy):
        network, clock = WholeNetwork(job), Clock()
        data = network.data(micro_batch)
        with trim_after_each(network.units):
            network.step(*data)
        release_memory()
        network.step(*data)
        steps = [_watch_step(clock, network, data) for _ in range(_WATCHED_STEPS)]
        highest = max(steps, key=lambda step: step.peak_bytes)
        quiet, heap = read_memory().resident_bytes, heap_use()
        finishing = watch_finishing(network, data)
        peak = _find_peak(network, data)
        given = data_bytes(data)
        static = network.weight_bytes + network.state_bytes + given
        live = static + peak.live_bytes
        start_free = end_free = retention = 0
        if heap is not None and start_heap is not None:
            start_free, end_free = start_heap.free_bytes, heap.free_bytes
            retention = _retention(policy, start_heap, heap, highest, live, static)
        # Free room between small blocks does not grow with a step; rounding does, and so do whole heaps kept.
        growing = peak.rounding_bytes if policy == "tight" else max(0, retention - start_free)
        if policy == "tight":
            retention += peak.rounding_bytes
        known = interpreter + base.other_file_bytes + base.folder_bytes + base.stack_bytes
        parts = {
            "interpreter_bytes": interpreter + base.other_file_bytes,
            "libraries_bytes": base.folder_bytes,
            "stacks_bytes": base.stack_bytes,
            "heap_bytes": max(0, baseline - known - start_free),
            "code_bytes": max(0, quiet - baseline - static - max(0, end_free - start_free)),
            "data_bytes": given,
            "parameters_bytes": network.weight_bytes,
            "gradients_bytes": peak.gradient_bytes,
            "optimizer_bytes": network.state_bytes,
            "activations_bytes": peak.live_bytes - peak.gradient_bytes,
            "retention_bytes": retention,
        }
        top = highest.peak_bytes
        untouched = min(peak.scratch_bytes, max(0, sum(parts.values()) - top))
        parts["activations_bytes"] -= untouched
        account = Account(micro_batch, top, **parts, rest_bytes=top - sum(parts.values()))
        watched = min(step.seconds for step in steps)
        times = dict(_time_steps(clock, network, sorted({micro_batch, *timed}), account, watched, job.max_bytes))
        times.setdefault(micro_batch, watched)
        rising = tuple(StepTime(size, times[size]) for size in sorted(times))
        return Accounts(baseline, live, untouched, growing, rising, calibration, account, finishing, started.peak_bytes)


def _time_steps(
    clock: Clock, network: WholeNetwork, sizes: Sequence[int], account: Account, seconds: float, max_bytes: int
) -> Iterator[tuple[int, float]]:
    """(micro-batch, seconds of a step) for those of `sizes` predicted to fit in memory and time, by the account's step.

    All are timed one after another at the end: a process's first steps are slower than its later ones.
    """
    passing = account.activations_bytes + account.data_bytes + account.retention_bytes
    for size in sizes:
        larger = max(0, size - account.micro_batch)
        # What comes and goes grows with the micro-batch; `fast` may keep as much once more.
        grown = 2 * passing * larger // account.micro_batch
        longest = (1 + _TIMED_STEPS) * seconds * (1 + larger / account.micro_batch)
        if account.peak_bytes + grown <= max_bytes and longest <= _TIMING_SECONDS:
            yield size, _fastest(clock, network, network.data(size))


def _fastest(clock: Clock, network: WholeNetwork, data: tuple[Tensor, Tensor]) -> float:
    """Seconds of the fastest step after one to warm up; short steps, which vary most, are repeated more often."""
    _timed(clock, network, data)
    found = [_timed(clock, network, data) for _ in range(_TIMED_STEPS)]
    while sum(found) < _ENOUGH_SECONDS:
        found.append(_timed(clock, network, data))
    return min(found)


def _timed(clock: Clock, network: WholeNetwork, data: tuple[Tensor, Tensor]) -> float:
    """Seconds of a step, without those that it waited for a processor."""
    started = clock.now()
    network.step(*data)
    return clock.now() - started


def _mapped() -> Mapped:
    import torch

    return read_mapped(Path(torch.__file__).parent)


def main(path: str, policy: Policy, micro_batch: int, timed: Sequence[int]) -> None:
    """Answer with the accounts of the job at `path`."""
    answers = Answers()
    found: Accounts | None = None
    problem: str | None = None
    try:
        found = take_accounts(answers, read_document(Path(path), Job), policy, micro_batch, timed)
    # Lack of memory, or a unit that fails: the schedule measures unit by unit and says which.
    except (RuntimeError, ValueError, MemoryError, RunError) as error:
        problem = problem_of(error)
    answers.emit(to_json(AccountResult(found, problem), indent=None))


if __name__ == "__main__":
    main(sys.argv[1], cast(Policy, sys.argv[2]), int(sys.argv[3]), [int(a) for a in sys.argv[4:]])
