"""`--task` and what there is to say of one."""

from __future__ import annotations

import argparse

import pytest

from planner.cli.task_options import add_task, for_task, task_from
from planner.errors import InputError, ModelError
from planner.model.zoo import from_zoo
from planner.tasks.classification import Classification
from planner.tasks.kinds import CLASSIFICATION, USUAL, AnyTask, make_task
from planner.tasks.regression import Regression
from planner.tasks.segmentation import Segmentation


def _task(*words: str, usual: AnyTask = CLASSIFICATION) -> AnyTask:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_task(parser)
    return task_from(parser.parse_args(words), usual)


def test_what_is_said_becomes_the_task() -> None:
    assert _task() == CLASSIFICATION
    assert _task("--label-smoothing", "0.1", "--class-weights", "1,2.5") == Classification(
        "classification", 0.1, (1.0, 2.5)
    )
    assert _task("--task", "regression", "--loss", "huber") == Regression("regression", "huber")
    for kind in ("multilabel", "segmentation", "next-token"):
        assert _task("--task", kind, "--label-smoothing", "0.1") == make_task(kind, {"label_smoothing": 0.1})
    assert _task("--task", "segmentation", "--ignore-index", "0") == Segmentation("segmentation", 0)
    assert _task("--task", "segmentation", "--ignore-index", "none") == Segmentation("segmentation", None)
    for kind, task in USUAL.items():
        assert _task("--task", kind) == task


def test_a_description_says_what_is_not_said() -> None:
    usual = Regression("regression", "l1")
    assert _task(usual=usual) == _task("--task", "regression", usual=usual) == usual
    assert _task("--loss", "mse", usual=usual) == Regression("regression", "mse")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--loss", "mse"), "classification has no loss; it has class_weights, label_smoothing"),
        (("--task", "autoencoder", "--label-smoothing", "0.1"), "autoencoder has no label_smoothing$"),
        (("--label-smoothing", "1"), "label_smoothing is 1.0; it must lie between 0 and 1"),
        (("--task", "next-token", "--label-smoothing", "1"), "label_smoothing is 1.0; it must lie between 0 and 1"),
        (("--class-weights", "1,-1"), "none may be below 0"),
    ],
)
def test_what_a_task_has_not_is_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _task(*words)


def test_a_network_is_refused_for_a_task_that_wants_another_output() -> None:
    model = from_zoo("cnn6", (1, 28, 28), 10)
    assert for_task(model, USUAL["regression"]).task == USUAL["regression"]
    with pytest.raises(ModelError, match="gives 10 per sample, but the model has 10 classes for every pixel"):
        for_task(model, USUAL["segmentation"])
    with pytest.raises(InputError, match="there are 2 of them for 10 classes"):
        for_task(model, Classification("classification", class_weights=(1.0, 2.0)))


def test_a_network_of_one_output_is_a_regressions() -> None:
    assert from_zoo("cnn6", (1, 28, 28), 1).task == USUAL["regression"]
    with pytest.raises(InputError, match="classes is 1"):
        for_task(from_zoo("cnn6", (1, 28, 28), 1), CLASSIFICATION)
