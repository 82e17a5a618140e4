"""Whole networks of unit graphs as ONNX, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from planner.errors import InputError
from planner.export.aten.kinds import WRITERS
from planner.export.onnx_file import write_onnx
from planner.model.importers.given import Given
from planner.model.importers.module import import_chain
from planner.operators.aten.kinds import ATEN
from planner.operators.unit_graph import GraphTensor, UnitGraph
from planner.runner.storage.exported import find_exported
from planner.schema.model import Linear, Model, Unit
from tests.unit.export.graphs import TO_FLOAT, case
from tests.unit.export.runtimes import RUNTIMES, Run, reference
from tests.unit.model.importers.networks import (
    ResNet,
    SqueezeExcitation,
    StochasticDepth,
    Transformer,
    UNet,
    chain,
    mobile,
)
from tests.unit.runner.storage.test_exported import export

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet": ResNet,
    "mobile": mobile,
    "squeeze-excitation": lambda: chain(SqueezeExcitation(4)),
    "transformer": Transformer,
    "stochastic depth": StochasticDepth,
    "u-net": UNet,
}


def trained(make: Callable[[], nn.Module]) -> nn.Module:
    """With statistics and biases as a training leaves them."""
    torch.manual_seed(5)
    network = make()
    for tensor in network.state_dict().values():
        if tensor.is_floating_point() and tensor.dim() == 1:
            tensor.copy_(torch.rand(tensor.shape) + 0.5)
    return network


@pytest.mark.parametrize("run", RUNTIMES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_gives_what_its_module_gives(name: str, run: Run, tmp_path: Path) -> None:
    network = trained(NETWORKS[name])
    found = import_chain(Given(network, torch.randn(2, 3, 8, 8), 10))
    write_onnx(find_exported(export(tmp_path / "out", found.model, found.tensors)), tmp_path / "net.onnx")
    written = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(written, full_check=True)
    for samples in (1, 3):
        images = torch.randn(samples, 3, 8, 8)
        with torch.no_grad():
            expected = network.eval()(images).numpy()
        np.testing.assert_allclose(run(written, {"images": images.numpy()}), expected, rtol=1e-5, atol=1e-5)
    names = {each.name for each in written.graph.initializer}
    state = {name for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
    assert state <= names
    assert not any(name.startswith("units.") for name in names)


class Words(nn.Module):
    """A class for a row of tokens, whose places are counted as RoBERTa counts them: padding has none."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(11, 8, padding_idx=1), nn.Embedding(8, 8)
        self.layer, self.head = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True), nn.Linear(8, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        kept = (tokens != 1).int()
        places = (torch.cumsum(kept, 1).type_as(kept) * kept).long() + 1
        found: Tensor = self.head(self.layer(self.words(tokens) + self.places(places)).mean(1))
        return found


@pytest.mark.parametrize("run", RUNTIMES)
def test_a_network_of_tokens_gives_what_its_module_gives(run: Run, tmp_path: Path) -> None:
    network = trained(Words)
    found = import_chain(Given(network, torch.randint(11, (2, 6))))
    write_onnx(find_exported(export(tmp_path / "out", found.model, found.tensors)), tmp_path / "net.onnx")
    written = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(written, full_check=True)
    (given,) = written.graph.input
    assert given.type.tensor_type.elem_type == onnx.TensorProto.INT64
    for samples in (1, 4):
        tokens = torch.randint(11, (samples, 6))
        tokens[0, 2:] = 1  # padding
        with torch.no_grad():
            expected = network.eval()(tokens).numpy()
        np.testing.assert_allclose(run(written, {given.name: tokens.numpy()}), expected, rtol=1e-5, atol=1e-5)


def test_a_name_that_is_taken_makes_room(tmp_path: Path) -> None:
    tensors = (GraphTensor("fc.weight", (3, 48)), GraphTensor("logits", (3,)), GraphTensor("gemm_0", (3,)))
    lines = ("a = flatten.using_ints(x, 1)", "b = linear(a, $fc.weight, $logits)", "y = add.Tensor(b, $gemm_0)")
    again = UnitGraph("graph", ("y = mul.Tensor(x, $logits)", "z = add.Tensor(y, $logits)"), "z", tensors[1:2])
    model = Model(
        "model/2", "net", (3, 4, 4), 3, (Unit("a", (UnitGraph("graph", lines, "y", tensors),)), Unit("b", (again,)))
    )
    weights = {f"units.0.0.{each.name}": torch.randn(each.shape) for each in tensors}
    weights["units.1.0.logits"] = torch.randn(3)
    write_onnx(find_exported(export(tmp_path / "out", model, weights)), tmp_path / "net.onnx")
    written = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(written, full_check=True)
    names = [each.name for each in written.graph.initializer]
    assert [name for name in names if not name.startswith("constant")] == [
        "fc.weight", "units.0.0.logits", "gemm_0", "units.1.0.logits"
    ]  # fmt: skip
    x = torch.randn(2, 3, 4, 4)
    inner = torch.addmm(weights["units.0.0.logits"], x.flatten(1), weights["units.0.0.fc.weight"].T)
    expected = (inner + weights["units.0.0.gemm_0"] + 1) * weights["units.1.0.logits"]
    np.testing.assert_allclose(reference(written, {"images": x.numpy()}), expected.numpy(), rtol=1e-5, atol=1e-5)


def test_layers_and_graphs_stand_in_one_file(tmp_path: Path) -> None:
    graph = UnitGraph("graph", ("a = mean.dim(x, [2, 3])", "y = relu(a)"), "y")
    model = Model("model/2", "net", (3, 4, 4), 5, (Unit("a", (graph,)), Unit("b", (Linear("linear", 5),))))
    weights = {"units.1.0.weight": torch.randn(5, 3), "units.1.0.bias": torch.randn(5)}
    write_onnx(find_exported(export(tmp_path / "out", model, weights)), tmp_path / "net.onnx")
    x = torch.randn(2, 3, 4, 4)
    expected = torch.addmm(weights["units.1.0.bias"], x.mean((2, 3)).relu(), weights["units.1.0.weight"].T)
    found = reference(onnx.load(tmp_path / "net.onnx"), {"images": x.numpy()})
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-5)


