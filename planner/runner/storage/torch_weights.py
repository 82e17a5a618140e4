"""`python -m planner.runner.storage.torch_weights SOURCE TARGET PARENT_PID`: weights of `torch.save` as safetensors.

No torch here.

Both formats are read: the archive, and the older stream of pickles. Nothing in the file is run (`torch_pickle`), and
numbers are copied piece by piece. The process ends before training begins, and is smaller than that by far.
"""

from __future__ import annotations

import io
import os
import struct
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Final

from planner.errors import InputError, PlannerError
from planner.limits import MAX_HEADER_BYTES, MAX_NAME_LENGTH, MAX_RANK, MAX_TENSORS
from planner.runner.storage.safetensors import ITEM_BYTES, Entry, write_tensors
from planner.runner.storage.torch_pickle import Bounded, Storage, View, read_pickle
from planner.schema.child_failed import ChildFailed
from planner.schema.codec import to_json
from planner.system.answers import Answers
from planner.system.rlimit import die_with_parent, limit_data
from planner.units import format_bytes

_TYPES: Final[Mapping[str, str]] = {
    "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16", "DoubleStorage": "F64",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}  # fmt: skip

_MAGIC = 0x1950A86A20F9469CFC6C
"""First pickle of the older format."""

_CHUNK_BYTES = 2**20
_MOST_BYTES = 512 * 2**20
"""What the process may take above what it has to begin with: a description of the longest kind, read into objects."""


class TorchWeights:
    """The tensors of a file of `torch.save`. Raises InputError where it holds no plain state dict."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = ExitStack()
        try:
            self._file = self._stack.enter_context(path.open("rb"))
            magic = self._file.read(4)
            self._file.seek(0)
            self._source = _Archive(self._file) if magic[:2] == b"PK" else _Stream(self._file)
            found = _state_dict(self._source.content)
            self._begins = {
                Entry(name, _TYPES[view.storage.kind], view.shape): self._begin(name, view)
                for name, view in found.items()
                if view.storage.kind in _TYPES and len(name) <= MAX_NAME_LENGTH  # no network of ours has others
            }
        except OSError as error:
            self._stack.close()
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        except (ValueError, EOFError, struct.error, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            self._stack.close()
            raise InputError(
                f"{path}: holds no plain state dict ({str(error)[:200]}); save module.state_dict() with torch.save, or "
                "as safetensors"
            ) from None
        self.entries = tuple(self._begins)

    def _begin(self, name: str, view: View) -> int:
        """Where its numbers begin. Raises ValueError unless they lie one behind another, within the file."""
        count = prod(view.shape)
        if len(view.shape) > MAX_RANK or min((*view.shape, view.offset), default=0) < 0:
            raise ValueError(f"{name} has shape {view.shape}")
        steps, expected = 1, []
        for extent in reversed(view.shape):
            expected.append(steps)
            steps *= extent
        rows = zip(view.shape, view.stride, reversed(expected), strict=True)
        if any(extent > 1 and stride != right for extent, stride, right in rows):
            raise ValueError(f"the numbers of {name} lie in another order than its shape says; save it contiguous")
        item = ITEM_BYTES[_TYPES[view.storage.kind]]
        if (view.offset + count) * item > self._source.size_bytes(view.storage, item):
            raise ValueError(f"{name} ends beyond its storage")
        return self._source.begin(view.storage) + view.offset * item

    def chunks(self) -> Iterator[memoryview]:
        """The bytes of all tensors, in the order of `entries`. Raises InputError where the file ends before."""
        for entry, begin in self._begins.items():
            at, left = begin, entry.size_bytes
            while left:
                chunk = os.pread(self._file.fileno(), min(left, _CHUNK_BYTES), at)
                if not chunk:
                    raise InputError(f"{self.path}: ends within {entry.name!r}")
                at, left = at + len(chunk), left - len(chunk)
                yield memoryview(chunk)

    def close(self) -> None:
        """Close the file."""
        self._stack.close()


def _state_dict(content: Any) -> dict[str, View]:
    """The tensors by name, also where they lie under the usual names of a checkpoint. Raises ValueError."""
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise ValueError("it holds something else")
    found = {name: value for name, value in content.items() if isinstance(value, View)}
    if not 1 <= len(found) <= MAX_TENSORS:
        raise ValueError(f"it holds {len(found)} tensors by name")
    return found


class _Archive:
    """An archive (zip, nothing compressed): `<name>/data.pkl`, and `<name>/data/<key>` for every storage."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._members = {member.filename: member for member in zipfile.ZipFile(file).infolist()}
        pickles = [name for name in self._members if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("it is an archive of something else")
        self._folder = pickles[0].removesuffix("data.pkl")
        orders = self._members.get(f"{self._folder}byteorder")
        if orders is not None and self._content(orders) != b"little":
            raise ValueError("it was written on a machine of another byte order")
        self.content = read_pickle(Bounded(io.BytesIO(self._content(self._members[pickles[0]]))))

    def _content(self, member: zipfile.ZipInfo) -> bytes:
        if member.compress_type != zipfile.ZIP_STORED or member.file_size > MAX_HEADER_BYTES:
            raise ValueError("its description is compressed, or too long")
        return os.pread(self._file.fileno(), member.file_size, self._begin(member))

    def _begin(self, member: zipfile.ZipInfo) -> int:
        """Behind the member's own header, whose two lengths are its own."""
        head = os.pread(self._file.fileno(), 30, member.header_offset)
        signature, names, extra = struct.unpack("<4s22xHH", head)
        if signature != b"PK\x03\x04":
            raise ValueError("it is damaged")
        return member.header_offset + 30 + int(names) + int(extra)

    def _member(self, storage: Storage) -> zipfile.ZipInfo:
        member = self._members.get(f"{self._folder}data/{storage.key}")
        if member is None or member.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"it lacks the numbers {storage.key[:40]!r}")
        return member

    def size_bytes(self, storage: Storage, item_bytes: int) -> int:
        return self._member(storage).file_size

    def begin(self, storage: Storage) -> int:
        return self._begin(self._member(storage))


