"""The arithmetic of every task, against torch and by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from planner.schema.report_parts import Figure
from planner.tasks.classification import Classification
from planner.tasks.kinds import CLASSIFICATION, USUAL
from planner.tasks.multilabel import Multilabel
from planner.tasks.next_token import NextToken
from planner.tasks.regression import Regression
from planner.tasks.segmentation import Segmentation
from planner.training.tasks import Arithmetic, decode_labels, encode_labels, make_arithmetic

TASK = make_arithmetic(CLASSIFICATION)
SHAPE = (3, 6, 5)
OUTPUTS: Mapping[str, int] = {"regression": 2, "multilabel": 4, "segmentation": 4, "autoencoder": 3, "next-token": 9}


def _drawn(kind: str, count: int = 4) -> tuple[Tensor, Tensor, Arithmetic]:
    """Outputs that a network may give, labels, and the task's arithmetic."""
    task, generator = USUAL[kind], torch.Generator().manual_seed(3)
    shape = (7,) if kind == "next-token" else SHAPE
    arithmetic = make_arithmetic(task)
    outputs = torch.randn(count, *task.output_shape(OUTPUTS[kind], shape), generator=generator)
    return outputs, arithmetic.examples(count, OUTPUTS[kind], shape, generator), arithmetic


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


@pytest.mark.parametrize("kind", OUTPUTS)
def test_labels_go_to_storage_and_come_back(kind: str) -> None:
    _, labels, _ = _drawn(kind)
    form = USUAL[kind].label_form(OUTPUTS[kind], (7,) if kind == "next-token" else SHAPE)
    assert labels.shape[1:] == form.shape and labels.dtype == getattr(torch, form.dtype)
    assert labels[0].nbytes == form.given_bytes
    stored = list(encode_labels(labels, form))
    assert {len(label) for label in stored} == {form.stored_bytes}
    assert torch.equal(decode_labels(memoryview(bytearray(b"".join(stored))), form), labels)


def test_the_losses_are_torchs_own() -> None:
    outputs, labels, _ = _drawn("regression")
    for loss, right in (("mse", nn.MSELoss()), ("l1", nn.L1Loss()), ("huber", nn.HuberLoss())):
        found = make_arithmetic(Regression("regression", loss)).loss(outputs, labels)  # type: ignore[arg-type]
        assert torch.equal(found, right(outputs, labels))
    outputs, labels, task = _drawn("multilabel")
    assert torch.equal(task.loss(outputs, labels), nn.BCEWithLogitsLoss()(outputs, labels))
    outputs, labels, task = _drawn("autoencoder")
    assert torch.equal(task.loss(outputs, labels), nn.MSELoss()(outputs, labels))
    outputs, labels, task = _drawn("next-token")
    shifted = nn.CrossEntropyLoss()(outputs[:, :-1].transpose(1, 2), labels[:, 1:])
    torch.testing.assert_close(task.loss(outputs, labels), shifted)
    outputs, labels = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
    weights = (0.5, 1.0, 2.0)
    given = make_arithmetic(Classification("classification", 0.1, weights))
    right_one = nn.CrossEntropyLoss(torch.tensor(weights), label_smoothing=0.1)
    assert torch.equal(given.loss(outputs, labels), right_one(outputs, labels))


def test_smoothed_labels_lose_what_torch_says() -> None:
    outputs, labels, _ = _drawn("segmentation")
    labels[:, 2:] = 255
    given = make_arithmetic(Segmentation("segmentation", 255, 0.2))
    assert torch.equal(
        given.loss(outputs, labels), nn.CrossEntropyLoss(ignore_index=255, label_smoothing=0.2)(outputs, labels)
    )
    outputs, labels, _ = _drawn("next-token")
    shifted = nn.CrossEntropyLoss(label_smoothing=0.2)(outputs[:, :-1].transpose(1, 2), labels[:, 1:])
    given = make_arithmetic(NextToken("next-token", 0.2))
    torch.testing.assert_close(given.loss(outputs, labels), shifted)
    meters = [make_arithmetic(task).meter() for task in (NextToken("next-token"), NextToken("next-token", 0.2))]
    for meter in meters:
        meter.add(outputs, labels)
    assert meters[0].value == meters[1].value  # the metric is of the labels as they are
    # A flag is one of two classes, whose outputs are 0 and its own.
    outputs, labels, _ = _drawn("multilabel")
    pairs = torch.stack((torch.zeros_like(outputs), outputs), 1)
    two = nn.CrossEntropyLoss(label_smoothing=0.2)(pairs, labels.long())
    given = make_arithmetic(Multilabel("multilabel", 0.2))
    torch.testing.assert_close(given.loss(outputs, labels), two)
    (gradient,) = torch.autograd.grad(given.loss(outputs.requires_grad_(), labels), outputs)
    wanted = (outputs.sigmoid() - (labels * 0.8 + 0.1)) / outputs.numel()
    torch.testing.assert_close(gradient, wanted.detach())


