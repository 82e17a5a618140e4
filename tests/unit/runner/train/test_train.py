"""The way down the ladder, and how long training goes; with real blocks and a guard whose limit is chosen."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from planner.errors import InterruptedRunError, OverBudgetError, RunError
from planner.runner.input.samples import Samples
from planner.runner.protocol.events import Checkpointed, Deviation, Event, Step
from planner.runner.protocol.job import RunLength
from planner.runner.protocol.position import Position
from planner.runner.storage.checkpoint import Checkpoints
from planner.runner.train import train
from planner.runner.train.block import LoadedBlock
from planner.runner.train.context import BlockContext
from planner.runner.train.guard import WARMING_BYTES, MemoryGuard
from planner.runner.train.stop import StopSignal
from planner.runner.train.train import BlockTrainer, least_micro_batch
from planner.schema.codec import decode, parse_json
from planner.schema.common import OptimizerConfig
from planner.schema.model import Dropout
from planner.schema.plan import BatchSetting, Plan
from planner.schema.preprocessing import USUAL
from planner.tasks.base import CLASS_BYTES, CLASS_NUMBER, Label, class_label
from planner.training.runtime import trim_after_each
from tests.unit.runner.contexts import block_context, run_context
from tests.unit.runner.train.test_block import BATCH, make_plan


class Images:
    """1×8×8 images of one value."""

    record_bytes = 64

    label_bytes = CLASS_BYTES

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def read_into(self, index: int, image: memoryview) -> Label:
        image[:] = bytes([index % 256]) * 64
        return class_label(index % 10)

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
    fallbacks = tuple(BatchSetting(size, BATCH // size, block.predicted) for size in (4, 2, 1))
    return replace(plan, blocks=(replace(block, ladder=fallbacks),))


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


CHECKPOINT = Path("checkpoint")


def _context(plan: Plan, length: RunLength) -> BlockContext:
    return run_context(plan, length=length).stages[0]


def _trainer(
    plan: Plan,
    order: RunLength,
    fits: int,
    events: list[Event],
    samples: int = 20,
    frozen: Sequence[nn.Module] = (),
    every_seconds: float = math.inf,
    stop: StopSignal | None = None,
) -> BlockTrainer:
    images = Images(samples)

    guard = FakeLimit(fits)

    def make(size: int) -> Samples:
        guard.asked = size
        return Samples(images, (1, 8, 8), cached=None, micro_batch=size, labels=CLASS_NUMBER, normalisation=USUAL)

    checkpoints = Checkpoints(CHECKPOINT, every_seconds)
    return BlockTrainer(_context(plan, order), make, guard, events.append, checkpoints, stop or StopSignal(), frozen)


def test_the_plans_own_setting_is_used_when_it_holds() -> None:
    events: list[Event] = []
    trained = _trainer(_with_ladder(make_plan((0, 6))), RunLength(2, None, 0), BATCH, events).train()
    assert trained.setting.micro_batch == BATCH
    steps = [event for event in events if isinstance(event, Step)]
    # 20 samples in batches of 8: three steps an epoch, the last of 4 samples.
    assert [(step.epoch, step.step, step.samples) for step in steps] == [
        (0, 0, 8), (0, 1, 8), (0, 2, 4), (1, 3, 8), (1, 4, 8), (1, 5, 4),
    ]  # fmt: skip
    assert (trained.position.whole_epochs, trained.position.step) == (2, 6)
    assert trained.position.loss == pytest.approx(sum(step.loss for step in steps[3:]) / 3)
    assert all(event.kind != "deviation" for event in events)


def test_the_first_smaller_rung_that_holds_is_taken_and_told() -> None:
    events: list[Event] = []
    trained = _trainer(_with_ladder(make_plan((0, 6))), RunLength(1, None, 0), 2, events).train()
    assert (trained.setting.micro_batch, trained.setting.accumulate) == (2, 4)
    told = [event.text for event in events if isinstance(event, Deviation)]
    assert len(told) == 2
    assert "micro-batch 8" in told[0] and "micro-batch 4" in told[1]


def test_every_rung_is_left_room_for_what_its_kernels_map_and_never_write(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = _with_ladder(make_plan((0, 6)))
    block = plan.blocks[0]
    rooms = (700, 500, 300, 100)
    ladder = tuple(
        replace(fallback, predicted=replace(fallback.predicted, untouched_bytes=room))
        for fallback, room in zip(block.ladder, rooms[1:], strict=True)
    )
    block = replace(block, predicted=replace(block.predicted, untouched_bytes=rooms[0]), ladder=ladder)
    left: list[int] = []
    monkeypatch.setattr(FakeLimit, "limit", lambda guard, untouched_bytes=0: left.append(untouched_bytes))
    _trainer(replace(plan, blocks=(block,)), RunLength(1, None, 0), 2, []).train()
    # More while kernels are made; what they have mapped then is counted from there on.
    warming = [WARMING_BYTES + room for room in rooms]
    assert left == [warming[0], 700, warming[1], 500, warming[2], 300]


def test_an_exhausted_ladder_says_what_was_tried() -> None:
    trainer = _trainer(_with_ladder(make_plan((0, 6))), RunLength(1, None, 0), 0, [])
    with pytest.raises(
        OverBudgetError, match=r"no.* fallbacks.*micro-batch 8.*micro-batch 4.*micro-batch 2.*micro-batch 1"
    ):
        trainer.train()


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    events: list[Event] = []
    order = RunLength(1, None, 0)

    def make(size: int) -> Samples:
        return Samples(Images(20), (2, 4, 8), cached=None, micro_batch=size, labels=CLASS_NUMBER, normalisation=USUAL)

    checkpoints = Checkpoints(CHECKPOINT, math.inf)
    plan = _with_ladder(make_plan((0, 6)))
    trainer = BlockTrainer(_context(plan, order), make, FakeLimit(BATCH), events.append, checkpoints, StopSignal())
    with pytest.raises(RuntimeError, match="channels"):
        trainer.train()
    assert events == []


def test_a_diverging_loss_ends_the_run_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = []
    plan = make_plan((0, 2, 6), lr=0.4)
    _losing(monkeypatch, [(1.0, 1.0), (math.nan, 1.0)])
    said = (
        r"^block 0: training has diverged: the loss of units 0 to 1 is nan at step 1, with a learning rate of 0\.3; "
        r"it had no checkpoint yet\. Plan again with a smaller --lr"
    )
    with pytest.raises(RunError, match=said) as raised:
        _trainer(plan, RunLength(1, None, 0), BATCH, events).train()
    assert raised.value.exit_code == 4
    assert [event.kind for event in events] == ["phase", "step"]


Losses = Iterable[tuple[float, ...]]


def _losing(monkeypatch: pytest.MonkeyPatch, losses: Losses | Callable[[LoadedBlock], Losses]) -> None:
    """Let training lose so much, in each segment, step by step; the dry step loses nothing.

    A function gives them for the block that is trained, and may do something to that between two steps.
    """
    left: dict[int, Iterator[tuple[float, ...]]] = {}
    start = BlockTrainer._start

    def noted(trainer: BlockTrainer) -> LoadedBlock:
        block = start(trainer)
        left[id(block)] = iter(losses(block) if callable(losses) else losses)
        return block

    def train_batch(block: LoadedBlock, micro_batches: Iterator[Any], *_: object) -> float:
        assert list(micro_batches)
        block.losses = list(next(left[id(block)])) if id(block) in left else [0.0] * len(block.segments)
        return block.losses[-1]

    monkeypatch.setattr(BlockTrainer, "_start", noted)
    monkeypatch.setattr(LoadedBlock, "train_batch", train_batch)


_FAR = 10 * math.log(10) * 1.01  # a network that answers 0 to everything loses the logarithm of the classes


def test_a_loss_that_stays_far_above_its_beginning_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that began lower than an untrained network's is held against that; 199 steps and one below are no alarm."""
    _losing(monkeypatch, [(0.1, 0.1), *[(0.1, _FAR)] * 199, (0.1, _FAR / 1.02), *[(0.1, _FAR)] * 200])
    trainer = _trainer(make_plan((0, 2, 6)), RunLength(140, None, 0), BATCH, [])
    with pytest.raises(RunError, match=r"the loss of units 2 to 5 is 23\.2\d?, .* 200 steps .* at step 400, with"):
        trainer.train()


