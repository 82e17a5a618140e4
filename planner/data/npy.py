"""The header of an .npy array, and arrays of text. Nothing is ever unpickled.

Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import ast
import re
import struct
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from planner.errors import DataError

if TYPE_CHECKING:
    from planner.data.unpack import Stream

NPY_MAGIC = b"\x93NUMPY"

_MAX_HEADER_BYTES = 10_000
_TEXT = re.compile(r"[<>|]?([US])(\d{1,9})")


@dataclass(frozen=True)
class ArrayHeader:
    """What an .npy array says of itself."""

    descr: str
    """Type of the elements, as numpy writes it: byte order, kind, bytes."""
    shape: tuple[int, ...]
    """Extents, in C order."""
    start: int
    """Byte of the first element."""


def read_header(where: str, stream: Stream) -> ArrayHeader:
    """Read the header of the array that `stream` begins with. Raises DataError naming `where`."""
    start = stream.read(8)
    if start[:6] != NPY_MAGIC or start[6:7] not in (b"\1", b"\2", b"\3"):
        raise DataError(where, "is not an .npy array of version 1, 2 or 3")
    length_format = "<H" if start[6] == 1 else "<I"
    length_bytes = stream.read(struct.calcsize(length_format))
    if len(length_bytes) < struct.calcsize(length_format):
        raise DataError(where, "ends inside its header")
    (length,) = struct.unpack(length_format, length_bytes)
    if length > _MAX_HEADER_BYTES:
        raise DataError(where, f"has a header of {length} bytes; at most {_MAX_HEADER_BYTES} are read")
    text = stream.read(length)
    if len(text) < length:
        raise DataError(where, "ends inside its header")
    descr, shape = _parse_header(where, text)
    return ArrayHeader(descr, shape, len(start) + len(length_bytes) + length)


def _parse_header(where: str, text: bytes) -> tuple[str, tuple[int, ...]]:
    """Return type and extents from the header's text, a Python dict in literal form."""
    try:
        header: Any = ast.literal_eval(text.decode())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise DataError(where, "has a header that cannot be read") from None
    if not isinstance(header, dict) or header.keys() != {"descr", "fortran_order", "shape"}:
        raise DataError(where, "has a header without exactly descr, fortran_order and shape")
    descr, shape = header["descr"], header["shape"]
    if not isinstance(shape, tuple) or not all(type(extent) is int and 0 <= extent < 2**63 for extent in shape):
        raise DataError(where, "has a shape that is not of whole numbers from 0 below 2^63")
    if not isinstance(descr, str):
        raise DataError(where, "has elements of several fields; plain integers are needed")
    if "O" in descr:
        raise DataError(where, "holds pickled objects, which are never opened; save an array of integers")
    if header["fortran_order"] is not False:
        raise DataError(where, "is in Fortran order; save numpy.ascontiguousarray(...) of it")
    return descr, shape


def shown(shape: tuple[int, ...]) -> str:
    """Extents as messages show them."""
    return "×".join(map(str, shape[:8])) or "of a single number"


def is_text(header: ArrayHeader) -> bool:
    """Whether an array's elements are text."""
    return _TEXT.fullmatch(header.descr) is not None


def texts(header: ArrayHeader, data: bytes) -> tuple[str, ...]:
    """The elements of an array of text: numpy fills each up with zeros. Raises ValueError."""
    match = _TEXT.fullmatch(header.descr)
    item = 0 if match is None else int(match[2]) * (4 if match[1] == "U" else 1)
    if match is None or len(header.shape) != 1 or header.shape[0] * item != len(data):
        raise ValueError(f"{len(data)} bytes for the shape {shown(header.shape)}")
    codec = "utf-8" if match[1] == "S" else f"utf-32-{'be' if header.descr.startswith('>') else 'le'}"
    found = (data[start : start + item].decode(codec).rstrip("\0") for start in range(0, len(data), item or 1))
    return tuple(unicodedata.normalize("NFC", name) for name in found)