def test_pixels_of_no_class_count_nowhere() -> None:
    outputs, labels, task = _drawn("segmentation")
    labels[:, 2:] = 255
    assert torch.equal(task.loss(outputs, labels), nn.CrossEntropyLoss(ignore_index=255)(outputs, labels))
    meter = task.meter()
    meter.add(outputs, labels)
    found, wanted = outputs[:, :, :2].argmax(1).flatten().tolist(), labels[:, :2].flatten().tolist()
    shares = []
    for each in range(OUTPUTS["segmentation"]):
        ours = {at for at, one in enumerate(found) if one == each}
        right = {at for at, one in enumerate(wanted) if one == each}
        shares.append(len(ours & right) / len(ours | right))
    assert meter.value == pytest.approx(sum(shares) / len(shares))
    right_pixels = sum(one == other for one, other in zip(found, wanted, strict=True))
    assert meter.further == (Figure("pixel accuracy", right_pixels / len(found), True),)
    assert float(task.loss(outputs, torch.full_like(labels, 255))) == 0.0


def test_errors_are_taken_over_all_micro_batches() -> None:
    for kind, root in (("regression", 0.5), ("autoencoder", 1.0)):
        outputs, labels, task = _drawn(kind, 5)
        meter = task.meter()
        meter.add(outputs[:3], labels[:3])
        meter.add(outputs[3:], labels[3:])
        assert meter.value == pytest.approx(float((outputs - labels).square().mean()) ** root, rel=1e-5)
        if kind == "regression":
            (found,) = meter.further
            left = (outputs - labels).square().sum() / (labels - labels.mean(0)).square().sum()
            assert (found.name, found.is_share) == ("R²", False) and found.value == pytest.approx(1 - float(left))


def test_perplexity_is_e_to_the_mean_cross_entropy() -> None:
    outputs, labels, task = _drawn("next-token")
    meter = task.meter()
    meter.add(outputs[:1], labels[:1])
    meter.add(outputs[1:], labels[1:])
    picked = outputs.log_softmax(2)[:, :-1].gather(2, labels[:, 1:, None])
    assert meter.value == pytest.approx(math.exp(-float(picked.mean())), rel=1e-5)


def test_f1_counts_labels_that_were_found_among_all() -> None:
    meter = make_arithmetic(USUAL["multilabel"]).meter()
    assert meter.value == 1.0  # nothing to find, and nothing found
    meter.add(torch.tensor([[1.0, -1.0, 2.0], [-1.0, -1.0, 3.0]]), torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    assert meter.value == pytest.approx(2 * 2 / (3 + 3))
    assert meter.further == (Figure("all labels right", 1 / 2, True),)


def test_top_5_is_told_of_more_classes() -> None:
    outputs, labels = torch.randn(50, 9, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 9
    meter = TASK.meter()
    meter.add(outputs[:20], labels[:20])
    meter.add(outputs[20:], labels[20:])
    near = sum(label in row.topk(5).indices.tolist() for row, label in zip(outputs, labels.tolist(), strict=True))
    assert meter.further == (Figure("top-5", near / 50, True),)
    meter = TASK.meter()
    meter.add(outputs[:, :5], labels % 5)
    assert meter.further == ()


@pytest.mark.parametrize("kind", ["regression", "multilabel"])
def test_a_linear_exit_finds_what_is_linear(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(400, 6, generator=generator) + 5
    scores = (features - 5) @ torch.randn(6, 2, generator=generator)
    labels = scores + 3 if kind == "regression" else (scores > 0).float()
    task = make_arithmetic(USUAL[kind])
    fit = task.linear_fit(6, 2)
    fit.add(features[:150], labels[:150])
    fit.add(features[150:], labels[150:])
    weight, bias = fit.solve()
    outputs = features @ weight.T + bias
    meter = task.meter()
    meter.add(outputs, labels)
    assert meter.value < 0.1 if kind == "regression" else meter.value > 0.95