def test_a_loss_that_began_high_may_go_on_there(monkeypatch: pytest.MonkeyPatch) -> None:
    _losing(monkeypatch, [(1000.0,), *[(9999.0,)] * 299])
    assert _trainer(make_plan((0, 6)), RunLength(100, None, 0), BATCH, []).train().position.step == 300


def test_what_is_kept_of_training_that_diverges_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """No checkpoint is taken where a loss is far off or a weight no number: the last one before is kept."""

    def losses(block: LoadedBlock) -> Iterator[tuple[float]]:
        yield from [(1.0,), (1.0,), (_FAR,), (1.0,)]
        next(block.segments[0].parameters()).data.view(-1)[3] = math.inf
        yield from [(1.0,), (math.nan,)]

    events: list[Event] = []
    _losing(monkeypatch, losses)
    trainer = _trainer(make_plan((0, 6)), RunLength(9, None, 0), BATCH, events, every_seconds=0.0)
    kept = r"its last checkpoint, behind step 4, is kept in checkpoint, where --init can begin with it"
    with pytest.raises(RunError, match=kept):
        trainer.train()
    assert [event.step for event in events if isinstance(event, Checkpointed)] == [1, 2, 4]
    begun = LoadedBlock(_context(make_plan((0, 6)), RunLength(1, None, 0)))
    begun.begin_with(CHECKPOINT)
    assert all(bool(parameter.isfinite().all()) for parameter in begun.segments[0].parameters())


