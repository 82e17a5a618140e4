"""How bytes and seconds are read on a kind of device: allocator events, and a clock that waits for the device.

`torch.profiler` with `profile_memory=True` records every event of torch's allocators, scratch inside oneDNN, cuDNN and
cuBLAS included; dispatch-level tracking misses up to 11 % of a convolution's peak. On CUDA the events carry the caching
allocator's own block sizes, rounded to 512 bytes: what a budget has to hold.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile, record_function

MARK = "planner:mark"
"""Name of the range that ends a phase."""


class Event(NamedTuple):
    """One call of the allocator."""

    address: int
    size: int
    """Bytes; negative where they were given back."""


@dataclass(frozen=True)
class Phase:
    """What the allocator did between two marks."""

    start: int
    """Bytes allocated at its start, relative to the start of the recording."""
    events: tuple[Event, ...]
    """In the order of time."""
    seconds: float = 0.0
    """How long it took, under the recorder."""

    @property
    def bytes(self) -> int:
        """Allocated at its end."""
        return self.start + sum(event.size for event in self.events)

    @property
    def peak(self) -> int:
        """Most that was allocated at one time within it."""
        level = peak = self.start
        for event in self.events:
            level += event.size
            peak = max(peak, level)
        return peak


def without_free(phases: Sequence[Phase], address: int) -> list[Phase]:
    """The same phases, had somebody held the block at `address`: its next free does not happen."""
    found: list[Phase] = []
    held = 0
    for phase in phases:
        events: list[Event] = []
        for event in phase.events:
            if held == 0 and event.address == address and event.size < 0:
                held = -event.size
            else:
                events.append(event)
        start = found[-1].bytes if found else phase.start
        found.append(Phase(start, tuple(events)))
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
    """Reads allocator events of one device; a subclass per kind of device has the clock."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def mark(self) -> None:
        """End a phase: a named range in the same stream of events."""
        with record_function(MARK):
            pass

    def record(self, function: Callable[[], None]) -> list[Phase]:
        """Run `function` and return every phase that it closed with `mark()`."""
        phases: list[Phase] = []
        events: list[Event] = []
        start, begun_ns = 0, None
        for node in self.nodes(function, with_operands=False):
            if is_allocation(node):
                events.append(Event(node.fields.ptr, node.fields.alloc_size))
            elif node.name == MARK:
                seconds = 0.0 if begun_ns is None else (node.start_ns - begun_ns) / 1e9
                phases.append(Phase(start, tuple(events), seconds))
                start, begun_ns = phases[-1].bytes, node.end_ns
                events = []
        return phases

    def nodes(self, function: Callable[[], None], with_operands: bool = True) -> list[Node]:
        """Run `function` and return what the profiler saw, in the order of time; allocations of this device alone."""
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
        """Seconds on a steady clock, all work queued before done."""
        return time.perf_counter()


def _walk(event: Any, parents: tuple[Node, ...]) -> Iterator[Node]:
    node = Node(event.name, event.extra_fields, event.start_time_ns, event.end_time_ns, parents)
    yield node
    below = (*parents, node)
    for child in event.children:
        yield from _walk(child, below)


class CpuMeter(Meter):
    """The processor and its memory."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))


@dataclass(frozen=True)
class CudaMemory:
    """Where a CUDA device's memory is, beyond what tensors hold."""

    context_bytes: int
    """Driver context and loaded kernels: used on the device, not reserved by torch. Other processes count as well."""
    reserved_bytes: int
    """Segments that the caching allocator has taken from the driver."""
    allocated_bytes: int
    """Blocks in use within them."""
    workspace_bytes: int
    """cuBLAS' workspaces, which stay allocated once a matrix product has run."""


class CudaMeter(Meter):
    """A CUDA device and its caching allocator. Not run on hardware yet (profiles/README.md)."""

    def __init__(self, index: int = 0) -> None:
        super().__init__(torch.device("cuda", index))

    def mark(self) -> None:
        """End a phase once the device has done what was asked of it."""
        torch.cuda.synchronize(self.device)
        super().mark()

    def now(self) -> float:
        """The steady clock, once the device is idle."""
        torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def memory(self) -> CudaMemory:
        """Where the memory is now. Gives cuBLAS' workspaces back to find their size."""
        torch.cuda.synchronize(self.device)
        free, total = torch.cuda.mem_get_info(self.device)
        reserved = torch.cuda.memory_reserved(self.device)
        allocated = torch.cuda.memory_allocated(self.device)
        torch._C._cuda_clearCublasWorkspaces()
        workspace = allocated - torch.cuda.memory_allocated(self.device)
        return CudaMemory(total - free - reserved, reserved, allocated, workspace)


def meter_for(kind: str) -> Meter:
    """The meter of a device kind, `cpu` or `cuda`."""
    return CudaMeter() if kind == "cuda" else CpuMeter()
