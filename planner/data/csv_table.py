"""A table of numbers with a named label column: a .csv file, or a folder with train.csv, test.csv and validation.csv.

It is read once, line by line, into arrays in the work folder, which are then read as a folder of .npy files is.
"""

from __future__ import annotations

import csv
import tempfile
from array import array
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import IO, Literal

from planner.data.array_form import WantedSamples
from planner.data.npz import open_npy_folder
from planner.data.split import Parts
from planner.data.unpack import check_room, data_folder
from planner.errors import DataError
from planner.limits import MAX_CLASSES, MAX_LENGTH
from planner.schema.data import PartName
from planner.system.files import storage_errors
from planner.tasks.kinds import AnyTask

_LABELS = ("label", "labels", "class", "target", "y")
_PARTS: Mapping[str, PartName] = {
    "train.csv": "train", "training.csv": "train", "val.csv": "validation", "valid.csv": "validation",
    "validation.csv": "validation", "test.csv": "test",
}  # fmt: skip
_HEADER_BYTES = 128

LabelText = Literal["whole", "number", "text"]


def find_tables(folder: Path, names: list[str]) -> dict[PartName, Path]:
    """The tables of a folder by part; nothing where none is to train on."""
    found = {_PARTS[name.lower()]: folder / name for name in sorted(names) if name.lower() in _PARTS}
    order: tuple[PartName, ...] = ("train", "validation", "test")
    return {part: found[part] for part in order if part in found} if "train" in found else {}


def open_csv(
    path: Path,
    tables: Mapping[PartName, Path],
    work_dir: Path,
    resources: ExitStack,
    wanted: WantedSamples,
    most_bytes: int | None,
    task: AnyTask | None,
) -> Parts:
    """Open tables by part. Raises DataError naming file and line, StorageError."""
    with storage_errors(work_dir):
        scratch = Path(
            resources.enter_context(tempfile.TemporaryDirectory(dir=data_folder(work_dir), ignore_cleanup_errors=True))
        )
    read: dict[PartName, _Table] = {}
    taken = 0
    for part, file in tables.items():
        table = _Table.read(file, scratch / f"x_{part}.npy", scratch / f"labels_{part}.txt")
        taken += (scratch / f"x_{part}.npy").stat().st_size
        check_room(str(file), taken, most_bytes)
        if read and table.columns != read["train"].columns:
            raise DataError(str(file), f"its columns are not those of {tables['train'].name}, in the same order")
        read[part] = table
    kind = _kind([table.label for table in read.values()])
    names = sorted({name for table in read.values() for name in table.names}) if kind == "text" else []
    for part, table in read.items():
        _write_labels(scratch / f"y_{part}.npy", table, kind, {name: index for index, name in enumerate(names)})
    if names:
        _write_names(scratch / "class_names.npy", names)
    for table in read.values():
        table.labels.unlink()
    floats = replace(wanted, dtype=wanted.dtype or "float32")
    parts = open_npy_folder(scratch, work_dir, resources, floats, task, called=path)
    return replace(parts, layout="csv", storage_bytes=parts.storage_bytes + taken)


@dataclass
class _Table:
    """One file, read."""

    columns: list[str]
    """Names of its features."""
    labels: Path
    """Its labels as text, a line each."""
    count: int
    """Its rows."""
    label: LabelText
    """What its labels are."""
    names: set[str]
    """The different labels, as far as they are text."""

    @staticmethod
    def read(file: Path, features: Path, labels: Path) -> _Table:
        """Write the features as an array, and the labels as they stand. Raises DataError, StorageError."""
        try:
            with (
                file.open(newline="", encoding="utf-8-sig") as stream,
                storage_errors(features),
                features.open("wb") as numbers,
                labels.open("w", encoding="utf-8") as texts,
            ):
                return _read(file, csv.reader(stream, strict=True), numbers, texts, labels)
        except UnicodeDecodeError as error:
            raise DataError(str(file), f"is not UTF-8 text ({error.reason})") from None
        except OSError as error:
            raise DataError(str(file), f"cannot be opened ({error.strerror})") from None
        except csv.Error as error:
            raise DataError(str(file), f"is no table ({error})") from None


