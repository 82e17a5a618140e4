"""What saves memory changes nothing else: recomputed spans, the optimizer in backward, input through frozen units."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from planner.runner.input.samples import Samples
from planner.runner.train.block import LoadedBlock, load_frozen
from planner.runner.train.pooled import fit_exits
from planner.runner.train.post_training import Prefix, validate
from planner.runner.train.stop import StopSignal
from planner.schema.common import OptimizerConfig
from planner.schema.plan import BlockInput, Plan
from planner.schema.preprocessing import USUAL
from planner.schema.run_folder import RunFolder
from planner.tasks.base import CLASS_NUMBER
from tests.unit.runner.contexts import block_context, loaded_block, run_context
from tests.unit.runner.train.test_block import BATCH, make_plan
from tests.unit.runner.train.test_train import Images


def with_block(plan: Plan, index: int, **changes: Any) -> Plan:
    """`plan` with another block in one place."""
    blocks = list(plan.blocks)
    blocks[index] = replace(blocks[index], **changes)
    return replace(plan, blocks=tuple(blocks))


def with_momentum(plan: Plan) -> Plan:
    """`plan` with an optimizer that has a state."""
    return replace(plan, training=replace(plan.training, optimizer=OptimizerConfig("sgd", 0.1, 0.9, weight_decay=1e-2)))


def with_recomputed_input(plan: Plan, index: int) -> Plan:
    """`plan` with one block reading images through the units before it, instead of a cache."""
    return with_block(plan, index, input=BlockInput("recompute", 0, 64, "uint8"))


def state_of(block: LoadedBlock) -> dict[str, Tensor]:
    """Parameters and buffers."""
    return {
        f"{prefix}.{name}": tensor.detach().clone()
        for prefix, module in block.named_modules()
        for name, tensor in module.state_dict().items()
    }


def equal_states(first: LoadedBlock, second: LoadedBlock) -> bool:
    """Whether two blocks have the same numbers, to the bit."""
    states = state_of(first), state_of(second)
    assert states[0].keys() == states[1].keys()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def _batches(micro_batch: int) -> list[list[tuple[Tensor, Tensor]]]:
    """Three batches, each as micro-batches."""
    generator = torch.Generator().manual_seed(11)
    found = []
    for _ in range(3):
        images, labels = torch.randn(BATCH, 1, 8, 8, generator=generator), torch.arange(BATCH)
        parts = [slice(at, at + micro_batch) for at in range(0, BATCH, micro_batch)]
        found.append([(images[part], labels[part]) for part in parts])
    return found


def _train(block: LoadedBlock, micro_batch: int = BATCH) -> list[float]:
    """Losses of three steps."""
    return [block.train_batch(iter(batch), BATCH, micro_batch < BATCH) for batch in _batches(micro_batch)]


@pytest.mark.parametrize(("micro_batch", "stepping"), [(BATCH, False), (BATCH, True), (BATCH // 2, False)])
def test_recomputed_spans_run_forward_twice_and_change_no_bit(micro_batch: int, stepping: bool) -> None:
    plan = with_momentum(make_plan((0, 3, 6), micro_batch=micro_batch))
    first, second = plan.blocks[0].segments
    segments = (replace(first, recompute=((1, 2),)), replace(second, recompute=((3, 4), (4, 6))))
    spans = with_block(plan, 0, segments=segments, optimizer_in_backward=stepping)
    block, plain = loaded_block(spans, 0, 3), loaded_block(plan, 0, 3)
    forwards: list[str] = []
    for name, module in block.named_modules():
        module.register_forward_hook(lambda *_, name=name: forwards.append(name))
    assert _train(block, micro_batch) == _train(plain, micro_batch)
    assert equal_states(block, plain)
    micro_batches = 3 * BATCH // micro_batch
    once, twice = ("units.0", "units.2", "heads.3"), ("units.1", "units.3", "units.4", "units.5")
    assert {name: forwards.count(name) for name in forwards} == {
        **dict.fromkeys(once, micro_batches),
        **dict.fromkeys(twice, 2 * micro_batches),
    }


class _Watched:
    """In place of an optimizer: remembers, for each of its steps, how many parameters moved and had gradients."""

    def __init__(self, block: LoadedBlock) -> None:
        self.lr = block.optimizer.lr
        self.state = block.optimizer.state
        self.restore = block.optimizer.restore
        self.seen: list[tuple[int, int]] = []
        self._optimizer = block.optimizer
        self._parameters = [parameter for segment in block.segments for parameter in segment.parameters()]

    def step(self, parameters: Iterable[Tensor]) -> None:
        """Step as the optimizer does."""
        moving = list(parameters)
        self.seen.append((len(moving), sum(parameter.grad is not None for parameter in self._parameters)))
        self._optimizer.step(moving)


def test_an_optimizer_in_backward_moves_one_parameter_at_a_time_to_the_same_weights() -> None:
    plan = with_momentum(make_plan((0, 3, 6)))
    block, plain = loaded_block(with_block(plan, 0, optimizer_in_backward=True), 0, 3), loaded_block(plan, 0, 3)
    watched = block.optimizer = _Watched(block)
    assert _train(block) == _train(plain)
    assert equal_states(block, plain)
    parameters = sum(1 for segment in block.segments for _ in segment.parameters())
    assert watched.seen == [(1, 1)] * (3 * parameters)


def test_an_optimizer_in_backward_waits_for_the_whole_batch_on_a_rung_that_accumulates() -> None:
    plan = with_momentum(make_plan((0, 3, 6)))
    block, plain = loaded_block(with_block(plan, 0, optimizer_in_backward=True), 0, 3), loaded_block(plan, 0, 3)
    watched = block.optimizer = _Watched(block)
    assert _train(block, BATCH // 2) == _train(plain, BATCH // 2)
    assert equal_states(block, plain)
    first, second = (sum(1 for _ in segment.parameters()) for segment in block.segments)
    assert watched.seen == [(first, first + second), (second, second)] * 3


def _save_trained(plan: Plan, index: int, out: Path) -> LoadedBlock:
    """A block trained a little and saved where a run keeps it; its statistics are no longer those of a fresh one."""
    block = loaded_block(plan, index, 3, load_frozen(block_context(plan, index, out)))
    (out / "weights").mkdir(exist_ok=True)
    _train(block)
    block.stop_training()
    block.save(RunFolder(out).block_weights(index))
    return block


@pytest.mark.parametrize("micro_batch", [BATCH, BATCH // 2])
def test_a_block_behind_frozen_units_trains_as_from_their_outputs(tmp_path: Path, micro_batch: int) -> None:
    cached = with_momentum(make_plan((0, 1), (1, 3), (3, 5, 6)))
    plan = with_recomputed_input(with_recomputed_input(cached, 1), 2)
    before = [_save_trained(plan, index, tmp_path) for index in (0, 1)]
    assert load_frozen(block_context(cached, 2, tmp_path)) == load_frozen(block_context(plan, 0, tmp_path)) == []
    block, plain = loaded_block(plan, 2, 3, load_frozen(block_context(plan, 2, tmp_path))), loaded_block(cached, 2, 3)
    units = [unit for done in before for segment in done.segments for unit in segment.units]
    losses = _train(block, micro_batch)
    for batch, loss in zip(_batches(micro_batch), losses, strict=True):
        outputs = []
        for images, labels in batch:
            with torch.no_grad():
                outputs.append((nn.Sequential(*units)(images), labels))
        assert plain.train_batch(iter(outputs), BATCH, micro_batch < BATCH) == loss
    assert equal_states(block, plain)
    # The frozen units stay as they were: no gradient, no statistics moved, nothing counted.
    for mine, other in zip(block.frozen, units, strict=True):
        assert all(parameter.grad is None for parameter in mine.parameters())
        states = mine.state_dict(), other.state_dict()
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


class _Alive:
    """Watches which outputs of a block's modules are in memory whenever its frozen units begin."""

    def __init__(self, block: LoadedBlock) -> None:
        self.found: list[int] = []
        self._outputs: list[weakref.ref[torch.UntypedStorage]] = []
        block.frozen[0].register_forward_pre_hook(self._begin)
        for module in [*block.frozen, *(module for _, module in block.named_modules())]:
            module.register_forward_hook(self._made)

    def _made(self, module: nn.Module, inputs: object, output: Tensor) -> None:
        self._outputs.append(weakref.ref(output.untyped_storage()))

    def _begin(self, module: nn.Module, inputs: object) -> None:
        self.found.append(sum(reference() is not None for reference in self._outputs))


