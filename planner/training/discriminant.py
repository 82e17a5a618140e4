"""A linear classifier from sums over samples: one pass, no gradients, the same to the bit whenever it is repeated.

Linear discriminant analysis with one covariance for all classes (Hastie, Tibshirani, Friedman, The Elements of
Statistical Learning, section 4.3), on pooled features as in Hayes and Kanan, arXiv 1909.01520.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SHRINKAGE = 0.01
"""Share of the mean variance that is added to every variance, so that dead features leave the covariance regular."""

_TOLERANCE = 1e-5
"""Of what is left of the right side when the linear systems count as solved."""


class Discriminant:
    """Sums over samples seen so far."""

    def __init__(self, features: int, classes: int) -> None:
        self._products = torch.zeros(features, features)
        self._sums = torch.zeros(classes, features)
        self._counts = torch.zeros(classes)
        self._shift: Tensor | None = None

    @torch.no_grad()
    def add(self, features: Tensor, labels: Tensor) -> None:
        """Take in features (micro-batch, features) and labels (micro-batch) of int64."""
        if self._shift is None:
            # Sums of products are exact enough only around a point near the mean.
            self._shift = features.mean(0)
        shifted = features - self._shift
        self._products.addmm_(shifted.T, shifted)
        self._sums.index_add_(0, labels, shifted)
        self._counts += torch.bincount(labels, minlength=len(self._counts))

    @torch.no_grad()
    def solve(self) -> tuple[Tensor, Tensor]:
        """Weight (classes, features) and bias (classes) of the classifier. At least one sample has to have been seen.

        Ends this object's use: its sums are overwritten. A class without samples gets weights of zero.
        """
        assert self._shift is not None
        seen = self._counts.clamp(min=1.0)
        means = self._sums / seen[:, None]
        covariance = self._products.sub_(self._sums.T @ means)
        covariance /= max(1.0, float(self._counts.sum() - len(self._counts)))
        variances = covariance.diagonal()
        variances += _SHRINKAGE * variances.mean().clamp(min=1e-12)
        weight = conjugate_gradients(covariance, means)
        priors = (self._counts + 0.5).log() - (self._counts.sum() + 0.5 * len(self._counts)).log()
        bias = priors - 0.5 * (means * weight).sum(1) - weight @ self._shift
        return weight, bias


def pooled_features(activations: Tensor) -> Tensor:
    """What a pooled exit sees of activations (micro-batch, …), in float32: see `planner.heads.pooling`."""
    match activations.dim():
        case 2:
            return activations.float()
        case 3:
            return torch.cat((activations.mean(2), activations.mean(1)), 1).float()
    return activations.flatten(2).mean(2).float() if activations.dim() > 4 else activations.mean((2, 3)).float()


def conjugate_gradients(matrix: Tensor, rows: Tensor) -> Tensor:
    """X with X · matrix = rows, for a symmetric positive definite matrix; every row is a system of its own.

    No LAPACK: its code would be new to the process, and its pages would count. Scaled by the diagonal (Jacobi).
    """
    scale = matrix.diagonal().reciprocal()
    found = torch.zeros_like(rows)
    rest = rows.clone()
    direction = rest * scale
    weight = (rest * direction).sum(1)
    enough = (rest.norm(dim=1) * _TOLERANCE).square()
    for _ in range(rows.shape[1]):
        if bool((rest.square().sum(1) <= enough).all()):
            break
        image = direction @ matrix
        step = weight / (direction * image).sum(1).clamp(min=1e-30)
        found += step[:, None] * direction
        rest -= step[:, None] * image
        scaled = rest * scale
        before, weight = weight, (rest * scaled).sum(1)
        direction *= (weight / before.clamp(min=1e-30))[:, None]
        direction += scaled
    return found
