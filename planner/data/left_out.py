"""Files and arrays beside a data set that are not read: counted, and named to the person."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePath

_MOST_SUFFIXES = 100
_SHOWN = 5
_UNREAD = (".heic", ".heif", ".avif")


class FilesLeftOut:
    """Counts files by suffix; it stays small however many there are."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, name: str) -> None:
        """Count a file."""
        suffix = PurePath(name).suffix.lower() or "without a suffix"
        known = suffix in self._counts or len(self._counts) < _MOST_SUFFIXES
        self._counts[suffix if known else "others"] += 1

    def __bool__(self) -> bool:
        return bool(self._counts)

    def notes(self) -> list[str]:
        """In words: `left out: 300 files (290 .tif, 10 .txt)`."""
        total = sum(self._counts.values())
        if not total:
            return []
        most_first = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        kinds = [f"{count} {suffix}" for suffix, count in most_first[:_SHOWN]]
        more = "" if len(self._counts) <= _SHOWN else ", …"
        notes = [f"left out: {total} {'file' if total == 1 else 'files'} ({', '.join(kinds)}{more})"]
        if any(suffix in self._counts for suffix in _UNREAD):
            notes.append("HEIC and AVIF are not read: convert such pictures to JPEG or PNG")
        return notes


def files_left_out(names: list[str], read: list[str]) -> tuple[str, ...]:
    """What is said of a folder's files but those that are read."""
    left_out = FilesLeftOut()
    for name in sorted(set(names) - set(read)):
        left_out.add(name)
    return tuple(left_out.notes())
