"""The way down the ladder, and how long training goes; with real blocks and a guard whose limit is chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from planner.errors import OverBudgetError, RunError
from planner.runner.block import LoadedBlock
from planner.runner.events import Deviation, Event, Step
from planner.runner.guard import MemoryGuard
from planner.runner.job import Order
from planner.runner.samples import Samples
from planner.runner.train import BlockTrainer, least_micro_batch
from planner.solver.schema import Plan, Rung

from .test_block import BATCH, make_plan


class Images:
    """1×8×8 images of one value."""

    record_bytes = 64

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def read_into(self, index: int, image: memoryview) -> int:
        image[:] = bytes([index % 256]) * 64
        return index % 10

    def close(self) -> None:
        """Nothing is open."""


class FakeLimit(MemoryGuard):
    """A guard to whom any micro-batch above `fits` is too much; memory that really runs out is tests/integration's."""

    def __init__(self, fits: int) -> None:
        super().__init__(None)
        self.fits = fits
        self.asked = 0

    def check(self, what: str) -> None:
        if self.asked > self.fits:
            raise OverBudgetError(f"{what} took too much")


def _with_ladder(plan: Plan) -> Plan:
    block = plan.blocks[0]
    rungs = tuple(Rung(size, BATCH // size, block.predicted) for size in (4, 2, 1))
    return replace(plan, blocks=(replace(block, ladder=rungs),))


def _trainer(
    plan: Plan, order: Order, fits: int, events: list[Event], samples: int = 20, frozen: Sequence[nn.Module] = ()
) -> BlockTrainer:
    images = Images(samples)

    guard = FakeLimit(fits)

    def make(size: int) -> Samples:
        guard.asked = size
        return Samples(images, (1, 8, 8), cached=False, micro_batch=size)

    return BlockTrainer(plan, 0, order, make, guard, events.append, frozen)


def test_the_plans_own_setting_is_used_when_it_holds() -> None:
    events: list[Event] = []
    trained = _trainer(_with_ladder(make_plan((0, 6))), Order(2, None, 0), BATCH, events).train()
    assert trained.setting.micro_batch == BATCH
    steps = [event for event in events if isinstance(event, Step)]
    # 20 samples in batches of 8: three steps an epoch, the last of 4 samples.
    assert [(step.epoch, step.step, step.samples) for step in steps] == [
        (0, 0, 8), (0, 1, 8), (0, 2, 4), (1, 3, 8), (1, 4, 8), (1, 5, 4),
    ]  # fmt: skip
    assert (trained.epochs, trained.steps) == (2, 6)
    assert trained.loss == pytest.approx(sum(step.loss for step in steps[3:]) / 3)
    assert all(event.kind != "deviation" for event in events)


def test_the_first_smaller_rung_that_holds_is_taken_and_told() -> None:
    events: list[Event] = []
    trained = _trainer(_with_ladder(make_plan((0, 6))), Order(1, None, 0), 2, events).train()
    assert (trained.setting.micro_batch, trained.setting.accumulate) == (2, 4)
    told = [event.text for event in events if isinstance(event, Deviation)]
    assert len(told) == 2
    assert "micro-batch 8" in told[0] and "micro-batch 4" in told[1]


def test_an_exhausted_ladder_says_what_was_tried() -> None:
    trainer = _trainer(_with_ladder(make_plan((0, 6))), Order(1, None, 0), 0, [])
    with pytest.raises(OverBudgetError, match=r"no rung.*micro-batch 8.*micro-batch 4.*micro-batch 2.*micro-batch 1"):
        trainer.train()


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    events: list[Event] = []
    order = Order(1, None, 0)

    def make(size: int) -> Samples:
        return Samples(Images(20), (2, 4, 8), cached=False, micro_batch=size)

    trainer = BlockTrainer(_with_ladder(make_plan((0, 6))), 0, order, make, FakeLimit(BATCH), events.append)
    with pytest.raises(RuntimeError, match="channels"):
        trainer.train()
    assert events == []


def test_a_diverging_loss_ends_the_run_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = []
    trainer = _trainer(make_plan((0, 6)), Order(1, None, 0), BATCH, events)
    monkeypatch.setattr(LoadedBlock, "train_batch", lambda *_: math.nan)
    with pytest.raises(RunError, match=r"block 0: the loss is nan after step 0: .*smaller --lr"):
        trainer.train()
    assert events == []


@pytest.mark.parametrize(("most", "epochs", "steps"), [(1, 0, 1), (3, 1, 3), (4, 1, 4), (99, 2, 6)])
def test_max_steps_ends_training_early(most: int, epochs: int, steps: int) -> None:
    trained = _trainer(make_plan((0, 6)), Order(2, most, 0), BATCH, []).train()
    assert (trained.epochs, trained.steps) == (epochs, steps)


def test_the_learning_rate_follows_half_a_cosine() -> None:
    trainer = _trainer(make_plan((0, 6), lr=0.4), Order(2, None, 0), BATCH, [])
    assert trainer._rate(0, 10) == pytest.approx(0.4)
    assert trainer._rate(5, 10) == pytest.approx(0.2)
    assert trainer._rate(9, 10) == pytest.approx(0.2 * (1 + math.cos(0.9 * math.pi)))


def test_training_does_not_depend_on_the_dry_step() -> None:
    plan = make_plan((0, 6))
    losses = []
    for ladder in (plan, _with_ladder(plan)):
        events: list[Event] = []
        _trainer(ladder, Order(1, None, 3), BATCH, events).train()
        losses.append([event.loss for event in events if isinstance(event, Step)])
    assert losses[0] == losses[1]


def test_a_rung_that_accumulates_trains_without_the_optimizer_in_backward() -> None:
    plan = _with_ladder(make_plan((0, 6)))
    within = replace(plan, blocks=(replace(plan.blocks[0], optimizer_in_backward=True),))
    trained = [_trainer(each, Order(1, None, 3), 4, []).train() for each in (within, plan)]
    assert [each.setting.accumulate for each in trained] == [2, 2]
    found, expected = (list(each.block.segments[0].parameters()) for each in trained)
    assert all(torch.equal(mine, other) for mine, other in zip(found, expected, strict=True))


def test_dry_step_and_training_share_the_frozen_units_and_try_them_at_every_size() -> None:
    sizes: list[int] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        sizes.append(len(inputs[0]))

    frozen = nn.Identity().eval()
    frozen.register_forward_pre_hook(note)
    trained = _trainer(make_plan((0, 6)), Order(1, None, 0), BATCH, [], frozen=[frozen]).train()
    assert trained.block.frozen == [frozen]
    # 20 samples: the dry steps take the odd remainder and two whole batches, the epoch two whole ones and the odd one.
    assert sizes == [4, 8, 8, 8, 8, 4]


def test_the_least_micro_batch_counts_heads_too() -> None:
    # cnn6 at 8×8 has no unit that normalises over one position, but a head behind its last pool does.
    whole, cut = make_plan((0, 6)), make_plan((0, 5, 6))
    assert least_micro_batch(whole, whole.blocks[0]) == 1
    assert least_micro_batch(cut, cut.blocks[0]) == 2
