"""Arrays by name in a zip of .npy files, or in a folder of them: their headers, text, and where their numbers lie.

Stored members are read where they lie, deflated ones are unpacked once. No numpy, and nothing is ever unpickled.
Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import io
import math
import struct
from contextlib import ExitStack
from pathlib import Path
from typing import IO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from planner.data.arrays import RecordFile
from planner.data.npy import ArrayHeader, is_text, read_header, shown, texts
from planner.data.unpack import CHUNK_BYTES, CORRUPT, check_room, unpack
from planner.errors import DataError

_ENCRYPTED = 0x1
_LOCAL_HEADER_BYTES = 30
_SUFFIX = ".npy"

CORRUPT_ZIP = (*CORRUPT, NotImplementedError, UnicodeDecodeError, struct.error, OverflowError)
"""What a damaged zip makes of its reading."""


class BoundedFile(io.FileIO):
    """A file that gives no long piece. `ZipFile` reads its whole list of members in one, and must not here."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > CHUNK_BYTES:
            raise BadZipFile(f"it wants {size} bytes for its list of members")
        return super().read(-1 if size is None else size)


class ArrayFolder:
    """A folder of .npy files, as the archive that an .npz file is."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def infolist(self) -> list[ZipInfo]:
        """Its files."""
        found = []
        for file in sorted(self.path.iterdir()):
            if file.is_file() and not file.name.startswith("."):
                info = ZipInfo(file.name)
                info.file_size = file.stat().st_size
                found.append(info)
        return found

    def open(self, info: ZipInfo) -> IO[bytes]:
        """A file, from its beginning."""
        try:
            return (self.path / info.filename).open("rb")
        except OSError as error:
            raise DataError(str(self.path / info.filename), f"cannot be opened ({error.strerror})") from None


class ArrayArchive:
    """Opens the arrays of one file or folder, and sums what unpacking them takes."""

    def __init__(
        self,
        path: Path,
        archive: ZipFile | ArrayFolder,
        work_dir: Path,
        resources: ExitStack,
        most_bytes: int | None,
    ) -> None:
        """`path` is what errors call it; `most_bytes` of it are unpacked into `work_dir` at most."""
        self.path = path
        self.files = {info.filename: info for info in archive.infolist()}
        """All that is in it, by name of file."""
        self.storage_bytes = 0
        """Bytes unpacked."""
        self._archive = archive
        self._work_dir = work_dir
        self._resources = resources
        self._most_bytes = most_bytes

    def names(self) -> list[str]:
        """Of its arrays."""
        return [name.removesuffix(_SUFFIX) for name in self.files if name.endswith(_SUFFIX)]

    def where(self, name: str) -> str:
        """What errors call an array."""
        return f"{self.path}: {name}"

    def header(self, name: str) -> ArrayHeader:
        """What an array says of itself. Raises DataError where it cannot be opened."""
        where, info = self.where(name), self._info(name)
        try:
            with self._archive.open(info) as stream:
                return read_header(where, stream)
        except CORRUPT_ZIP as error:
            raise DataError(where, f"is damaged ({error})") from None

    def holds_text(self, name: str) -> bool:
        """Whether there is such an array, of text; what else may be called so is none."""
        try:
            return f"{name}{_SUFFIX}" in self.files and is_text(self.header(name))
        except DataError:
            return False

    def texts(self, name: str, most_bytes: int) -> tuple[str, ...]:
        """The elements of an array of text. Raises DataError where it is damaged or too long, ValueError."""
        where, info, header = self.where(name), self._info(name), self.header(name)
        if info.file_size > most_bytes:
            raise DataError(where, f"has {info.file_size} bytes; names of classes have at most {most_bytes}")
        try:
            with self._archive.open(info) as stream:
                stream.read(header.start)
                return texts(header, stream.read(info.file_size - header.start))
        except CORRUPT_ZIP as error:
            raise DataError(where, f"is damaged ({error})") from None

    def locate(self, name: str, header: ArrayHeader, item_bytes: int) -> tuple[RecordFile, int]:
        """Return the file that holds an array's elements, and the byte of the first one."""
        where, info = self.where(name), self._info(name)
        size = header.start + math.prod(header.shape) * item_bytes
        if info.file_size != size:
            raise DataError(where, f"has {info.file_size} bytes; its header promises {shown(header.shape)}, so {size}")
        if isinstance(self._archive, ArrayFolder):
            return RecordFile(self._archive.path / info.filename, self._resources, where), header.start
        file = RecordFile(self.path, self._resources, where)
        if info.compress_type == ZIP_DEFLATED:
            check_room(where, self.storage_bytes + size, self._most_bytes)
            target = unpack(file, name, size, lambda: self._archive.open(info), self._work_dir)
            self.storage_bytes += size
            return RecordFile(target, self._resources, where), header.start
        local = file.read(info.header_offset, _LOCAL_HEADER_BYTES)
        name_bytes, extra_bytes = struct.unpack("<HH", local[26:30])
        begin = info.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes
        if begin + size > file.size:
            raise DataError(where, f"ends at byte {file.size} of the file; it should end at {begin + size}")
        return file, begin + header.start

    def _info(self, name: str) -> ZipInfo:
        """The entry of an array that is there. Raises DataError where it cannot be opened."""
        info = self.files[f"{name}{_SUFFIX}"]
        if info.flag_bits & _ENCRYPTED:
            raise DataError(self.where(name), "is encrypted")
        if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            method = f"compressed by method {info.compress_type}; only stored and deflated are read"
            raise DataError(self.where(name), method)
        return info
