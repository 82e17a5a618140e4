from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from planner.data.prepare import Wanted, prepare_in_child
from planner.data.preparer import prepare
from planner.data.records import Records
from planner.errors import InputError
from planner.schema.run_folder import RunFolder
from planner.tasks.kinds import CLASSIFICATION
from planner.units import MIB
from tests.prepared import open_prepared
from tests.unit.data.support import Bytes, Integers, cycling_labels, random_images, read_all, write_idx, write_image

SHAPE = (1, 4, 6)


def write_npz(path: Path, labels: Integers, images: Bytes | None = None, **arrays: object) -> Path:
    """Images of which the first pixel is the sample's number."""
    if images is None:
        images = random_images(len(labels), 4, 6)
        images[:, 0, 0] = np.arange(len(labels)) % 256
    np.savez(path, images=images, labels=labels, **arrays)  # type: ignore[arg-type]  # arrays
    return path


def numbers(work: Path, part: str) -> list[int]:
    with Records(RunFolder(work).records) as data:
        return [int(image[0, 0, 0]) for image in read_all(getattr(data, part), SHAPE)[0]]


def test_every_sample_is_in_one_part_and_every_class_in_all(tmp_path: Path) -> None:
    """Classes in turn: every tenth sample by position would be one class."""
    labels = cycling_labels(200, 10)
    data = open_prepared(write_npz(tmp_path / "set.npz", labels), tmp_path / "work", SHAPE)
    parts = {name: numbers(tmp_path / "work", name) for name in ("train", "validation", "test")}
    assert sorted(number for found in parts.values() for number in found) == list(range(200))
    assert [len(found) for found in parts.values()] == [162, 18, 20]
    assert [part.samples for part in data.description.parts] == [162, 18, 20]
    assert data.description.held_out == ("validation", "test")
    for name, found in parts.items():
        assert set(labels[found]) == set(range(10)), name
        assert data.description.part(name).class_samples == tuple(np.bincount(labels[found]))  # type: ignore[arg-type]
    with data:
        _, read = read_all(data.test, SHAPE)
        assert read == labels[parts["test"]].tolist()


def test_the_seed_draws(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "set.npz", cycling_labels(200, 4))
    for seed in (0, 1):
        open_prepared(path, tmp_path / str(seed), SHAPE, seed=seed).close()
    assert numbers(tmp_path / "0", "test") != numbers(tmp_path / "1", "test")


def test_a_test_part_of_its_own_stays_whole(tmp_path: Path) -> None:
    write_idx(tmp_path / "set", "train", random_images(60, 4, 6), cycling_labels(60, 3))
    write_idx(tmp_path / "set", "t10k", random_images(9, 4, 6, seed=1), cycling_labels(9, 3), zipped=True)
    with open_prepared(tmp_path / "set", tmp_path / "work", SHAPE) as data:
        assert [part.samples for part in data.description.parts] == [54, 6, 9]
        assert (read_all(data.test, SHAPE)[0][:, 0] == random_images(9, 4, 6, seed=1)).all()
    assert [path.name for path in (tmp_path / "work" / "data").iterdir()] == ["records.bin"]  # unpacked files are gone


def wanted(path: Path, work: Path, **changes: object) -> Wanted:
    return replace(Wanted(str(path), str(work), SHAPE, 10, "the model", CLASSIFICATION, 0), **changes)  # type: ignore[arg-type]


def test_what_lies_there_whole_is_used_again(tmp_path: Path) -> None:
    asked = wanted(write_npz(tmp_path / "set.npz", cycling_labels(40, 4)), tmp_path / "work")
    first = prepare(asked)
    before = RunFolder(tmp_path / "work").records.stat()
    again = prepare(asked)
    assert (first.reused, again.reused) == (False, True)
    assert again.description == first.description
    assert RunFolder(tmp_path / "work").records.stat().st_ino == before.st_ino


