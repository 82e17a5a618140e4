"""Auxiliary heads: they fit behind every unit, cost what their description says, and stay small."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import ModelError
from planner.heads.base import Head
from planner.heads.convolution import FILTERS, ConvHead
from planner.heads.dense import PixelHead, PlaceHead
from planner.heads.kinds import measured_heads
from planner.heads.lookahead import LookaheadHead
from planner.heads.mlp import MlpHead
from planner.heads.pooled import PooledHead
from planner.heads.reconstruct import ReconstructHead
from planner.model.build import build_unit
from planner.model.heads import head_sizes, head_unit, heads_at
from planner.model.shapes import Shape, model_sizes, unit_sizes
from planner.model.zoo import ZOO, from_zoo
from planner.schema.model import Activation, AdaptivePool2d, BatchNorm2d, Conv2d, Layer, Model, Unit
from planner.training.discriminant import pooled_features
from tests.unit import joint_chains


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


@pytest.mark.parametrize(
    ("shape", "pools"),
    [
        ((5, 32, 32), [(8, 8), (2, 2)]),
        ((5, 224, 30), [(8, 8), (2, 2)]),
        ((5, 8, 5), [(2, 2)]),
        ((5, 3, 1), [(2, 1)]),
        ((5, 2, 2), []),
    ],
)
def test_a_perceptron_sees_a_quarter_and_is_as_wide_as_it_says(shape: Shape, pools: list[tuple[int, int]]) -> None:
    """Three 1×1 convolutions with normalisations, two hidden layers over at most 2×2 positions, and the last."""
    head = head_unit(MlpHead("mlp", 7), shape, (10,))
    assert [(pool.height, pool.width) for pool in head.layers if isinstance(pool, AdaptivePool2d)] == pools
    seen = 7 * min(shape[1], 2) * min(shape[2], 2)
    expected = (shape[0] + 7 + 7) * 7 + 3 * 2 * 7 + (seen * 7 + 7) + (7 * 7 + 7) + (7 * 10 + 10)
    assert unit_sizes(head, shape).parameters == expected


def test_a_head_over_single_pixels_needs_two_samples() -> None:
    sizes = unit_sizes(head_unit(ConvHead("auxiliary", 8), (64, 1, 1), (10,)), (64, 1, 1))
    assert sizes.minimum_micro_batch == 2


@pytest.mark.parametrize("shape", [(6,), (5, 7), (3, 4, 6), (2, 3, 4, 5)], ids=str)
@pytest.mark.parametrize("head", [ConvHead("auxiliary", 8), MlpHead("mlp", 8), PooledHead("pooled")])
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


def _shapes(model: Model) -> list[Shape]:
    return [model.input, *(sizes.output for sizes in model_sizes(model))]


def _lookahead(model: Model, boundary: int) -> list[LookaheadHead]:
    found = heads_at(measured_heads("lookahead"), model, boundary, _shapes(model))
    return [head for head in found if isinstance(head, LookaheadHead)]


def _plain(convolutions: int) -> Model:
    """So many convolutions of 8 channels, and a classifier."""
    layers: tuple[Layer, ...] = (Conv2d("conv2d", 8, 3, padding=1), BatchNorm2d("batchnorm2d"), Activation("relu"))
    last: tuple[Layer, ...] = head_unit(PooledHead("pooled"), (8, 6, 6), (10,)).layers
    units = (*(Unit(f"conv{index}", layers) for index in range(convolutions)), Unit("classifier", last))
    return Model("model/1", "plain", (3, 6, 6), 10, units)


@pytest.mark.parametrize(
    ("boundary", "copied"),
    [
        # depth = round(3 (1 - g) + g) with g = (boundary - 1) / 11 / 2, and every (11 - l) / depth-th behind layer l.
        (1, (4, 7, 11)),
        (2, (4, 8, 11)),  # 3 - 2 / 22 → 3; 10 / 3 = 3.3, 6.7, 10
        (7, (8, 11)),  # 3 - 12 / 22 → 2; 2.5 → 2, 5
        (10, (10, 11)),
        (11, (11,)),
        (12, None),  # only the classifier is left
    ],
)
def test_a_lookahead_head_copies_what_auglocal_samples(boundary: int, copied: tuple[int, ...] | None) -> None:
    assert {head.units for head in _lookahead(_plain(12), boundary)} == ({copied} if copied else set())


def test_copies_are_as_wide_as_they_say() -> None:
    """In front of the first copy 8 channels become those of the copy; each has c² · 9 + 3 c numbers."""
    model = _plain(4)
    for head, channels in zip(_lookahead(model, 2), (8, 4, 2), strict=True):
        assert head.units == (2, 3)
        mixing = 0 if channels == 8 else 8 * channels + 2 * channels
        expected = mixing + 2 * (9 * channels**2 + 3 * channels) + (10 * channels + 10)
        assert head_sizes(head, (8, 6, 6), (10,)).parameters == expected


@pytest.mark.parametrize("name", ["mobilenetv2", "resnet20", "shufflenetv2", "gpt-nano", "vit-tiny", "mlp"])
def test_lookahead_heads_run_behind_units_of_the_zoo(name: str) -> None:
    """Depthwise and residual layers, unit graphs (some have no thinner form), sequences, and rows of numbers."""
    model = from_zoo(name)
    shapes, boundary = _shapes(model), 1 + len(model.units) // 4
    found = _lookahead(model, boundary)
    sizes = [head_sizes(head, shapes[boundary], model.output) for head in found]
    assert len(found) == 3 and {size.output for size in sizes} == {model.output}
    counts = [size.parameters for size in sizes]
    assert counts == sorted(counts, reverse=True)
    assert (len(set(counts)) == 1) == (name in ("gpt-nano", "vit-tiny"))  # attention says its widths in its lines
    module = build_unit(head_unit(found[-1], shapes[boundary], model.output), shapes[boundary], torch.Generator())
    assert module(torch.rand(2, *shapes[boundary])).shape == (2, *model.output)


def test_a_lookahead_head_where_it_does_not_fit_is_refused_in_words() -> None:
    (head, *_) = _lookahead(_plain(4), 2)
    assert head.fits((8, 6, 6), (10,)) and not head.fits((5, 7), (10,))
    with pytest.raises(ModelError, match=r"^head: needs channels, rows and columns, has 5×7"):
        head_unit(head, (5, 7), (10,))


def test_a_decoder_is_beside_the_usual_head_and_weighs_less_with_depth() -> None:
    model = _plain(5)
    shapes = _shapes(model)
    found = [
        head
        for boundary in (1, 3, 5)
        for head in heads_at((ReconstructHead("reconstruct", 16),), model, boundary, shapes)
    ]
    assert [(head.reconstruction_weight, head.task_weight) for head in found if isinstance(head, ReconstructHead)] == [
        (2.0, 0.5),
        (1.05, 0.75),
        (0.1, 1.0),
    ]
    usual = ConvHead("auxiliary", 16)
    assert head_unit(found[0], (8, 6, 6), (10,)) == head_unit(usual, (8, 6, 6), (10,))
    decoder = 9 * 8 * 12 + 2 * 12 + 9 * 12 * 12 + 12
    sizes = [head_sizes(head, (8, 6, 6), (10,)).parameters for head in (found[0], usual)]
    assert sizes[0] - sizes[1] == decoder
    tokens = from_zoo("gpt-nano")
    assert not list(heads_at((ReconstructHead("reconstruct", 16),), tokens, 2, _shapes(tokens)))


def _standing(units: tuple[Unit, ...]) -> list[bool]:
    """By boundary inside a network, whether a head stands there."""
    model, shapes = joint_chains.model(units), [first for first, *_ in joint_chains.shapes(units)]
    inside = range(1, len(units))
    return [bool(list(heads_at(measured_heads(None), model, boundary, shapes))) for boundary in inside]


def test_among_several_tensors_a_head_stands_where_the_first_depends_on_all_weights() -> None:
    assert _standing(joint_chains.UNET) == _standing(joint_chains.DENSE) == [True, True, True, True]
    assert _standing(joint_chains.FORKED) == [True, False, True]


def test_no_head_copies_a_unit_that_carries_some() -> None:
    model = joint_chains.model(joint_chains.UNET)
    assert _lookahead(model, 1) == []  # it would copy units behind it, which all take or give several
