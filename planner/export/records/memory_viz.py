"""A snapshot as PyTorch's memory visualiser opens it: device 0 is what was measured, device 1 what was predicted.

Its timeline is made of blocks of memory that come and go. A run's samples know levels, not blocks: the level behind a
step is one block, and what the step took beyond it another, which is gone behind the step.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from planner.report.read import MemorySample, RunRecord, merge_samples
from planner.system.files import write_atomically

MOST_SAMPLES = 5_000
"""What the visualiser draws without keeping a browser busy: up to four events each."""


def write(record: RunRecord, target: Path) -> str:
    """Write the snapshot, which is plain lists and texts; what to open."""
    write_atomically(target, pickle.dumps(snapshot(record), protocol=4))
    return f"drop {target} on https://docs.pytorch.org/memory_viz (it stays in the browser)"


def snapshot(record: RunRecord) -> dict[str, Any]:
    """What `torch.cuda.memory._snapshot()` gives, of this run."""
    samples = merge_samples(record.samples, MOST_SAMPLES, len(record.plan.stages))
    return {"segments": [], "device_traces": [_Trace().measured(samples), _Trace().predicted(record, samples)]}


class _Trace:
    """Events of one device. Every block of memory has an address of its own."""

    def __init__(self) -> None:
        self._events: list[dict[str, Any]] = []
        self._next_address = 2**32

    def measured(self, samples: tuple[MemorySample, ...]) -> list[dict[str, Any]]:
        """Levels and peaks."""
        held: tuple[int, int, str] | None = None
        for sample in samples:
            where = f"block {sample.block}"
            level = max(0, sample.resident_bytes)
            if held is None or held[1] != level:
                if held is not None:
                    self._free(*held, sample.seconds)
                held = self._take(level, f"{where}: resident", sample.seconds)
            beyond = max(0, sample.peak_bytes) - level
            if beyond > 0:
                name = f"{where}, epoch {sample.epoch}, step {sample.step}: beyond it while the step was done"
                self._free(*self._take(beyond, name, sample.seconds), sample.seconds)
        return self._events

    def predicted(self, record: RunRecord, samples: tuple[MemorySample, ...]) -> list[dict[str, Any]]:
        """What each block's peak of training was predicted to be made of, for as long as the block was trained."""
        for block, begin, end in _spans(samples):
            parts = vars(record.plan.stages[block].predicted.breakdown)
            taken = [self._take(size, f"block {block}: {part}", begin) for part, size in parts.items() if size > 0]
            for each in taken:
                self._free(*each, end)
        return self._events

    def _take(self, size: int, name: str, seconds: float) -> tuple[int, int, str]:
        address = self._next_address
        self._next_address += size + 512
        self._add("alloc", address, size, name, seconds)
        return address, size, name

    def _free(self, address: int, size: int, name: str, seconds: float) -> None:
        for action in ("free_requested", "free_completed"):
            self._add(action, address, size, name, seconds)

    def _add(self, action: str, address: int, size: int, name: str, seconds: float) -> None:
        frames = [{"name": name, "filename": "neuroflux", "line": 0}]
        place = {"action": action, "addr": address, "size": size, "stream": 0}
        self._events.append({**place, "time_us": round(seconds * 1e6), "frames": frames})


def _spans(samples: tuple[MemorySample, ...]) -> Iterator[tuple[int, float, float]]:
    """Blocks in order, each with its first and last second."""
    spans: dict[int, tuple[float, float]] = {}
    for sample in samples:
        spans[sample.block] = spans.get(sample.block, (sample.seconds, 0.0))[0], sample.seconds
    for block, (begin, end) in spans.items():
        yield block, begin, end
