"""Data as people have it, made anew for each test: classes are the corner in which a white disc lies, or a colour."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from planner.cli.main import main
from planner.data.prepare import Wanted, prepare_in_child
from planner.data.records import Records
from planner.errors import DataError, InputError
from planner.schema.run_folder import RunFolder
from planner.tasks.kinds import CLASSIFICATION
from planner.units import MIB
from tests.prepared import open_prepared
from tests.unit.data.discs import (
    COLOURS,
    NAMES,
    SHAPE,
    coloured,
    corner_of,
    disc,
    folder,
    save,
    see_through,
    upright_and_phone,
)
from tests.unit.data.support import read_all


def labels_by_corner(work: Path, part: str, of: Sequence[int] = range(4)) -> bool:
    """Whether every image has the label that its disc's corner stands for."""
    with Records(RunFolder(work).records) as data:
        images, labels = read_all(getattr(data, part), SHAPE)
    assert labels
    return [of[corner_of(image)] for image in images] == labels


def test_a_model_of_four_classes_is_tested_on_three(tmp_path: Path) -> None:
    """Labels go by name: without the first folder no other moves up."""
    folder(tmp_path / "set" / "train", "bcd")
    folder(tmp_path / "set" / "test", "bcd", seed=5)
    names = {"class_names": tuple(NAMES), "classes": 4, "test_only": True}
    data = open_prepared(tmp_path / "set", tmp_path / "work", SHAPE, **names)
    assert labels_by_corner(tmp_path / "work", "test")
    assert data.description.notes == ("not in the data: 'a'",)


def test_a_phones_pictures_are_what_their_upright_twins_are(tmp_path: Path) -> None:
    found = {}
    for place in upright_and_phone(tmp_path, count=5, seed=3):
        with open_prepared(place, tmp_path / f"work-{place.name}", SHAPE) as data:
            found[place.name] = [read_all(part, SHAPE) for part in (data.train, data.validation, data.test)]
            notes = data.description.notes
    assert notes == ("20 of 20 images turned upright, as EXIF says",)
    for upright, phone in zip(*found.values(), strict=True):
        assert (upright[0] == phone[0]).all() and upright[1] == phone[1]


def test_a_shape_that_lies_in_the_alpha_channel_alone_is_seen(tmp_path: Path) -> None:
    """Black, opaque in a disc: on white the disc is dark."""
    chance = np.random.default_rng(3)
    for corner, name in enumerate(NAMES):
        for number in range(5):
            save(tmp_path / "set" / name / f"{number}.png", see_through(corner, chance))
    with open_prepared(tmp_path / "set", tmp_path / "work", SHAPE) as data:
        images, labels = read_all(data.train, SHAPE)
        assert [corner_of(255 - image) for image in images] == labels
        assert data.description.notes == ("20 of 20 images with transparency: laid on white",)


def test_one_grey_picture_makes_no_other_grey(tmp_path: Path) -> None:
    coloured(tmp_path / "set", count=5, first_is_grey=True)
    with open_prepared(tmp_path / "set", tmp_path / "work", SHAPE) as data:
        images, labels = read_all(data.training, SHAPE)
        seen = {(label, tuple(image[:, 0, 0])) for image, label in zip(images, labels, strict=True)}
        assert set(enumerate(COLOURS)) <= seen
        assert data.description.notes == ("1 of 20 images without colour: read as grey in three channels",)


@pytest.mark.parametrize("name", ["valid", "validation", "val", "Valid"])
def test_a_validation_part_alone_is_tested_on_and_that_is_said(tmp_path: Path, name: str) -> None:
    folder(tmp_path / "set" / "train")
    folder(tmp_path / "set" / name, count=3, seed=1)
    with open_prepared(tmp_path / "set", tmp_path / "work", SHAPE) as data:
        assert [part.samples for part in data.description.parts] == [36, 4, 12]
        assert data.description.notes == (f"there is no test part: the folder {name!r} is tested on",)