def test_a_last_step_that_leaves_no_numbers_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def losses(block: LoadedBlock) -> Iterator[tuple[float]]:
        yield (1.0,)
        next(block.segments[0].parameters()).data.view(-1)[3] = math.nan
        yield (1.0,)

    _losing(monkeypatch, losses)
    trainer = _trainer(make_plan((0, 6)), RunLength(1, 2, 0), BATCH, [])
    with pytest.raises(RunError, match=r"units\.0\.0\.weight holds what is no finite number at step 1"):
        trainer.train()


def test_how_long_a_loss_has_been_far_off_is_known_after_a_stop() -> None:
    position = Position(0, losses_began_at=(2.5, 3.0), high_steps=7)
    assert decode(Position, parse_json(position.metadata()["position"])) == position


def test_the_schedule_ends_with_the_last_batch_where_a_rest_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 17 samples one is left out: batch normalisation needs two. Two steps are all, so the second is half way."""
    rates: list[float] = []

    def train_batch(block: LoadedBlock, *_: object) -> float:
        rates.append(block.optimizer.lr)
        return 0.5

    monkeypatch.setattr(LoadedBlock, "train_batch", train_batch)
    _trainer(make_plan((0, 5, 6), lr=0.4), RunLength(1, None, 0), BATCH, [], samples=17).train()
    assert rates[-2:] == pytest.approx([0.4, 0.2])


@pytest.mark.parametrize(("most", "epochs", "steps"), [(1, 0, 1), (3, 1, 3), (4, 1, 4), (99, 2, 6)])
def test_max_steps_ends_training_early(most: int, epochs: int, steps: int) -> None:
    trained = _trainer(make_plan((0, 6)), RunLength(2, most, 0), BATCH, []).train()
    assert (trained.position.whole_epochs, trained.position.step) == (epochs, steps)


def test_the_learning_rate_follows_half_a_cosine() -> None:
    trainer = _trainer(make_plan((0, 6), lr=0.4), RunLength(2, None, 0), BATCH, [])
    assert trainer._rate(0, 10) == pytest.approx(0.4)
    assert trainer._rate(5, 10) == pytest.approx(0.2)
    assert trainer._rate(9, 10) == pytest.approx(0.2 * (1 + math.cos(0.9 * math.pi)))


def test_the_learning_rate_rises_over_the_warm_up_and_then_follows_the_schedule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One epoch of three steps up, then half a cosine over the three that are left."""
    plan = make_plan((0, 6), lr=0.4)
    rates: list[float] = []
    plan = replace(plan, training=replace(plan.training, epochs=2, warmup=1))
    trainer = _trainer(plan, RunLength(2, None, 0), BATCH, [])

    def train_batch(block: LoadedBlock, *_: object) -> float:
        rates.append(block.optimizer.lr)
        return 0.5

    monkeypatch.setattr(LoadedBlock, "train_batch", train_batch)
    trainer.train()
    assert rates[-6:] == pytest.approx([0.4 / 3, 0.8 / 3, 0.4, 0.4, 0.3, 0.1])


