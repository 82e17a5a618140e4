"""Counting a unit's multiply-adds with fvcore (a multiply and an add count as one)."""

from __future__ import annotations

import logging
from collections import Counter

import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn


class FlopCounter:
    """Counts multiply-adds and remembers the operators that fvcore left out."""

    def __init__(self) -> None:
        self._uncounted: Counter[str] = Counter()
        logging.getLogger("fvcore").setLevel(logging.ERROR)

    def count(self, unit: nn.Module, shape: tuple[int, ...]) -> int:
        """Multiply-adds of one forward of one sample of `shape`."""
        analysis = self._analysis(unit, shape)
        total = int(analysis.total())
        self._uncounted.update(analysis.unsupported_ops())
        return total

    def count_by_module(self, unit: nn.Module, shape: tuple[int, ...]) -> dict[str, int]:
        """The same by the path of each module in `unit`, what lies inside it included."""
        analysis = self._analysis(unit, shape)
        return {path: int(count) for path, count in analysis.by_module().items()}

    def uncounted(self) -> tuple[str, ...]:
        """Names of operators that occurred and were not counted, sorted."""
        return tuple(sorted(self._uncounted))

    def _analysis(self, unit: nn.Module, shape: tuple[int, ...]) -> FlopCountAnalysis:
        parameter = next(unit.parameters(), None)
        device = torch.device("cpu") if parameter is None else parameter.device
        unit.eval()
        analysis = FlopCountAnalysis(unit, (torch.zeros((1, *shape), device=device),))
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        analysis.total()  # traces, while the unit is in evaluation
        unit.train()
        return analysis
