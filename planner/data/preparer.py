"""`python -m planner.data.preparer PARENT_PID`: a `Wanted` in, a `PreparationReply` out. No torch here."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from planner.data.dataset import check_fits, open_data
from planner.data.describe import Described, describe
from planner.data.pace import Pace, Progress
from planner.data.prepare import LEAST_BYTES, PreparationReply, Prepared, Wanted
from planner.data.records import Records, RecordWriter, file_bytes, write_records
from planner.data.split import Dataset, SourceSplit
from planner.errors import DataError, InputError, OverBudgetError, PlannerError, StorageError
from planner.schema.child_failed import ChildFailed
from planner.schema.codec import decode, parse_json, to_json
from planner.schema.data import DataDescription, DataPart, PartName, class_difference, differences, listed, some
from planner.schema.run_folder import RunFolder
from planner.system.answers import Answers
from planner.system.exhaustion import is_out_of_memory
from planner.system.files import make_folder, storage_errors
from planner.system.proc import read_memory
from planner.system.rlimit import die_with_parent, limit_data
from planner.tasks.base import class_label, class_of
from planner.units import format_bytes

_UNPACKING = "unpacking-"


def prepare(wanted: Wanted, on_progress: Callable[[Progress], None] | None = None) -> Prepared:
    """Write the records, unless they lie there whole already; `on_progress` is called with how far that has come.

    Raises InputError where data and model do not fit, DataError, StorageError.
    """
    path, pace = RunFolder(Path(wanted.work_dir)).records, Pace(on_progress)
    most = _left_bytes(wanted) if wanted.in_memory else None
    with (
        _unpacking(path.parent) as unpacked,
        open_data(
            wanted.data,
            unpacked,
            size=wanted.input,
            dtype=wanted.input_dtype,
            tokens=wanted.tokens,
            resize=(wanted.input[1], wanted.input[2]) if wanted.resize else None,
            shorter_side=wanted.shorter_side,
            pace=pace,
            most_bytes=most,
            task=wanted.task,
            validation=wanted.validation,
        ) as data,
    ):
        _check_memory(data, wanted)
        check_fits(data.info, wanted.input, wanted.classes, wanted.task, wanted.called, wanted.input_dtype)
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
            _check_folder(found, data.storage_bytes, wanted)
            _write(path, _Source(data, described, labels), found, pace)
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
            f"that; make it smaller, or {_more(wanted)} that is {format_bytes(needed - left)} larger",
        )


def _more(wanted: Wanted) -> str:
    """How a larger budget is given."""
    return "give a --budget" if wanted.test_only else "plan for a budget"


def _left_bytes(wanted: Wanted) -> int | None:
    """What this process may still take; none: as much as it likes."""
    if wanted.allowed_bytes is None:
        return None
    return max(0, max(wanted.allowed_bytes, LEAST_BYTES) - read_memory().resident_bytes)


def _check_folder(found: DataDescription, unpacked_bytes: int, wanted: Wanted) -> None:
    """Leave room for the file where the folder is memory. Raises DataError where there is none."""
    left = _left_bytes(wanted)
    if left is None or not wanted.in_memory:
        return
    needed = file_bytes(found) + unpacked_bytes
    if needed > left:
        unpacked = (
            f", of which {format_bytes(unpacked_bytes)} are what is unpacked until then" if unpacked_bytes else ""
        )
        elsewhere = "set TMPDIR to a folder on storage" if wanted.test_only else "name a folder on storage with --out"
        raise DataError(
            wanted.data,
            f"preparing it takes {format_bytes(needed)} in {wanted.work_dir}, which is memory{unpacked}, and the "
            f"budget leaves {format_bytes(left)} for that; {elsewhere}, or {_more(wanted)} that is "
            f"{format_bytes(needed - left)} larger",
        )
    limit_data(left - needed)


@contextmanager
def _unpacking(folder: Path) -> Iterator[Path]:
    """A folder for what is unpacked; it goes again, as that of a killed process does."""
    make_folder(folder)
    for left in folder.glob(f"{_UNPACKING}*"):
        shutil.rmtree(left, ignore_errors=True)
    with storage_errors(folder):
        scratch = tempfile.TemporaryDirectory(prefix=_UNPACKING, dir=folder, ignore_cleanup_errors=True)
    with scratch:
        yield Path(scratch.name)


def match_labels(found: DataDescription, wanted: Wanted) -> tuple[int, ...] | None:
    """The model's label of each of the data's, by name; none where both number them alike. Raises InputError."""
    names, ours = found.class_names, wanted.class_names
    if found.labels != "class" and names != ours and names and ours:
        raise InputError(f"{wanted.data}: {class_difference(ours, names, 'those of ' + wanted.called)}")
    if not names or not ours or names == ours:
        return None
    unknown = set(names) - set(ours)
    if unknown or (len(names) != len(ours) and not wanted.test_only):
        raise InputError(f"{wanted.data}: {class_difference(ours, names, 'those of ' + wanted.called)}")
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
            if records.description.fingerprint != wanted.fingerprint:
                return False
            records.verify()
    except StorageError:
        return False
    return True


@dataclass(frozen=True)
class _Source:
    """What records are written from."""

    data: Dataset
    """The data set."""
    described: Described
    """What it holds, and the draw of what is held out."""
    labels: tuple[int, ...] | None
    """The model's label of each of its own; none where both number them alike."""

    def samples(self, name: PartName) -> tuple[SourceSplit, Iterator[int]]:
        """Where a part's samples lie, and which they are."""
        data = self.data
        own: dict[PartName, SourceSplit | None] = {"validation": data.validation, "test": data.test}
        split = own.get(name)
        if split is not None:
            return split, iter(range(split.samples))
        parts = self.described.draw.parts(data.train.labels())
        return data.train, (index for index, part in enumerate(parts) if part == name)


def _write(path: Path, source: _Source, description: DataDescription, pace: Pace) -> None:
    path.unlink(missing_ok=True)  # another data set's, or damaged: its storage is needed
    pace.begin("writing", sum(part.samples for part in description.parts))
    with write_records(path, description) as writer:
        for part in description.parts:
            if part.samples:
                _write_part(writer, part.name, source, pace)


def _write_part(writer: RecordWriter, name: PartName, source: _Source, pace: Pace) -> None:
    split, indices = source.samples(name)
    image = memoryview(bytearray(split.record_bytes))
    for index in indices:
        label = split.read_into(index, image)
        writer.append(image, label if source.labels is None else class_label(source.labels[class_of(label)]))
        pace.step()


def _answer(wanted: Wanted, answers: Answers) -> Prepared:
    def on_progress(progress: Progress) -> None:
        answers.emit(to_json(PreparationReply(None, None, progress), indent=None))

    left = _left_bytes(wanted)
    if left is not None:
        limit_data(left)
    return prepare(wanted, on_progress)


def main(parent_pid: int) -> int:
    """Do what is wanted on standard input."""
    die_with_parent(parent_pid)
    answers = Answers()
    wanted = decode(Wanted, parse_json(sys.stdin.buffer.read()))
    try:
        answer = PreparationReply(None, _answer(wanted, answers))
    except PlannerError as error:
        answer = PreparationReply(ChildFailed.of(error), None)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        allowed = format_bytes(wanted.allowed_bytes or 0)
        refused = OverBudgetError(f"{wanted.data}: preparing it takes more than the {allowed} that are left")
        answer = PreparationReply(ChildFailed.of(refused), None)
    answers.emit(to_json(answer, indent=None))
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
