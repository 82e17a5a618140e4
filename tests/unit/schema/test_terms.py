"""What a person leaves out, and that what a plan was asked for can be asked again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.errors import InputError
from planner.schema.codec import decode, encode, parse_json, to_json
from planner.schema.common import OptimizerConfig, usual_optimizer
from planner.schema.preprocessing import USUAL
from planner.schema.request import Augment, Budget, Request, Training
from planner.schema.terms import BudgetTerms, OptimizerTerms, PlanTerms, TrainingTerms, usual_views
from planner.units import MIB
from tests.unit.every_term import EVERY_TERM, values


def test_who_names_a_budget_and_no_more_asks_for_the_usual() -> None:
    usual = Training(128, 10, 50_000, usual_optimizer("sgd"))
    assert PlanTerms(budget=BudgetTerms(MIB)).request() == Request(Budget(MIB, "process"), usual)
    assert decode(PlanTerms, {"budget": {"bytes": MIB}}) == PlanTerms(budget=BudgetTerms(MIB))


def test_a_reserve_of_null_is_the_usual_one_and_of_0_is_none() -> None:
    reserves = [PlanTerms(budget=BudgetTerms(MIB), reserve_bytes=given).request().reserve_bytes for given in (None, 0)]
    assert reserves == [4 * MIB, 0]


@pytest.mark.parametrize(("augment", "epochs", "views"), [("none", 9, 1), ("crop", 9, 4), ("flip", 2, 2)])
def test_the_usual_number_of_views(augment: Augment, epochs: int, views: int) -> None:
    assert usual_views(augment, epochs) == views
    assert TrainingTerms(augment=augment, epochs=epochs).training().views == views


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_what_is_left_out_of_an_optimizer_is_as_usual_for_it(kind: str) -> None:
    assert decode(OptimizerTerms, {"kind": kind}).optimizer() == usual_optimizer(kind)  # type: ignore[arg-type]
    plain = OptimizerConfig(kind, 0.5)  # type: ignore[arg-type]  # one of the three
    assert OptimizerTerms.of(plain).optimizer() == plain


def test_every_term_is_unlike_its_default() -> None:
    """Of the terms that the tests of command line, Python, REST and page ask with: none can be lost unseen."""
    said = TrainingTerms(normalisation=USUAL)  # which is what nothing (null) means
    usual = values(encode(PlanTerms(budget=BudgetTerms(1), training=said).request()))
    asked = values(encode(decode(PlanTerms, EVERY_TERM).request()))
    assert asked.keys() == usual.keys()
    same = {name for name, value in asked.items() if value == usual[name]}
    assert same == {"training.optimizer.nesterov"}  # which Adam has none of


def test_a_plans_request_is_terms_that_ask_for_the_same() -> None:
    request = decode(PlanTerms, EVERY_TERM).request()
    request = replace(request, training=replace(request.training, optimizer=OptimizerConfig("sgd", 1, 0.5, True, 0.25)))
    assert decode(PlanTerms, parse_json(to_json(request))).request() == request


def test_what_lies_out_of_range_is_said_with_its_name() -> None:
    with pytest.raises(InputError, match=r"^max_cuts is -1; it must lie between 0 and "):
        PlanTerms(budget=BudgetTerms(1), max_cuts=-1).request()
