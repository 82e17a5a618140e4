"""Networks of several families, written by torch and by us as ONNX, become chains that give what onnxruntime gives."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import Tensor, nn
from torch.nn import functional as F

from planner.errors import ModelError
from planner.export.onnx_file import write_onnx
from planner.model.importers.onnx.chain import import_onnx, import_onnx_bytes
from planner.model.zoo import from_zoo
from planner.operators.unit_graph import GraphTensor, UnitGraph
from planner.runner.storage.exported import find_exported
from planner.schema.model import Model
from planner.tasks.segmentation import Segmentation
from tests.unit.model.importers.networks import Net, ResNet, SqueezeExcitation, Transformer, chain, mobile
from tests.unit.model.importers.onnx.files import built, graph, one, run_by_others, unit_of
from tests.unit.runner.storage.test_exported import export


class UNet(nn.Module):
    """A skip beside what is shrunk and enlarged."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(4, 8, 3, 2, 1)
        self.up = nn.ConvTranspose2d(8, 4, 2, 2)
        self.norm = nn.GroupNorm(2, 8)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.silu(self.norm(self.down(x)))
        wide: Tensor = torch.cat([self.up(inner), F.interpolate(F.max_pool2d(x, 2), scale_factor=2), x], 1)
        return wide


class ConvNext(nn.Module):
    """Normalised with channels last, and scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(4, 4, 7, padding=3, groups=4)
        self.norm = nn.LayerNorm(4)
        self.wide, self.narrow = nn.Linear(4, 16), nn.Linear(16, 4)
        self.scale = nn.Parameter(torch.full((4,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        inner = self.scale * self.narrow(F.gelu(self.wide(inner)))
        found: Tensor = x + inner.permute(0, 3, 1, 2)
        return found


class Rows(nn.Module):
    """A recurrence over the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(24, 5, batch_first=True, bidirectional=True)
        self.head = nn.Linear(10, 10)

    def forward(self, x: Tensor) -> Tensor:
        rows, _ = self.lstm(x.transpose(1, 2).flatten(2))
        last: Tensor = self.head(rows[:, -1])
        return last


def dense() -> nn.Module:
    """What came before beside what is new."""
    return Net(lambda net, x: torch.cat([x, net.new(F.hardswish(x))], 1), new=nn.Conv2d(4, 4, 1))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet": ResNet,
    "mobile": mobile,
    "squeeze-excitation": lambda: chain(SqueezeExcitation(4)),
    "transformer": Transformer,
    "u-net": lambda: chain(UNet(), width=12),
    "convnext": lambda: chain(ConvNext()),
    "dense": lambda: chain(dense(), nn.AvgPool2d(2), width=8),
    "recurrent": Rows,
}


def fresh(name: str) -> nn.Module:
    """A network as it is after some training: no two of its tensors are alike."""
    torch.manual_seed(5)
    network = NETWORKS[name]()
    for tensor in network.state_dict().values():
        if tensor.is_floating_point() and tensor.dim() == 1:
            tensor.copy_(torch.rand(tensor.shape) / 2 + 0.5)
    return network


def written(network: nn.Module, path: Path, batch: int | None, training: bool = False, opset: int = 17) -> bytes:
    """What torch writes, for one number of samples or for any."""
    modes = torch.onnx.TrainingMode
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.train(training),
            (torch.randn(batch or 2, 3, 8, 8),),
            str(path),
            dynamo=False,
            input_names=["x"],
            dynamic_axes=None if batch else {"x": {0: "n"}},
            training=modes.TRAINING if training else modes.EVAL,
            do_constant_folding=not training,
            opset_version=opset,
        )
    return path.read_bytes()


def compared(content: bytes, network: nn.Module, samples: int) -> None:
    data = np.random.default_rng(0).standard_normal((samples, 3, 8, 8)).astype(np.float32)
    expected = run_by_others(content, data)
    with torch.no_grad():
        found = network(torch.from_numpy(data)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1.0, float(np.abs(expected).max())), rtol=0)


def tensors(model: Model) -> list[GraphTensor]:
    return [tensor for _, tensor in model.graph_tensors()]


