"""A run's own small files: JSON with a checksum of its content, so that a flipped bit is damage, not another word."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any, TypeVar

from planner.errors import DocumentError
from planner.schema.codec import decode, encode, read_json, to_json
from planner.system.files import write_atomically

T = TypeVar("T")

_CHECKSUM = "checksum"


def write_sealed(path: Path, document: object) -> None:
    """Write a document with its checksum, whole or not at all. Raises StorageError."""
    content: dict[str, Any] = encode(document)
    write_atomically(path, to_json({**content, _CHECKSUM: _checksum(content)}))


def read_sealed(path: Path, kind: type[T]) -> T:
    """Read such a document; one without a checksum is of an earlier release, and believed.

    Raises InputError where it cannot be read, DocumentError where it is damaged; both name the file.
    """
    value = read_json(path)
    given = value.pop(_CHECKSUM, None) if isinstance(value, dict) else None
    if given is not None and given != _checksum(value):
        raise DocumentError(str(path), "its checksum disagrees with its content")
    try:
        return decode(kind, value)
    except DocumentError as error:
        raise DocumentError(f"{path}: {error.path}", error.problem) from None


def _checksum(content: Any) -> str:
    return f"{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}"
