"""Stored units run one after another: what comes out is the whole network's, and no two units are in memory at once."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest
import torch
from torch import nn

from planner.model.build import build_unit
from planner.model.shapes import model_sizes
from planner.model.zoo import from_zoo
from planner.runner.storage.exported import find_exported
from planner.runner.storage.safetensors import TensorFile
from planner.runner.train import stream
from planner.runner.train.stream import run_stored
from planner.schema.common import Dtype
from tests.unit.runner.storage.test_exported import export, random_weights

MODEL = from_zoo("resnet18", (3, 16, 16), 10)


def test_streamed_units_give_what_the_whole_network_gives(tmp_path: Path) -> None:
    weights = random_weights(MODEL)
    exported = find_exported(export(tmp_path, MODEL, weights))
    shapes = [MODEL.input, *(sizes.output for sizes in model_sizes(MODEL))]
    images = torch.randn(3, *MODEL.input, generator=torch.Generator().manual_seed(1))
    file = TensorFile(exported.weights)
    found = run_stored(MODEL, range(len(MODEL.units)), shapes, file, images)
    file.close()
    expected = images
    for index, (unit, shape) in enumerate(zip(MODEL.units, shapes, strict=False)):
        module = build_unit(unit, shape).eval()
        prefix = f"units.{index}."
        module.load_state_dict({name.removeprefix(prefix): t for name, t in weights.items() if name.startswith(prefix)})
        with torch.no_grad():
            expected = module(expected)
    assert isinstance(found, torch.Tensor)
    assert torch.equal(found, expected)


def test_a_unit_is_gone_before_the_next_one_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported = find_exported(export(tmp_path, MODEL))
    shapes = [MODEL.input, *(sizes.output for sizes in model_sizes(MODEL))]
    built: list[weakref.ref[nn.Module]] = []
    alive: list[int] = []

    def building(unit: object, shape: object, dtype: Dtype) -> nn.Sequential:
        alive.append(sum(reference() is not None for reference in built))
        module = build_unit(unit, shape, dtype=dtype)  # type: ignore[arg-type]  # passed on as they come
        built.append(weakref.ref(module))
        return module

    monkeypatch.setattr(stream, "build_unit", building)
    file = TensorFile(exported.weights)
    gc.disable()  # nothing may wait for the collector
    try:
        run_stored(MODEL, range(len(MODEL.units)), shapes, file, torch.zeros(1, *MODEL.input))
    finally:
        gc.enable()
        file.close()
    assert alive == [0] * len(MODEL.units)
