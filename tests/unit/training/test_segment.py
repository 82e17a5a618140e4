"""One segment's step: the gradients of plain autograd, and nothing kept."""

from __future__ import annotations

import gc
import weakref

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from planner.training.segment import infer, train_segment


def _units() -> list[nn.Module]:
    torch.manual_seed(0)
    return [nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()), nn.Sequential(nn.Conv2d(4, 2, 3), nn.ReLU())]


def _head() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(2 * 4 * 4, 3))


def test_gradients_are_those_of_the_whole_written_out() -> None:
    units, head = _units(), _head()
    inputs, labels = torch.randn(5, 1, 8, 8), torch.tensor([0, 1, 2, 1, 0])
    loss, held = train_segment(units, head, F.cross_entropy, inputs, labels)
    parameters = [parameter for module in [*units, head] for parameter in module.parameters()]
    found = [parameter.grad for parameter in parameters]
    assert held is None
    for parameter in parameters:
        parameter.grad = None
    expected = F.cross_entropy(head(units[1](units[0](inputs))), labels)
    expected.backward()  # type: ignore[no-untyped-call]  # torch gives it no type
    assert torch.equal(loss, expected.detach())
    for parameter, gradient in zip(parameters, found, strict=True):
        assert gradient is not None and parameter.grad is not None
        assert torch.equal(gradient, parameter.grad)


def test_weighted_micro_batches_sum_to_the_batch() -> None:
    units, head = _units(), _head()
    inputs, labels = torch.randn(6, 1, 8, 8), torch.tensor([0, 1, 2, 1, 0, 2])
    for part in (slice(0, 4), slice(4, 6)):
        train_segment(units, head, F.cross_entropy, inputs[part], labels[part], weight=len(labels[part]) / 6)
    parameters = list(units[0].parameters())
    found = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    train_segment(units, head, F.cross_entropy, inputs, labels)
    for parameter, gradient in zip(parameters, found, strict=True):
        assert gradient is not None and parameter.grad is not None
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-5, atol=1e-6)


def test_the_held_output_is_the_forward_cut_off() -> None:
    units = _units()
    inputs, labels = torch.randn(2, 1, 8, 8), torch.tensor([0, 1])
    _, held = train_segment(units, _head(), F.cross_entropy, inputs, labels, hold_output=True)
    assert isinstance(held, Tensor)
    assert not held.requires_grad
    assert torch.equal(held, infer(units, inputs))


def test_without_a_head_the_output_is_the_logits() -> None:
    unit = nn.Linear(3, 2)
    inputs, labels = torch.randn(4, 3), torch.tensor([0, 1, 1, 0])
    loss, _ = train_segment([unit], None, F.cross_entropy, inputs, labels)
    assert torch.equal(loss, F.cross_entropy(unit(inputs), labels).detach())


def test_no_activation_outlives_the_call() -> None:
    class Watched(nn.Module):
        seen: weakref.ref[torch.Tensor] | None = None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            output = x * 2
            Watched.seen = weakref.ref(output)
            return output

    units = [_units()[0], Watched()]
    train_segment(
        units,
        nn.Sequential(nn.Flatten(), nn.Linear(4 * 6 * 6, 3)),
        F.cross_entropy,
        torch.randn(2, 1, 8, 8),
        torch.tensor([0, 1]),
    )
    gc.collect()
    assert Watched.seen is not None
    assert Watched.seen() is None


def test_inference_makes_no_graph() -> None:
    assert not infer(_units(), torch.randn(2, 1, 8, 8)).requires_grad
