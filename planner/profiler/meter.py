"""How bytes and seconds are read on a kind of device: one interface, one class per kind."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.profiler import ProfilerActivity, profile, record_function

_MARK = "planner:mark"


@dataclass(frozen=True)
class Level:
    """Allocated bytes, relative to the start of the recording."""

    bytes: int
    """At the end of a phase."""
    peak: int
    """Highest within the phase."""


class Meter(Protocol):
    """Reads allocator levels and the clock on one kind of device."""

    device: torch.device

    def mark(self) -> None:
        """End a phase of the recorded function."""

    def record(self, function: Callable[[], None]) -> list[Level]:
        """Run `function` and return the level of every phase that it closed with `mark()`."""

    def now(self) -> float:
        """Seconds on a steady clock, all work queued before done."""


class CpuMeter:
    """Every allocator event is seen, scratch inside oneDNN included.

    `torch.profiler` with `profile_memory=True` records events named `[memory]`; dispatch-level tracking misses up to
    11 % of a convolution's peak.
    """

    device = torch.device("cpu")

    def mark(self) -> None:
        """End a phase: a named record in the same stream of events."""
        with record_function(_MARK):
            pass

    def record(self, function: Callable[[], None]) -> list[Level]:
        """Replay the events of `function` in time order."""
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
            function()
        result = recorded.profiler
        assert result is not None
        events = [event for event in result.kineto_results.events() if event.name() in ("[memory]", _MARK)]
        phases: list[Level] = []
        level = peak = 0
        for event in sorted(events, key=lambda event: event.start_ns()):
            if event.name() == _MARK:
                phases.append(Level(level, peak))
                peak = level
            else:
                level += event.nbytes()
                peak = max(peak, level)
        return phases

    def now(self) -> float:
        """The steady clock."""
        return time.perf_counter()


class CudaMeter:
    """Reads the caching allocator's own statistics, which count rounded blocks: what a budget has to hold."""

    def __init__(self, index: int = 0) -> None:
        self.device = torch.device("cuda", index)
        self._start = 0
        self._phases: list[Level] = []

    def mark(self) -> None:
        """End a phase: wait for the device, read the level and the peak since the last mark."""
        torch.cuda.synchronize(self.device)
        level = torch.cuda.memory_allocated(self.device) - self._start
        peak = torch.cuda.max_memory_allocated(self.device) - self._start
        torch.cuda.reset_peak_memory_stats(self.device)
        self._phases.append(Level(level, peak))

    def record(self, function: Callable[[], None]) -> list[Level]:
        """Run `function` between two readings."""
        torch.cuda.synchronize(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        self._start = torch.cuda.memory_allocated(self.device)
        self._phases = []
        function()
        return self._phases

    def now(self) -> float:
        """The steady clock, once the device is idle."""
        torch.cuda.synchronize(self.device)
        return time.perf_counter()


def meter_for(kind: str) -> Meter:
    """The meter of a device kind, `cpu` or `cuda`."""
    return CudaMeter() if kind == "cuda" else CpuMeter()
