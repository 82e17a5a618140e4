"""Which parameters decay: kernels and matrices, as their modules are known by, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from planner.heads.mlp import MlpHead
from planner.heads.reconstruct import ReconstructHead
from planner.model.build import build_unit
from planner.model.decay import decaying_of_head, decaying_of_unit
from planner.model.importers.given import Given
from planner.model.importers.module import import_module
from planner.model.shapes import model_sizes
from planner.model.zoo import from_zoo
from planner.operators.unit_graph import UnitGraph
from planner.schema.model import Model
from planner.training.heads import build_head

KERNELS = (nn.modules.conv._ConvNd, nn.Linear, nn.Embedding)


def _named(module: nn.Module) -> set[str]:
    """The rule by modules, as recipes elsewhere have it: weights of convolutions, linear layers and embeddings."""
    return {
        f"{prefix}.weight" if prefix else "weight"
        for prefix, part in module.named_modules()
        if isinstance(part, KERNELS)
    }


def _shapes(model: Model) -> Iterator[tuple[int, ...]]:
    yield model.input
    yield from (sizes.output for sizes in model_sizes(model))


def _of_model(model: Model) -> set[str]:
    """Of a network that came in from outside: as its own module names them, which graphs do."""
    shapes = _shapes(model)
    found = (decaying_of_unit(unit, shape) for unit, shape in zip(model.units, shapes, strict=False))
    return {name.partition(".")[2] for names in found for name in names}


@pytest.mark.parametrize("name", ["cnn6", "vgg11", "mobilenetv2"])
def test_of_layers_the_weights_of_convolutions_and_linear_layers_decay(name: str) -> None:
    model = from_zoo(name, (3, 32, 32), 10)
    for unit, shape in zip(model.units, _shapes(model), strict=False):
        assert decaying_of_unit(unit, shape) == _named(build_unit(unit, shape))


@pytest.mark.parametrize("head", [MlpHead("mlp", 16), ReconstructHead("reconstruct", 16, 1.0, 1.0)], ids=str)
def test_heads_decay_by_the_same_rule(head: MlpHead | ReconstructHead) -> None:
    assert decaying_of_head(head, (8, 16, 16), (10,)) == _named(build_head(head, (8, 16, 16), (10,)))


@pytest.mark.parametrize(
    ("name", "spared"),
    [("resnet20", set()), ("convnext-atto", set()), ("vit-tiny", {"pos_embed", "cls_token"})],
)
def test_of_the_zoos_graphs_as_published_recipes_have_it(name: str, spared: set[str]) -> None:
    """timm's: all of two dimensions or more, but what a network's `no_weight_decay` names."""
    model = from_zoo(name, (3, 32, 32), 10)
    graphs = [layer for unit in model.units for layer in unit.layers if isinstance(layer, UnitGraph)]
    matrices = {
        each.name for graph in graphs for each in graph.tensors if len(each.shape) > 1 and each.kind == "parameter"
    }
    assert spared <= matrices
    assert _of_model(model) == matrices - spared


class _Mixed(nn.Module):
    """A transformer of sorts: tables, positions, a class token, a layer's scale, attention, norms of several axes."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 8)
        self.positions = nn.Parameter(torch.zeros(1, 6, 8))
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.scale = nn.Parameter(torch.ones(1, 1, 8))
        self.norm = nn.LayerNorm((7, 8))
        self.slopes = nn.PReLU(7)
        self.steps = nn.LSTM(8, 4, batch_first=True)
        self.mixing = nn.Parameter(torch.randn(4, 4))
        self.last = nn.Linear(4, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens) + self.positions
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        attended, _ = self.attention(x, x, x, need_weights=False)
        x, _ = self.steps(self.slopes(self.norm(x + self.scale * attended)))
        return self.last(x.mean(1) @ self.mixing.t())  # type: ignore[no-any-return]  # a tensor


def test_of_graphs_what_is_multiplied_with_or_looked_up_in_decays() -> None:
    model = import_module(Given(_Mixed().eval(), torch.zeros(2, 6, dtype=torch.int64)))
    assert _of_model(model) == {
        "table.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "steps.weight_ih_l0",
        "steps.weight_hh_l0",
        "mixing",
        "last.weight",
    }


def test_what_a_kernel_is_worked_out_of_decays() -> None:
    """A weight-normalised convolution's direction and length: PyTorch's decay moves both."""
    convolution = parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
    network = nn.Sequential(convolution, nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    model = import_module(Given(network, torch.zeros(2, 3, 8, 8)))
    found = _of_model(model)
    assert {name for name in found if "parametrizations" not in name} == {"4.weight"}
    assert {name.rpartition(".")[2] for name in found if "parametrizations" in name} == {"original0", "original1"}
