"""Dropout and other chance; another resolution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from planner.operators.aten.base import AtenOperator, Rule, StricterThanTorch, Value, family, in_place, show_shape
from planner.operators.aten.shapes import (
    check_alike,
    check_filled,
    check_floating,
    check_gradient,
    check_rank,
    elements,
)


def _check_probability(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"p is {p}; it has to lie between 0 and 1")


def _dropout(input: Value, p: float, train: bool) -> Value:
    _check_probability(p)
    if train and 0 < p < 1:
        check_floating(input, "input")
    return input


def _feature_dropout(input: Value, p: float, train: bool) -> Value:
    if train and 0 < p < 1 and len(input.shape) < 2:
        raise ValueError(f"input has shape {show_shape(input.shape)}; samples and channels are needed")
    return _dropout(input, p, train)


def _bernoulli(self: Value, p: float = 0.5, **_: Any) -> Value:
    _check_probability(p)
    return self


def _bernoulli_of(self: Value, **_: Any) -> Value:
    check_floating(self)
    return self


def _random(size: Sequence[int], dtype: str | None, **_: Any) -> Value:
    result = Value(tuple(size), dtype or "float32")
    check_floating(result, "its result")
    return result


def _random_like(self: Value, dtype: str | None, **_: Any) -> Value:
    return _random(self.shape, dtype or self.dtype)


def _uniform(self: Value, to: float, **rest: Any) -> Value:
    check_floating(self)
    if not (math.isfinite(to) and math.isfinite(rest["from"]) and rest["from"] <= to):
        raise ValueError(f"from {rest['from']} to {to} is no range")
    return self


def _normal(self: Value, std: float, **_: Any) -> Value:
    check_floating(self)
    if not std >= 0:
        raise ValueError(f"std is {std}; it may not be below 0")
    return self


def _resized(
    input: Value,
    spatial: int,
    output_size: Sequence[int] | None,
    scale_factors: Sequence[float] | None,
) -> Value:
    check_rank(input, (spatial + 2,), "input")
    check_filled(input, "input")
    check_gradient(input, "input")  # torch resizes uint8, and hands on what keeps its size whatever its type
    if (output_size is None) == (scale_factors is None):
        raise ValueError("either output_size or scale_factors is needed")
    if output_size is None:
        factors = scale_factors or ()
        if len(factors) != spatial or not all(map(math.isfinite, factors)):
            raise ValueError(f"scale_factors is {list(factors)}; {spatial} numbers are needed")
        output_size = [int(extent * factor) for extent, factor in zip(input.shape[2:], factors, strict=True)]
    if len(output_size) != spatial or min(output_size) < 1:
        raise ValueError(f"its result would have extents {show_shape(output_size)}; {spatial} above 0 are needed")
    return Value((*input.shape[:2], *output_size), input.dtype)


def _resize(name: str, spatial: int, corners: bool) -> AtenOperator:
    def rule(input: Value, output_size: Sequence[int] | None, scale_factors: Sequence[float] | None, **_: Any) -> Value:
        return _resized(input, spatial, output_size, scale_factors)

    def count(result: Value, **_: Any) -> int:
        """As many as numbers that each one is made of."""
        near = 1 if "nearest" in name else 4 if "cubic" in name else 2
        return elements(result.shape) * int(near**spatial)

    aligned = "bool align_corners, " if corners else ""
    return AtenOperator(
        f"{name}.vec(Tensor input, SymInt[]? output_size, {aligned}float[]? scale_factors) -> Tensor",
        rule,
        count=count,
    )


def _grid_sample(input: Value, grid: Value, interpolation_mode: int, padding_mode: int, align_corners: bool) -> Value:
    check_rank(input, (4, 5), "input")
    check_floating(input, "input")
    check_alike(input=input, grid=grid)
    check_filled(input, "input")
    check_filled(grid, "grid")
    spatial = len(input.shape) - 2
    if len(grid.shape) != spatial + 2 or grid.shape[-1] != spatial or grid.shape[0] != input.shape[0]:
        raise ValueError(f"grid has shape {show_shape(grid.shape)}; input's samples and {spatial} places are needed")
    if not 0 <= interpolation_mode <= 4 - spatial or not 0 <= padding_mode <= 2:
        raise StricterThanTorch(f"there is no interpolation_mode {interpolation_mode} with padding_mode {padding_mode}")
    return Value((*input.shape[:2], *grid.shape[1:-1]), input.dtype)


def _count_samples(result: Value, input: Value, **_: Any) -> int:
    """Between neighbours in every direction."""
    return elements(result.shape) << (len(input.shape) - 2)


def _affine_grid(theta: Value, size: Sequence[int], align_corners: bool) -> Value:
    check_gradient(theta, "theta")
    spatial = len(size) - 2
    if min(size, default=1) < 1:
        raise StricterThanTorch(f"size is {show_shape(size)}; extents above 0 are needed")
    if spatial not in (2, 3):
        raise ValueError(f"size is {show_shape(size)}; samples, channels and 2 or 3 extents are needed")
    if theta.shape != (size[0], spatial, spatial + 1):
        raise ValueError(
            f"theta has shape {show_shape(theta.shape)}, not {show_shape((size[0], spatial, spatial + 1))}"
        )
    return Value((size[0], *size[2:], spatial), theta.dtype)


_CHANCE: tuple[tuple[str, Rule], ...] = (
    ("dropout", _dropout),
    ("feature_dropout", _feature_dropout),
    ("alpha_dropout", _dropout),
    ("feature_alpha_dropout", _feature_dropout),
)
_DROPOUTS = [
    AtenOperator(f"{name}(Tensor input, float p, bool train) -> Tensor", rule, alias="input") for name, rule in _CHANCE
]
_MADE = "ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None"
_OF = "*, Generator? generator=None) -> Tensor"

OPERATORS = family(
    *_DROPOUTS,
    *map(in_place, _DROPOUTS),
    AtenOperator(f"bernoulli(Tensor self, {_OF}", _bernoulli_of),
    AtenOperator(f"bernoulli.p(Tensor self, float p, {_OF}", _bernoulli),
    AtenOperator(f"bernoulli_.float(Tensor(a!) self, float p=0.5, {_OF}(a!)", _bernoulli),
    AtenOperator(f"uniform_(Tensor(a!) self, float from=0.0, float to=1.0, {_OF}(a!)", _uniform),
    AtenOperator(f"normal_(Tensor(a!) self, float mean=0.0, float std=1.0, {_OF}(a!)", _normal),
    *(
        operator
        for name in ("rand", "randn")
        for operator in (
            AtenOperator(f"{name}(SymInt[] size, *, {_MADE}) -> Tensor", _random),
            AtenOperator(
                f"{name}_like(Tensor self, *, {_MADE}, MemoryFormat? memory_format=None) -> Tensor", _random_like
            ),
        )
    ),
    *(
        _resize(f"{name}{rank}d", rank, False)
        for name in ("upsample_nearest", "_upsample_nearest_exact")
        for rank in (1, 2, 3)
    ),
    _resize("upsample_linear1d", 1, True),
    _resize("upsample_bilinear2d", 2, True),
    _resize("upsample_trilinear3d", 3, True),
    _resize("upsample_bicubic2d", 2, True),
    _resize("_upsample_bilinear2d_aa", 2, True),
    _resize("_upsample_bicubic2d_aa", 2, True),
    AtenOperator(
        "grid_sampler(Tensor input, Tensor grid, int interpolation_mode, int padding_mode, bool align_corners)"
        " -> Tensor",
        _grid_sample,
        count=_count_samples,
    ),
    AtenOperator("affine_grid_generator(Tensor theta, SymInt[] size, bool align_corners) -> Tensor", _affine_grid),
)