@pytest.mark.parametrize(
    ("name", "batch"),
    [*((name, batch) for name in NETWORKS for batch in (None, 1)), ("transformer", 2), ("recurrent", 2)],
)
def test_what_torch_writes_for_inference_is_taken_and_trains(name: str, batch: int | None, tmp_path: Path) -> None:
    content = written(fresh(name), tmp_path / "net.onnx", batch)
    model, network = built(tmp_path / "net.onnx")
    compared(content, network, batch or 3)
    data = torch.randn(3, 3, 8, 8)
    with torch.no_grad():  # whatever number of samples it was written for, each is computed by itself
        torch.testing.assert_close(network(data)[1:2], network(data[1:2]), rtol=0, atol=1e-5)
    assert (model.name, model.classes) == ("net", 10)
    network.train()(torch.randn(4, 3, 8, 8)).square().mean().backward()
    parameters = dict(network.named_parameters())
    assert all(parameter.grad is not None for parameter in parameters.values())
    assert {name.split(".", 2)[2] for name in parameters} == {
        each.name for each in tensors(model) if each.kind == "parameter"
    }


@pytest.mark.parametrize("name", ["resnet", "mobile", "transformer"])
def test_what_torch_writes_for_training_keeps_normalisations_and_names(name: str, tmp_path: Path) -> None:
    module = fresh(name)
    content = written(module, tmp_path / "net.onnx", None, training=True)
    model, network = built(tmp_path / "net.onnx")
    if name != "transformer":  # which drops at random
        compared(content, network.train(), 3)  # by the statistics of the samples at hand, as the file says
    state = {key for key in module.state_dict() if not key.endswith("num_batches_tracked")}
    named = {tensor.name for tensor in tensors(model) if tensor.persistent}
    # torch writes the weights of linear layers on more than rows turned around, under names of its own.
    assert {key for key in named if not key.startswith("onnx__")} <= state
    assert not [note for note in import_onnx(tmp_path / "net.onnx").notes if "normalisation" in note]


def test_units_are_those_of_the_module(tmp_path: Path) -> None:
    written(fresh("resnet"), tmp_path / "net.onnx", None, training=True)
    model = import_onnx(tmp_path / "net.onnx").model
    assert [unit.name for unit in model.units] == ["conv1", "layer1.0.conv1", "layer1.1.conv1", "layer2.0.conv1", "fc"]


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2", "vgg11"])
def test_what_we_write_comes_back(name: str, tmp_path: Path) -> None:
    folder = export(tmp_path / "out", from_zoo(name, (3, 32, 32), 10))
    write_onnx(find_exported(folder), tmp_path / "net.onnx")
    model, network = built(tmp_path / "net.onnx")
    if name == "resnet18":
        assert model.units[1].name == "layer1.0.conv1"  # as its weights are called
    data = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    expected = run_by_others((tmp_path / "net.onnx").read_bytes(), data)
    with torch.no_grad():
        found = network(torch.from_numpy(data)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1.0, float(np.abs(expected).max())), rtol=0)


@pytest.mark.parametrize(
    ("make", "rows", "units"),
    [(ResNet, 9, 5), (lambda: chain(nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.GELU()), 7, 3)],
)
def test_what_torch_writes_once_for_several_new_layers_is_parted(
    make: Callable[[], nn.Module], rows: int, units: int, tmp_path: Path
) -> None:
    written(make(), tmp_path / "net.onnx", None)  # biases of 0 and scales of 1 are in the file once
    model, network = built(tmp_path / "net.onnx")
    assert len([tensor for tensor in tensors(model) if len(tensor.shape) == 1]) == rows
    assert len(model.units) == units
    compared((tmp_path / "net.onnx").read_bytes(), network, 2)


def test_a_layer_that_is_called_twice_is_one(tmp_path: Path) -> None:
    conv = nn.Conv2d(4, 4, 3, padding=1)
    written(chain(nn.ReLU(), conv, nn.ReLU(), conv), tmp_path / "net.onnx", None)
    model, network = built(tmp_path / "net.onnx")
    assert [tensor.name for tensor in tensors(model)].count("2.bias") == 1
    assert len(model.units) == 3
    compared((tmp_path / "net.onnx").read_bytes(), network, 2)


