"""Enlarging and shrinking of images."""

from __future__ import annotations

from collections.abc import Mapping

from planner.model.importers.onnx.operators.base import Call, Importer, axes_of, static
from planner.model.importers.onnx.values import Tensor


def _resize(c: Call) -> Tensor:
    x = c.tensor()
    spatial = x.rank - 2
    if not 1 <= spatial <= 3:
        raise ValueError(f"its input has {x.rank} dimensions; 3 to 5 are needed")
    for name, wanted in (("antialias", 0), ("exclude_outside", 0)):
        if c.whole(name, wanted) != wanted:
            raise ValueError(f"{name} is not known here")
    if c.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise ValueError("keep_aspect_ratio_policy is not known here")
    extents = static(x.dims[2:])
    sizes, factors = _target(c, x, spatial)
    if sizes == list(extents):
        return x
    mode, position = c.text("mode", "nearest"), c.text("coordinate_transformation_mode", "half_pixel")
    if mode == "nearest":
        return _nearest(c, x, sizes, factors, position)
    whole = all(size % extent == 0 for size, extent in zip(sizes, extents, strict=True))
    if position == "pytorch_half_pixel" and min(sizes) > 1:
        position = "half_pixel"
    if position not in ("half_pixel", "align_corners") or mode not in ("linear", "cubic"):
        raise ValueError(f"mode {mode[:20]!r} with {position[:40]!r} is not known here")
    if mode == "cubic" and (spatial != 2 or abs(c.real("cubic_coeff_a", -0.75) + 0.75) > 1e-6):
        raise ValueError("cubic is known for images, with cubic_coeff_a -0.75")
    name = {1: "upsample_linear1d", 2: "upsample_bilinear2d", 3: "upsample_trilinear3d"}[spatial]
    name = "upsample_bicubic2d" if mode == "cubic" else name
    if factors is not None and not whole and position != "align_corners":
        return c(f"{name}.vec", x, None, False, factors)
    return c(f"{name}.vec", x, sizes, position == "align_corners", None)


def _target(c: Call, x: Tensor, spatial: int) -> tuple[list[int], list[float] | None]:
    """Height and width of the result, and the factors where those were given."""
    axes = axes_of(c.ints("axes"), x.rank) if c.has("axes") else list(range(x.rank))
    if c.given(3) and c.known(3).arrays[0].size:
        wanted = c.extents(3)
        if len(wanted) != len(axes):
            raise ValueError(f"its sizes are {len(wanted)}; {len(axes)} are needed")
        dims = list(x.dims)
        for axis, extent in zip(axes, wanted, strict=True):
            dims[axis] = extent if axis > 1 else dims[axis]
        return list(static(tuple(dims[2:]))), None
    array = c.array(2)
    if array.dtype.kind != "f" or array.size != len(axes):
        raise ValueError(f"its scales are {array.size}; {len(axes)} are needed")
    scales = dict(zip(axes, (float(number) for number in array.ravel()), strict=True))
    if any(scales.get(axis, 1.0) != 1 for axis in (0, 1)) or min(scales.values()) <= 0:
        raise ValueError("scales samples or channels")
    factors = [scales.get(axis, 1.0) for axis in range(2, x.rank)]
    return [int(extent * factor) for extent, factor in zip(static(x.dims[2:]), factors, strict=True)], factors


def _nearest(c: Call, x: Tensor, sizes: list[int], factors: list[float] | None, position: str) -> Tensor:
    rounding = c.text("nearest_mode", "round_prefer_floor")
    extents = static(x.dims[2:])
    whole = all(size % extent == 0 for size, extent in zip(sizes, extents, strict=True))
    # Enlarged by a whole number, each pixel is repeated, wherever its middle is taken to be.
    middles = whole and position in ("half_pixel", "pytorch_half_pixel") and rounding.startswith("round")
    if (position, rounding) != ("asymmetric", "floor") and not middles:
        raise ValueError(f"nearest with {position[:40]!r} and {rounding[:40]!r} is not known here")
    if factors is not None and not whole:
        return c(f"upsample_nearest{len(sizes)}d.vec", x, None, factors)
    return c(f"upsample_nearest{len(sizes)}d.vec", x, sizes, None)


def _grid_sample(c: Call) -> Tensor:
    modes = {"linear": 0, "bilinear": 0, "nearest": 1, "cubic": 2, "bicubic": 2}
    borders = {"zeros": 0, "border": 1, "reflection": 2}
    mode, border = c.text("mode", "linear"), c.text("padding_mode", "zeros")
    if mode not in modes or border not in borders:
        raise ValueError(f"mode {mode[:20]!r} with {border[:20]!r} is not known here")
    return c("grid_sampler", c.tensor(0), c.tensor(1), modes[mode], borders[border], bool(c.whole("align_corners", 0)))


IMPORTERS: Mapping[str, Importer] = {"Resize": _resize, "GridSample": _grid_sample}
