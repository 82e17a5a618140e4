"""One sample of a program's own as the bytes that a run reads."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.data.pictures import resize_planes
from planner.errors import InputError
from planner.schema.inputs import MOST_TOKEN, show_input
from planner.schema.model import Model

_IMAGE_DIMENSIONS = 3


def sample_values(
    given: Any, model: Model, tokens: int, where: str, *, resize: bool = False, shorter_side: int | None = None
) -> bytes:
    """A sample's numbers, of one image in the order height, width, channels.

    Args:
        given: a tensor, an array, a Pillow image, or what numpy makes an array of.
        model: what it is for.
        tokens: how many the model tells apart, where it takes tokens.
        where: what errors call the sample.
        resize: whether an image of another size is brought to the model's.
        shorter_side: what every image is resized to before the middle is cut out; none: both sides are the model's.

    Raises:
        InputError: it does not fit the model.
    """
    detached = given.detach().cpu() if hasattr(given, "detach") else given
    found = np.asarray(detached)
    if resize and model.input_dtype == "uint8":
        return _resized(found, model, where, shorter_side)
    array = _shaped(found, model.input, model, where)
    match model.input_dtype:
        case "uint8":
            return bytes(_bytes(array, where).tobytes())
        case "float32":
            return _numbers(array, where)
        case "int64":
            return _tokens(array, tokens, where)


def image_shape(given: Any, model: Model) -> tuple[int, ...]:
    """Channels, height and width of an image of any size, as `sample_values` reads it; of others the model's."""
    if model.input_dtype != "uint8" or len(model.input) != _IMAGE_DIMENSIONS:
        return model.input
    detached = given.detach().cpu() if hasattr(given, "detach") else given
    return _shape_of(np.asarray(detached), model.input)


def _bytes(array: NDArray[Any], where: str) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"{where}: its image is of {array.dtype}; uint8, or floats from 0 to 1, are needed")
    if not bool(((array >= 0) & (array <= 1)).all()):
        raise InputError(
            f"{where}: its image has values from {array.min():.3g} to {array.max():.3g}; floats from 0 to 1 are "
            "needed, so leave normalising to the run, or plan with inputs='float32' to have them taken as they are"
        )
    rounded: NDArray[np.uint8] = np.rint(array * 255).astype(np.uint8)
    return rounded


def _resized(array: NDArray[Any], model: Model, where: str, shorter_side: int | None) -> bytes:
    """Bytes of an image, brought to the model's height and width."""
    channels, *extents = model.input
    wanted = extents[0], extents[1]
    values = _bytes(_shaped(array, _shape_of(array, model.input), model, where), where)
    values = values.reshape(*values.shape[:2], channels)
    if values.shape[:2] == wanted and shorter_side is None:
        return bytes(values.tobytes())
    planes = bytearray(prod(model.input))
    stored, had = values.transpose(2, 0, 1).tobytes(), (channels, *values.shape[:2])
    resize_planes(where, stored, had, wanted, memoryview(planes), shorter_side)
    return np.frombuffer(planes, np.uint8).reshape(model.input).transpose(1, 2, 0).tobytes()


def _shape_of(array: NDArray[Any], wanted: tuple[int, ...]) -> tuple[int, ...]:
    """Channels, height and width of an image of any size, told by its channels: what the wanted ones are if it has
    those neither first nor last."""
    channels = wanted[0]
    if array.ndim == 2 and channels == 1:
        return (1, *array.shape)
    if array.ndim == 3 and array.shape[-1] == channels:
        return (channels, *array.shape[:2])
    if array.ndim == 3 and array.shape[0] == channels:
        return array.shape
    return wanted


def _numbers(array: NDArray[Any], where: str) -> bytes:
    if array.dtype.kind not in "fiub":
        raise InputError(f"{where}: its input is of {array.dtype}; numbers are needed")
    with np.errstate(over="ignore"):
        found = array.astype("<f4")
    if not bool(np.isfinite(found).all()):
        raise InputError(f"{where}: its input holds NaN, infinity, or a number beyond float32")
    return bytes(found.tobytes())


def _tokens(array: NDArray[Any], tokens: int, where: str) -> bytes:
    if array.dtype.kind not in "iu":
        raise InputError(f"{where}: its input is of {array.dtype}; tokens are whole numbers")
    limit = tokens or MOST_TOKEN + 1
    least, most = int(array.min()), int(array.max())
    if least < 0 or most >= limit:
        raise InputError(f"{where}: holds the token {least if least < 0 else most}; the model knows 0 to {limit - 1}")
    return bytes(array.astype("<i4").tobytes())


def _shaped(array: NDArray[Any], shape: tuple[int, ...], model: Model, where: str) -> NDArray[Any]:
    """The array of samples of `shape` as it is stored: channels last where there are three extents."""
    if len(shape) == _IMAGE_DIMENSIONS:
        channels, height, width = shape
        if array.shape == shape:
            return array.transpose(1, 2, 0)
        if array.shape == (height, width, channels) or (channels == 1 and array.shape == (height, width)):
            return array
    elif array.shape == shape:
        return array
    elif array.ndim and _without_ones(array.shape) == _without_ones(shape):
        return array.reshape(shape)
    has = "×".join(str(extent) for extent in array.shape) or "a single number"
    is_image = model.input_dtype == "uint8" and len(shape) == _IMAGE_DIMENSIONS
    takes = show_input(model.input, model.input_dtype)
    raise InputError(f"{where}: its {'image' if is_image else 'input'} is {has}; the plan's model takes {takes}")


def _without_ones(extents: tuple[int, ...]) -> list[int]:
    return [extent for extent in extents if extent != 1]