def test_folded_normalisation_is_said(tmp_path: Path) -> None:
    written(fresh("resnet"), tmp_path / "net.onnx", None)
    (note,) = import_onnx(tmp_path / "net.onnx").notes
    assert note.startswith("all of its 8 convolutions have a bias and none a normalisation behind it")


def test_a_softmax_at_the_end_is_left_to_the_loss() -> None:
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["g"]),
        helper.make_node("Softmax", ["g"], ["y"]),
    ]
    found = import_onnx_bytes(graph(nodes, weights={"w": np.ones((192, 3), np.float32)}).SerializeToString())
    (layer,) = found.model.units[0].layers
    assert isinstance(layer, UnitGraph)
    assert "softmax" not in " ".join(layer.nodes)
    assert found.notes == ("the softmax at its end is left out: the loss takes what that is made of",)


@pytest.mark.parametrize(
    ("task", "last", "dropped"),
    [(Segmentation("segmentation"), "Softmax", True), (Segmentation("segmentation"), "Sigmoid", False)],
)
def test_a_class_for_every_pixel(task: Segmentation, last: str, dropped: bool, tmp_path: Path) -> None:
    attributes: dict[str, Any] = {"axis": 1} if last == "Softmax" else {}
    nodes = [helper.make_node("Conv", ["x", "w"], ["v"]), helper.make_node(last, ["v"], ["y"], **attributes)]
    onnx.save(graph(nodes, weights={"w": np.ones((3, 4, 1, 1), np.float32)}), tmp_path / "net.onnx")
    found = import_onnx(tmp_path / "net.onnx", task)
    assert (found.model.classes, found.model.task) == (3, task)
    assert bool(found.notes) == dropped


def test_vectors_and_sequences() -> None:
    for name, shape, nodes, weights in (
        ("vector", ("n", 7), [helper.make_node("Gemm", ["x", "w"], ["y"])], {"w": np.ones((7, 3), np.float32)}),
        (
            "sequence",
            ("n", 4, 9),
            [
                helper.make_node("Conv", ["x", "w"], ["c"]),
                helper.make_node("GlobalMaxPool", ["c"], ["p"]),
                helper.make_node("Flatten", ["p"], ["y"]),
            ],
            {"w": np.ones((3, 4, 2), np.float32)},
        ),
    ):
        model = import_onnx_bytes(graph(nodes, shape, weights=weights).SerializeToString()).model
        assert (name, model.input, model.input_dtype, model.classes) == (name, shape[1:], "float32", 3)


