"""Which folders of a data set are its parts and its classes, and what the classes are called."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from typing import Any

from planner import limits
from planner.errors import DataError

CLASSES_FILE = "classes.txt"
"""Beside the class folders: their names, one a line, in the order of their labels."""

_TRAIN = ("train", "training")
_VALIDATION = ("val", "valid", "validation")
_TEST = ("test", "testing")

LEFTOVERS = ("__MACOSX", "System Volume Information", "$RECYCLE.BIN")
"""What archives and file systems leave; no classes."""

_MOST_CLASSES_BYTES = 16 * 2**20
_DIGITS = re.compile(r"([0-9]+)")


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A key by which "2" comes before "10", and "img9" before "img10"."""
    parts = (part for part in _DIGITS.split(name) if part)
    return (*((0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in parts), (-1, 0, name))


def is_folder(entry: os.DirEntry[Any]) -> bool:
    """Whether it is one, or a link to one. A link that leads to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def find_folders(folder: Path) -> list[str]:
    """The visible folders in `folder`, in natural order: its classes, if it is one part of a data set."""
    try:
        with os.scandir(folder) as entries:
            found = [entry.name for entry in entries if is_folder(entry) and not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(str(folder), f"cannot be read ({error.strerror})") from None
    return sorted((name for name in found if name not in LEFTOVERS), key=natural)


class Layout:
    """Which folders are the parts of a set."""

    def __init__(self, train: Path) -> None:
        self.train = train
        """The training part: its folders are the classes."""
        self.others: dict[str, Path] = {}
        """`validation` and `test`, as far as there are such."""
        self.notes: list[str] = []
        """What a person should know of how they were found."""


def find_parts(folder: Path, folders: list[str]) -> Layout:
    """Which of `folders` inside `folder` are parts of a set; where none is one to train on, all of them are classes."""
    parts = {name: part_named(name) for name in folders}
    trained = [name for name, part in parts.items() if part == "train" and find_folders(folder / name)]
    if not trained:
        return Layout(folder)
    layout = Layout(folder / trained[0])
    for name in folders:
        part = parts[name]
        if name == trained[0]:
            continue
        if part in ("validation", "test") and part not in layout.others and find_folders(folder / name):
            layout.others[part] = folder / name
        else:
            reason = "no class folders" if part in ("validation", "test") else "no part of the set"
            layout.notes.append(f"left out: the folder {text(name)!r} beside {text(trained[0])!r} ({reason})")
    if "test" not in layout.others and "validation" in layout.others:
        layout.others["test"] = layout.others.pop("validation")
        layout.notes.append(f"there is no test part: the folder {layout.others['test'].name!r} is tested on")
    return layout


def part_named(name: str) -> str | None:
    """Which part of a set a folder of that name is; none: no part."""
    lowered = name.casefold()
    named = {"train": _TRAIN, "validation": _VALIDATION, "test": _TEST}
    return next((part for part, names in named.items() if lowered in names), None)


def class_names(folder: Path) -> list[str]:
    """The class folders of a part, in natural order, or as `classes.txt` beside them says.

    Raises DataError for that file, for a name that is too long, and for two that are the same as text.
    """
    found = find_folders(folder)
    if len(found) > limits.MAX_CLASSES:
        raise DataError(str(folder), f"has {len(found)} class folders; at most {limits.MAX_CLASSES} are read")
    by_text = folders_by_text(folder, found)
    for name, stored in by_text.items():
        if len(name) > limits.MAX_NAME_LENGTH:
            problem = f"the name of a class has at most {limits.MAX_NAME_LENGTH} characters"
            raise DataError(str(folder / stored), problem)
    for file in (folder / CLASSES_FILE, folder.parent / CLASSES_FILE):
        if file.is_file() and (file.parent == folder or part_named(folder.name) == "train"):
            return [by_text[name] for name in _ordered(file, list(by_text))]
    return found


def folders_by_text(folder: Path, names: list[str]) -> dict[str, str]:
    """Folders' names by what they are as text. Raises DataError where two are the same."""
    found: dict[str, str] = {}
    for name in names:
        if text(name) in found:
            others = " and ".join(repr(os.fsencode(each)) for each in (found[text(name)], name))
            raise DataError(str(folder), f"the names of two class folders are the same as text, {others}; rename one")
        found[text(name)] = name
    return found


def files_beside(folder: Path) -> list[str]:
    """The visible files in a folder of class folders, but the list of their names."""
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".") and entry.name != CLASSES_FILE]
        return [entry.name for entry in visible if not is_folder(entry)]


def _ordered(file: Path, found: list[str]) -> list[str]:
    """The classes as a list of their names orders them. Raises DataError where it names others."""
    given = class_list(file)
    if sorted(given) != sorted(found):
        lacking, more = sorted(set(found) - set(given)), sorted(set(given) - set(found))
        said = [f"{what} {_few(names)}" for what, names in (("lacks", lacking), ("has no folder for", more)) if names]
        raise DataError(str(file), f"does not name the class folders: {', '.join(said) or 'a name stands twice'}")
    return given


def class_list(file: Path) -> list[str]:
    """The names in a file, one a line. Raises DataError where it cannot be read."""
    try:
        if file.stat().st_size > _MOST_CLASSES_BYTES:
            raise DataError(str(file), "is too long for a list of class names")
        lines = file.read_bytes().decode("utf-8-sig", "replace").splitlines()
    except OSError as error:
        raise DataError(str(file), f"cannot be read ({error.strerror})") from None
    return [unicodedata.normalize("NFC", line.strip()) for line in lines if line.strip()]


def _few(names: list[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if names[3:] else "")


def text(name: str) -> str:
    """A file's name as text that any document holds. One system writes é as a letter, another as a letter and a mark:
    here it is one."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "replace"))