def _read(file: Path, rows: Iterator[list[str]], numbers: IO[bytes], texts: IO[str], labels: Path) -> _Table:
    header = [name.strip() for name in next(rows, [])]
    at = _label_column(file, header)
    columns = [name for index, name in enumerate(header) if index != at]
    table = _Table(columns, labels, 0, "whole", set())
    numbers.write(bytes(_HEADER_BYTES))
    for row in rows:
        line = rows.line_num  # type: ignore[attr-defined]  # of csv's reader
        if not row:
            continue
        if len(row) != len(header):
            raise DataError(str(file), f"line {line} has {len(row)} fields; the header has {len(header)}")
        text = row.pop(at).strip()
        _note_label(file, table, text, line)
        _numbers(file, columns, row, line).tofile(numbers)
        texts.write(text + "\n")
        table.count += 1
    if not table.count:
        raise DataError(str(file), "holds no rows behind its header")
    numbers.seek(0)
    numbers.write(_header("<f4", (table.count, len(columns))))
    return table


def _label_column(file: Path, header: list[str]) -> int:
    if not header:
        raise DataError(str(file), "is empty; the first line names the columns")
    if len(set(header)) != len(header):
        raise DataError(str(file), "has two columns of one name; the first line names the columns")
    found = [index for index, name in enumerate(header) if name.lower() in _LABELS]
    if len(found) != 1:
        many = "no column is" if not found else "more than one column is"
        raise DataError(
            str(file),
            f"{many} the label by its name ({', '.join(header)[:200]}); call one of them {', '.join(_LABELS)}",
        )
    if not 1 <= len(header) - 1 <= MAX_LENGTH:
        raise DataError(str(file), f"has {len(header) - 1} columns beside the label; 1 to {MAX_LENGTH} are read")
    return found[0]


def _numbers(file: Path, columns: list[str], row: list[str], line: int) -> array[float]:
    try:
        found = array("f", map(float, row))
        if isfinite(sum(found)):
            return found
    except ValueError:
        pass
    column, text = next((name, text) for name, text in zip(columns, row, strict=True) if not _is_number(text))
    raise DataError(str(file), f"line {line}: the column {column[:60]!r} holds {text[:40]!r}; a number is needed")


def _is_number(text: str) -> bool:
    try:
        return isfinite(array("f", [float(text)])[0])
    except ValueError:
        return False


def _note_label(file: Path, table: _Table, text: str, line: int) -> None:
    if not text or "\n" in text:
        raise DataError(str(file), f"line {line}: has no label")
    if table.label == "whole" and not text.lstrip("+-").isdecimal():
        table.label = "number"
    if table.label == "number" and not _is_number(text):
        table.label = "text"
    if len(table.names) <= MAX_CLASSES:  # of numbers too: a later row may be text
        table.names.add(text)


def _kind(found: list[LabelText]) -> LabelText:
    return "text" if "text" in found else "number" if "number" in found else "whole"


def _write_labels(target: Path, table: _Table, kind: LabelText, classes: Mapping[str, int]) -> None:
    with storage_errors(target), target.open("wb") as file, table.labels.open(encoding="utf-8") as texts:
        file.write(_header("<f8" if kind == "number" else "<i8", (table.count,)))
        for line in texts:
            text = line.rstrip("\n")
            if kind == "number":
                array("d", [float(text)]).tofile(file)
            else:
                number = classes[text] if kind == "text" else int(text)
                file.write(max(-(2**63), min(number, 2**63 - 1)).to_bytes(8, "little", signed=True))


def _write_names(target: Path, names: list[str]) -> None:
    width = max(map(len, names))
    with storage_errors(target), target.open("wb") as file:
        file.write(_header(f"<U{width}", (len(names),)))
        for name in names:
            file.write(name.encode("utf-32-le").ljust(4 * width, b"\0"))


def _header(descr: str, shape: tuple[int, ...]) -> bytes:
    """The header of an .npy file, of a fixed length."""
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    text = text.ljust(_HEADER_BYTES - 11) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
