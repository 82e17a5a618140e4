"""What profile, plan and training say alike: the device, and how parameters move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from planner.limits import MAX_BYTES


@dataclass(frozen=True)
class Device:
    """The device measured on."""

    name: str
    """What a person calls it."""
    fingerprint: str
    """sha256 of the facts that decide costs; another fingerprint means another profile."""
    kind: Literal["cpu", "cuda"]
    """Where tensors live."""
    threads: int
    """Threads used for arithmetic, in the measurement and in runs planned from it."""
    torch: str
    """Version of torch."""
    total_bytes: int
    """Memory of the device, container limits considered."""

    def __post_init__(self) -> None:
        if not 0 <= self.total_bytes <= MAX_BYTES:
            raise ValueError(f"total_bytes is {self.total_bytes}; bytes lie between 0 and 2^63 - 1")
        if not 1 <= self.threads <= 4096:
            raise ValueError(f"threads is {self.threads}; it must lie between 1 and 4096")


@dataclass(frozen=True)
class Optimizer:
    """How parameters move."""

    kind: Literal["sgd", "adam", "adamw"]
    """SGD with momentum, Adam, or AdamW."""
    lr: float
    """Learning rate at the start."""
    momentum: float = 0.0
    """SGD's momentum; 0 keeps no state."""
    nesterov: bool = False
    """SGD's Nesterov momentum."""
    weight_decay: float = 0.0
    """Weight decay (decoupled for AdamW)."""

    def __post_init__(self) -> None:
        if not 0 < self.lr <= 1000:
            raise ValueError(f"lr is {self.lr}; it must lie above 0, at most 1000")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum is {self.momentum}; it must lie in [0, 1)")
        if not 0 <= self.weight_decay <= 1:
            raise ValueError(f"weight_decay is {self.weight_decay}; it must lie between 0 and 1")
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")

    @property
    def state_copies(self) -> int:
        """Copies of the parameters that the optimizer keeps."""
        if self.kind == "sgd":
            return 1 if self.momentum else 0
        return 2
