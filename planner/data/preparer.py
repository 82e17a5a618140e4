"""`python -m planner.data.preparer PARENT_PID`: a `Wanted` in, an `Answer` out. No torch here."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from planner.data.dataset import check_fits, open_data
from planner.data.describe import Described, describe
from planner.data.prepare import LEAST_BYTES, Answer, Failed, Prepared, Wanted
from planner.data.records import Records, RecordWriter, file_bytes, records_path, write_records
from planner.data.split import Dataset, SourceSplit
from planner.errors import DataError, InputError, PlannerError, StorageError
from planner.schema.codec import decode, parse_json, to_json
from planner.schema.data import DataDescription, DataPart, PartName, class_difference, differences, listed, some
from planner.system.answers import Answers
from planner.system.exhaustion import is_out_of_memory
from planner.system.files import make_folder, storage_errors
from planner.system.proc import read_memory
from planner.system.rlimit import die_with_parent, limit_data
from planner.units import format_bytes

_UNPACKING = "unpacking-"


def prepare(wanted: Wanted) -> Prepared:
    """Write the records, unless they lie there whole already.

    Raises InputError where data and model do not fit, DataError, StorageError.
    """
    path = records_path(Path(wanted.work_dir))
    with (
        _unpacking(path.parent) as unpacked,
        open_data(wanted.data, unpacked, size=wanted.input) as data,
    ):
        _check_memory(data, wanted)
        check_fits(data.info, wanted.input, wanted.classes, wanted.task, wanted.called)
        described = describe(data, wanted.seed)
        labels = match_labels(described.description, wanted)
        found = _relabelled(described.description, wanted.class_names, labels)
        if wanted.known is not None and (changed := differences(wanted.known, found)):
            raise InputError(
                f"{wanted.data}: is not the data that the run was begun with: {'; '.join(changed)}; resume it with "
                "that, or choose another folder with --out"
            )
        if wanted.test_only:
            found = _test_only(found)
        reused = _is_there(path, found)
        if not reused:
            _check_folder(found, wanted)
            _write(path, found, data, described, labels)
        kept = file_bytes(found) + data.storage_bytes if wanted.in_memory else 0
    return Prepared(found, file_bytes(found), read_memory().peak_bytes + kept, reused)


def _check_memory(data: Dataset, wanted: Wanted) -> None:
    """Raise DataError, before anything is decoded, for the picture that takes most, where that is too much."""
    path, needed = data.parts.decode_bytes
    left = _left_bytes(wanted)
    if left is not None and needed > left:
        raise DataError(
            path,
            f"decoding it takes about {format_bytes(needed)}, and the budget leaves {format_bytes(left)} for "
            f"that; make it smaller, or plan for a budget that is {format_bytes(needed - left)} larger",
        )


def _left_bytes(wanted: Wanted) -> int | None:
    """What this process may still take; none: as much as it likes."""
    if wanted.allowed_bytes is None:
        return None
    return max(0, max(wanted.allowed_bytes, LEAST_BYTES) - read_memory().resident_bytes)


def _check_folder(found: DataDescription, wanted: Wanted) -> None:
    """Leave room for the file where the folder is memory. Raises DataError where there is none."""
    left = _left_bytes(wanted)
    if left is None or not wanted.in_memory:
        return
    if file_bytes(found) > left:
        raise DataError(
            wanted.data,
            f"prepared, it takes {format_bytes(file_bytes(found))} in {wanted.work_dir}, which is memory, and "
            f"the budget leaves {format_bytes(left)} for that; name a folder on storage with --out, or plan for more",
        )
    limit_data(left - file_bytes(found))


@contextmanager
def _unpacking(folder: Path) -> Iterator[Path]:
    """A folder for what is unpacked; it goes again, as that of a killed process does."""
    make_folder(folder)
    for left in folder.glob(f"{_UNPACKING}*"):
        shutil.rmtree(left, ignore_errors=True)
    with storage_errors(folder):
        place = tempfile.TemporaryDirectory(prefix=_UNPACKING, dir=folder, ignore_cleanup_errors=True)
    with place:
        yield Path(place.name)


def match_labels(found: DataDescription, wanted: Wanted) -> tuple[int, ...] | None:
    """The model's label of each of the data's, by name; none where both number them alike. Raises InputError."""
    names, ours = found.class_names, wanted.class_names
    if not names or not ours or names == ours:
        return None
    unknown = set(names) - set(ours)
    if unknown or (len(names) != len(ours) and not wanted.test_only):
        raise InputError(f"{wanted.data}: {class_difference(ours, names)} than {wanted.called}'s")
    numbers = {name: label for label, name in enumerate(ours)}
    return tuple(numbers[name] for name in names)


def _relabelled(found: DataDescription, names: tuple[str, ...], labels: tuple[int, ...] | None) -> DataDescription:
    """What the data is in the model's numbers."""
    if labels is None:
        return found
    parts = []
    for part in found.parts:
        counts = [0] * len(names)
        for label, count in zip(labels, part.class_samples, strict=False):
            counts[label] = count
        parts.append(replace(part, class_samples=listed(tuple(counts)) if part.class_samples else ()))
    absent = [name for name in names if name not in found.class_names]
    notes = [*found.notes, *([f"not in the data: {some(absent)}"] if absent else [])]
    return replace(found, classes=len(names), class_names=names, parts=tuple(parts), notes=tuple(notes))