def test_three_parts_of_its_own(tmp_path: Path) -> None:
    for seed, (part, count) in enumerate({"training": 10, "valid": 3, "testing": 2}.items()):
        folder(tmp_path / "set" / part, count=count, seed=seed)
    folder(tmp_path / "set" / "extra", "ab", count=1)
    with open_prepared(tmp_path / "set", tmp_path / "work", SHAPE) as data:
        assert [part.samples for part in data.description.parts] == [40, 12, 8]
        assert data.description.held_out == ()
        assert data.training.samples == 40
        assert data.description.notes == ("left out: the folder 'extra' beside 'training' (no part of the set)",)


def test_folders_inside_classes_are_read_and_other_files_counted(tmp_path: Path) -> None:
    place = folder(tmp_path / "set")
    for name in NAMES:
        for number in range(3):
            save(place / name / "more" / f"{number}.png", Image.open(place / name / f"{number:03}.png"))
            save(place / name / f"t{number}.tif", Image.open(place / name / f"{number:03}.png"))
        shutil.copy(place / name / "000.png", place / name / "x.jfif")  # what it is, its content says
        (place / name / "notes.txt").touch()
    with open_prepared(place, tmp_path / "work", SHAPE) as data:
        assert sum(part.samples for part in data.description.parts) == 4 * (10 + 3 + 1)
        assert data.description.notes == (
            "12 images in folders inside a class folder: read as that class",
            "left out: 16 files (12 .tif, 4 .txt)",
        )
    assert labels_by_corner(tmp_path / "work", "train")


def test_what_systems_and_phones_leave_is_no_class_and_no_picture(tmp_path: Path) -> None:
    place = folder(tmp_path / "set")
    (place / "__MACOSX" / "a").mkdir(parents=True)
    (place / ".ipynb_checkpoints").mkdir()
    shutil.copytree(place / "a", place / "b" / ".ipynb_checkpoints")
    for name in ("._000.png", ".DS_Store", "Thumbs.db", "desktop.ini", "IMG_1.HEIC"):
        (place / "a" / name).write_bytes(b"anything")
    (place / "c" / "round").symlink_to(place)
    with open_prepared(place, tmp_path / "work", SHAPE) as data:
        assert data.description.class_names == tuple(NAMES)
        assert sum(part.samples for part in data.description.parts) == 40
        assert data.description.notes == (
            "left out: 1 folder inside class folders: links, or too deep",
            "left out: 3 files (1 .db, 1 .heic, 1 .ini)",
            "HEIC and AVIF are not read: convert such pictures to JPEG or PNG",
        )


def named_classes(place: Path, names: Sequence[str]) -> Path:
    for number, name in enumerate(names):
        for index in range(10):
            save(place / name / f"{index}.png", np.full((4, 4), number, np.uint8))
    return place


def test_numbers_stand_in_their_own_order_and_dots_are_letters(tmp_path: Path) -> None:
    names = ("1", "2", "02.5", "10", "v1.2", "v1.10", "éa")
    place = named_classes(tmp_path / "set", names)
    with open_prepared(place, tmp_path / "work", (1, 4, 4)) as data:
        assert data.description.class_names == ("1", "2", "02.5", "10", "v1.2", "v1.10", "éa")
        images, labels = read_all(data.train, (1, 4, 4))
        assert [int(image[0, 0, 0]) for image in images] == labels


