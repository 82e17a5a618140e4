"""Labels in .npz files that are no classes: read by numpy's own types, refused where they are not what the task has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.data.dataset import check_fits, open_data
from planner.data.describe import describe
from planner.errors import DataError, InputError
from planner.tasks.kinds import USUAL, AnyTask
from planner.tasks.segmentation import Segmentation
from tests.unit.data.support import random_images

COUNT, SHAPE = 30, (1, 4, 5)


def _write(folder: Path, labels: Any, **others: Any) -> str:
    path = folder / "set.npz"
    np.savez(path, images=random_images(COUNT, 4, 5), **({} if labels is None else {"labels": labels}), **others)
    return str(path)


def _stored(path: str, folder: Path, task: AnyTask | None) -> tuple[bytes, str, int]:
    """All labels of the training part, their kind, and how many outputs they need."""
    with open_data(path, folder, task=task) as data:
        image = memoryview(bytearray(20))
        found = b"".join(data.train.read_into(index, image) for index in range(data.train.samples))
        return found, data.info.labels.kind, data.info.classes


@pytest.mark.parametrize("descr", ["<f4", ">f4", "<f8", "<f2", "<i2", ">i8", "|u1", "|b1"])
def test_numbers_of_any_type_are_float32(tmp_path: Path, descr: str) -> None:
    values = (np.arange(2 * COUNT).reshape(COUNT, 2) % 100 / (4 if "f" in descr else 1)).astype(descr)
    found, kind, outputs = _stored(_write(tmp_path, values), tmp_path, USUAL["regression"])
    assert (kind, outputs) == ("numbers", 2)
    assert found == values.astype("<f4").tobytes()


def test_one_number_a_sample_needs_no_second_extent(tmp_path: Path) -> None:
    values = np.linspace(-3, 7, COUNT)
    for labels in (values, values[:, None]):
        found, kind, outputs = _stored(_write(tmp_path, labels), tmp_path, None)
        assert (found, kind, outputs) == (values.astype("<f4").tobytes(), "numbers", 1)


def test_flags_are_bytes_of_0_and_1(tmp_path: Path) -> None:
    flags = np.random.default_rng(0).integers(0, 2, (COUNT, 3))
    for labels in (flags, flags.astype(bool), flags.astype("f4")):
        found, kind, outputs = _stored(_write(tmp_path, labels), tmp_path, USUAL["multilabel"])
        assert (found, kind, outputs) == (flags.astype("u1").tobytes(), "flags", 3)


def test_masks_are_bytes_and_what_is_ignored_is_no_class(tmp_path: Path) -> None:
    masks = np.random.default_rng(0).integers(0, 3, (COUNT, 4, 5))
    masks[:, 0] = 255
    for labels in (masks, masks.astype("u1")):
        found, kind, outputs = _stored(_write(tmp_path, labels), tmp_path, None)
        assert (found, kind, outputs) == (masks.astype("u1").tobytes(), "mask", 3)
    assert _stored(_write(tmp_path, masks), tmp_path, Segmentation("segmentation", None))[2] == 256


def test_a_task_whose_label_is_the_input_reads_none(tmp_path: Path) -> None:
    for labels in (None, np.arange(COUNT)):
        assert _stored(_write(tmp_path, labels), tmp_path, USUAL["autoencoder"]) == (b"", "none", 1)


@pytest.mark.parametrize(
    ("kind", "labels", "message"),
    [
        (
            "regression",
            np.where(np.arange(COUNT) == 7, np.nan, 1.0),
            r"record 7.*holds nan; numbers that float32 holds",
        ),
        ("regression", np.full(COUNT, 1e300), r"record 0.*holds 1e\+300; numbers that float32"),
        ("regression", np.zeros((COUNT, 2, 2)), r"has the shape 30×2×2; a regression's labels are N, or N×"),
        ("regression", np.array(["a"] * COUNT), r"has elements of type '<U1'; labels are numbers"),
        ("multilabel", np.arange(COUNT)[:, None] % 3, r"record 2.*holds 2; flags are 0 or 1"),
        ("segmentation", np.full((COUNT, 4, 5), 300), r"record 0.*holds 300; masks hold 0 to 255"),
        ("segmentation", np.arange(COUNT), r"has the shape 30; masks are N×H×W"),
        ("classification", np.linspace(0, 1, COUNT), r"fractional .* or train with --task regression"),
        ("classification", np.zeros((COUNT, 3), int), r"one-hot rows .* or train with --task multilabel"),
    ],
)
def test_wrong_labels_are_refused_with_what_would_be_right(
    tmp_path: Path, kind: str, labels: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        open_data(_write(tmp_path, labels), tmp_path, task=USUAL[kind])


@pytest.mark.parametrize(
    ("kind", "labels", "outputs", "message"),
    [
        ("regression", np.zeros((COUNT, 3)), 2, r"has 3 numbers for a sample, but the model gives 2"),
        ("multilabel", np.zeros((COUNT, 3)), 4, r"has 3 flags for a sample, but the model tells 4 labels"),
        (
            "segmentation",
            np.full((COUNT, 4, 5), 2),
            2,
            r"the class 2 \(.*record 0\), but the model tells 0 to 1 apart; 255 is",
        ),
        (
            "segmentation",
            np.arange(4 * COUNT).reshape(COUNT, 2, 2) % 2,
            2,
            r"has masks of 2×2, but the model gives 4×5",
        ),
    ],
)
def test_labels_that_do_not_fit_the_network_are_refused(
    tmp_path: Path, kind: str, labels: Any, outputs: int, message: str
) -> None:
    task = USUAL[kind]
    with open_data(_write(tmp_path, labels), tmp_path, task=task) as data, pytest.raises(InputError, match=message):
        check_fits(data.info, SHAPE, outputs, task, "the model")


def test_data_whose_kind_is_another_than_the_tasks_is_refused(tmp_path: Path) -> None:
    with (
        open_data(_write(tmp_path, np.linspace(0, 1, COUNT)), tmp_path, task=None) as data,
        pytest.raises(InputError, match=r"labelled with a number, but the model is for classification"),
    ):
        check_fits(data.info, SHAPE, 10, USUAL["classification"], "the model")


def test_parts_have_to_agree(tmp_path: Path) -> None:
    others = {"test_images": random_images(4, 4, 5), "test_labels": np.zeros((4, 2))}
    with pytest.raises(DataError, match=r"test_labels: samples are labelled with 2 numbers, those to train on with 3"):
        open_data(_write(tmp_path, np.zeros((COUNT, 3)), **others), tmp_path, task=USUAL["regression"])


def test_a_tenth_is_held_out_and_other_labels_are_other_data(tmp_path: Path) -> None:
    values = np.linspace(0, 1, COUNT)
    digests = set()
    for labels in (values, np.where(np.arange(COUNT) == 17, 0.5, values)):
        with open_data(_write(tmp_path, labels), tmp_path, task=USUAL["regression"]) as data:
            found = describe(data, 0).description
        assert [part.samples for part in found.parts] == [25, 2, 3]
        assert (found.labels, found.label_bytes, found.classes) == ("numbers", 4, 1)
        assert all(not part.class_samples for part in found.parts)
        digests.add(found.digest)
    assert len(digests) == 2
