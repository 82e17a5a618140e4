"""Reading bytes and seconds on a kind of device: allocator events, and a clock that waits for the device.

`torch.profiler` with `profile_memory=True` records every event of torch's allocators, scratch inside oneDNN, cuDNN and
cuBLAS included; dispatch-level tracking misses up to 11 % of a convolution's peak. On a GPU they carry the caching
allocator's own block sizes, rounded to 512 bytes: what a budget has to hold.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from planner.profiler.child.samples import Sampler
from planner.schema.common import DeviceKind, Policy, is_accelerator
from planner.system.allocator import detect
from planner.system.proc import Memory, read_memory, reset_peak
from planner.system.waiting import Clock
from planner.training.device import Accelerator, accelerator_of
from planner.units import MIB

_LEAST_SCRATCH = MIB
_SCRATCH_PART = 3
"""Whether scratch is touched is measured where it is more than a third of the peak (one `_SCRATCH_PART`th)."""

_SPARE = 128 * mmap.PAGESIZE
"""Many kernels count resident pages in batches, of as many pages however large one is, and small blocks may lie in
pages that were resident before. Half a MiB where pages have 4 KiB."""

MARK = "planner:mark"
"""Name of the range that ends a phase."""


class Event(NamedTuple):
    """One call of the allocator."""

    address: int
    size: int
    """Bytes; negative where they are freed."""
    scratch: bool = False
    """Whether one and the same operator allocates the block and frees it."""


@dataclass(frozen=True)
class Phase:
    """Allocator events between two marks."""

    start: int
    """Bytes allocated at its start, relative to the start of the recording."""
    events: tuple[Event, ...]
    """In the order of time."""
    seconds: float = 0.0
    """Its duration, with the profiler running."""
    untouched: int = 0
    """Bytes allocated at its peak that were never written, and so never resident."""

    @property
    def bytes(self) -> int:
        """Allocated at its end."""
        return self.start + sum(event.size for event in self.events)

    @property
    def peak(self) -> int:
        """Most bytes in use at one time: allocated, without untouched scratch."""
        highest = self.most_allocated
        return max(highest - self.untouched, self.most_lasting) if self.untouched else highest

    @property
    def most_allocated(self) -> int:
        """Most that was allocated at one time, touched or not."""
        return self._most(self.events)

    @property
    def lasting(self) -> tuple[Event, ...]:
        """Events of blocks that outlive the operator that took them."""
        return tuple(event for event in self.events if not event.scratch)

    @property
    def most_lasting(self) -> int:
        """Most that was allocated at one time, scratch left out."""
        return self._most(self.lasting)

    def _most(self, events: Iterable[Event]) -> int:
        level = peak = self.start
        for event in events:
            level += event.size
            peak = max(peak, level)
        return peak


def without_free(phases: Sequence[Phase], addresses: frozenset[int]) -> list[Phase]:
    """The same phases as if other references had kept the blocks at `addresses` alive: the next free of each goes."""
    found: list[Phase] = []
    awaited = set(addresses)
    for phase in phases:
        events: list[Event] = []
        for event in phase.events:
            if event.size < 0 and event.address in awaited:
                awaited.remove(event.address)
            else:
                events.append(event)
        start = found[-1].bytes if found else phase.start
        found.append(Phase(start, tuple(events), untouched=phase.untouched))
    return found


class Node(NamedTuple):
    """An event of the profiler's tree: an operator, a named range, or a call of the allocator."""

    name: str
    """Of the operator or range; `[memory]` for the allocator's."""
    fields: Any
    """The profiler's own record: `address` and `size` of an allocation, operands of an operator."""
    start_ns: int
    end_ns: int
    parents: tuple[Node, ...]
    """From the outermost."""


def is_allocation(node: Node) -> bool:
    """Whether the node is a call of the allocator."""
    return hasattr(node.fields, "alloc_size")