def test_training_does_not_depend_on_the_dry_step() -> None:
    plan = make_plan((0, 6))
    losses = []
    for ladder in (plan, _with_ladder(plan)):
        events: list[Event] = []
        _trainer(ladder, RunLength(1, None, 3), BATCH, events).train()
        losses.append([event.loss for event in events if isinstance(event, Step)])
    assert losses[0] == losses[1]


def _weights(block: LoadedBlock) -> list[Tensor]:
    return [tensor for _, module in block.named_modules() for tensor in module.state_dict().values()]


def _equal(first: LoadedBlock, second: LoadedBlock) -> bool:
    pairs = list(zip(_weights(first), _weights(second), strict=True))
    return all(torch.equal(one, other) for one, other in pairs)


def _with_dropout(plan: Plan, optimizer: OptimizerConfig) -> Plan:
    """Random numbers in every step, and an optimizer with a state."""
    units = list(plan.model.units)
    units[2] = replace(units[2], layers=(*units[2].layers, Dropout("dropout", 0.4)))
    training = replace(plan.training, optimizer=optimizer)
    return replace(plan, model=replace(plan.model, units=tuple(units)), training=training)


class _StopAt(StopSignal):
    """Asks to stop when so many steps are told."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._step = step

    def tell(self, event: Event) -> None:
        if isinstance(event, Step) and event.step + 1 == self._step:
            self.set()


@pytest.mark.parametrize(
    "optimizer", [OptimizerConfig("sgd", 0.1, 0.9, weight_decay=0.01), OptimizerConfig("adam", 0.01)]
)
@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_training_stopped_behind_any_step_goes_on_to_the_same_bits(optimizer: OptimizerConfig, step: int) -> None:
    plan, order = _with_dropout(make_plan((0, 3, 6)), optimizer), RunLength(2, None, 0)
    whole = _trainer(plan, order, BATCH, []).train()
    stop = _StopAt(step)
    with pytest.raises(InterruptedRunError, match="--resume"):
        trainer = _trainer(plan, order, BATCH, [], stop=stop)
        trainer._emit = stop.tell
        trainer.train()
    torch.manual_seed(step)  # whatever else has drawn numbers in between
    events: list[Event] = []
    resumed = _trainer(plan, order, BATCH, events).train()
    assert [event.step for event in events if isinstance(event, Step)] == list(range(step, 6))
    assert _equal(whole.block, resumed.block)
    assert resumed.position.loss == whole.position.loss
    assert (resumed.position.whole_epochs, resumed.position.step) == (2, 6)


def test_checkpoints_come_when_their_time_has_come() -> None:
    events: list[Event] = []
    _trainer(make_plan((0, 6)), RunLength(2, None, 0), BATCH, events, every_seconds=0.0).train()
    assert [event.step for event in events if isinstance(event, Checkpointed)] == [1, 2, 3, 4, 5, 6]
    _trainer(make_plan((0, 6)), RunLength(2, None, 1), BATCH, events := []).train()
    assert not [event for event in events if isinstance(event, Checkpointed)]


def test_library_pages_that_a_checkpoint_needed_are_given_back_before_the_next_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They made steps behind a checkpoint up to 2 MB higher than predicted: 1 % at a budget of 180 MB."""
    events: list[Event] = []
    released: list[int] = []
    monkeypatch.setattr(train, "release_memory", lambda: released.append(sum(isinstance(e, Step) for e in events)))
    _trainer(make_plan((0, 6)), RunLength(2, None, 0), BATCH, events, every_seconds=0.0).train()
    assert [step for step in released if step] == [1, 2, 3, 4, 5, 6]


