"""What a person leaves out, and that what a plan was asked for can be asked again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.errors import InputError
from planner.schema.codec import content_id, decode, encode, parse_json, to_json
from planner.schema.common import OptimizerConfig, OptimizerKind, usual_optimizer
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


@pytest.mark.parametrize(
    ("kind", "rates"),
    [("sgd", {256: 0.1, 128: 0.05, 64: 0.025, 1024: 0.4}), ("adamw", {128: 1e-3, 32: 5e-4, 512: 2e-3})],
)
def test_a_learning_rate_that_is_left_out_follows_the_batch(kind: OptimizerKind, rates: dict[int, float]) -> None:
    """Proportional (Goyal et al., 0.1 at 256), and by the root (0.001 at 128)."""
    terms = OptimizerTerms(kind)
    found = {batch: TrainingTerms(batch=batch, optimizer=terms).training().optimizer.lr for batch in rates}
    assert found == pytest.approx(rates, rel=1e-12)
    given = TrainingTerms(batch=1024, optimizer=replace(terms, lr=0.3)).training()
    assert given.optimizer.lr == 0.3


@pytest.mark.parametrize("batch", [0, -1])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_a_batch_out_of_range_is_refused_as_such_and_not_as_the_rate_that_follows(
    kind: OptimizerKind, batch: int
) -> None:
    with pytest.raises(ValueError, match=f"batch is {batch}; it must lie between 1 and"):
        TrainingTerms(batch=batch, optimizer=OptimizerTerms(kind))


@pytest.mark.parametrize(("batch", "epochs", "warmup"), [(256, 90, 0), (257, 90, 5), (8192, 10, 1), (8192, 1, 1)])
def test_larger_batches_warm_up(batch: int, epochs: int, warmup: int) -> None:
    """Goyal et al.: 5 epochs of 90."""
    assert TrainingTerms(batch=batch, epochs=epochs).training().warmup == warmup
    assert TrainingTerms(batch=batch, epochs=epochs, warmup=0).training().warmup == 0


def test_nesterovs_momentum_is_usual_where_there_is_momentum() -> None:
    assert OptimizerTerms().optimizer().nesterov and not OptimizerTerms(momentum=0).optimizer().nesterov
    assert not OptimizerTerms(nesterov=False).optimizer().nesterov
    with pytest.raises(ValueError, match="nesterov needs a momentum above 0"):
        OptimizerTerms(momentum=0, nesterov=True)


def test_an_optimizer_that_says_nothing_of_what_decays_means_what_it_meant() -> None:
    written = {"kind": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": False, "weight_decay": 5e-4}
    before = decode(OptimizerConfig, written)
    assert before.weight_decay_on == "all"
    assert content_id(before) == content_id(written)


def test_every_term_is_unlike_its_default() -> None:
    """Of the terms that the tests of command line, Python, REST and page ask with: none can be lost unseen."""
    said = TrainingTerms(normalisation=USUAL)  # which is what nothing (null) means
    usual = values(encode(PlanTerms(budget=BudgetTerms(1), training=said).request()))
    asked = values(encode(decode(PlanTerms, EVERY_TERM).request()))
    assert asked.keys() == usual.keys()
    same = {name for name, value in asked.items() if value == usual[name]}
    assert not same


def test_a_plans_request_is_terms_that_ask_for_the_same() -> None:
    request = decode(PlanTerms, EVERY_TERM).request()
    optimizer = OptimizerConfig("sgd", 1, 0.5, True, 0.25, "all")
    request = replace(request, training=replace(request.training, optimizer=optimizer))
    assert decode(PlanTerms, parse_json(to_json(request))).request() == request


def test_what_lies_out_of_range_is_said_with_its_name() -> None:
    with pytest.raises(InputError, match=r"^max_cuts is -1; it must lie between 0 and "):
        PlanTerms(budget=BudgetTerms(1), max_cuts=-1).request()