class Meter:
    """Records allocator events of one device. Subclasses know how its clock is read."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.sampler = Sampler(lambda: 0.0)
        self._untouched = 0

    def take_untouched(self) -> int:
        """Most bytes of untouched scratch in any phase that was recorded since the last call."""
        found, self._untouched = self._untouched, 0
        return found

    def mark(self) -> None:
        """End a phase, by a named range in the stream of events."""
        with record_function(MARK):
            pass

    def record(self, function: Callable[[], None]) -> list[Phase]:
        """Run `function` and return every phase that it closed with `mark()`."""
        phases: list[Phase] = []
        events: list[Event] = []
        start, begun_ns = 0, None
        nodes = self.nodes(function, with_operands=False)
        scratch = scratch_of(nodes)
        for index, node in enumerate(nodes):
            if is_allocation(node):
                events.append(Event(node.fields.ptr, node.fields.alloc_size, index in scratch))
            elif node.name == MARK:
                seconds = 0.0 if begun_ns is None else (node.start_ns - begun_ns) / 1e9
                phases.append(Phase(start, tuple(events), seconds))
                start, begun_ns = phases[-1].bytes, node.end_ns
                events = []
        return phases

    def nodes(self, function: Callable[[], None], with_operands: bool = True) -> list[Node]:
        """Run `function` under torch.profiler and return its events by start time; allocations of this device alone.

        With `with_operands` operators' nodes know their tensors.
        """
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True, record_shapes=with_operands) as recorded:
            function()
        result = recorded.profiler
        assert result is not None
        roots = result.kineto_results.experimental_event_tree()
        nodes = [node for root in roots for node in _walk(root, ()) if self._is_mine(node)]
        return sorted(nodes, key=lambda node: node.start_ns)

    def _is_mine(self, node: Node) -> bool:
        return not is_allocation(node) or node.fields.device.type == self.device.type

    def now(self) -> float:
        """Seconds of a monotonic clock, after all queued work is done."""
        return time.perf_counter()


def scratch_of(nodes: Sequence[Node]) -> set[int]:
    """Indices of scratch: allocations that the operator around them frees itself, and these frees."""
    found: set[int] = set()
    taken: dict[int, tuple[int, int]] = {}
    for index, node in enumerate(nodes):
        if not is_allocation(node):
            continue
        if node.fields.alloc_size > 0:
            taken[node.fields.ptr] = index, node.parents[-1].end_ns if node.parents else 0
        elif (block := taken.pop(node.fields.ptr, None)) and node.start_ns <= block[1]:
            found |= {block[0], index}
    return found


def _walk(event: Any, parents: tuple[Node, ...]) -> Iterator[Node]:
    node = Node(event.name, event.extra_fields, event.start_time_ns, event.end_time_ns, parents)
    yield node
    below = (*parents, node)
    for child in event.children:
        yield from _walk(child, below)


class CpuMeter(Meter):
    """The processor and its memory.

    Some of oneDNN's kernels ask for scratch that they never write (VGG's last convolutions on AVX2: 83 MB, of which 28
    become resident). Where much of a peak is scratch, the same is run once more without torch.profiler, and the
    process's peak (VmHWM) shows how much of it was touched.
    """

    def __init__(self, sees_untouched: bool = False) -> None:
        """`sees_untouched`: whether freed blocks go back to the kernel at once, so that VmHWM shows what is used."""
        super().__init__(torch.device("cpu"))
        self._clock = Clock()
        self.sampler = Sampler(lambda: self._clock.waited_seconds)
        self._waited: list[float] = []
        self._sees_untouched = sees_untouched
        self._watched: list[Memory] | None = None

    def mark(self) -> None:
        """End a phase: in the stream of events, or, in the run without torch.profiler, by reading resident bytes."""
        if self._watched is None:
            self._clock.now()
            self._waited.append(self._clock.waited_seconds)
            super().mark()
        else:
            self._watched.append(read_memory())
            reset_peak()

    def record(self, function: Callable[[], None]) -> list[Phase]:
        """As `Meter.record`, with untouched scratch in `Phase.untouched`. May run `function` a second time."""
        self._waited = []
        phases = self._without_waiting(super().record(function))
        if not self._sees_untouched or not any(map(_is_mostly_scratch, phases)):
            return phases
        self._watched = []
        try:
            function()
            watched = self._watched
        finally:
            self._watched = None
        found = _with_untouched(phases, watched)
        self._untouched = max(self._untouched, *(phase.most_allocated - phase.peak for phase in found))
        return found

    def _without_waiting(self, phases: list[Phase]) -> list[Phase]:
        """The phases with the seconds that they waited for a processor left out."""
        since = [later - earlier for earlier, later in pairwise([*self._waited[:1], *self._waited])]
        found = [
            replace(phase, seconds=max(0.0, phase.seconds - waited))
            for phase, waited in zip(phases, since, strict=True)
        ]
        for phase, waited in zip(found, since, strict=True):
            self.sampler.saw(phase.seconds, waited)
        return found

    def now(self) -> float:
        """Seconds of a monotonic clock that stands still while this process waits for a processor."""
        return self._clock.now()


def _is_mostly_scratch(phase: Phase) -> bool:
    highest = phase.most_allocated
    return highest - phase.most_lasting > max(_LEAST_SCRATCH, highest // _SCRATCH_PART)


def _with_untouched(phases: list[Phase], watched: list[Memory]) -> list[Phase]:
    """The phases with `untouched` set, from the resident bytes at every mark. Both count from the first phase's end."""
    start, resident = phases[0].bytes, watched[0].resident_bytes
    found = []
    for phase, memory in zip(phases, watched, strict=True):
        touched = memory.peak_bytes - resident + _SPARE
        untouched = phase.most_allocated - start - touched
        found.append(replace(phase, untouched=untouched) if _is_mostly_scratch(phase) and untouched > 0 else phase)
    return found


class AcceleratorMeter(Meter):
    """An accelerator with torch's caching allocator. Not run on hardware yet (profiles/README.md)."""

    def __init__(self, backend: Accelerator) -> None:
        super().__init__(backend.device)
        self._backend = backend

    def mark(self) -> None:
        """End a phase after all queued work is done."""
        self._backend.synchronize()
        super().mark()

    def now(self) -> float:
        """Seconds of a monotonic clock, after all queued work is done."""
        self._backend.synchronize()
        return time.perf_counter()


def meter_for(kind: DeviceKind, policy: Policy = "fast") -> Meter:
    """The meter for a kind of device, in a process under an allocator policy."""
    if is_accelerator(kind):
        return AcceleratorMeter(accelerator_of(kind))
    # Under `tight` glibc gives blocks back at once; other allocators, and other policies, keep them.
    return CpuMeter(policy == "tight" and detect() == "glibc" and reset_peak())
