"""What a program may give as data, each told by what it is and not by what it is called."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from planner.errors import InputError
from planner.python.datasets import class_names, mapped_part
from planner.python.sources import source_of
from planner.schema.model import Linear, Model, Unit
from planner.tasks.autoencoder import Autoencoder
from planner.tasks.base import class_of

MODEL = Model("model/1", "m", (3,), 4, (Unit("a", (Linear("linear", 4),)),), input_dtype="float32")
INPUTS = np.arange(24, dtype=np.float32).reshape(8, 3)
LABELS = np.arange(8) % 4
ROWS = list(zip(INPUTS.tolist(), LABELS.tolist(), strict=True))


class Streamed(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield from ROWS

    def __len__(self) -> int:
        return 3  # a guess, as many of them make


class Columns:
    """As a Hugging Face data set looks."""

    def __init__(self, *columns: str) -> None:
        self.column_names = list(columns)
        self.features = {name: SimpleNamespace(names=["a", "b", "c", "d"]) for name in columns}

    def __len__(self) -> int:
        return len(ROWS)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return dict.fromkeys(self.column_names, ROWS[index][0]) | {"label": ROWS[index][1]}


def generator() -> Iterator[Any]:
    yield from ROWS


TENSORS = TensorDataset(torch.from_numpy(INPUTS), torch.from_numpy(LABELS))


@pytest.mark.parametrize(
    "data",
    [
        ROWS,
        TENSORS,
        DataLoader(TENSORS, batch_size=3, shuffle=True),
        (INPUTS, LABELS),
        {"id": LABELS, "x": INPUTS, "y": LABELS},
        [{"label": label, "x": row, "id": 3} for row, label in ROWS],
        (torch.from_numpy(INPUTS), torch.from_numpy(LABELS)),
        generator,
        generator(),
        Streamed(),
        DataLoader(Streamed(), batch_size=2),
        Columns("features", "label"),
        Columns("whatever", "label"),
        Columns("id", "x", "label"),
    ],
    ids=lambda data: type(data).__name__,
)
def test_samples_come_in_order_whatever_they_come_from(data: Any) -> None:
    part = mapped_part(data, MODEL, "", "data")
    found = [(np.frombuffer(values, np.float32).tolist(), class_of(label)) for values, label in part.samples]
    assert (part.count, found) == (8, ROWS)


def test_columns_say_what_classes_are_called() -> None:
    assert class_names(source_of(Columns("x", "label"), "data"), 4) == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (7, "data: a int has no items that are numbered, and cannot be iterated over"),
        (Columns("image", "x", "label"), r"its columns are image, x, label, and more than one is the input by name"),
        (Columns("a", "b", "label"), r"its columns are a, b, label, and none of them is the input by name"),
        (Columns("x"), r"none of them is the label by name"),
        ({"a": INPUTS, "b": LABELS}, r"data: its columns are a, b, and none of them is the input by name"),
        (
            {"train": Columns("x", "label")},
            r"data: is a dict of train; give one of its data sets, and another as test=",
        ),
        (
            [{"a": 1, "label": 0, "b": 2}],
            r"data\[0\]: its columns are a, label, b, and none of them is the input by name",
        ),
        ([(1, 2, 3)], r"data\[0\]: is a tuple; a pair of input and label is needed"),
        ((INPUTS, LABELS[:5]), "data: 8 samples, but 5 labels"),
        (SimpleNamespace(column_names={"train": []}, features={}), "has the splits train; give one of them"),
    ],
)
def test_what_is_no_data_set(data: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        list(mapped_part(data, MODEL, "", "data").samples)


@pytest.mark.parametrize(
    "data", [Columns("x"), {"x": INPUTS}, [{"x": row} for row in INPUTS], INPUTS, Columns("x", "label")]
)
def test_a_task_without_labels_needs_none(data: Any) -> None:
    images = replace(MODEL, classes=3, task=Autoencoder("autoencoder"), units=(Unit("a", (Linear("linear", 3),)),))
    part = mapped_part(data, images, "", "data")
    assert [np.frombuffer(values, np.float32).tolist() for values, _ in part.samples] == INPUTS.tolist()


def test_a_sample_of_a_stream_that_does_not_fit_is_named() -> None:
    with pytest.raises(InputError, match=r"data, sample 1: its input is 2; the plan's model takes 3 of float32"):
        mapped_part(iter([(INPUTS[0], 0), (INPUTS[0][:2], 0)]), MODEL, "", "data")
