"""How activations lie in memory between units.

A unit that ends by permuting axes gives a view: what it computed as rows × columns × channels passes on as channels ×
rows × columns, and the next unit's convolution takes other kernels than for a tensor that lies in its own order.
EdgeNeXt's have 14 MB of scratch where those have none. So units are measured with inputs that lie as the chain's do.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from planner.errors import ModelError
from planner.model.activations import Activations, tensors_of
from planner.model.build import build_unit
from planner.profiler.components import Component
from planner.training.examples import example_inputs
from planner.training.segment import pass_through

Layout = tuple[int, ...]
"""Axes of a tensor, the one whose neighbours lie farthest apart first."""


def boundary_layouts(units: Sequence[Component], device: torch.device) -> tuple[tuple[Layout | None, ...], ...]:
    """Layouts of the tensors that pass at each boundary, the input's first; none of one that lies in its own order.

    Two samples run through the chain without gradients, one unit in memory at a time.
    Behind a unit that fails nothing is known, and everything counts as lying in its own order.

    Args:
        units: of the chain, in its order.
        device: that they run on.
    """
    passing: Activations = example_inputs(units[0].shape, 2, units[0].input_dtype, units[0].tokens).to(device)
    found: list[tuple[Layout | None, ...]] = [(None,)]
    for unit in units:
        assert unit.spec is not None
        try:
            module = build_unit(unit.spec, unit.shape, dtype=unit.dtype).to(device).eval()
            passing = pass_through([module], passing)
        except (RuntimeError, ValueError, MemoryError, ModelError):  # what measuring it will say
            break
        found.append(tuple(map(layout_of, tensors_of(passing))))
    return (*found, *(((None,),) * (len(units) + 1 - len(found))))


def layout_of(tensor: Tensor) -> Layout | None:
    """How a tensor lies; none where it lies in the order of its axes."""
    if tensor.is_contiguous():
        return None
    strides: tuple[int, ...] = tensor.stride()
    return tuple(sorted(range(len(strides)), key=lambda axis: (-strides[axis], axis)))


def laid_out(tensor: Tensor, layout: Layout | None) -> Tensor:
    """The same numbers, lying so."""
    if layout is None:
        return tensor
    back = [layout.index(axis) for axis in range(len(layout))]
    return tensor.permute(layout).contiguous().permute(back)
