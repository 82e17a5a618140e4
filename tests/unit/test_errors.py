"""The error tree: exit codes by class, and messages that carry what they are made of."""

from __future__ import annotations

import inspect
import re

import pytest

from planner import errors
from planner.errors import (
    DataError,
    DocumentError,
    InfeasibleError,
    InputError,
    InterruptedRunError,
    ModelError,
    OverBudgetError,
    PlannerError,
    RunError,
    StorageError,
)
from planner.runner.protocol.events import Message
from planner.schema.child_failed import ChildFailed
from planner.schema.codec import decode, parse_json, to_json

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (InputError, 2),
        (DocumentError, 2),
        (ModelError, 2),
        (DataError, 2),
        (InfeasibleError, 3),
        (RunError, 4),
        (OverBudgetError, 4),
        (StorageError, 4),
        (InterruptedRunError, 130),
    ],
)
def test_the_class_decides_the_exit_code(kind: type[PlannerError], code: int) -> None:
    assert kind.exit_code == code


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InputError("x"), InputError),
        (DocumentError("$", "x"), InputError),
        (InfeasibleError("x", 7, "memory"), InfeasibleError),
        (StorageError("x"), RunError),
        (InterruptedRunError("x"), InterruptedRunError),
    ],
)
def test_another_processs_error_comes_back_with_its_exit_code_and_words(
    error: PlannerError, kind: type[PlannerError]
) -> None:
    told = decode(Message, parse_json(to_json(Message(ChildFailed.of(error))))).event
    assert isinstance(told, ChildFailed)
    found = told.error()
    assert type(found) is kind
    assert (found.exit_code, str(found)) == (error.exit_code, str(error))
    assert getattr(found, "minimum_bytes", None) == getattr(error, "minimum_bytes", None)


def test_the_tree_at_the_top_of_the_module_is_the_tree() -> None:
    drawn: dict[str, str | None] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"([│├└─ ]*)([A-Z]\w+)(?:\s|$)", line)
        if match and match[2].endswith("Error"):
            depth = len(match[1]) // 4
            path[depth:] = [match[2]]
            drawn[match[2]] = path[depth - 1] if depth else None
    parents = {kind.__name__: kind.__bases__[0].__name__ for kind in CLASSES if kind is not PlannerError}
    assert drawn == {**parents, "PlannerError": None}


def test_no_planner_error_is_a_value_error() -> None:
    # `decode` turns ValueError of a dataclass into DocumentError; one of ours inside it would lose its class.
    assert not any(issubclass(kind, ValueError) for kind in CLASSES)


def test_a_document_error_names_the_place() -> None:
    error = DocumentError("$.units[3]", "this field is missing")
    assert (str(error), error.path, error.problem) == (
        "$.units[3]: this field is missing",
        "$.units[3]",
        "this field is missing",
    )


def test_a_model_error_names_the_unit_where_one_is_to_blame() -> None:
    assert str(ModelError("no such network")) == "no such network"
    assert ModelError("no such network").unit is None
    assert (str(ModelError("too wide", unit=0)), ModelError("too wide", unit=0).unit) == ("unit 0: too wide", 0)


def test_a_data_error_names_file_and_record() -> None:
    assert str(DataError("a.npz", "no labels")) == "a.npz: no labels"
    error = DataError("a.npz", "label 12 of 10 classes", record=0)
    assert (str(error), error.file, error.record) == ("a.npz, record 0: label 12 of 10 classes", "a.npz", 0)


def test_an_infeasible_error_carries_what_would_do() -> None:
    error = InfeasibleError("no plan fits", minimum_bytes=123, term="runtime")
    assert (str(error), error.minimum_bytes, error.term) == ("no plan fits", 123, "runtime")
