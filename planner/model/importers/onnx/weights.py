"""The numbers of an ONNX file's tensors, a piece at a time. The standard library alone: a supervisor reads them."""

from __future__ import annotations

import mmap
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Final

from planner.errors import ModelError
from planner.limits import MAX_ONNX_BYTES
from planner.model.importers.onnx.document import ITEM_BYTES, OnnxFile, OnnxTensor, read_document
from planner.model.importers.onnx.names import OwnNames, own_names

_CODES: Final[Mapping[str, str]] = {
    "uint8": "B", "int8": "b", "uint16": "H", "int16": "h", "int32": "i", "int64": "q", "bool": "?", "float16": "H",
    "bfloat16": "H", "uint32": "I", "uint64": "Q",
}  # fmt: skip
"""How numbers of variable length are packed; those of 16 bits with a fraction are written as their bits."""

_CHUNK_BYTES: Final = 2**20


class OnnxSource:
    """An ONNX file, open. What it says is read when it is asked for, what its tensors hold when these are.

    Raises ModelError, naming the file, where it cannot be read or is no ONNX.
    """

    def __init__(self, data: memoryview, path: Path | None = None, fd: int | None = None) -> None:
        """`path` and `fd` are those of the file that `data` is of; without, tensors in other files cannot be had."""
        self._data, self._path, self._fd = data, path, fd

    @cached_property
    def document(self) -> OnnxFile:
        """What it says."""
        return read_document(self._data)

    @cached_property
    def names(self) -> OwnNames:
        """Its tensors, by the names that they have here."""
        return own_names(self.document)

    def chunks(self, tensor: OnnxTensor, chunk_bytes: int = _CHUNK_BYTES) -> Iterator[bytes]:
        """The bytes of a tensor's numbers, little-endian. Raises ModelError where they are not there."""
        if tensor.external is not None:
            yield from self._external(tensor, tensor.external, chunk_bytes)
        elif tensor.encoded:
            yield from self._decoded(tensor)
        else:
            for begin, end in tensor.parts:
                for at in range(begin, end, chunk_bytes):
                    yield self._read(at, min(chunk_bytes, end - at))

    def _read(self, at: int, count: int) -> bytes:
        """Not from what is mapped, where there is a file: pages of it would count as this process's."""
        if self._fd is None:
            return bytes(self._data[at : at + count])
        found = os.pread(self._fd, count, at)
        if len(found) != count:
            raise ModelError(f"{self._path}: has become shorter while it was read")
        return found

    def _decoded(self, tensor: OnnxTensor) -> Iterator[bytes]:
        code = _CODES[tensor.dtype]
        bits = 8 * struct.calcsize(code)
        count = 0
        for begin, end in tensor.parts:
            value = shift = 0
            found = bytearray()
            for byte in self._read(begin, end - begin):
                value |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    value &= (1 << bits) - 1
                    if code in "bhiq" and value >> (bits - 1):
                        value -= 1 << bits
                    found += struct.pack(f"<{code}", value)
                    count += 1
                    value = shift = 0
            if shift:
                raise ModelError(f"{tensor.place}: its last number does not end")
            yield bytes(found)
        if count != tensor.numbers:
            raise ModelError(f"{tensor.place}: holds {count} numbers, not {tensor.numbers}")

    def _external(self, tensor: OnnxTensor, external: Mapping[str, str], chunk_bytes: int) -> Iterator[bytes]:
        wanted = tensor.numbers * ITEM_BYTES.get(tensor.dtype, 1)
        offset, length = (
            _count(tensor, external, key, default) for key, default in (("offset", 0), ("length", wanted))
        )
        if length != wanted:
            raise ModelError(f"{tensor.place}: has {length} bytes; {list(tensor.dims)} of {tensor.dtype} are {wanted}")
        fd = self._open_beside(tensor, external["location"])
        try:
            size = os.fstat(fd).st_size
            if offset + length > size:
                raise ModelError(
                    f"{tensor.place}: lies up to byte {offset + length} of {external['location'][:80]!r}, which has "
                    f"{size}"
                )
            for at in range(offset, offset + length, chunk_bytes):
                yield os.pread(fd, min(chunk_bytes, offset + length - at), at)
        finally:
            os.close(fd)

    def _open_beside(self, tensor: OnnxTensor, location: str) -> int:
        """A file within the folder of this one; what a link or `..` leads to elsewhere is not opened."""
        name = repr(location[:80])
        if self._path is None:
            raise ModelError(f"{tensor.place}: lies in another file, {name}, which was not sent along")
        folder = self._path.parent.resolve()
        try:
            found = (folder / location).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):
            raise ModelError(f"{tensor.place}: lies in {name}, and there is no such file beside {self._path}") from None
        if Path(location).is_absolute() or ".." in Path(location).parts or not found.is_relative_to(folder):
            raise ModelError(f"{tensor.place}: lies in {name}, which is not within the folder of {self._path}")
        try:
            fd = os.open(found, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        except OSError as error:
            raise ModelError(f"{tensor.place}: {name} cannot be read ({error.strerror})") from None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise ModelError(f"{tensor.place}: {name} is no file")
        return fd


def _count(tensor: OnnxTensor, external: Mapping[str, str], key: str, default: int) -> int:
    text = external.get(key, str(default))
    if not text.isdecimal() or len(text) > 18:
        raise ModelError(f"{tensor.place}: external_data has {key} {text[:40]!r}; a number of bytes is needed")
    return int(text)


class OpenOnnx:
    """An `OnnxSource` for a path, within a `with` block. Errors on the way name the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> OnnxSource:
        path = self._path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
        try:
            found = os.fstat(self._fd)
            if not stat.S_ISREG(found.st_mode):
                raise ModelError(f"{path}: is no file")
            if not 0 < found.st_size <= MAX_ONNX_BYTES:
                raise ModelError(f"{path}: is {found.st_size} bytes long; an ONNX file has 1 to {MAX_ONNX_BYTES}")
            self._map = mmap.mmap(self._fd, 0, access=mmap.ACCESS_READ)
        except BaseException:
            os.close(self._fd)
            raise
        self._view = memoryview(self._map)
        return OnnxSource(self._view, path, self._fd)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._view.release()
        self._map.close()
        os.close(self._fd)
        if isinstance(error, ModelError) and not str(error).startswith(f"{self._path}: "):
            raise ModelError(f"{self._path}: {error}") from None
