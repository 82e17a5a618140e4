"""Keeps the training child under its share of the budget, and remembers the highest it has been.

Two means, neither of which is trusted alone: peaks are read from the kernel after every step, exactly, and mapped bytes
are limited (RLIMIT_DATA), so that an overrun becomes an error here instead of a kill (docs/design/memory.md).

Where the kernel lets no process begin its peak anew (/proc/self/clear_refs cannot be written), a peak is the highest
since the process began. That is never less than what is asked for. What rises above it is known exactly, and only that
can be an overrun: the guard begins only where nothing has passed what is allowed before.
"""

from __future__ import annotations

import time

from planner.errors import OverBudgetError, RunError
from planner.schema.report_parts import Phase
from planner.system.allocator import release
from planner.system.proc import CANNOT_BEGIN_ANEW, Memory, read_memory, reset_peak
from planner.system.resident import trim_clean_pages
from planner.system.rlimit import DataLimit
from planner.units import MIB, format_bytes

_FILE_GROWTH_BYTES = 3 * MIB
"""Growth of library pages worth giving back; it takes about 10 ms."""

_NEAR_BYTES = 8 * MIB
"""So near to what is allowed, free pages that the allocator keeps are given back; the next step pays for them again."""

_UNTOUCHED_BYTES = 16 * MIB
"""Mapped but never touched: a thread's stack, ends of arenas, room for generated code. RLIMIT_DATA counts it."""

WARMING_BYTES = 64 * MIB
"""Mapped besides while kernels are made, and never touched: the buffers that code is generated into. MobileNetV2's
fifty convolutions map 30 MiB of them on AVX-512. Once they are there, `limit` counts from what is mapped."""


class MemoryGuard:
    """Peaks of this process, and the limit on it."""

    def __init__(self, allowed_bytes: int | None, baseline_bytes: int = 0, keeps_freed: bool = False) -> None:
        """`allowed_bytes` is what this process may have resident; None measures without limiting.

        `baseline_bytes` is what it has resident at work without any tensors: more than at a moment when pages of
        libraries have just been given back. `keeps_freed`: the allocator policy is another than `tight`.
        """
        self._allowed_bytes = allowed_bytes
        self._baseline_bytes = baseline_bytes
        self._keeps_freed = keeps_freed
        self._limit: DataLimit | None = None
        self._file_floor_bytes: int | None = None
        self._known_bytes = 0
        self.is_exact = True
        """Whether peaks begin anew; once the first was taken."""
        self.life_peak_bytes = 0
        """Highest resident bytes since the process began."""
        self.block_peak_bytes = 0
        """Highest resident bytes since `begin_block`."""
        self._phase: tuple[int | None, Phase] = (None, "start")
        self._phase_peaks: dict[tuple[int | None, Phase], int] = {}
        self._phase_seconds: dict[tuple[int | None, Phase], float] = {}
        self._counted = time.perf_counter()

    def enter(self, block: int, phase: Phase) -> None:
        """From here on peaks and time are those of this phase of a block."""
        self.take()
        self._count_time()
        self._phase = block, phase

    def _count_time(self) -> None:
        """Give the phase of now the time since this was last done."""
        now = time.perf_counter()
        self._phase_seconds[self._phase] = self._phase_seconds.get(self._phase, 0.0) + now - self._counted
        self._counted = now

    def phase_seconds(self, block: int) -> dict[Phase, float]:
        """How long each phase of a block took in this process."""
        self._count_time()
        return {phase: seconds for (whose, phase), seconds in self._phase_seconds.items() if whose == block}

    def phase_peaks(self, block: int) -> dict[Phase, int]:
        """Highest resident bytes in every phase of a block, in the order of their first."""
        return {phase: peak for (whose, phase), peak in self._phase_peaks.items() if whose == block}

    @property
    def phase_peak_bytes(self) -> int:
        """Highest resident bytes in the phase of now, as far as they were taken."""
        return self._phase_peaks.get(self._phase, 0)

    def begin(self) -> None:
        """Take the peak of the start. Raises RunError where no later overrun could be told from it."""
        self.take()
        if not self.is_exact and self.is_over(self.life_peak_bytes):
            raise RunError(
                f"{CANNOT_BEGIN_ANEW}, and starting torch has taken {format_bytes(self.life_peak_bytes)}, more than "
                f"the {format_bytes(self._allowed_bytes or 0)} that training may take: an overrun could not be seen. "
                "Make /proc writable, or plan for a budget that the start is within"
            )

    def begin_block(self, peak_bytes: int = 0, untouched_bytes: int = 0) -> None:
        """Start a block's peak at what it was known to be, and limit what may be mapped from here on."""
        self.take()
        self.block_peak_bytes = self._phase_peaks[self._phase] = peak_bytes
        self.limit(untouched_bytes)

    def limit(self, untouched_bytes: int = 0) -> None:
        """Limit what may be mapped from here on to what the budget leaves.

        `untouched_bytes` is what kernels map beside and never write (`BlockPrediction.untouched_bytes`).
        """
        self._file_floor_bytes = None
        self.release()
        if self._allowed_bytes is not None:
            left = self._allowed_bytes - max(self._baseline_bytes, read_memory().resident_bytes)
            self._limit = DataLimit(max(0, left) + _UNTOUCHED_BYTES + untouched_bytes)

    def take(self) -> Memory:
        """Read this process's memory with the peak since the last call, and start the next peak."""
        memory = read_memory()
        if not self.is_exact:
            self._known_bytes = self.life_peak_bytes
        self._rise(memory.peak_bytes)
        self._trim(memory.file_bytes)
        if self._keeps_freed and self.is_over(memory.peak_bytes + _NEAR_BYTES):
            release()  # what the allocator keeps grows over many steps, and no profile has seen them all
        self.is_exact = reset_peak()
        return memory

    def _rise(self, peak_bytes: int) -> None:
        self.life_peak_bytes = max(self.life_peak_bytes, peak_bytes)
        self.block_peak_bytes = max(self.block_peak_bytes, peak_bytes)
        self._phase_peaks[self._phase] = max(self.phase_peak_bytes, peak_bytes)

    def _trim(self, file_bytes: int) -> None:
        """Give library pages back once they have grown well above what a step right after giving them back needs.

        A batch of another size (an epoch's last) makes new kernels and touches pages for that alone; without this they
        would lie under every later peak.
        """
        if self._file_floor_bytes is None:
            self._file_floor_bytes = file_bytes
        elif file_bytes > self._file_floor_bytes + _FILE_GROWTH_BYTES:
            trim_clean_pages()
            self._file_floor_bytes = None

    def is_over(self, peak_bytes: int) -> bool:
        """Whether a peak has passed what is allowed. One that may be an earlier moment's has not."""
        return self._allowed_bytes is not None and peak_bytes > max(self._allowed_bytes, self._known_bytes)

    def check(self, what: str) -> None:
        """Raise OverBudgetError if what was done since the last look has passed what is allowed."""
        peak = self.take().peak_bytes
        if self.is_over(peak):
            raise OverBudgetError(
                f"{what} took {format_bytes(peak)}, {format_bytes(self._allowed_bytes or 0)} are allowed"
            )

    def release(self) -> None:
        """Lift the limit."""
        if self._limit is not None:
            self._limit.lift()
            self._limit = None


def describe(error: BaseException) -> str:
    """What an error of `planner.system.exhaustion.is_out_of_memory` comes to, in a few words."""
    return str(error) if isinstance(error, OverBudgetError) else "an allocation beyond the budget was refused"