@dataclass(frozen=True)
class _Place:
    begin: int
    count: int


class _Stream:
    """The older format: pickles of a magic number, a version, the machine, the content, the keys of storages; then
    those, each behind how many numbers it has."""

    def __init__(self, file: BinaryIO) -> None:
        bounded = Bounded(file)
        if read_pickle(bounded) != _MAGIC:
            raise ValueError("it is no file of torch.save")
        version, machine = read_pickle(bounded), read_pickle(bounded)
        if version != 1001 or not (isinstance(machine, dict) and machine.get("little_endian") is True):
            raise ValueError("it was written by another version, or on a machine of another byte order")
        storages: dict[str, Storage] = {}
        self.content = read_pickle(bounded, storages)
        keys = read_pickle(bounded)
        if not isinstance(keys, list) or len(keys) > MAX_TENSORS:
            raise ValueError("its storages are not listed")
        self._places: dict[str, _Place] = {}
        at, end = file.tell(), os.fstat(file.fileno()).st_size
        for key in keys:
            (count,) = struct.unpack("<q", os.pread(file.fileno(), 8, at))
            kind = storages[key].kind if isinstance(key, str) and key in storages else ""
            item = ITEM_BYTES.get(_TYPES.get(kind, ""), 0)
            if not item or not 0 <= count * item <= end - at - 8:
                raise ValueError(f"the numbers {str(key)[:40]!r} are of no known type, or end beyond the file")
            self._places[str(key)] = _Place(at + 8, count)
            at += 8 + count * item

    def _place(self, storage: Storage) -> _Place:
        place = self._places.get(storage.key)
        if place is None:
            raise ValueError(f"it lacks the numbers {storage.key[:40]!r}")
        return place

    def size_bytes(self, storage: Storage, item_bytes: int) -> int:
        return self._place(storage).count * item_bytes

    def begin(self, storage: Storage) -> int:
        return self._place(storage).begin


def main(source: Path, target: Path, parent_pid: int) -> int:
    """Write it, or answer with what is wrong."""
    die_with_parent(parent_pid)
    limit_data(_MOST_BYTES)
    answers = Answers()
    try:
        weights = TorchWeights(source)
        write_tensors(target, weights.entries, weights.chunks)
        weights.close()
    except PlannerError as error:
        answers.emit(to_json(ChildFailed.of(error), indent=None))
    except MemoryError:
        refused = InputError(f"{source}: its description takes more than {format_bytes(_MOST_BYTES)} to read")
        answers.emit(to_json(ChildFailed.of(refused), indent=None))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