@pytest.mark.parametrize("byte", [30, -3])
def test_what_is_damaged_is_prepared_anew(tmp_path: Path, byte: int) -> None:
    asked = wanted(write_npz(tmp_path / "set.npz", cycling_labels(40, 4)), tmp_path / "work")
    prepare(asked)
    path = RunFolder(tmp_path / "work").records
    right = path.read_bytes()
    spoiled = bytearray(right)
    spoiled[byte] ^= 1
    path.write_bytes(spoiled)
    assert not prepare(asked).reused
    assert path.read_bytes() == right


def other_labels(labels: Integers, images: Bytes) -> None:
    labels[[0, 1]] = labels[[1, 0]]


def other_counts(labels: Integers, images: Bytes) -> None:
    labels[0] = labels[1]


def one_more_class(labels: Integers, images: Bytes) -> None:
    labels[3::8] = 4


def other_images(labels: Integers, images: Bytes) -> None:
    images[:] = 255 - images


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_labels, "other labels"),
        (other_counts, "the .* part had|other numbers of samples"),
        (one_more_class, "it had 4 classes, and has 5"),
        (other_images, "the samples' content differs"),
    ],
)
def test_other_data_than_a_run_was_begun_with_is_refused(tmp_path: Path, change: object, said: str) -> None:
    labels, images = cycling_labels(80, 4), random_images(80, 4, 6)
    path = write_npz(tmp_path / "set.npz", labels, images)
    known = prepare(wanted(path, tmp_path / "work")).description
    assert callable(change)
    change(labels, images)
    write_npz(path, labels, images)
    with pytest.raises(InputError, match=f"is not the data that the run was begun with: .*({said})"):
        prepare(wanted(path, tmp_path / "work", known=known))


def test_the_same_data_under_another_name_or_compressed_is_the_same(tmp_path: Path) -> None:
    labels, images = cycling_labels(80, 4), random_images(80, 4, 6)
    known = prepare(wanted(write_npz(tmp_path / "set.npz", labels, images), tmp_path / "work")).description
    np.savez_compressed(tmp_path / "other.npz", images=images, labels=labels)
    found = prepare(wanted(tmp_path / "other.npz", tmp_path / "work", known=known))
    assert found.reused and found.description.fingerprint == known.fingerprint


def picture_classes(folder: Path, names: str, count: int = 10) -> Path:
    """Every picture of a class has its letter's number in every pixel."""
    for name in names:
        for number in range(count):
            write_image(folder / name / f"{number}.png", np.full((4, 6), ord(name), np.uint8))
    return folder


def test_labels_are_the_models_by_name(tmp_path: Path) -> None:
    folder = picture_classes(tmp_path / "set", "bcd")
    asked = {"class_names": ("d", "c", "b", "a"), "classes": 4, "test_only": True}
    with open_prepared(folder, tmp_path / "work", SHAPE, **asked) as data:
        images, labels = read_all(data.test, SHAPE)
        assert {(chr(image[0, 0, 0]), label) for image, label in zip(images, labels, strict=True)} == {
            ("d", 0),
            ("c", 1),
            ("b", 2),
        }
        assert data.description.class_names == ("d", "c", "b", "a")
        assert data.description.part("test").class_samples == (1, 1, 1, 0)
        assert data.train.samples == 0


@pytest.mark.parametrize(("names", "said"), [("abce", "it lacks 'd' and has 'e'"), ("abc", "it lacks 'd'")])
def test_training_wants_the_models_classes(tmp_path: Path, names: str, said: str) -> None:
    folder = picture_classes(tmp_path / "set", names)
    with pytest.raises(InputError, match=f"its classes are not those of the model: {said}"):
        prepare(wanted(folder, tmp_path / "work", class_names=("a", "b", "c", "d")))


def test_an_unknown_class_is_refused_where_only_testing_is_wanted(tmp_path: Path) -> None:
    folder = picture_classes(tmp_path / "set", "ae")
    with pytest.raises(InputError, match="has 'e'"):
        prepare(wanted(folder, tmp_path / "work", class_names=("a", "b"), test_only=True))


