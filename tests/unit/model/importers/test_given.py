"""What a person gives as a module: wrappers, outputs to pick from, layers without a shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from planner.model.importers.given import Given, best_pick, lazy_tensors, picking, unwrapped
from planner.model.importers.module import import_module
from tests.unit.model.importers.networks import Net, chain

SAMPLE = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_network_is_taken_out_of_its_wrappers() -> None:
    net = chain()
    assert unwrapped(net) is net
    compiled: Any = torch.compile(net)
    assert unwrapped(nn.DataParallel(compiled)) is net
    names = [tensor.name for _, tensor in import_module(Given(compiled, SAMPLE)).graph_tensors()]
    assert sorted(names) == sorted(net.state_dict())


def test_outputs_are_picked_from() -> None:
    net = Net(lambda net, x: {"hidden": x, "scores": net.body(x)}, body=chain())
    assert import_module(Given(net, SAMPLE, outputs=lambda out: out["scores"])).classes == 10
    assert isinstance(net(SAMPLE), dict)  # as it was
    with picking(net, lambda out: None), pytest.raises(TypeError, match=r"^outputs= gives None$"):
        net(SAMPLE)


@dataclass
class Output:
    loss: Tensor
    logits: Tensor


class Named(dict[str, Tensor]):
    """As Hugging Face's outputs are: a dict with attributes."""

    @property
    def logits(self) -> Tensor:
        return self["logits"]

    def to_tuple(self) -> tuple[Tensor, ...]:
        return tuple(self.values())


SCALAR, SCORES = torch.zeros(()), torch.zeros(4, 10)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ((SCALAR, SCORES), "out[1]"),
        ([SCALAR, "text"], "out[0]"),
        ({"loss": SCALAR, "logits": SCORES}, "out['logits']"),
        (Output(SCALAR, SCORES), "out.logits"),
        (Named(loss=SCALAR, logits=SCORES), "out.logits"),
        ("text", None),
        ({"loss": 3.0}, None),
        (Output, None),
    ],
)
def test_the_tensor_that_is_most_likely_meant(output: object, words: str | None) -> None:
    pick = best_pick(output)
    assert (None if pick is None else pick.words) == words
    if pick is not None and words is not None:
        assert pick.take(output) is eval(words, {"out": output})


def test_layers_without_a_shape_get_it_from_the_sample() -> None:
    net = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(10))
    assert lazy_tensors(net) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    model = import_module(Given(net, SAMPLE))
    shapes = {tensor.name: tensor.shape for _, tensor in model.graph_tensors()}
    assert (shapes["0.weight"], shapes["2.weight"]) == ((4, 3, 3, 3), (10, 4 * 6 * 6))