def _test_only(found: DataDescription) -> DataDescription:
    return replace(found, parts=(DataPart("train", 0), DataPart("validation", 0), found.part("test")))


def _is_there(path: Path, wanted: DataDescription) -> bool:
    """Whether such records lie there; every one of them is read."""
    try:
        with Records(path) as records:
            if replace(records.description, name="", notes=()) != replace(wanted, name="", notes=()):
                return False
            records.verify()
    except StorageError:
        return False
    return True


def _write(
    path: Path, description: DataDescription, data: Dataset, described: Described, labels: tuple[int, ...] | None
) -> None:
    path.unlink(missing_ok=True)  # another data set's, or damaged: its storage is needed
    with write_records(path, description) as writer:
        for part in description.parts:
            if part.samples:
                _write_part(writer, part.name, data, described, labels)


def _write_part(
    writer: RecordWriter, name: PartName, data: Dataset, described: Described, labels: tuple[int, ...] | None
) -> None:
    own: dict[PartName, SourceSplit | None] = {"validation": data.validation, "test": data.test}
    split = own.get(name)
    indices: Iterator[int] = iter(range(split.samples)) if split is not None else _drawn(name, data, described)
    source = split or data.train
    image = memoryview(bytearray(source.record_bytes))
    for index in indices:
        label = source.read_into(index, image)
        writer.append(image, label if labels is None else labels[label])


def _drawn(name: PartName, data: Dataset, described: Described) -> Iterator[int]:
    """The training samples that go to a part."""
    parts = described.draw.parts(data.train.labels())
    return (index for index, part in enumerate(parts) if part == name)


def _answer(wanted: Wanted) -> Prepared:
    left = _left_bytes(wanted)
    if left is not None:
        limit_data(left)
    return prepare(wanted)


def main(parent_pid: int) -> int:
    """Do what is wanted on standard input."""
    die_with_parent(parent_pid)
    answers = Answers()
    wanted = decode(Wanted, parse_json(sys.stdin.buffer.read()))
    try:
        answer = Answer(None, _answer(wanted))
    except PlannerError as error:
        answer = Answer(Failed(error.exit_code, str(error)), None)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        allowed = format_bytes(wanted.allowed_bytes or 0)
        answer = Answer(Failed(4, f"{wanted.data}: preparing it takes more than the {allowed} that are left"), None)
    answers.emit(to_json(answer, indent=None))
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
