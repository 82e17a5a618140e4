"""How busy the device's processors are with whatever runs on it, between two moments."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from pathlib import Path

from planner.system.hierarchy import FILESYSTEM_ROOT, read_value


@dataclass(frozen=True)
class Busy:
    """Figures that only rise."""

    seconds: float
    """Of a clock."""
    pressure_seconds: float | None
    """In which some process was ready to run and had no processor; None: the kernel does not tell."""
    ticks: int | None
    """Of all processors; None: the kernel does not tell."""
    stolen_ticks: int
    """Of these, what a machine below this virtual one had for others."""
    switches: int
    """How often this process's children, as far as they have ended, were made to give way."""

    @classmethod
    def read(cls, root: Path = FILESYSTEM_ROOT) -> Busy:
        """Now."""
        ticks = _ticks(root / "proc/stat")
        return cls(
            time.monotonic(),
            _pressure(root / "proc/pressure/cpu"),
            sum(ticks[:8]) if ticks else None,  # guests' ticks, behind the eighth, are among the first two
            ticks[7] if len(ticks) > 7 else 0,
            resource.getrusage(resource.RUSAGE_CHILDREN).ru_nivcsw,
        )

    def pressure_permille(self, before: Busy) -> int | None:
        """Of the time since `before`."""
        if self.pressure_seconds is None or before.pressure_seconds is None:
            return None
        return _permille(self.pressure_seconds - before.pressure_seconds, self.seconds - before.seconds)

    def stolen_permille(self, before: Busy) -> int | None:
        """Of all processors' time since `before`."""
        if self.ticks is None or before.ticks is None:
            return None
        return _permille(self.stolen_ticks - before.stolen_ticks, self.ticks - before.ticks)


def _permille(part: float, whole: float) -> int:
    return max(0, min(1000, round(1000 * part / whole))) if whole > 0 else 0


def _pressure(file: Path) -> float | None:
    """Of `some avg10=0.00 avg60=0.00 avg300=0.00 total=123`, the microseconds."""
    for line in (read_value(file) or "").splitlines():
        kind, *fields = line.split()
        total = dict(field.partition("=")[::2] for field in fields).get("total", "")
        if kind == "some" and total.isdigit():
            return int(total) / 1e6
    return None


def _ticks(file: Path) -> list[int]:
    """Of `cpu user nice system idle iowait irq softirq steal …`."""
    words = (read_value(file) or "").split("\n", 1)[0].split()
    return [int(word) for word in words[1:]] if words[:1] == ["cpu"] else []
