"""Samples from a program, written once as a data set that a run reads: an .npz of stored arrays, streamed.

The run's processes never see the program's objects, and nothing is pickled. Images are written as they come, and labels
go through a file of their own, so memory stays that of one sample however many there are.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from planner.data.split import check_samples
from planner.errors import InputError
from planner.schema.inputs import InputDtype, sample_bytes
from planner.system.files import AtomicFile, storage_errors
from planner.tasks.base import CLASS_NUMBER, Label, LabelForm
from planner.units import KIB

_LABEL_TYPES = {"uint8": "|u1", "int32": "<i4", "float32": "<f4"}
_CHUNK_BYTES = 256 * KIB
_ALIGN = 64
_DESCR = {"uint8": "|u1", "float32": "<f4", "int64": "<i4"}
"""How numpy calls the numbers as they are stored."""


@dataclass(frozen=True)
class Part:
    """A part of a data set to be written."""

    prefix: str
    """`test_` for the test part, nothing for the training part."""
    count: int
    """How many samples come."""
    samples: Iterator[tuple[bytes, Label]]
    """Each as the bytes of its numbers (`sample_bytes`), an image's in the order height, width, channels, and its
    label."""
    labels: LabelForm = CLASS_NUMBER
    """How labels lie on storage."""


def write_npz(
    path: Path,
    shape: tuple[int, ...],
    parts: list[Part],
    class_names: Sequence[str] = (),
    dtype: InputDtype = "uint8",
) -> None:
    """Write `path` with samples of `shape`, (channels, height, width) of images. It appears whole or not at all.

    `class_names` are what the classes are called, as far as they have names.

    Raises StorageError, DataError for a part without samples, and InputError where fewer or other samples come than
    were promised.
    """
    with AtomicFile(path) as file, ZipFile(cast(IO[bytes], _Sequential(file)), "w", ZIP_STORED) as archive:
        if class_names:
            _write_names(archive, class_names)
        for part in parts:
            check_samples(f"{part.prefix}images", part.count)
            with storage_errors(path), tempfile.TemporaryFile(dir=path.parent) as labels:
                _write_images(archive, part, shape, dtype, labels)
                if part.labels.is_input:
                    continue
                labels.seek(0)
                with _member(archive, f"{part.prefix}labels") as member:
                    member.write(_header(_LABEL_TYPES[part.labels.stored], (part.count, *part.labels.shape)))
                    shutil.copyfileobj(labels, member, _CHUNK_BYTES)


class _Sequential:
    """What ZipFile needs of a file that cannot be read back or rewound."""

    def __init__(self, file: AtomicFile) -> None:
        self._file = file
        self._pending = bytearray()

    def write(self, data: bytes) -> int:
        """Append; the pieces are gathered, for an AtomicFile buffers nothing."""
        self._pending += data
        if len(self._pending) >= _CHUNK_BYTES:
            self.flush()
        return len(data)

    def flush(self) -> None:
        """Hand on what was gathered."""
        pending, self._pending = self._pending, bytearray()
        self._file.write(pending)


def _member(archive: ZipFile, name: str) -> IO[bytes]:
    """A member to be written, of any length and with no date, so that equal samples make equal files."""
    return archive.open(ZipInfo(f"{name}.npy"), "w", force_zip64=True)


def _write_names(archive: ZipFile, names: Sequence[str]) -> None:
    width = max(map(len, names))
    with _member(archive, "class_names") as member:
        member.write(_header(f"<U{width}", (len(names),)))
        for name in names:
            member.write(name.encode("utf-32-le").ljust(4 * width, b"\0"))


def _write_images(archive: ZipFile, part: Part, shape: tuple[int, ...], dtype: InputDtype, labels: IO[bytes]) -> None:
    size = sample_bytes(dtype, shape)
    stored = (*shape[1:], shape[0]) if len(shape) == 3 else shape
    with _member(archive, f"{part.prefix}images") as member:
        member.write(_header(_DESCR[dtype], (part.count, *stored)))
        written = 0
        for values, label in part.samples:
            if len(values) != size:
                raise InputError(f"sample {written}: has {len(values)} bytes; {size} are needed")
            member.write(values)
            labels.write(label)
            written += 1
    if written != part.count:
        raise InputError(f"the data set gave {written} samples, but said that it has {part.count}")


def _header(descr: str, shape: tuple[int, ...]) -> bytes:
    """The header of an .npy file, version 1, in C order."""
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (-(len(text) + 11) % _ALIGN) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
