"""What a run exports is found by folder or file, and weights of another network are refused by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from planner.errors import InputError
from planner.heads.convolution import ConvHead
from planner.model.build import build_unit
from planner.model.heads import head_unit
from planner.model.shapes import Shape, model_sizes
from planner.model.zoo import ZOO, from_zoo
from planner.model.zoo.base import Maker
from planner.model.zoo.mobile import mobilenetv2
from planner.model.zoo.resnet import resnet
from planner.operators.unit_graph import GraphTensor, UnitGraph
from planner.runner.storage.exported import (
    find_exported,
    find_full,
    own_names,
    streamed_bytes,
    tensors_of,
    write_state,
)
from planner.runner.storage.weights import save_tensors
from planner.schema.codec import to_json
from planner.schema.model import Model, Unit
from planner.schema.run_folder import RunFolder

MODEL = from_zoo("cnn6", (1, 8, 8), 10)


def random_weights(model: Model, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights and statistics as torch's own modules name them."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, torch.Tensor] = {}
    shape: Shape = model.input
    for index, (unit, sizes) in enumerate(zip(model.units, model_sizes(model), strict=True)):
        for name, tensor in build_unit(unit, shape, generator).state_dict().items():
            if name.endswith(("running_mean", "running_var", "bias")):
                tensor = torch.rand(tensor.shape, generator=generator) + 0.5
            found[f"units.{index}.{name}"] = tensor.detach().clone()
        shape = sizes.output
    return found


def export(folder: Path, model: Model = MODEL, weights: dict[str, torch.Tensor] | None = None) -> Path:
    """What a run leaves in its folder of the network."""
    folder.mkdir(parents=True, exist_ok=True)
    RunFolder(folder).description.write_text(to_json(model))
    save_file(random_weights(model) if weights is None else weights, RunFolder(folder).model)
    return folder


@pytest.mark.parametrize("name", ZOO)
def test_the_tensors_of_a_description_are_those_of_its_modules(name: str) -> None:
    model = from_zoo(name)
    dtypes = {torch.float32: "F32", torch.int64: "I64"}
    with torch.device("meta"):
        shapes = [model.input, *(sizes.output for sizes in model_sizes(model))]
        built = [build_unit(unit, shape) for unit, shape in zip(model.units, shapes, strict=False)]
    expected = {
        f"units.{index}.{name}": (dtypes[tensor.dtype], tuple(tensor.shape))
        for index, unit in enumerate(built)
        for name, tensor in unit.state_dict().items()
    }
    assert {entry.name: (entry.dtype, entry.shape) for entry in tensors_of(model)} == expected


def test_a_folder_and_either_file_name_the_same_network(tmp_path: Path) -> None:
    folder = export(tmp_path / "out")
    for place in (folder, RunFolder(folder).description, RunFolder(folder).model):
        found = find_exported(place)
        assert (found.model, found.weights, found.folder) == (MODEL, RunFolder(folder).model, folder)


def _without(name: str) -> Callable[[Path], Path]:
    def damage(folder: Path) -> Path:
        (folder / name).unlink()
        return folder

    return damage


def _with_tensor(name: str, tensor: torch.Tensor | None) -> Callable[[Path], Path]:
    def damage(folder: Path) -> Path:
        weights = random_weights(MODEL)
        weights.pop(name, None)
        return export(folder, MODEL, weights if tensor is None else {**weights, name: tensor})

    return damage


def _other_file(folder: Path) -> Path:
    (folder / "model.pt").write_bytes(b"PK")
    return folder / "model.pt"


def _no_tensors(folder: Path) -> Path:
    RunFolder(folder).model.write_bytes(b"PK not tensors at all")
    return folder


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_without("model.json"), r"model\.json: is missing; a run writes it at its end"),
        (_without("model.safetensors"), r"model\.safetensors: is missing; the weights lie beside their description"),
        (lambda folder: folder / "gone.json", r"gone\.json: is missing; the description lies beside its weights"),
        (_other_file, r"model\.pt: is neither a folder nor a \.json or \.safetensors file"),
        (_no_tensors, r"model\.safetensors: not a safetensors file"),
        (_with_tensor("units.1.0.weight", None), r"holds no tensor 'units\.1\.0\.weight', which 'cnn6' has"),
        (_with_tensor("units.0.0.weight", torch.zeros(2, 3)), r"'units\.0\.0\.weight' is F32 2×3, but 'cnn6' has F32 "),
        (_with_tensor("more", torch.zeros(1)), r"holds 1 tensors that 'cnn6' has not: 'more'"),
    ],
    ids=["no description", "no weights", "no file", "another suffix", "no tensors", "lacking", "shape", "more"],
)
def test_what_is_no_exported_network_is_bad_input(tmp_path: Path, damage: Callable[[Path], Path], said: str) -> None:
    with pytest.raises(InputError, match=said):
        find_exported(damage(export(tmp_path / "out")))


def test_more_samples_at_a_time_take_more_and_none_takes_less_than_a_units_weights() -> None:
    units = [sum(tensor.nbytes for name, tensor in random_weights(MODEL).items() if name.startswith(f"units.{index}."))
             for index in range(len(MODEL.units))]  # fmt: skip
    needed = [streamed_bytes(MODEL, size) for size in (1, 2, 4)]
    assert max(units) < needed[0] < needed[1] < needed[2]


def graph_model(classes: int = 4) -> Model:
    graph = UnitGraph(
        "graph",
        ("a = mul.Tensor(x, $scale)", "b = mean.dim(a, [2, 3])", "c = linear(b, $fc.weight, $fc.bias)"),
        "c",
        (
            GraphTensor("scale", (3, 1, 1), "buffer", "constant", 2.0, persistent=False),
            GraphTensor("fc.weight", (classes, 3)),
            GraphTensor("fc.bias", (classes,)),
        ),
    )
    return Model("model/2", "mine", (3, 8, 8), classes, (Unit("only", (graph,)),))


def test_a_state_dict_has_the_networks_own_names_and_no_constants(tmp_path: Path) -> None:
    weights = random_weights(graph_model())
    folder = export(tmp_path / "out", graph_model(), weights)
    save_tensors(RunFolder(folder).model, weights.items())  # as a run does, with a checksum
    write_state(find_full(folder), tmp_path / "state")
    found = load_file(tmp_path / "state")
    assert set(found) == {"fc.weight", "fc.bias"}
    assert all(torch.equal(tensor, weights[f"units.0.0.{name}"]) for name, tensor in found.items())
    with pytest.raises(InputError, match="cnn6: is a list of layers; its weights have no names but ours"):
        write_state(find_exported(export(tmp_path / "zoo")), tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("name", "named"),
    [("resnet18", resnet((2, 2, 2, 2), bottleneck=False)), ("mobilenetv2", mobilenetv2)],
)
@torch.no_grad()
def test_a_network_of_layers_has_the_names_of_the_same_one_as_unit_graphs(name: str, named: Maker) -> None:
    """Under these names the weights of one make the other give the same outputs."""
    layered, graphs = from_zoo(name, (3, 9, 9), 3), named(name, (3, 9, 9), 3)
    weights, names = random_weights(layered), own_names(layered)
    assert set(names) == {entry.name for entry in tensors_of(layered)}
    theirs = {own: weights[ours] for ours, own in names.items()}
    assert theirs.keys() == {tensor.name for _, tensor in graphs.graph_tensors()}
    outputs = []
    for model, state in ((layered, weights), (graphs, {at: theirs[each.name] for at, each in graphs.graph_tensors()})):
        x: torch.Tensor = torch.ones(2, 3, 9, 9) * torch.linspace(-1, 1, 9)
        for index, unit in enumerate(model.units):
            module = build_unit(unit, tuple(x.shape[1:])).eval()
            for at, tensor in module.state_dict().items():
                tensor.copy_(state[f"units.{index}.{at}"])
            x = module(x)
        outputs.append(x)
    assert float(outputs[0].abs().max()) > 0
    assert torch.equal(*outputs)


def test_an_exit_of_it_has_names_up_to_its_head() -> None:
    model = from_zoo("resnet18", (3, 8, 8), 3)
    shape = model_sizes(model)[2].output
    exit_model = replace(model, units=(*model.units[:3], head_unit(ConvHead("auxiliary", 16), shape, (3,))))
    names = own_names(exit_model)
    assert names["units.2.0.body.0.weight"] == "layer1.1.conv1.weight"
    assert {name.split(".")[1] for name in names} == {"0", "1", "2"}
    assert own_names(replace(model, name="mine")) == {}


def test_the_full_network_is_the_one_beside_the_best_exit(tmp_path: Path) -> None:
    folder = export(tmp_path / "out")
    assert find_full(folder) == find_exported(folder)
    full = RunFolder(folder)
    full.full_description.write_text(to_json(graph_model()))
    save_file(random_weights(graph_model()), full.full_model)
    assert find_full(folder).model == graph_model()
