"""What else a device did while something was timed on it. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from planner.schema.common import check_bytes

_MANY_PERMILLE = 100
_STOLEN_PERMILLE = 20


@dataclass(frozen=True)
class Samples:
    """How many timings there were."""

    taken: int = 0
    """That were wanted."""
    again: int = 0
    """Taken besides, since others had the processor during some."""
    disturbed: int = 0
    """That count although others had the processor, for want of better ones: their waiting is left out."""

    def __post_init__(self) -> None:
        check_bytes(self, "taken", "again", "disturbed")

    def __add__(self, other: Samples) -> Samples:
        return Samples(self.taken + other.taken, self.again + other.again, self.disturbed + other.disturbed)


NO_SAMPLES = Samples()


@dataclass(frozen=True)
class Disturbance:
    """Of a whole profile."""

    samples: Samples
    """Of units and heads."""
    pressure_permille: int | None
    """Of the time measuring took, in which some process waited for a processor (/proc/pressure/cpu); null: not told."""
    stolen_permille: int | None
    """Of all processors' time, what the machine below had for others (/proc/stat); null: not told."""
    switches: int
    """How often measuring processes were made to give way (involuntary context switches)."""

    def __post_init__(self) -> None:
        check_bytes(self, "switches", *(name for name in ("pressure_permille", "stolen_permille") if self.tells(name)))

    def tells(self, name: str) -> bool:
        """Whether a figure is there."""
        return getattr(self, name) is not None

    @property
    def is_large(self) -> bool:
        """Whether times may be off for it: many samples stayed disturbed, or time was stolen, which none can show."""
        many = self.samples.disturbed * 1000 > self.samples.taken * _MANY_PERMILLE
        return many or (self.stolen_permille or 0) >= _STOLEN_PERMILLE
