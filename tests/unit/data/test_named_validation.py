"""A validation part that is named beside the data: whole, numbered as the data is, known again, never a part of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from planner.data.dataset import open_data
from planner.data.describe import describe
from planner.data.prepare import Wanted
from planner.data.preparer import prepare
from planner.data.records import Records
from planner.errors import DataError, InputError
from planner.schema.run_folder import RunFolder
from planner.tasks.kinds import CLASSIFICATION, USUAL
from tests.unit.data.support import cycling_labels, random_images, read_all, write_image

SHAPE = (1, 4, 5)
IMAGES = random_images(40, 4, 5)
LABELS = cycling_labels(40, 4)


def write_npz(path: Path, numbers: slice, **others: object) -> str:
    np.savez(path, images=IMAGES[numbers], labels=LABELS[numbers], **others)  # type: ignore[arg-type]
    return str(path)


def write_classes(folder: Path, names: dict[int, str], count: int) -> str:
    for index in range(count):
        if LABELS[index] in names:
            write_image(folder / names[LABELS[index]] / f"{index:02d}.png", IMAGES[index])
    return str(folder)


def test_all_that_is_there_is_the_part_and_a_tenth_is_still_tested_on(tmp_path: Path) -> None:
    data = write_npz(tmp_path / "train.npz", slice(20))
    other = write_npz(tmp_path / "val.npz", slice(30, 37))
    with open_data(data, tmp_path, validation=other) as opened:
        images, labels = read_all(opened.validation, SHAPE)
        found = describe(opened, 0).description
    assert images.tobytes() == IMAGES[30:37].tobytes()
    assert labels == list(LABELS[30:37])
    assert [part.samples for part in found.parts] == [16, 7, 4]  # a test sample of every class
    assert (found.held_out, found.training_samples, found.validation) == (("test",), 16, other)
    with open_data(data, tmp_path) as opened:
        assert describe(opened, 0).description.part("test") == found.part("test")


def test_classes_go_by_their_names(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "train", {0: "ant", 1: "bee", 2: "cat", 3: "dog"}, 40)
    other = write_classes(tmp_path / "val", {1: "bee", 3: "dog"}, 8)
    with open_data(data, tmp_path, validation=other, size=SHAPE) as opened:
        images, labels = read_all(opened.validation, SHAPE)
        assert opened.validation is not None
        assert labels == list(opened.validation.labels()) == [1, 1, 3, 3]
        assert images.tobytes() == IMAGES[[1, 5, 3, 7]].tobytes()
    write_classes(tmp_path / "val", {2: "fox"}, 8)
    with pytest.raises(DataError, match=r"val: has the classes 'fox', which .*train has not"):
        open_data(data, tmp_path, validation=other)


def test_arrays_beside_a_folder_go_by_number(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "train", {0: "ant", 1: "bee", 2: "cat"}, 40)
    with open_data(data, tmp_path, size=SHAPE, validation=write_npz(tmp_path / "val.npz", slice(3))) as opened:
        assert read_all(opened.validation, SHAPE)[1] == [0, 1, 2]
    other = write_npz(tmp_path / "val.npz", slice(4))
    with pytest.raises(DataError, match=r"val.npz: has the class 3; .*train has the classes 0 to 2"):
        open_data(data, tmp_path, size=SHAPE, validation=other)


def test_samples_of_another_size_are_resized_with_those_trained_on_or_refused(tmp_path: Path) -> None:
    data = write_npz(tmp_path / "train.npz", slice(20))
    np.savez(tmp_path / "val.npz", images=random_images(9, 7, 7), labels=LABELS[:9])
    other = str(tmp_path / "val.npz")
    with pytest.raises(DataError, match=r"val.npz: its samples are 1×7×7, those of .*train.npz 1×4×5"):
        open_data(data, tmp_path, validation=other)
    with open_data(data, tmp_path, validation=other, resize=(3, 3)) as opened:
        assert opened.validation is not None
        assert opened.validation.record_bytes == 9


def test_labels_of_another_kind_are_refused(tmp_path: Path) -> None:
    data = write_npz(tmp_path / "train.npz", slice(20))
    np.savez(tmp_path / "val.npz", images=IMAGES, labels=IMAGES % 3)
    with pytest.raises(
        DataError, match=r"labelled with masks of 4×5 with 3 classes, those of .* with one of 4 classes"
    ):
        open_data(data, tmp_path, validation=str(tmp_path / "val.npz"), task=None)
    for name, count in (("a", 2), ("b", 3)):
        np.savez(tmp_path / f"{name}.npz", images=IMAGES, labels=np.zeros((40, count)))
    with pytest.raises(DataError, match=r"labelled with 3 numbers, those of .* with 2 numbers"):
        open_data(str(tmp_path / "a.npz"), tmp_path, validation=str(tmp_path / "b.npz"), task=USUAL["regression"])


def test_what_contradicts_itself_is_refused(tmp_path: Path) -> None:
    own = {
        f"{name}_{role}": array for name in ("val", "test") for role, array in (("images", IMAGES), ("labels", LABELS))
    }
    whole = write_npz(tmp_path / "whole.npz", slice(20), **own)
    part = write_npz(tmp_path / "part.npz", slice(20))
    for part_name in ("train", "val"):
        write_classes(tmp_path / "set" / part_name, {0: "ant", 1: "bee"}, 40)
    folder = tmp_path / "set"
    for data, other, message in (
        (whole, part, "whole.npz has a validation part of its own; leave --validation out"),
        (part, whole, "whole.npz has parts of its own; name one part alone"),
        (part, part, "part.npz is the data itself"),
        (str(folder), str(folder / "val"), "val lies within the data, .*set, and is read as a part of it"),
        (str(folder / "train"), str(folder), "set holds the data, .*train; name the validation part alone"),
    ):
        with pytest.raises(InputError, match=message):
            open_data(data, tmp_path, validation=other)
    with open_data(str(folder / "train"), tmp_path, validation=str(folder / "val")) as opened:
        assert opened.validation is not None


def test_a_run_knows_it_again_under_another_path(tmp_path: Path) -> None:
    data = write_npz(tmp_path / "train.npz", slice(20))
    other = write_npz(tmp_path / "val.npz", slice(30, 37))
    wanted = Wanted(data, str(tmp_path / "run"), SHAPE, 4, "the model", CLASSIFICATION, 0, validation=other)
    prepared = prepare(wanted)
    with Records(RunFolder(tmp_path / "run").records) as records:
        assert read_all(records.validation, SHAPE)[1] == list(LABELS[30:37])
    (tmp_path / "val.npz").rename(tmp_path / "moved.npz")
    moved = replace(wanted, validation=str(tmp_path / "moved.npz"), known=prepared.description)
    assert prepare(moved).reused
    write_npz(tmp_path / "moved.npz", slice(29, 36))
    with pytest.raises(InputError, match="is not the data that the run was begun with: its classes have other numbers"):
        prepare(moved)
    with pytest.raises(InputError, match="the validation part had 7 samples, and has 1"):
        prepare(replace(moved, validation=None))
