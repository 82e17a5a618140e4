"""Dropout, which evaluation passes over; another resolution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from planner.export.aten.base import Call, Writer, static
from planner.export.onnx_builder import OnnxBuilder

_MODES: Final = ("linear", "nearest", "cubic")
_BORDERS: Final = ("zeros", "border", "reflection")


def _passing(o: OnnxBuilder, c: Call) -> str:
    if c["train"] and c["p"]:
        raise ValueError("it is random in evaluation too")
    return c.first.name


def _resize(**attributes: Any) -> Writer:
    def write(o: OnnxBuilder, c: Call) -> str:
        given, factors, ways = c["input"], c["scale_factors"], dict(attributes)
        before, out = static(given.dims[2:]), static(c.result.dims[2:])
        if c.arguments.get("align_corners"):
            ways["coordinate_transformation_mode"], factors = "align_corners", None
        axes = list(range(2, given.rank))
        if factors is None or all(a * f == b for a, f, b in zip(before, factors, out, strict=True)):
            return o.node("Resize", [given.name, "", "", o.constant(out, "int64")], axes=axes, **ways)
        spans = list(zip(before, out, factors, strict=True))
        if ways["mode"] == "cubic":
            return o.node("Resize", [given.name, "", o.constant(factors, "float32")], axes=axes, **ways)
        # Of an extent that the factor does not divide, runtimes think differently.
        if ways["mode"] == "linear":
            return o.mixed(given.name, [_between(*span) for span in spans])
        value: str = given.name
        exact = ways["coordinate_transformation_mode"] == "half_pixel"
        for axis, span in zip(axes, spans, strict=True):
            taken = _nearest_of(*span, shift=0.5 if exact else 0, by_extent=given.rank == 4 and not exact)
            value = o.node("Gather", [value, o.constant(taken, "int64")], axis=axis)
        return value

    return write


def _nearest_of(extent: int, out: int, factor: float, *, shift: float, by_extent: bool) -> list[int]:
    """Which element of an axis each of the result is. In two dimensions PyTorch looks at the extents first."""
    if by_extent and out in (extent, 2 * extent):
        factor = out / extent
    step = np.float32(1 / factor)
    return [min(int((np.float32(place) + np.float32(shift)) * step), extent - 1) for place in range(out)]


def _between(extent: int, out: int, factor: float) -> list[list[float]]:
    """The weights of an axis' elements in each element of the result, as PyTorch interpolates."""
    found = []
    for place in range(out):
        at = float(place) if out == extent else max((place + 0.5) / factor - 0.5, 0.0)
        first = min(int(at), extent - 1)
        row = [0.0] * extent
        row[first] += 1 - (at - first)
        row[min(first + 1, extent - 1)] += at - first
        found.append(row)
    return found


def _grid_sample(o: OnnxBuilder, c: Call) -> str:
    return o.node(
        "GridSample",
        [c["input"].name, c["grid"].name],
        mode=_MODES[c["interpolation_mode"]],
        padding_mode=_BORDERS[c["padding_mode"]],
        align_corners=int(c["align_corners"]),
    )


def _affine_grid(o: OnnxBuilder, c: Call) -> str:
    return o.node("AffineGrid", [c["theta"].name, o.vector(c["size"])], align_corners=int(c["align_corners"]))


_nearest = _resize(mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
_exact = _resize(mode="nearest", coordinate_transformation_mode="half_pixel", nearest_mode="round_prefer_ceil")
_linear = _resize(mode="linear", coordinate_transformation_mode="half_pixel")
_cubic = _resize(mode="cubic", coordinate_transformation_mode="half_pixel", cubic_coeff_a=-0.75)

WRITERS: Mapping[str, Writer] = {
    **dict.fromkeys(("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"), _passing),
    **{f"upsample_nearest{n}d.vec": _nearest for n in (1, 2, 3)},
    **{f"_upsample_nearest_exact{n}d.vec": _exact for n in (1, 2, 3)},
    **{f"upsample_{form}.vec": _linear for form in ("linear1d", "bilinear2d", "trilinear3d")},
    "upsample_bicubic2d.vec": _cubic,
    "grid_sampler": _grid_sample,
    "affine_grid_generator": _affine_grid,
}
