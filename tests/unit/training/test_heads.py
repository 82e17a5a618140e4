"""Heads that make again what their segment was given: both losses by their formulas, one answer."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from planner.heads.mlp import MlpHead
from planner.heads.reconstruct import MAPS, ReconstructHead
from planner.training.heads import DecodingHead, answering, build_head
from planner.training.segment import segment_loss

SHAPE = (5, 20, 6)
HEAD = ReconstructHead("reconstruct", 8, reconstruction_weight=3.0, task_weight=0.25)


def _built() -> DecodingHead:
    built = build_head(HEAD, SHAPE, (10,), torch.Generator().manual_seed(0))
    assert isinstance(built, DecodingHead)
    return built


def test_the_loss_is_of_the_classes_and_of_what_was_given() -> None:
    """The target is the input, averaged to twelve maps of at most 16 rows and columns; its variance is the unit."""
    head, unit = _built(), torch.nn.Conv2d(2, SHAPE[0], 1)
    inputs, labels = torch.randn(4, 2, 20, 6) * 7, torch.arange(4)
    found, output = segment_loss([unit], head, F.cross_entropy, inputs, labels)
    decoded = head.decoder(output)
    assert decoded.shape == (4, MAPS, 16, 6)
    pooled = F.adaptive_avg_pool2d(inputs, (16, 6))
    target = torch.cat([pooled[:, :1]] * (MAPS // 2) + [pooled[:, 1:]] * (MAPS // 2), 1)  # of two maps six each
    reconstruction = ((decoded - target) ** 2).mean() / ((target - target.mean()) ** 2).mean()
    expected = 0.25 * F.cross_entropy(head.classifier(output), labels) + 3.0 * reconstruction
    torch.testing.assert_close(found, expected)


def test_both_losses_reach_the_segment_and_the_input_gets_none() -> None:
    head, unit = _built(), torch.nn.Conv2d(2, SHAPE[0], 1)
    inputs = torch.randn(4, 2, 20, 6)
    segment_loss([unit], head, F.cross_entropy, inputs, torch.arange(4))[0].backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None for module in (unit, head) for parameter in module.parameters())
    assert inputs.grad is None


def test_an_input_that_is_the_same_everywhere_makes_no_loss_infinite() -> None:
    found, _ = segment_loss(
        [torch.nn.Conv2d(2, SHAPE[0], 1)], _built(), F.cross_entropy, torch.ones(4, 2, 20, 6), torch.arange(4)
    )
    assert bool(found.isfinite())


def test_what_answers_is_the_classifier() -> None:
    head, activations = _built().eval(), torch.randn(3, *SHAPE)
    assert answering(head) is head.classifier
    torch.testing.assert_close(head(activations), head.classifier(activations))
    usual = build_head(MlpHead("mlp", 8), SHAPE, (10,))
    assert answering(usual) is usual