def test_nothing_of_the_micro_batch_before_is_left_when_frozen_units_begin(tmp_path: Path) -> None:
    plan = with_recomputed_input(make_plan((0, 1), (1, 3, 5, 6)), 1)
    _save_trained(plan, 0, tmp_path)
    block = loaded_block(plan, 1, 3, load_frozen(block_context(plan, 1, tmp_path)))
    alive = _Alive(block)
    gc.disable()  # nothing may wait for the collector
    try:
        block.train_batch(((torch.randn(4, 1, 8, 8), torch.arange(4)) for _ in range(3)), 12, accumulate=True)
        block.stop_training()
        samples = Samples(Images(20), (1, 8, 8), cached=None, micro_batch=8, labels=CLASS_NUMBER, normalisation=USUAL)
        validate(block, samples, {}, None, Prefix(0, 0.0), StopSignal())
        fit_exits(block, {2: run_context(plan).shapes[2]}, samples, None, 20, 10, StopSignal())
    finally:
        gc.enable()
    assert alive.found == [0] * (3 + 3 + 3)


def test_an_exits_speed_counts_the_units_before_the_block_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = with_recomputed_input(make_plan((0, 1), (1, 4), (4, 6)), 1)
    _save_trained(plan, 0, tmp_path)
    block = loaded_block(plan, 1, 3, load_frozen(block_context(plan, 1, tmp_path)))
    block.stop_training()
    seconds = 0.0

    def take(amount: float) -> Callable[..., None]:
        def pass_time(*_: object) -> None:
            nonlocal seconds
            seconds += amount

        return pass_time

    for unit in block.frozen:
        unit.register_forward_hook(take(1000.0))
    for _, module in block.named_modules():
        module.register_forward_hook(take(2.0))
    monkeypatch.setattr("planner.runner.train.post_training.time.perf_counter", lambda: seconds)
    samples = Samples(Images(20), (1, 8, 8), cached=None, micro_batch=10, labels=CLASS_NUMBER, normalisation=USUAL)
    measured = validate(block, samples, {}, None, Prefix(480, 0.5), StopSignal())
    (found,) = measured.exits
    # Two micro-batches of 10, each through three units and a head, behind half a second a sample before the block.
    assert 1 / found.samples_per_second == pytest.approx(0.5 + 2 * 4 * 2.0 / 20)
    own = sum(parameter.numel() for _, module in block.named_modules() for parameter in module.parameters())
    assert found.parameters == 480 + own
    # The next block's exits run none of this block's heads.
    assert measured.behind.seconds_per_sample == pytest.approx(0.5 + 2 * 3 * 2.0 / 20)


def test_an_exits_speed_counts_no_head_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    block = loaded_block(make_plan((0, 1, 3), (3, 6)), 0, 3)
    block.stop_training()
    seconds = 0.0

    def take(amount: float) -> Callable[..., None]:
        def pass_time(*_: object) -> None:
            nonlocal seconds
            seconds += amount

        return pass_time

    for name, module in block.named_modules():
        module.register_forward_hook(take(100.0 if name.startswith("heads.") else 2.0))
    monkeypatch.setattr("planner.runner.train.post_training.time.perf_counter", lambda: seconds)
    samples = Samples(Images(20), (1, 8, 8), cached=None, micro_batch=10, labels=CLASS_NUMBER, normalisation=USUAL)
    first, second = validate(block, samples, {}, None, Prefix(0, 0.0), StopSignal()).exits
    # Two micro-batches of 10, each through one or three units and one head.
    assert 1 / first.samples_per_second == pytest.approx(2 * (1 * 2.0 + 100.0) / 20)
    assert 1 / second.samples_per_second == pytest.approx(2 * (3 * 2.0 + 100.0) / 20)