def test_a_list_of_classes_orders_them(tmp_path: Path) -> None:
    place = named_classes(tmp_path / "set", ("cat", "dog", "owl"))
    (place / "classes.txt").write_text("owl\ncat\n\ndog\n")
    with open_prepared(place, tmp_path / "work", (1, 4, 4)) as data:
        assert data.description.class_names == ("owl", "cat", "dog")
        images, labels = read_all(data.train, (1, 4, 4))
        assert {(int(image[0, 0, 0]), label) for image, label in zip(images, labels, strict=True)} == {
            (0, 1),
            (1, 2),
            (2, 0),
        }
    for text, said in (("owl\ncat\n", "lacks 'dog'"), ("owl\ncat\ndog\nant\n", "has no folder for 'ant'")):
        (place / "classes.txt").write_text(text)
        with pytest.raises(DataError, match=rf"classes\.txt: does not name the class folders: {said}"):
            open_prepared(place, tmp_path / "work", (1, 4, 4))


def test_a_class_under_another_name_is_other_data(tmp_path: Path) -> None:
    place = folder(tmp_path / "set")
    with open_prepared(place, tmp_path / "work", SHAPE) as data:
        known = data.description
    (place / "a").rename(place / "e")
    with pytest.raises(InputError, match=r"not the data that the run was begun with: .* lacks 'a' and has 'e'"):
        open_prepared(place, tmp_path / "work", SHAPE, known=known)


@pytest.mark.parametrize("options", [{"suffix": "png", "compress_level": 1}, {"suffix": "jpg", "progressive": True}])
def test_a_large_picture_takes_what_is_left_of_the_budget_or_is_named(tmp_path: Path, options: dict[str, Any]) -> None:
    """4000×3000 pixels: about 48 MB as PNG, 36 MB of coefficients as progressive JPEG."""
    suffix = options.pop("suffix")
    large = Image.fromarray(disc(0, np.random.default_rng(0))).resize((4000, 3000), 0)
    save(tmp_path / "set" / "a" / f"big.{suffix}", large, **options)
    for name in NAMES:
        for number in range(4):
            (tmp_path / "set" / name).mkdir(exist_ok=True)
            source = tmp_path / "set" / "a" / f"big.{suffix}"
            (tmp_path / "set" / name / f"{number}.{suffix}").hardlink_to(source)
    wanted = Wanted(str(tmp_path / "set"), str(tmp_path / "work"), SHAPE, 4, "the model", CLASSIFICATION, 0)
    found = prepare_in_child(replace(wanted, allowed_bytes=90 * MIB))
    assert found.peak_bytes <= 90 * MIB
    assert found.description.notes == ("all images are 3000×4000: resized to 32×32",)
    with pytest.raises(InputError, match=rf"/set/\w/\w+\.{suffix}: decoding it takes about .* larger"):
        prepare_in_child(replace(wanted, allowed_bytes=40 * MIB))


def test_check_data_prints_what_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = folder(tmp_path / "set")
    (place / "a" / "notes.txt").touch()
    assert main(["check-data", str(place)]) == 0
    shown = capsys.readouterr().out
    for words in ("a folder of images per class", "40 of 3×32×32", "left out: 1 file (1 .txt)", "    3  d"):
        assert words in shown
    assert main(["check-data", str(place), "--json", "--seed", "3"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["class_names"], found["seed"]) == ("data/1", list(NAMES), 3)
    assert [part["samples"] for part in found["parts"]] == [33, 3, 4]


def test_check_data_reads_as_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.random.default_rng(0).integers(0, 4, 40) + 1
    images = np.stack([disc(label - 1, np.random.default_rng(0)) for label in labels])
    np.savez(tmp_path / "set.npz", images=images.transpose(0, 3, 1, 2), labels=labels)
    assert main(["check-data", str(tmp_path / "set.npz")]) == 2
    assert "--layout nchw" in capsys.readouterr().err
    assert main(["check-data", str(tmp_path / "set.npz"), "--layout", "nchw"]) == 0
    shown = capsys.readouterr().out
    assert "40 of 3×32×32" in shown and "no sample has the label 0" in shown
    save(tmp_path / "set" / "a" / "1.png", images[0])
    assert main(["check-data", str(folder(tmp_path / "set")), "--resize", "8x6", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["input"] == [3, 8, 6]
