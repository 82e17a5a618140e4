"""Numbers that a GPU might tell, in place of `torch.cuda`: none is here."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

from planner.units import MIB

TOTAL, CONTEXT, OTHERS = 8192 * MIB, 300 * MIB, 1000 * MIB


@dataclass
class Told:
    """What a GPU's driver and torch's caching allocator tell."""

    beside: int = CONTEXT + OTHERS
    """Used on the device by anything but our tensors."""
    reserved: int = 0
    used: int = 0
    """Of what is reserved, what tensors have."""
    peak: int = 0
    share: float = 1.0
    """The part of the device that the allocator may reserve."""

    def reserve(self, size: int, kept: int = 0) -> None:
        """Take so much at one time, and keep some of it."""
        self.peak, self.reserved = max(self.peak, size), kept

    def give_back(self) -> None:
        self.reserved = self.used

    def reset_peak(self, device: torch.device) -> None:
        self.peak = self.reserved

    def set_share(self, share: float, device: torch.device) -> None:
        assert 0 <= share <= 1
        self.share = share

    @property
    def limit(self) -> int:
        return round(self.share * TOTAL)


def tell_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Told:
    """For as long as the patch holds, `torch.cuda` says what the returned object does."""
    found = Told()
    for name, function in {
        "synchronize": lambda device: None,
        "empty_cache": found.give_back,
        "mem_get_info": lambda device: (TOTAL - found.beside - found.reserved, TOTAL),
        "memory_reserved": lambda device: found.reserved,
        "max_memory_reserved": lambda device: found.peak,
        "max_memory_allocated": lambda device: found.peak,
        "is_initialized": lambda: True,
        "reset_peak_memory_stats": found.reset_peak,
        "get_device_properties": lambda device: SimpleNamespace(total_memory=TOTAL),
        "set_per_process_memory_fraction": found.set_share,
    }.items():
        monkeypatch.setattr(torch.cuda, name, function)
    return found
