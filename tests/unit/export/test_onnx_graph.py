"""What is written as ONNX gives, run by ONNX's own reference, what torch's modules give."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from planner.errors import InputError, StorageError
from planner.export import onnx_file
from planner.export.onnx_builder import OPSET
from planner.export.onnx_file import write_onnx
from planner.model.build import build_unit
from planner.model.shapes import model_sizes
from planner.model.zoo import from_zoo
from planner.runner.storage.exported import find_exported
from planner.schema.model import (
    Activation,
    AdaptivePool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    Model,
    Pool2d,
    Residual,
    Unit,
)
from planner.schema.run_folder import RunFolder
from tests.unit.runner.storage.test_exported import export, random_weights

SHAPE = (4, 9, 11)
CONV = Conv2d("conv2d", 6, 3, stride=2, padding=1, groups=2)
LAYERS: dict[str, tuple[Layer, ...]] = {
    "conv": (CONV,),
    "conv without bias": (Conv2d("conv2d", 5, 2, bias=False),),
    "depthwise": (Conv2d("conv2d", 4, 3, padding=1, groups=4),),
    "normalisation": (BatchNorm2d("batchnorm2d", 1e-3, 0.3),),
    **{op: (Activation(op),) for op in ("relu", "relu6", "gelu", "silu")},
    "dropout": (Dropout("dropout", 0.5),),
    **{
        f"{op}{' rounded up' if up else ''} {kernel}/{stride}+{padding}": (Pool2d(op, kernel, stride, padding, up),)
        for op in ("max_pool2d", "avg_pool2d")
        for up in (False, True)
        for kernel, stride, padding in ((2, 2, 0), (3, 2, 1), (3, 3, 1), (4, 3, 0), (2, 3, 1))
    },
    **{
        f"{op} to {height}×{width}": (AdaptivePool2d(op, height, width),)
        for op in ("adaptive_avg_pool2d", "adaptive_max_pool2d")
        for height, width in ((1, 1), (3, 11), (2, 3), (4, 4), (12, 13))
    },
    "residual": (Residual("residual", (Conv2d("conv2d", 4, 3, padding=1), Activation("relu"))),),
    "residual with a shortcut": (
        Residual("residual", (CONV, BatchNorm2d("batchnorm2d")), (Conv2d("conv2d", 6, 1, stride=2),)),
    ),
}


def compare(model: Model, folder: Path, samples: int = 2) -> onnx.ModelProto:
    """Export random weights, and hold the reference's outputs against those of torch's modules."""
    weights = random_weights(model)
    target = folder / "net.onnx"
    write_onnx(find_exported(export(folder / "out", model, weights)), target)
    images = torch.randn(samples, *model.input, generator=torch.Generator().manual_seed(3)) * 3
    expected = images
    shapes = [model.input, *(sizes.output for sizes in model_sizes(model))]
    for index, (unit, shape) in enumerate(zip(model.units, shapes, strict=False)):
        module = build_unit(unit, shape).eval()
        prefix = f"units.{index}."
        module.load_state_dict({name.removeprefix(prefix): t for name, t in weights.items() if name.startswith(prefix)})
        with torch.no_grad():
            expected = module(expected)
    found = onnx.load(target)
    onnx.checker.check_model(found, full_check=True)
    (output,) = ReferenceEvaluator(found).run(None, {"images": images.numpy()})
    scale = float(expected.abs().max())
    np.testing.assert_allclose(np.asarray(output), expected.numpy(), rtol=1e-4, atol=1e-5 * max(1.0, scale))
    return found


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_gives_what_torch_gives(name: str, tmp_path: Path) -> None:
    last = (*LAYERS[name], Flatten("flatten"), Linear("linear", 3, bias=False))
    compare(Model("model/1", name, SHAPE, 3, (Unit("all", last),)), tmp_path)


@pytest.mark.parametrize(
    ("name", "shape"), [("cnn6", (1, 8, 8)), ("resnet18", (3, 8, 8)), ("mobilenetv2", (3, 32, 32))]
)
def test_a_whole_network_gives_what_torch_gives_at_any_batch(
    name: str, shape: tuple[int, int, int], tmp_path: Path
) -> None:
    model = from_zoo(name, shape, 10)
    found = compare(model, tmp_path / "two")
    compare(model, tmp_path / "one", samples=1)
    (given,), (logits,) = found.graph.input, found.graph.output
    extents = [extent.dim_param or extent.dim_value for extent in given.type.tensor_type.shape.dim]
    assert extents == ["batch", *shape]
    assert [extent.dim_param or extent.dim_value for extent in logits.type.tensor_type.shape.dim] == ["batch", 10]
    assert [(used.domain, used.version) for used in found.opset_import] == [("", OPSET)]
    said = {each.key: each.value for each in found.metadata_props}
    assert said["input"].startswith("(value / 255 - 0.5) / 0.25")
    assert (json.loads(said["mean"]), json.loads(said["std"])) == ([0.5], [0.25])


def test_damaged_weights_are_not_written(tmp_path: Path) -> None:
    from planner.runner.storage.safetensors import TensorFile, write_tensors

    folder = export(tmp_path / "out")
    source = TensorFile(RunFolder(folder).model)
    entries = source.entries
    write_tensors(
        tmp_path / "own", entries, lambda: (chunk for entry in entries for chunk in source.chunks(entry.name))
    )
    source.close()
    content = bytearray((tmp_path / "own").read_bytes())
    content[-1] ^= 1
    RunFolder(folder).model.write_bytes(content)
    with pytest.raises(StorageError, match="its checksum disagrees"):
        write_onnx(find_exported(folder), tmp_path / "net.onnx")
    assert not (tmp_path / "net.onnx").exists()


def test_a_network_too_large_for_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "LONGEST_BYTES", 1000)
    with pytest.raises(InputError, match=r"^cnn6: has .* of weights; one ONNX file holds less than 2 GiB$"):
        write_onnx(find_exported(export(tmp_path / "out")), tmp_path / "net.onnx")
