"""Protocol buffers: the fields of a message, without a schema and without copies. The standard library alone."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from planner.errors import ModelError
from planner.limits import MAX_ONNX_FIELDS

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_SIGN: Final = 1 << 63

Field = tuple[int, int, int, int]
"""Number; kind on the wire; a whole number, or where its bytes begin; where they end."""


class Wire:
    """The bytes of a file, and how many fields may still be read of them."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self._left = MAX_ONNX_FIELDS

    def fields(self, begin: int, end: int, place: str) -> Iterator[Field]:
        """The fields of the message between two positions. Raises ModelError where they are none."""
        at = begin
        while at < end:
            self._count(place)
            key, value = self._varint(at, end, place)
            number, kind = key >> 3, key & 7
            if kind == _VARINT:
                found, at = self._varint(value, end, place)
                yield number, kind, found, at
                continue
            if kind == _BYTES:
                length, value = self._varint(value, end, place)
            elif kind in (_EIGHT, _FOUR):
                length = 8 if kind == _EIGHT else 4
            else:
                raise self.broken(place, at, f"a field of kind {kind}, which ONNX has none of")
            if length > end - value:
                raise self.broken(place, at, f"a field of {length} bytes with {end - value} left")
            at = value + length
            yield number, kind, value, at

    def text(self, field: Field, place: str) -> str:
        """A field of text."""
        _, kind, begin, end = field
        if kind != _BYTES:
            raise self.broken(place, begin, "a number in place of a text")
        try:
            return str(self.data[begin:end], "utf-8")
        except UnicodeDecodeError:
            raise self.broken(place, begin, "a text that is not UTF-8") from None

    def message(self, field: Field, place: str) -> tuple[int, int]:
        """Where a message that is a field lies."""
        _, kind, begin, end = field
        if kind != _BYTES:
            raise self.broken(place, begin if kind != _VARINT else end, "a number in place of a message")
        return begin, end

    def whole(self, field: Field, place: str) -> int:
        """A field that is one whole number."""
        _, kind, value, end = field
        if kind != _VARINT:
            raise self.broken(place, end, "no whole number where one is needed")
        return _signed(value)

    def wholes(self, field: Field, place: str) -> Iterator[int]:
        """The whole numbers of a field: one, or as many as it packs."""
        _, kind, value, end = field
        if kind == _VARINT:
            yield _signed(value)
            return
        if kind != _BYTES:
            raise self.broken(place, value, "no whole number where one is needed")
        at = value
        while at < end:
            self._count(place)
            found, at = self._varint(at, end, place)
            yield _signed(found)

    def floats(self, field: Field, place: str) -> tuple[float, ...]:
        """The numbers of 32 bits of a field: one, or as many as it packs."""
        _, kind, begin, end = field
        if kind in (_VARINT, _EIGHT) or (end - begin) % 4:
            raise self.broken(place, end, "no number of 32 bits where one is needed")
        count = (end - begin) // 4
        self._count(place, count)
        return struct.unpack(f"<{count}f", self.data[begin:end])

    @staticmethod
    def broken(place: str, at: int, what: str) -> ModelError:
        """The error for bytes that are no ONNX."""
        return ModelError(f"{place}: is broken at byte {at}: {what}")

    def _count(self, place: str, count: int = 1) -> None:
        self._left -= count
        if self._left < 0:
            raise ModelError(f"{place}: more than {MAX_ONNX_FIELDS} fields and numbers beside the weights")

    def _varint(self, at: int, end: int, place: str) -> tuple[int, int]:
        data, found, shift = self.data, 0, 0
        for position in range(at, min(end, at + 10)):
            byte = data[position]
            found |= (byte & 127) << shift
            if byte < 128:
                return found & (2 * _SIGN - 1), position + 1
            shift += 7
        raise self.broken(place, at, "a number that does not end")


def _signed(value: int) -> int:
    return value - 2 * _SIGN if value >= _SIGN else value