def test_classes_in_one_part_alone_and_empty_ones_are_named(tmp_path: Path) -> None:
    labels = np.array([1, 2, 4] * 10 + [7])
    with open_prepared(write_npz(tmp_path / "set.npz", labels), tmp_path / "work", SHAPE) as data:
        empty, alone = data.description.notes
    assert empty.startswith("no sample has the label 0, 3, 5, 6: labels run from 1 to 7, ")
    assert "8 classes apart of which 4 are empty" in empty
    assert alone == "class 7: no sample to test on"
    path = write_npz(
        tmp_path / "b.npz",
        cycling_labels(20, 2),
        test_images=random_images(5, 4, 6),
        test_labels=np.array([0, 0, 2, 2, 3]),
    )
    with open_prepared(path, tmp_path / "b", SHAPE) as data:
        assert data.description.notes == ("classes 2, 3: no sample to train on", "class 1: no sample to test on")


def test_the_child_says_the_same(tmp_path: Path) -> None:
    asked = wanted(write_npz(tmp_path / "set.npz", cycling_labels(40, 4)), tmp_path / "work", allowed_bytes=64 * 2**20)
    here = prepare(replace(asked, work_dir=str(tmp_path / "here")))
    found = prepare_in_child(asked)
    assert found.description == here.description
    assert RunFolder(tmp_path / "work").records.read_bytes() == RunFolder(tmp_path / "here").records.read_bytes()
    assert 4 * 2**20 < found.peak_bytes < 64 * 2**20
    with pytest.raises(InputError, match=r"its images are 1×4×6, but the model takes 1×5×6"):
        prepare_in_child(replace(asked, input=(1, 5, 6)))


def test_a_folder_that_is_memory_is_counted_with_what_is_unpacked_there(tmp_path: Path) -> None:
    """Ten million pixels: as many bytes of records, and as many unpacked until then."""
    images, labels = np.zeros((1000, 100, 100), np.uint8), cycling_labels(1000, 2)
    np.savez_compressed(tmp_path / "deflated.npz", images=images, labels=labels)
    np.savez(tmp_path / "stored.npz", images=images, labels=labels)
    peaks = {}
    for name in ("deflated", "stored"):
        for in_memory in (False, True):
            asked = wanted(tmp_path / f"{name}.npz", tmp_path / f"{name}-{in_memory}", input=(1, 100, 100))
            found = prepare_in_child(replace(asked, in_memory=in_memory, allowed_bytes=64 * MIB))
            peaks[name, in_memory] = found.peak_bytes
    unpacked = images.nbytes + 8 * 1000
    for name, more in (("stored", 0), ("deflated", unpacked)):
        kept = peaks[name, True] - peaks[name, False]
        assert kept == pytest.approx(1000 * (100 * 100 + 8) + more, abs=MIB)


@pytest.mark.parametrize(
    ("samples", "compressed", "said"),
    [
        (
            4000,
            True,
            r"deflated\.npz: images: unpacked, it takes 38\..* in a folder that is memory, and the budget leaves",
        ),
        (
            1500,
            True,
            r"preparing it takes 28\..* which is memory, of which 14\..* are what is unpacked until then, and",
        ),
        (
            4000,
            False,
            r"preparing it takes 38\..* which is memory, and the budget leaves .*; name a folder on storage with",
        ),
    ],
)
def test_what_does_not_fit_into_a_folder_that_is_memory_is_refused_before_it_lies_there(
    tmp_path: Path, samples: int, compressed: bool, said: str
) -> None:
    path = tmp_path / "deflated.npz"
    images, labels = np.zeros((samples, 100, 100), np.uint8), cycling_labels(samples, 2)
    (np.savez_compressed if compressed else np.savez)(path, images=images, labels=labels)
    asked = wanted(path, tmp_path / "work", input=(1, 100, 100), in_memory=True, allowed_bytes=40 * MIB)
    with pytest.raises(InputError, match=said):
        prepare_in_child(asked)
    assert [*(tmp_path / "work" / "data").iterdir()] == []
    prepare_in_child(replace(asked, in_memory=False))  # on storage there is room


def test_neither_torch_nor_numpy_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys, planner.data.preparer\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'numpy', 'torch', 'PIL', 'pydantic'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
