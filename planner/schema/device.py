"""`device/1`: one device as `neuroflux doctor` finds it, whole. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from planner.limits import MAX_BYTES
from planner.schema.common import Machine
from planner.schema.profile import Storage


@dataclass(frozen=True)
class Baseline:
    """What the two processes of a run take before any training."""

    baseline_bytes: int
    """Resident bytes of the training child after its first tiny step."""
    start_peak_bytes: int
    """Highest resident bytes of the child until then (importing torch)."""
    supervisor_bytes: int
    """Highest resident bytes of the supervisor."""

    def __post_init__(self) -> None:
        for name in ("baseline_bytes", "start_peak_bytes", "supervisor_bytes"):
            value = getattr(self, name)
            if not 0 <= value <= MAX_BYTES:
                raise ValueError(f"{name} is {value}; bytes lie between 0 and 2^63 - 1")


@dataclass(frozen=True)
class DeviceDocument:
    """Everything about a device that does not depend on a model."""

    schema: Literal["device/1"]
    machine: Machine
    """The device itself."""
    threads: int
    """Threads for arithmetic that profiles taken here use, unless asked otherwise."""
    fingerprint: str
    """sha256 of the facts that decide costs, with that many threads."""
    storage: Storage
    """Speed of the storage looked at."""
    runtime: Baseline | None
    """What a run takes before any training; null where torch is not installed, or cannot start on this processor."""
    torch_fit: str | None = None
    """Which builds of torch this processor can run, and whether the installed one can; null where all can (not Arm)."""
