"""Auxiliary heads: they fit behind every unit, cost what their description says, and stay small."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from planner.heads.convolution import FILTERS, ConvHead
from planner.model.build import build_unit
from planner.model.heads import head_unit
from planner.model.shapes import Shape, model_sizes, unit_sizes
from planner.model.zoo import ZOO, from_zoo
from planner.schema.model import AdaptivePool2d, Conv2d, Layer


def head_parameters(shape: Shape, filters: int, classes: int) -> int:
    """A 3×3 convolution, its normalisation, a linear layer over at most 2×2 positions; or the linear layer alone."""
    if len(shape) == 1:
        return shape[0] * classes + classes
    positions = min(shape[1], 2) * min(shape[2], 2)
    return 9 * shape[0] * filters + 2 * filters + filters * positions * classes + classes


def test_filters_fall_from_those_of_classic_local_learning() -> None:
    assert FILTERS[0] == 256
    assert list(FILTERS) == sorted(set(FILTERS), reverse=True)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 64, 64), (3, 33, 47)], ids=str)
@pytest.mark.parametrize("name", [name for name in ZOO if from_zoo(name).schema == "model/1"])
def test_a_head_fits_behind_every_unit_of_the_zoo(name: str, shape: tuple[int, int, int]) -> None:
    for sizes in model_sizes(from_zoo(name, shape, 10)):
        for filters in FILTERS:
            head = unit_sizes(head_unit(ConvHead("auxiliary", filters), sizes.output, 10), sizes.output)
            assert head.output == (10,)
            assert head.parameters == head_parameters(sizes.output, filters, 10)


shapes: st.SearchStrategy[Shape] = st.one_of(
    st.tuples(st.integers(1, 16), st.integers(1, 40), st.integers(1, 40)), st.tuples(st.integers(1, 300))
)


@given(shapes, st.sampled_from(FILTERS), st.integers(2, 20))
def test_a_head_turns_any_output_into_classes(shape: Shape, filters: int, classes: int) -> None:
    head = head_unit(ConvHead("auxiliary", filters), shape, classes)
    sizes = unit_sizes(head, shape)
    assert sizes.output == (classes,)
    assert sizes.parameters == head_parameters(shape, filters, classes)
    batch = sizes.minimum_micro_batch
    assert build_unit(head, shape, torch.Generator().manual_seed(0))(torch.zeros(batch, *shape)).shape == (
        batch,
        classes,
    )


@pytest.mark.parametrize(
    ("shape", "pools"),
    [
        ((64, 32, 32), [(4, 4), (2, 2)]),
        ((64, 5, 4), [(4, 4), (2, 2)]),
        ((64, 4, 4), [(2, 2)]),
        ((64, 3, 1), [(2, 1)]),
        ((64, 2, 2), []),
        ((64, 1, 1), []),
        ((64, 1, 9), [(1, 4), (1, 2)]),
    ],
)
def test_a_head_pools_before_its_convolution_and_never_enlarges(shape: Shape, pools: list[tuple[int, int]]) -> None:
    layers: tuple[Layer, ...] = head_unit(ConvHead("auxiliary", 8), shape, 10).layers
    assert [(pool.height, pool.width) for pool in layers if isinstance(pool, AdaptivePool2d)] == pools
    convolution = next(index for index, layer in enumerate(layers) if isinstance(layer, Conv2d))
    assert convolution == (1 if max(shape[1:]) > 4 else 0)


def test_a_head_over_single_pixels_needs_two_samples() -> None:
    sizes = unit_sizes(head_unit(ConvHead("auxiliary", 8), (64, 1, 1), 10), (64, 1, 1))
    assert sizes.minimum_micro_batch == 2
