"""Which samples an array holds, by its type and extents, and by what a model takes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from planner.data.npy import ArrayHeader, shown
from planner.data.split import check_samples, check_shape
from planner.errors import DataError
from planner.schema.data import ArrayLayout
from planner.schema.inputs import MOST_DIMENSIONS, InputDtype

_IMAGE_DIMENSIONS = 3

_NUMBER = re.compile(r"([<>|=]?)([fiub])([1248])")


@dataclass(frozen=True)
class WantedSamples:
    """What a model takes, as far as it is known."""

    size: tuple[int, ...] | None = None
    """Extents of one sample: channels, height and width of an image."""
    dtype: InputDtype | None = None
    """What its numbers are."""
    tokens: int = 0
    """How many tokens it tells apart; 0: as many as storage holds."""
    layout: ArrayLayout | None = None
    """The order of an array's extents, where a person has said it."""

    @property
    def image_size(self) -> tuple[int, int, int] | None:
        """Channels, height and width of an image; none: it is not known, or no image is wanted."""
        if self.size is None or len(self.size) != _IMAGE_DIMENSIONS:
            return None
        return self.size[0], self.size[1], self.size[2]


UNKNOWN = WantedSamples()
"""The file decides."""


@dataclass(frozen=True)
class NumberType:
    """How one number of an array is stored."""

    kind: str
    """`f`, `i`, `u` or `b`: with a fraction, with a sign, without, or true and false."""
    item_bytes: int
    """Bytes of one."""
    big_endian: bool
    """Most significant byte first."""

    @staticmethod
    def of(descr: str) -> NumberType | None:
        """Of a type as numpy writes it; none: it holds no such numbers."""
        match = _NUMBER.fullmatch(descr)
        if match is None or (match[2] == "f" and match[3] == "1") or (match[2] == "b" and match[3] != "1"):
            return None
        return NumberType(match[2], int(match[3]), match[1] == ">")


@dataclass(frozen=True)
class ArrayForm:
    """The samples of an array."""

    shape: tuple[int, ...]
    """Of one; channels first."""
    dtype: InputDtype
    """What they are given as."""
    number: NumberType
    """How they are stored."""
    channels_last: bool
    """Whether they are stored with the channels last."""


def array_form(where: str, header: ArrayHeader, wanted: WantedSamples) -> ArrayForm:
    """What samples an array holds, one behind the other. Raises DataError, which calls the array `where`."""
    number = NumberType.of(header.descr)
    if number is None:
        raise DataError(where, f"has elements of type {header.descr[:20]!r}; numbers are needed")
    dtype = _dtype(where, header, number, wanted)
    if len(header.shape) < 2 or len(header.shape) > MOST_DIMENSIONS + 1:
        form = "images are N×H×W, N×H×W×C or N×C×H×W" if dtype == "uint8" else "samples have 1 to 4 extents"
        raise DataError(where, f"has the shape {shown(header.shape)}; {form}")
    shape, channels_last = _sample_shape(where, header.shape, dtype, wanted)
    check_samples(where, header.shape[0])
    check_shape(where, shape)
    return ArrayForm(shape, dtype, number, channels_last)


def _dtype(where: str, header: ArrayHeader, number: NumberType, wanted: WantedSamples) -> InputDtype:
    """What the numbers are given as: as the model takes them, or as they are."""
    is_byte = (number.kind, number.item_bytes) == ("u", 1)
    match wanted.dtype:
        case "float32":
            return "float32"
        case "int64":
            if number.kind == "f":
                raise DataError(
                    where, f"has fractional numbers of type {header.descr[:20]!r}; tokens are whole numbers"
                )
            return "int64"
        case None if number.kind == "f":
            return "float32"
        case None if number.kind in "iu" and not is_byte and len(header.shape) == 2:
            return "int64"
    if not is_byte:
        raise DataError(where, f"has elements of type {header.descr[:20]!r}; {_as_uint8(number)}")
    return "uint8"


def _as_uint8(number: NumberType) -> str:
    """What would be right instead of elements of another type."""
    if number.kind == "f":
        return "images are uint8: of values from 0 to 1 save (images * 255).round().astype('uint8')"
    if number.kind == "b":
        return "images are uint8: save images.astype('uint8') * 255"
    return "images are uint8, so values from 0 to 255: scale them, and save images.astype('uint8')"


def _sample_shape(
    where: str, shape: tuple[int, ...], dtype: InputDtype, wanted: WantedSamples
) -> tuple[tuple[int, ...], bool]:
    """Extents of a sample of an array of `shape`, and whether channels come last."""
    extents = shape[1:]
    if len(extents) == _IMAGE_DIMENSIONS and (wanted.size is None or len(wanted.size) == _IMAGE_DIMENSIONS):
        if _has_channels_last(where, shape, wanted):
            return (extents[2], extents[0], extents[1]), True
        return extents, False
    if wanted.size is not None and _without_ones(wanted.size) == _without_ones(extents):
        return wanted.size, False
    if dtype == "uint8" and len(extents) == 2 and (wanted.size is None or len(wanted.size) == _IMAGE_DIMENSIONS):
        return (1, *extents), False
    return extents, False


def _without_ones(extents: tuple[int, ...]) -> list[int]:
    return [extent for extent in extents if extent != 1]


def _has_channels_last(where: str, shape: tuple[int, ...], wanted: WantedSamples) -> bool:
    """Whether images of four extents are N×H×W×C: as is said, or as the model takes them, or as most arrays are."""
    if wanted.layout is not None:
        return wanted.layout == "nhwc"
    first, second, third = shape[1:]
    if wanted.size is not None and wanted.size in ((third, first, second), (first, second, third)):
        return wanted.size == (third, first, second)
    if wanted.size is not None and (first == wanted.size[0]) != (third == wanted.size[0]):
        return third == wanted.size[0]  # of another size, which may be resized
    if third > first:
        raise DataError(
            where,
            f"has the shape {shown(shape)}: {third} channels of {first}×{second}, or {first} of {second}×{third}? Say "
            "--layout nhwc or --layout nchw (channels first), or save numpy.transpose(images, (0, 2, 3, 1))",
        )
    return True
