"""Keeps a run under its budget on an accelerator: the same duties as in the processor's memory, by other means.

The caching allocator refuses what would pass the limit, once it has given back what it only keeps. Not run on hardware
yet: no accelerator was at hand.
"""

from __future__ import annotations

from dataclasses import replace

from planner.runner.train.guard import MemoryGuard
from planner.system.proc import Memory, read_memory
from planner.training.device import Accelerator


class AcceleratorGuard(MemoryGuard):
    """Peaks of this process on an accelerator, and the limit on it."""

    def __init__(self, backend: Accelerator, allowed_bytes: int | None, baseline_bytes: int) -> None:
        """Begin when the device has been started and holds no tensors.

        `allowed_bytes` is what this process may take of it; None measures without limiting. `baseline_bytes` is
        what it takes without any tensors, as profiled: a process cannot see the size of its own context.
        """
        super().__init__(allowed_bytes, baseline_bytes)
        self._backend = backend
        self._start_bytes = backend.memory().beside_bytes

    def limit(self, untouched_bytes: int = 0) -> None:
        """Limit what tensors may take from here on. What they take is theirs, written or not."""
        if self._allowed_bytes is not None:
            self._backend.limit(self._allowed_bytes - self._context_bytes(self._backend.memory().beside_bytes))

    def _context_bytes(self, beside_bytes: int) -> int:
        """The baseline, and the kernels loaded since: what others on the device take meanwhile looks the same."""
        return self._baseline_bytes + max(0, beside_bytes - self._start_bytes)

    def take(self) -> Memory:
        """Read this process's memory on the device with the peak since the last call, and start the next peak."""
        found = self._backend.memory()
        context = self._context_bytes(found.beside_bytes)
        resident, peak = context + found.reserved_bytes, context + found.peak_bytes
        self._rise(peak)
        self._backend.reset_peak()
        return replace(read_memory(), resident_bytes=resident, peak_bytes=peak)

    def release(self) -> None:
        """Lift the limit."""
        if self._allowed_bytes is not None:
            self._backend.limit(None)
