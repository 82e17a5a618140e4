"""A polish: what `checkpoint` would do behind the blocks, under the same budget, counted in all that is promised."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.errors import InfeasibleError, PlannerError
from planner.report.plan_tables import polish_text
from planner.schema.codec import content_id, decode, encode
from planner.schema.plan import Plan
from planner.schema.request import Budget, Request, Strategy, Training
from planner.solver.checker.check import check
from planner.solver.explain.advice import advice
from planner.solver.explain.polish import polish_offer
from planner.solver.plan import least_memory, make_plan
from planner.units import MIB
from tests.unit.solver.chains import SGD, zoo_profile

PROFILE = zoo_profile("resnet18", (1, 4, 16, 64))
TRAINING = Training(batch=64, epochs=3, samples=1000, optimizer=SGD, polish=2)
PLAIN = replace(TRAINING, polish=0)
STRATEGIES: tuple[Strategy, ...] = ("auto", "backprop", "classic-local", "neuroflux")


def _request(budget: int, training: Training = TRAINING, **more: object) -> Request:
    return Request(Budget(budget, "training"), training, reserve_bytes=0, **more)  # type: ignore[arg-type]  # by name


FLOOR = least_memory(PROFILE, _request(1, PLAIN, strategy="checkpoint"))


@pytest.mark.parametrize("freeze", [0, 2])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_it_is_what_checkpoint_does_at_the_same_budget(strategy: Strategy, freeze: int) -> None:
    training, plain = replace(TRAINING, freeze=freeze), replace(PLAIN, freeze=freeze)
    budget = least_memory(PROFILE, _request(1, training, strategy=strategy)) + MIB
    plan = make_plan(PROFILE, _request(budget, training, strategy=strategy))
    assert plan.polish is not None
    block = plan.polish.block
    assert (block.units, len(block.segments), block.input.kind) == (
        (freeze, len(plan.model.units)),
        1,
        "recompute" if freeze else "data",
    )
    assert not block.optimizer_in_backward
    whole = make_plan(PROFILE, _request(budget, replace(plain, epochs=1), strategy="checkpoint", allocator="tight"))
    if not freeze:  # what is frozen leaves a cache to checkpoint alone
        assert replace(block, epochs=None) == whole.blocks[0]
    assert block.epochs == plan.polish.epochs == 2
    alone = make_plan(PROFILE, _request(budget, plain, strategy=strategy))
    if strategy != "auto":
        assert plan.blocks == alone.blocks
    seconds = block.predicted.seconds_per_epoch
    assert plan.polish.seconds == pytest.approx(2 * seconds)
    parts = [3 * each.predicted.seconds_per_epoch + each.predicted.finish_seconds for each in plan.blocks]
    assert plan.predicted.seconds_total == pytest.approx(sum(parts) + 2 * seconds)
    assert plan.predicted.peak_bytes == max(each.predicted.peak_bytes for each in plan.stages) <= budget
    assert decode(Plan, encode(plan)) == plan


def test_below_the_floor_of_checkpoint_nothing_fits_and_the_error_names_it() -> None:
    without = least_memory(PROFILE, _request(1, PLAIN))
    assert without < FLOOR == least_memory(PROFILE, _request(1))
    assert make_plan(PROFILE, _request(FLOOR)).minimum_budget_bytes == FLOOR
    request = _request(FLOOR - 1)
    with pytest.raises(InfeasibleError, match=r"no plan that ends with 2 epochs of polish fits a budget of") as raised:
        make_plan(PROFILE, request)
    assert raised.value.minimum_bytes == FLOOR
    assert "no polish at the end (no --polish)" in advice(PROFILE, request, raised.value)
    make_plan(PROFILE, replace(request, training=PLAIN))  # and only the polish was too much


def test_its_exits_are_pooled_ones_that_are_fitted_behind_it() -> None:
    budget = least_memory(PROFILE, _request(1, strategy="classic-local"))
    plan = make_plan(PROFILE, _request(budget, strategy="classic-local"))
    kinds = [None if found.head is None else found.head.kind for found in plan.exits]
    assert kinds == ["pooled"] * (len(plan.model.units) - 1) + [None]
    assert plan.exits_of(len(plan.blocks)) == plan.exits
    cuts = [found.head for index in range(len(plan.blocks)) for found in plan.exits_of(index)]
    assert cuts == [segment.head for block in plan.blocks for segment in block.segments]


def test_its_rate_is_a_tenth_where_nothing_is_said() -> None:
    plan = make_plan(PROFILE, _request(FLOOR))
    assert plan.polish is not None
    assert plan.polish.lr == pytest.approx(SGD.lr / 10)
    said = make_plan(PROFILE, _request(FLOOR, replace(TRAINING, polish_lr=0.003)))
    assert said.polish is not None
    assert (said.polish.lr, said.blocks) == (0.003, plan.blocks)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"polish_lr": 0.0}, "polish_lr is 0.0; it must lie above 0"),
        ({"polish": -1}, "polish is -1"),
        ({"polish": 0, "polish_lr": 0.1}, "polish_lr is 0.1, but polish is 0"),
    ],
)
def test_terms_that_mean_nothing_are_refused(changes: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(TRAINING, **changes)  # type: ignore[arg-type]  # by name


def test_the_checker_works_it_out_anew() -> None:
    plan = make_plan(PROFILE, _request(FLOOR))
    assert plan.polish is not None
    polish, block = plan.polish, plan.polish.block
    predicted = replace(block.predicted, seconds_per_epoch=block.predicted.seconds_per_epoch / 2)
    peak = replace(block.predicted, peak_bytes=block.predicted.peak_bytes - 1)
    kept = replace(block, segments=(replace(block.segments[0], recompute=()),))
    for other, said in (
        (replace(block, predicted=predicted), "polish.block: seconds_per_epoch"),
        (replace(block, predicted=peak), "polish.block: peak_bytes"),
        (kept, "polish.block: peak_bytes_by_phase.train"),
    ):
        changed = replace(plan, polish=replace(polish, block=other), id="")
        with pytest.raises(PlannerError, match=said):
            check(replace(changed, id=content_id(changed)), PROFILE)


def test_a_plan_without_one_says_whether_it_would_fit_and_what_it_would_cost() -> None:
    for budget in (FLOOR, FLOOR - 1):
        request = _request(budget, PLAIN, strategy="neuroflux")
        plan = make_plan(PROFILE, request)
        offer = polish_offer(PROFILE, request, plan)
        assert offer is not None
        assert offer.needed_bytes == FLOOR
        said = polish_text(plan, offer)
        if budget < FLOOR:
            assert (offer.epoch_seconds, offer.peak_bytes) == (None, None)
            assert "does not fit: it needs" in said
            continue
        polished = make_plan(PROFILE, replace(request, training=TRAINING)).polish
        assert polished is not None
        predicted = polished.block.predicted
        assert (offer.epoch_seconds, offer.peak_bytes) == (predicted.seconds_per_epoch, predicted.peak_bytes)
        assert "would fit: each takes" in said
    for strategy, training in (("neuroflux", TRAINING), ("checkpoint", PLAIN)):
        request = _request(2 * FLOOR, training, strategy=strategy)
        assert polish_offer(PROFILE, request, make_plan(PROFILE, request)) is None


def test_a_plan_and_what_was_asked_for_have_the_same_polish() -> None:
    plan = make_plan(PROFILE, _request(FLOOR))
    with pytest.raises(ValueError, match="polish: 0 epochs"):
        replace(plan, polish=None)
    assert plan.polish is not None
    with pytest.raises(ValueError, match="its epochs are 2; those of its polish are 3"):
        replace(plan, polish=replace(plan.polish, epochs=3))
