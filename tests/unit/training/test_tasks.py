"""The arithmetic of every task, against torch and by hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from planner.tasks.kinds import CLASSIFICATION
from planner.training.tasks import make_arithmetic

TASK = make_arithmetic(CLASSIFICATION)


def test_the_loss_of_classes_is_the_cross_entropy() -> None:
    outputs = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    by_hand = -outputs.log_softmax(1)[torch.arange(6), labels].mean()
    torch.testing.assert_close(TASK.loss(outputs, labels), by_hand)
    assert torch.equal(TASK.loss(outputs, labels), F.cross_entropy(outputs, labels))


def test_accuracy_is_the_share_over_all_micro_batches() -> None:
    meter = TASK.meter()
    meter.add(torch.tensor([[2.0, 1.0], [0.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 1, 0]))
    assert meter.value == 2 / 3
    meter.add(torch.tensor([[0.0, 1.0]]), torch.tensor([0]))
    assert meter.value == 2 / 4


def test_labels_to_measure_with_are_what_documents_say_of_them() -> None:
    drawn = TASK.examples(1000, 7, (3, 8, 8), torch.Generator().manual_seed(0))
    assert set(drawn.tolist()) == set(range(7))
    for labels in (drawn, TASK.examples(3, 7, (3, 8, 8))):
        assert labels.dtype == getattr(torch, CLASSIFICATION.label_form(7, (3, 8, 8)).dtype)
        assert labels.nbytes == len(labels) * CLASSIFICATION.label_bytes(7, (3, 8, 8), cached=False)
