"""Resident bytes of this process by kind of mapping, from /proc/self/smaps."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_HEADER = re.compile(rb"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)")
_DEFAULT_STACK_BYTES = 8 * 2**20
_LARGEST_GUARD_BYTES = 64 * 1024


@dataclass(frozen=True)
class Mapped:
    """Resident bytes of this process by kind of mapping. Their sum is VmRSS."""

    folder_bytes: int
    """Files below the folder asked about, pages that were copied on write included."""
    other_file_bytes: int
    """Other files: the interpreter, its extension modules, the C library."""
    stack_bytes: int
    """Stacks of all threads."""
    anonymous_bytes: int
    """Everything else: heaps and anonymous mappings."""


class _Mapping(NamedTuple):
    start: int
    end: int
    permissions: bytes
    path: bytes
    resident: int


def read_mapped(folder: Path, smaps: Path = Path("/proc/self/smaps")) -> Mapped:
    """Add up this process's resident bytes by kind of mapping.

    Args:
        folder: files below it are counted apart from other files: torch's libraries, for instance.
        smaps: the kernel's list of mappings, or a copy of one.

    Raises:
        OSError: /proc is not mounted.
    """
    below = f"{folder}/".encode()
    sums = {"folder": 0, "file": 0, "stack": 0, "anonymous": 0}
    last: _Mapping | None = None
    with smaps.open("rb") as lines:
        for mapping in _parse(lines):
            if _is_stack(mapping, last):
                kind = "stack"
            elif mapping.path.startswith(b"/"):
                kind = "folder" if mapping.path.startswith(below) else "file"
            else:
                kind = "anonymous"
            sums[kind] += mapping.resident
            last = mapping
    return Mapped(sums["folder"], sums["file"], sums["stack"], sums["anonymous"])


def _parse(lines: Iterable[bytes]) -> Iterator[_Mapping]:
    header: re.Match[bytes] | None = None
    for line in lines:
        if line.startswith(b"Rss:") and header is not None:
            start, end, permissions, path = header.groups()
            yield _Mapping(int(start, 16), int(end, 16), permissions, path, int(line.split()[1]) * 1024)
            header = None
        elif header is None or not line[:1].isupper():
            header = _HEADER.match(line) or header


def _is_stack(mapping: _Mapping, before: _Mapping | None) -> bool:
    """Whether a mapping is a thread's stack: the first one's is named, any other has the default size above a guard."""
    if mapping.path == b"[stack]":
        return True
    if before is None or mapping.path or before.end != mapping.start or before.permissions[:3] != b"---":
        return False
    guard, size = before.end - before.start, mapping.end - mapping.start
    # The guard is taken from the stack or comes on top of it, as the C library likes.
    return guard <= _LARGEST_GUARD_BYTES and _stack_bytes() in (size, size + guard)


def _stack_bytes() -> int:
    soft = resource.getrlimit(resource.RLIMIT_STACK)[0]
    return _DEFAULT_STACK_BYTES if soft in (resource.RLIM_INFINITY, -1) else soft
