"""Tasks: what documents say of them, and that labels come back from storage as they went there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner import limits
from planner.model.zoo import from_zoo
from planner.schema.codec import content_id, decode, encode
from planner.schema.model import Model
from planner.tasks.accuracy import Accuracy
from planner.tasks.base import DataLabels, Metric, class_label, class_of
from planner.tasks.kinds import CLASSIFICATION, USUAL, make_task

MODEL = from_zoo("cnn6", (1, 28, 28), 10)


@given(st.integers(0, limits.MAX_CLASSES - 1))
def test_a_class_comes_back_from_storage(number: int) -> None:
    stored = class_label(number)
    assert len(stored) == CLASSIFICATION.label_form(10, (1, 28, 28)).stored_bytes
    assert class_of(stored) == number


def test_a_model_that_names_no_task_tells_classes_apart_and_keeps_its_id() -> None:
    written = encode(MODEL)
    assert written.pop("task") == {"kind": "classification", "label_smoothing": 0.0, "class_weights": []}
    assert decode(Model, written) == MODEL
    for name in ("class_names", "normalisation", "resize", "shorter_side"):  # which came later too
        assert not written.pop(name)
    assert written.pop("input_dtype") == "uint8"
    assert content_id(MODEL) == content_id(written)


@pytest.mark.parametrize("kind", ["multilabel", "segmentation", "next-token"])
def test_a_task_that_got_label_smoothing_later_keeps_its_id_without(kind: str) -> None:
    written = encode(USUAL[kind])
    assert written.pop("label_smoothing") == 0.0
    assert content_id(USUAL[kind]) == content_id(written)
    assert content_id(make_task(kind, {"label_smoothing": 0.1})) != content_id(written)
    with pytest.raises(ValueError, match=r"label_smoothing is -0\.1; it must lie between 0 and 1"):
        make_task(kind, {"label_smoothing": -0.1})


def test_a_class_more_than_the_network_tells_apart_does_not_fit() -> None:
    CLASSIFICATION.check_data(DataLabels("class", 10), 10, (1, 28, 28), "the model")
    with pytest.raises(ValueError, match="has 11 classes, but the model tells 10 apart"):
        CLASSIFICATION.check_data(DataLabels("class", 11), 10, (1, 28, 28), "the model")


class _Error(Metric):
    higher_is_better = False


def test_which_way_a_metric_is_better_decides_every_comparison() -> None:
    accuracy, error = Accuracy(), _Error()
    assert accuracy.is_better(0.9, 0.8) and not accuracy.is_better(0.8, 0.8)
    assert error.is_better(0.8, 0.9) and not error.is_better(0.8, 0.8)
    assert accuracy.is_within(0.5, 0.895, 0.9) and not accuracy.is_within(0.4, 0.895, 0.9)
    assert error.is_within(0.5, 1.5, 1.0) and not error.is_within(0.4, 1.5, 1.0)
    assert error.is_within(0.0, 0.5, 1.0)
