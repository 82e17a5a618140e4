"""Heads as modules, and the loss of those that make again what their segment was given."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from planner.heads.kinds import AuxiliaryHead
from planner.heads.pooled import PooledHead
from planner.heads.reconstruct import ReconstructHead
from planner.model.build import build_unit
from planner.model.heads import decoder_unit, head_unit
from planner.model.shapes import Shape
from planner.schema.common import Dtype

_LEAST_VARIANCE = 1e-6


class DecodingHead(nn.Module):
    """A classifier, which answers, and a decoder whose loss is added to its own while training."""

    def __init__(self, spec: ReconstructHead, classifier: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier
        self.decoder = decoder
        self._weights = spec.task_weight, spec.reconstruction_weight

    def forward(self, x: Tensor) -> Tensor:
        """The classifier's answer."""
        answer: Tensor = self.classifier(x)
        return answer

    def joined(self, task_loss: Tensor, outputs: Tensor, given: Tensor) -> Tensor:
        """Both losses together.

        Args:
            task_loss: the classifier's, a scalar.
            outputs: what it was of: the last unit's (micro-batch, channels, rows, columns).
            given: the segment's input (micro-batch, channels, rows, columns), with as many of each as there are.
        """
        decoded: Tensor = self.decoder(outputs).float()
        with torch.no_grad():
            maps, rows, columns = decoded.shape[1:]
            target = functional.adaptive_avg_pool3d(given.unsqueeze(1), (maps, rows, columns)).squeeze(1).float()
            variance = target.var(correction=0).clamp_(min=_LEAST_VARIANCE)
        task, reconstruction = self._weights
        return task * task_loss + reconstruction * (functional.mse_loss(decoded, target) / variance)


def build_head(
    head: AuxiliaryHead | PooledHead,
    shape: Shape,
    output: Shape,
    generator: torch.Generator | None = None,
    dtype: Dtype = "float32",
) -> nn.Module:
    """The module of `head` behind an output of `shape` (per sample), to give `output`.

    Weights are as `build_unit` has them. Raises ModelError where it does not fit.
    """
    module = build_unit(head_unit(head, shape, output), shape, generator, dtype)
    decoder = decoder_unit(head, shape)
    if not isinstance(head, ReconstructHead) or decoder is None:
        return module
    return DecodingHead(head, module, build_unit(decoder, shape, generator, dtype))


def answering(head: nn.Module) -> nn.Module:
    """What of a head answers, and what an exit has of it."""
    return head.classifier if isinstance(head, DecodingHead) else head