def test_operators_without_a_form_are_named_all_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    assert not {"atan2", "bernoulli"} & set(WRITERS)
    assert {"atan2", "bernoulli"} <= set(ATEN)
    graphs = [
        UnitGraph("graph", lines, "y")
        for lines in (("y = atan2(x, x)",), ("a = flatten.using_ints(x, 1)", "b = sigmoid(a)", "y = bernoulli(b)"))
    ]
    model = Model("model/2", "net", (3, 2, 2), 12, (Unit("first", graphs[:1]), Unit("second", graphs[1:])))  # type: ignore[arg-type]
    folder = export(tmp_path / "out", model, {})
    with pytest.raises(InputError) as caught:
        write_onnx(find_exported(folder), tmp_path / "net.onnx")
    assert str(caught.value) == (
        "net: cannot be written as ONNX, which has no form of these operators: "
        "atan2 (unit 'first'), bernoulli (unit 'second')"
    )
    assert not (tmp_path / "net.onnx").exists()


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["dropout(x, 0.5, true)"], "dropout cannot be written as ONNX here: it is random in evaluation too"),
        (
            ["a = cumsum(x, 1, dtype='bfloat16')", TO_FLOAT],
            "cumsum cannot be written as ONNX here: bfloat16 is no type that is written",
        ),
        (
            ["_, a = max_pool2d_with_indices(x, [2])", TO_FLOAT],
            "to.dtype cannot be written as ONNX here: reads what cannot be written in ONNX",
        ),
        (
            ["a = cat([x, $w])", "b = sum.dim_IntList(a, [0])", "add.Tensor(x, b)"],
            "cat cannot be written as ONNX here: 4 with 3 samples is 6 with 5; that is no multiple of both",
        ),
        (["sort(x, 0)"], "sort cannot be written as ONNX here: it works along the samples"),
    ],
)
def test_arguments_without_a_form_are_refused_by_unit_and_operator(lines: list[str], reason: str) -> None:
    lines = [line.replace("sort", "y, _ = sort") for line in lines]
    with pytest.raises(InputError, match=rf"^unit 'unit': {reason}$"):
        case((4, 6, 6), *lines, **({"w": (1, 4, 6, 6)} if "$w" in lines[0] else {})).written()


def test_batches_are_open_where_the_graph_names_them(tmp_path: Path) -> None:
    written = case((4, 6), "a = view(x, [2*batch, 12])", "b = relu(a)", "y = view(b, [batch, 24])").written()
    shapes = [onnx.numpy_helper.to_array(each).tolist() for each in written.graph.initializer]
    assert shapes == [[-1, 12], [-1, 24]]
