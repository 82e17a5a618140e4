"""Auxiliary heads: they fit behind every unit, cost what their description says, and stay small."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from planner.heads.base import Head
from planner.heads.convolution import FILTERS, ConvHead
from planner.heads.dense import PixelHead, PlaceHead
from planner.heads.pooled import PooledHead
from planner.model.build import build_unit
from planner.model.heads import head_unit
from planner.model.shapes import Shape, model_sizes, unit_sizes
from planner.model.zoo import ZOO, from_zoo
from planner.schema.model import AdaptivePool2d, Conv2d, Layer
from planner.training.discriminant import pooled_features


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
            head = unit_sizes(head_unit(ConvHead("auxiliary", filters), sizes.output, (10,)), sizes.output)
            assert head.output == (10,)
            assert head.parameters == head_parameters(sizes.output, filters, 10)


@pytest.mark.parametrize(
    "name",
    [name for name in ZOO if from_zoo(name).schema == "model/2" and from_zoo(name).task.kind == "classification"],
)
def test_a_head_fits_behind_every_unit_graph_of_the_zoo(name: str) -> None:
    model = from_zoo(name)
    for sizes in model_sizes(model)[:-1]:
        head = unit_sizes(head_unit(ConvHead("auxiliary", 64), sizes.output, model.output), sizes.output)
        assert head.output == model.output
        if len(sizes.output) in (1, 3):
            assert head.parameters == head_parameters(sizes.output, 64, model.classes)


shapes: st.SearchStrategy[Shape] = st.one_of(
    st.tuples(st.integers(1, 16), st.integers(1, 40), st.integers(1, 40)), st.tuples(st.integers(1, 300))
)


@given(shapes, st.sampled_from(FILTERS), st.integers(2, 20))
def test_a_head_turns_any_output_into_classes(shape: Shape, filters: int, classes: int) -> None:
    head = head_unit(ConvHead("auxiliary", filters), shape, (classes,))
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
    layers: tuple[Layer, ...] = head_unit(ConvHead("auxiliary", 8), shape, (10,)).layers
    assert [(pool.height, pool.width) for pool in layers if isinstance(pool, AdaptivePool2d)] == pools
    convolution = next(index for index, layer in enumerate(layers) if isinstance(layer, Conv2d))
    assert convolution == (1 if max(shape[1:]) > 4 else 0)


def test_a_head_over_single_pixels_needs_two_samples() -> None:
    sizes = unit_sizes(head_unit(ConvHead("auxiliary", 8), (64, 1, 1), (10,)), (64, 1, 1))
    assert sizes.minimum_micro_batch == 2


@pytest.mark.parametrize("shape", [(6,), (5, 7), (3, 4, 6), (2, 3, 4, 5)], ids=str)
@pytest.mark.parametrize("head", [ConvHead("auxiliary", 8), PooledHead("pooled")])
def test_heads_that_give_a_row_of_numbers_fit_behind_outputs_of_any_rank(head: Head, shape: Shape) -> None:
    assert head.fits(shape, (10,)) and not head.fits(shape, (10, 8, 8))
    module = build_unit(head_unit(head, shape, (10,)), shape, torch.Generator().manual_seed(0))
    assert module(torch.rand(3, *shape)).shape == (3, 10)


@pytest.mark.parametrize("shape", [(6,), (5, 7), (3, 4, 6), (2, 3, 4, 5)], ids=str)
def test_a_pooled_exit_is_fitted_to_what_it_sees(shape: Shape) -> None:
    head, activations = PooledHead("pooled"), torch.rand(3, *shape)
    module = build_unit(head_unit(head, shape, (10,)), shape, torch.Generator().manual_seed(0))
    features = pooled_features(activations)
    assert features.shape == (3, head.features(shape))
    torch.testing.assert_close(module[-1](features), module(activations))


@pytest.mark.parametrize(("shape", "size"), [((5, 4, 6), (8, 12)), ((5, 8, 8), (8, 8)), ((5, 9, 3), (4, 4))])
def test_a_head_for_pixels_is_a_convolution_resized(shape: Shape, size: tuple[int, int]) -> None:
    head = PixelHead("pixel")
    assert head.fits(shape, (3, *size)) and not head.fits(shape, (3,)) and not head.fits((5, 4), (3, *size))
    module = build_unit(head_unit(head, shape, (3, *size)), shape, torch.Generator().manual_seed(0))
    activations = torch.rand(2, *shape)
    weight, bias = module.parameters()
    expected = F.interpolate(F.conv2d(activations, weight, bias), size=size, mode="bilinear")
    torch.testing.assert_close(module(activations), expected)


def test_a_head_for_places_is_a_linear_layer_at_each() -> None:
    head = PlaceHead("place")
    assert head.fits((7, 4), (7, 20)) and not head.fits((6, 4), (7, 20)) and not head.fits((7, 4), (20,))
    module = build_unit(head_unit(head, (7, 4), (7, 20)), (7, 4), torch.Generator().manual_seed(0))
    activations = torch.rand(2, 7, 4)
    weight, bias = module.parameters()
    assert weight.shape == (20, 4) and not bool(bias.any())
    torch.testing.assert_close(module(activations), F.linear(activations, weight, bias))