class Words(nn.Module):
    """A class for a row of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(11, 6), nn.Linear(6, 3)
        self.layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.layer(self.table(x)).mean(1))
        return found


def test_tokens(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokens = torch.randint(11, (3, 5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = str(tmp_path / "net.onnx")
        axes = {"x": {0: "n"}}
        torch.onnx.export(Words().eval(), (tokens,), path, dynamo=False, input_names=["x"], dynamic_axes=axes)
    model, network = built(tmp_path / "net.onnx")
    assert (model.input, model.input_dtype) == ((5,), "int64")
    assert {tensor.name: tensor.kind for tensor in tensors(model)}["table.weight"] == "parameter"
    expected = run_by_others((tmp_path / "net.onnx").read_bytes(), tokens.numpy())
    with torch.no_grad():
        np.testing.assert_allclose(network(tokens).numpy(), expected, rtol=0, atol=1e-5)


def test_how_weights_begin() -> None:
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["c"]),
        helper.make_node("Conv", ["c", "w"], ["v"]),
        helper.make_node("BatchNormalization", ["v", "g", "b", "m", "s"], ["n"]),
        helper.make_node("Mul", ["n", "scale"], ["k"]),
        helper.make_node("GlobalAveragePool", ["k"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    four = np.asarray([1, 2, 3, 4], np.float32)
    given = {"mean": four.reshape(4, 1, 1), "w": np.ones((4, 4, 3, 3), np.float32), "scale": four.reshape(4, 1, 1)}
    model = import_onnx_bytes(graph(nodes, weights={**given, **dict.fromkeys("gbms", four)}).SerializeToString()).model
    found = {tensor.name: tensor for tensor in tensors(model)}
    assert [name for name, tensor in found.items() if tensor.kind == "buffer"] == ["mean", "m", "s"]
    assert list(found["mean"].values) == [1, 2, 3, 4]
    assert found["w"].start == "uniform"
    assert found["w"].scale == pytest.approx(1 / 6)
    assert [(found[name].start, found[name].scale) for name in "gbms"] == [
        ("constant", 1.0), ("constant", 0.0), ("constant", 0.0), ("constant", 1.0),
    ]  # fmt: skip
    assert found["scale"].scale == pytest.approx(7.5**0.5)


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (graph(one("Relu")), "its output gives 4×6×8 per sample; classification needs one row of numbers"),
        (graph(one("Flatten")), "has no weights; there is nothing to train"),
        (graph(one("Relu"), (4, "n", 6, 8)), r"leaves more open than the samples \(n\)"),
        (graph([helper.make_node("Relu", ["z"], ["y"])]), r"node 0 \(Relu\): reads 'z', which nobody gives"),
        (
            graph([helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Abs", ["a"], ["b"]),
                   helper.make_node("Neg", ["b"], ["y"])]),
            "depends on what it gives itself",
        ),
        (graph([*one("Relu"), *one("Abs")]), r"node 1 \(Abs\): gives 'y', which is there already"),
        (graph([helper.make_node("Relu", ["x"], ["a"])]), "no node gives its output 'y'"),
        (graph(one("Relu"), dtype=onnx.TensorProto.DOUBLE), "its input 'x' is float64; float32 is needed"),
    ],
)  # fmt: skip
def test_what_is_no_chain_is_refused(model: onnx.ModelProto, problem: str) -> None:
    with pytest.raises(ModelError, match=problem):
        import_onnx_bytes(model.SerializeToString())


@pytest.mark.parametrize("opset", [11, 13, 17, 18, 20])
def test_operators_that_an_opset_lacks_are_put_together(opset: int, tmp_path: Path) -> None:
    network = chain(ConvNext(), nn.SiLU(), nn.Hardswish())
    content = written(network, tmp_path / "net.onnx", None, opset=opset)
    model, ours = built(tmp_path / "net.onnx")
    lines = " ".join(line for unit in model.units for layer in unit.layers for line in getattr(layer, "nodes", ()))
    assert [name for name in ("layer_norm", "gelu", "silu", "hardswish") if f"{name}(" not in lines] == []
    assert not any(name in lines for name in ("erf", "sigmoid", "sqrt"))
    compared(content, ours, 3)


def test_what_a_large_file_costs_grows_with_it_alone() -> None:
    """Counted in steps of the interpreter, which do not depend on the machine."""

    def calls(blocks: int) -> int:
        nodes, weights, before = [], {}, "x"
        for index in range(blocks):
            weights[f"w{index}"] = np.ones((4, 4, 1, 1), np.float32)
            nodes.append(helper.make_node("Conv", [before, f"w{index}"], [f"c{index}"]))
            nodes.append(helper.make_node("Relu", [f"c{index}"], [before := f"r{index}"]))
        nodes += [helper.make_node("GlobalAveragePool", [before], ["p"]), helper.make_node("Flatten", ["p"], ["y"])]
        content = graph(nodes, weights=weights).SerializeToString()
        lines = 0

        def count(*_: object) -> Any:
            nonlocal lines
            lines += 1
            return count

        before_trace = sys.gettrace()
        sys.settrace(count)
        try:
            import_onnx_bytes(content)
        finally:
            sys.settrace(before_trace)
        return lines

    calls(2)  # signatures of operators are taken apart once
    assert calls(80) < 2.3 * calls(40)


def test_running_statistics_move_as_onnx_says() -> None:
    """ONNX's momentum is what is kept of them, torch's what is taken of the new ones."""
    statistics = {name: np.full(4, number, np.float32) for name, number in {"g": 1, "b": 0, "m": 0, "s": 1}.items()}
    nodes = one("BatchNormalization", "g", "b", "m", "s", momentum=0.7)
    _, module = unit_of(graph(nodes, weights=statistics))
    data = torch.randn(3, 4, 6, 8)
    module.train()(data)
    torch.testing.assert_close(module.state_dict()["m"], 0.3 * data.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
