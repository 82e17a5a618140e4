"""What a network is given of one sample: its shape and type, as it lies on storage and in memory. No torch here."""

from __future__ import annotations

from math import prod
from types import MappingProxyType
from typing import Literal

from planner import limits

InputDtype = Literal["uint8", "float32", "int64"]
"""`uint8`: numbers from 0 to 255, as of images, which the network is given as float32 after normalisation; `float32`:
numbers as they are; `int64`: tokens, whole numbers from 0."""

STORED_NUMBER_BYTES = MappingProxyType({"uint8": 1, "float32": 4, "int64": 4})
"""Of one number on storage, where tokens have 32 bits."""

GIVEN_NUMBER_BYTES = MappingProxyType({"uint8": 4, "float32": 4, "int64": 8})
"""Of one number as the network is given it."""

MOST_DIMENSIONS = 4
"""Of one sample."""

MOST_TOKEN = 2**31 - 1
"""The largest that storage holds."""

_IMAGE = ("channels", "height", "width")


def check_input(shape: tuple[int, ...]) -> None:
    """Raise ValueError unless samples of this shape are within the limits."""
    if not 1 <= len(shape) <= MOST_DIMENSIONS:
        raise ValueError(f"input has {len(shape)} dimensions; a sample has 1 to {MOST_DIMENSIONS}")
    for place, extent in enumerate(shape):
        named = f"input[{place}] ({_IMAGE[place]})" if len(shape) == len(_IMAGE) else f"input[{place}]"
        most = most_extent(len(shape), place)
        if not 1 <= extent <= most:
            raise ValueError(f"{named} is {extent}; it must lie between 1 and {most}")
    if prod(shape) > limits.MAX_ACTIVATION_NUMEL:
        raise ValueError(f"input: a sample has {prod(shape)} numbers; at most {limits.MAX_ACTIVATION_NUMEL} are read")


def most_extent(dimensions: int, place: int) -> int:
    """The largest extent of a sample, or of an activation, of so many dimensions."""
    if dimensions <= 2:
        return limits.MAX_LENGTH
    return limits.MAX_EXTENT if place else limits.MAX_CHANNELS


def sample_bytes(dtype: InputDtype, shape: tuple[int, ...]) -> int:
    """One sample on storage, without its label."""
    return STORED_NUMBER_BYTES[dtype] * prod(shape)


def tensor_bytes(dtype: InputDtype, shape: tuple[int, ...]) -> int:
    """One sample as the network is given it."""
    return GIVEN_NUMBER_BYTES[dtype] * prod(shape)


def copied_bytes(dtype: InputDtype, shape: tuple[int, ...]) -> int:
    """What one sample takes in the processor's memory beside the buffer that it was read into.

    Numbers of float32 are taken from there as they are.
    """
    return 0 if dtype == "float32" else tensor_bytes(dtype, shape)


def show_input(shape: tuple[int, ...], dtype: InputDtype) -> str:
    """A sample in words: `3×32×32`, `9×128 of float32`, `128 tokens`."""
    extents = "×".join(map(str, shape))
    match dtype:
        case "uint8":
            return extents
        case "float32":
            return f"{extents} of float32"
        case "int64":
            return f"{extents} tokens"
