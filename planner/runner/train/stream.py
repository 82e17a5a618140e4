"""Samples run through stored units, one unit's weights in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from planner.model.activations import Activations, first_of
from planner.model.build import build_unit
from planner.model.shapes import Shape
from planner.runner.storage.safetensors import TensorFile
from planner.runner.storage.weights import fill_modules
from planner.schema.common import Dtype
from planner.schema.model import Model
from planner.training.device import CPU, to_device
from planner.training.segment import pass_through


def run_stored(
    model: Model,
    units: Iterable[int],
    shapes: Sequence[Shape],
    file: TensorFile,
    inputs: Activations,
    dtype: Dtype = "float32",
) -> Activations:
    """What leaves the last of `units` (by index), without gradients, for `inputs` (micro-batch, …) into the first.

    `shapes` are those that enter each unit, `dtype` is what they compute in; `file` holds the weights as
    `units.<index>.<name>`. Raises StorageError where it lacks one.
    """
    passing, device = inputs, first_of(inputs).device
    for index in units:
        # The unit is gone when the next one comes: it lives in the call alone.
        passing = pass_through([load_unit(model, index, shapes[index], file, dtype, device)], passing)
    return passing


def load_unit(
    model: Model, index: int, shape: Shape, file: TensorFile, dtype: Dtype = "float32", device: torch.device = CPU
) -> nn.Module:
    """One unit in evaluation mode with its weights from `file`, on `device`. Raises StorageError."""
    unit = build_unit(model.units[index], shape, dtype=dtype).eval()
    fill_modules(file, [(f"units.{index}", unit)])
    return to_device(unit, device)
