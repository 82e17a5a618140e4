"""A linear exit that gives numbers: ridge regression from sums, in one pass, the same to the bit when repeated.

As in `planner.training.discriminant`, whose systems of equations it shares.
"""

from __future__ import annotations

import torch
from torch import Tensor

from planner.training.discriminant import conjugate_gradients

_SHRINKAGE = 0.01
"""Share of the mean variance that is added to every variance, so that dead features leave the covariance regular."""


class Ridge:
    """Sums over samples seen so far."""

    def __init__(self, features: int, outputs: int) -> None:
        self._products = torch.zeros(features, features)
        self._targets = torch.zeros(outputs, features)
        self._sum = torch.zeros(features)
        self._target_sum = torch.zeros(outputs)
        self._count = 0
        self._shift: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def add(self, features: Tensor, labels: Tensor) -> None:
        """Take in features (micro-batch, features) and what they should give (micro-batch, outputs), in float32."""
        if self._shift is None:
            # Sums of products are exact enough only around a point near the mean.
            self._shift = features.mean(0), labels.mean(0)
        shifted, wanted = features - self._shift[0], labels - self._shift[1]
        self._products.addmm_(shifted.T, shifted)
        self._targets.addmm_(wanted.T, shifted)
        self._sum += shifted.sum(0)
        self._target_sum += wanted.sum(0)
        self._count += len(labels)

    @torch.no_grad()
    def solve(self) -> tuple[Tensor, Tensor]:
        """Weight (outputs, features) and bias (outputs). At least one sample has to have been seen.

        Ends this object's use: its sums are overwritten.
        """
        assert self._shift is not None
        mean, target = self._sum / self._count, self._target_sum / self._count
        covariance = self._products.addr_(self._sum, mean, alpha=-1)
        both = self._targets.addr_(self._target_sum, mean, alpha=-1)
        covariance /= self._count
        both /= self._count
        variances = covariance.diagonal()
        variances += _SHRINKAGE * variances.mean().clamp(min=1e-12)
        weight = conjugate_gradients(covariance, both)
        return weight, self._shift[1] + target - weight @ (self._shift[0] + mean)