def test_a_damaged_checkpoint_is_told_and_the_block_begins_anew() -> None:
    plan, order = make_plan((0, 6)), RunLength(1, None, 0)
    whole = _trainer(plan, order, BATCH, [], every_seconds=0.0).train()
    content = bytearray(CHECKPOINT.read_bytes())
    content[len(content) // 2] ^= 1
    CHECKPOINT.write_bytes(content)
    events: list[Event] = []
    again = _trainer(plan, order, BATCH, events).train()
    told = [event.text for event in events if isinstance(event, Deviation)]
    assert len(told) == 1 and "begins anew, its checkpoint is damaged" in told[0]
    assert _equal(whole.block, again.block)


def test_an_overrun_in_training_costs_the_current_batch_and_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps with the plan's setting, the rest with its first fallback: as if stopped, and resumed with that."""
    plan, order = (
        _with_ladder(_with_dropout(make_plan((0, 3, 6)), OptimizerConfig("adam", 0.01))),
        RunLength(2, None, 0),
    )
    events: list[Event] = []
    real = LoadedBlock.train_batch

    def overrun(
        block: LoadedBlock, micro_batches: Iterator[tuple[Tensor, Tensor]], batch: int, accumulate: bool
    ) -> float:
        if not accumulate and sum(isinstance(event, Step) for event in events) == 2:
            next(micro_batches)
            for segment in block.segments:
                for parameter in segment.parameters():
                    parameter.grad = torch.ones_like(parameter)
            raise MemoryError
        return real(block, micro_batches, batch, accumulate)

    with monkeypatch.context() as patch:
        patch.setattr(LoadedBlock, "train_batch", overrun)
        trained = _trainer(plan, order, BATCH, events).train()
    assert (trained.setting.micro_batch, trained.setting.accumulate) == (4, 2)
    assert [event.step for event in events if isinstance(event, Step)] == list(range(6))
    told = [event.text for event in events if isinstance(event, Deviation)]
    assert told == [
        "block 0: does not fit with micro-batch 8, after step 2: an allocation beyond the budget was refused"
    ]

    stop = _StopAt(2)
    with pytest.raises(InterruptedRunError):
        trainer = _trainer(plan, order, BATCH, [], stop=stop)
        trainer._emit = stop.tell
        trainer.train()
    lower = replace(plan, blocks=(replace(plan.blocks[0], micro_batch=4, accumulate=2, ladder=()),))
    reference = _trainer(lower, order, BATCH, []).train()
    assert _equal(trained.block, reference.block)


def test_overruns_down_to_the_last_rung_end_training(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = []
    real = LoadedBlock.train_batch

    def overrun(*arguments: Any) -> float:
        if any(isinstance(event, Step) for event in events):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return real(*arguments)

    monkeypatch.setattr(LoadedBlock, "train_batch", overrun)
    with pytest.raises(
        OverBudgetError, match=r"no.* fallbacks.*micro-batch 8, after step 1.*micro-batch 1, after step 1"
    ):
        _trainer(_with_ladder(make_plan((0, 6))), RunLength(1, None, 0), BATCH, events).train()


def test_a_peak_above_the_allowance_in_training_leads_one_rung_lower() -> None:
    events: list[Event] = []
    trainer = _trainer(_with_ladder(make_plan((0, 6))), RunLength(2, None, 0), BATCH, events)

    def is_over(peak_bytes: int) -> bool:
        return trainer._position.step == 3 and trainer._position.fallback == 0

    trainer._guard.is_over = is_over  # type: ignore[method-assign]  # memory that really runs out is tests/fault's
    trained = trainer.train()
    assert (trained.setting.micro_batch, trained.setting.accumulate) == (4, 2)
    # The step that went over is done, and not done again.
    assert [(event.epoch, event.step) for event in events if isinstance(event, Step)] == [
        (0, 0), (0, 1), (0, 2), (1, 3), (1, 4), (1, 5),
    ]  # fmt: skip


def test_a_rung_that_accumulates_trains_without_the_optimizer_in_backward() -> None:
    plan = _with_ladder(make_plan((0, 6)))
    within = replace(plan, blocks=(replace(plan.blocks[0], optimizer_in_backward=True),))
    trained = [_trainer(each, RunLength(1, None, 3), 4, []).train() for each in (within, plan)]
    assert [each.setting.accumulate for each in trained] == [2, 2]
    found, expected = (list(each.block.segments[0].parameters()) for each in trained)
    assert all(torch.equal(mine, other) for mine, other in zip(found, expected, strict=True))


def test_dry_step_and_training_share_the_frozen_units_and_try_them_at_every_size() -> None:
    sizes: list[int] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        sizes.append(len(inputs[0]))

    frozen = nn.Identity().eval()
    frozen.register_forward_pre_hook(note)
    trained = _trainer(make_plan((0, 6)), RunLength(1, None, 0), BATCH, [], frozen=[frozen]).train()
    assert trained.block.frozen == [frozen]
    # 20 samples, so batches of 8, 8 and 4. Kernels are made for the smaller first; then come the first batch, and
    # behind its step a whole and the odd one; then the epoch.
    assert sizes == [4, 8, 8, 8, 4, 8, 8, 4]


@pytest.mark.parametrize("accumulate", [1, 2, 3, 128])
@pytest.mark.parametrize("more", [-1, 0, 1, 5], ids=lambda more: f"{more} samples more than a batch")
@pytest.mark.parametrize("epochs", [1, 2])
def test_dry_steps_meet_every_state_that_training_has_and_no_other(
    accumulate: int, more: int, epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of data of hardly a batch, of one, of one and a rest: after kernels were made, by a block's real tensors."""
    size = 4
    batch = size * accumulate
    plan = make_plan((0, 6))
    block = replace(plan.blocks[0], micro_batch=size, accumulate=accumulate)
    training = replace(plan.training, batch=batch, optimizer=OptimizerConfig("sgd", 0.01, 0.9))
    plan = replace(plan, training=training, blocks=(block,))
    met: dict[LoadedBlock, set[tuple[bool, bool, int]]] = {}
    is_trimming = False
    real = LoadedBlock.train_batch

    def watched(
        block: LoadedBlock, micro_batches: Iterator[tuple[Tensor, Tensor]], count: int, accumulates: bool
    ) -> float:
        def look() -> Iterator[tuple[Tensor, Tensor]]:
            for inputs, labels in micro_batches:
                parameter = next(block.segments[0].parameters())
                if not is_trimming:
                    state = bool(block.optimizer.state(parameter)), parameter.grad is not None, len(labels)
                    met.setdefault(block, set()).add(state)
                yield inputs, labels

        return real(block, look(), count, accumulates)

    @contextmanager
    def watched_trimming(modules: Iterable[nn.Module]) -> Iterator[None]:
        nonlocal is_trimming
        with trim_after_each(modules):
            is_trimming = True
            yield
            is_trimming = False

    monkeypatch.setattr(LoadedBlock, "train_batch", watched)
    monkeypatch.setattr(train, "trim_after_each", watched_trimming)
    trained = _trainer(plan, RunLength(epochs, None, 0), size, [], samples=batch + more).train()
    dry, whole = (met[block] for block in met)
    assert trained.block is list(met)[1]
    assert dry == whole


def test_the_least_micro_batch_counts_heads_too() -> None:
    # cnn6 at 8×8 has no unit that normalises over one position, but a head behind its last pool does.
    whole, cut = make_plan((0, 6)), make_plan((0, 5, 6))
    assert least_micro_batch(block_context(whole, 0)) == 1
    assert least_micro_batch(block_context(cut, 0)) == 2
