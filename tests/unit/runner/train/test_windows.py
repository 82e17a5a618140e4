"""Segments that train the unit behind them as well, against plain PyTorch: to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from planner.heads.pooled import PooledHead
from planner.model.activations import first_of
from planner.runner.input.samples import Samples
from planner.runner.protocol.events import BlockDone, Event, Step
from planner.runner.storage.weights import named_tensors, save_tensors
from planner.runner.supervise.exits import export_models
from planner.runner.train.block import LoadedBlock
from planner.runner.train.post_training import Prefix, validate
from planner.runner.train.stop import StopSignal
from planner.runner.train.train import least_micro_batch
from planner.schema.codec import content_id
from planner.schema.common import OptimizerConfig
from planner.schema.plan import Exit, Plan
from planner.schema.preprocessing import USUAL
from planner.tasks.base import CLASS_NUMBER
from tests.fault.support import session, small_plan, weights
from tests.unit.runner.contexts import block_context, loaded_block, run_context
from tests.unit.runner.train.test_block import BATCH, _Images, make_plan


def overlapping(plan: Plan, **training: object) -> Plan:
    """The same plan, every segment but those that end before the last unit or behind it with a window."""
    last = len(plan.model.units) - 1
    blocks = [
        replace(block, segments=tuple(replace(each, window=int(each.units[1] < last)) for each in block.segments))
        for block in plan.blocks
    ]
    ends = {segment.units[1]: segment for block in blocks for segment in block.segments}
    exits = tuple(Exit(unit, PooledHead("pooled") if each.window else each.head) for unit, each in ends.items())
    return replace(plan, blocks=tuple(blocks), exits=exits, training=replace(plan.training, **training))  # type: ignore[arg-type]  # by name


def _batches(count: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(5)
    for _ in range(count):
        labels = torch.randint(0, 10, (BATCH,), generator=generator)
        yield torch.randn(BATCH, 1, 8, 8, generator=generator), labels


def _numbers(block: LoadedBlock) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in named_tensors(block.named_modules())}


class _Plain:
    """The same modules as those of a block, trained in plain PyTorch."""

    def __init__(self, plan: Plan, optimizer: torch.optim.Optimizer | None = None, index: int = 0) -> None:
        self.block = loaded_block(plan, index, 3)
        self.modules = dict(self.block.named_modules())
        block = plan.blocks[index]
        self.segments = [(segment.units, segment.window) for segment in block.segments]

    def unit(self, index: int) -> nn.Module:
        return self.modules[f"units.{index}"] if f"units.{index}" in self.modules else self.modules[f"windows.{index}"]

    def parts(self, units: tuple[int, int], window: int) -> tuple[list[nn.Module], list[nn.Module], nn.Module | None]:
        own = [self.unit(index) for index in range(*units)]
        behind = [self.unit(index) for index in range(units[1], units[1] + window)]
        kind = "window_heads" if window else "heads"
        return own, behind, self.modules.get(f"{kind}.{units[1] + window}")

    def losses(self, inputs: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, list[nn.Parameter]]]:
        """Each segment's, when what the one before has done with it is done, and what it moves."""
        for units, window in self.segments:
            own, behind, head = self.parts(units, window)
            outputs = nn.Sequential(*own)(inputs)
            answer = nn.Sequential(*behind, *([head] if head else []))(outputs)
            moved = [p for module in (*own, *behind, *([head] if head else [])) for p in module.parameters()]
            yield cross_entropy(answer, labels), moved
            inputs = outputs.detach()

    def parameters(self) -> list[nn.Parameter]:
        return [parameter for module in self.modules.values() for parameter in module.parameters()]


SETTINGS = [
    OptimizerConfig("sgd", 0.1, 0.9, weight_decay=0.01, weight_decay_on="weights"),
    OptimizerConfig("adam", 0.01),
]


def _plainly(plain: _Plain, settings: OptimizerConfig) -> torch.optim.Optimizer:
    if settings.kind == "adam":
        return torch.optim.Adam(plain.parameters(), settings.lr, foreach=False)
    # Kernels and matrices decay; biases and normalisations have one dimension.
    decaying = [parameter for parameter in plain.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in plain.parameters() if parameter.ndim == 1]
    groups = [{"params": decaying, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, settings.lr, settings.momentum, foreach=False)


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("settings", SETTINGS)
def test_steps_are_those_of_plain_training(settings: OptimizerConfig, within: bool) -> None:
    # Segments of one unit and of two; the last block's end is not the network's.
    plan = overlapping(make_plan((0, 1, 3, 4), (4, 6)), optimizer=settings)
    blocks = (replace(plan.blocks[0], optimizer_in_backward=within), plan.blocks[1])
    plan = replace(plan, blocks=blocks)
    block, plain = loaded_block(plan, 0, 3), _Plain(plan)
    assert {"windows.4", "window_heads.2", "window_heads.4", "window_heads.5"} < plain.modules.keys()
    optimizer = _plainly(plain, settings)
    for inputs, labels in _batches(3):
        found = block.train_batch(iter([(inputs, labels)]), BATCH, accumulate=False)
        for loss, _ in plain.losses(inputs, labels):
            loss.backward()  # type: ignore[no-untyped-call]  # torch gives it no type
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        assert found == loss.item()
    first, second = _numbers(block), _numbers(plain.block)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("settings", SETTINGS)
def test_accumulated_gradients_of_a_window_are_apart_from_its_own_segments(settings: OptimizerConfig) -> None:
    plan = overlapping(make_plan((0, 1, 3, 4), (4, 6), micro_batch=4), optimizer=settings)
    block, plain = loaded_block(plan, 0, 3), _Plain(plan)
    optimizer = _plainly(plain, settings)
    for inputs, labels in _batches(2):
        parts = [(inputs[:4], labels[:4]), (inputs[4:], labels[4:])]
        block.train_batch(iter(parts), BATCH, accumulate=True)
        summed: list[tuple[list[nn.Parameter], list[Tensor]]] = []
        for micro_batch in parts:
            for place, (loss, moved) in enumerate(plain.losses(*micro_batch)):
                gradients = list(torch.autograd.grad(loss * 0.5, moved))
                if place < len(summed):
                    summed[place] = moved, [a + b for a, b in zip(summed[place][1], gradients, strict=True)]
                else:
                    summed.append((moved, gradients))
        for moved, gradients in summed:
            for parameter, gradient in zip(moved, gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    first, second = _numbers(block), _numbers(plain.block)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_next_block_begins_with_what_the_window_has_become(tmp_path: Path) -> None:
    plan = overlapping(make_plan((0, 2), (2, 6)))
    run = run_context(plan, tmp_path, 3)
    block = LoadedBlock(run.stages[0])
    for batch in _batches(2):
        block.train_batch(iter([batch]), BATCH, accumulate=False)
    run.folder.weights.mkdir(parents=True)
    block.save(run.stages[0].weights_path)
    behind = LoadedBlock(run.stages[1])
    fresh = _numbers(behind)
    behind.go_on_from(run.stages[0])
    begun, left = _numbers(behind), _numbers(block)
    for name in begun:
        in_window = name.startswith("units.2.")
        assert torch.equal(begun[name], left[f"windows{name[5:]}"] if in_window else fresh[name])
    assert not torch.equal(begun["units.2.0.weight"], fresh["units.2.0.weight"])
    behind.go_on_from(run.stages[1])  # without a window nothing is taken


def test_a_window_begins_with_the_weights_that_are_given(tmp_path: Path) -> None:
    plan = overlapping(make_plan((0, 2), (2, 6)))
    other = loaded_block(make_plan((0, 6)), 0, 7)
    save_tensors(tmp_path / "init", named_tensors(other.named_modules()))
    block = loaded_block(plan, 0, 3)
    block.begin_with(tmp_path / "init")
    given, taken = _numbers(other), _numbers(block)
    assert torch.equal(taken["windows.2.0.weight"], given["units.2.0.weight"])


def test_exits_are_behind_segments_without_a_window_alone() -> None:
    block = loaded_block(overlapping(make_plan((0, 2, 5), (5, 6))), 0, 0)
    block.stop_training()
    samples = Samples(_Images(), (1, 8, 8), cached=None, micro_batch=8, labels=CLASS_NUMBER, normalisation=USUAL)
    measured = validate(block, samples, {}, None, Prefix(0, 0.0), StopSignal())
    assert [found.unit for found in measured.exits] == [5]
    units = [unit for segment in block.segments for unit in segment.units]
    assert measured.behind.parameters == sum(p.numel() for unit in units for p in unit.parameters())


def test_a_block_that_ends_without_an_exit_hands_on_its_outputs() -> None:
    block = loaded_block(overlapping(make_plan((0, 2, 4), (4, 6))), 0, 0)
    block.stop_training()
    samples = Samples(_Images(), (1, 8, 8), cached=None, micro_batch=8, labels=CLASS_NUMBER, normalisation=USUAL)

    class Outputs:
        """In place of a cache."""

        def __init__(self) -> None:
            self.found: list[Tensor] = []

        def append(self, first: int, outputs: Tensor, labels: Tensor) -> None:
            self.found.append(outputs)

    target = Outputs()
    measured = validate(block, samples, {}, target, Prefix(5, 0.0), StopSignal())  # type: ignore[arg-type]  # in place of a cache
    assert measured.exits == ()
    units = [unit for segment in block.segments for unit in segment.units]
    assert measured.behind.parameters == 5 + sum(p.numel() for unit in units for p in unit.parameters())
    wanted = torch.cat([first_of(block.run_through(inputs)) for inputs, _ in samples.in_order()])
    assert torch.equal(torch.cat(target.found), wanted)


def test_a_window_counts_in_the_least_micro_batch() -> None:
    # Behind five units of a 1×2×2 image a normalisation has one position: the fifth and what stands behind need two.
    plan = make_plan((0, 1), (1, 6))
    alone, overlapped = (least_micro_batch(block_context(each, 0)) for each in (plan, overlapping(plan)))
    assert alone <= overlapped


def test_a_run_goes_on_with_as_many_steps_of_a_window_as_it_had() -> None:
    plan = overlapping(make_plan((0, 1, 3), (3, 6)))
    block = loaded_block(plan, 0, 0)
    moved = {name: block.steps_of(parameter) for name, parameter in block.named_parameters()}
    assert {count for name, count in moved.items() if name.startswith("units.1.")} == {2}
    assert {count for name, count in moved.items() if not name.startswith("units.1.")} == {1}


def _stop_behind(steps: int) -> Callable[[Event], None]:
    """Ends a session behind so many steps, as a kill does."""
    left = [steps]

    def tell(event: Event) -> None:
        left[0] -= isinstance(event, Step)
        if left[0] == 0:
            raise KeyboardInterrupt

    return tell


def test_a_run_that_is_killed_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    # Of three blocks the first two leave a window, and the second has one of its own.
    plan = overlapping(small_plan(OptimizerConfig("adam", 0.001)))
    plan = replace(plan, id=content_id(plan))
    told: list[Event] = []
    session(plan, tmp_path / "whole", told.append)
    done = [event for event in told if isinstance(event, BlockDone)]
    assert [[found.unit for found in block.exits] for block in done] == [[], [], [6]]  # no room for pooled ones
    for steps in (2, 3, 2, 2):
        with suppress(KeyboardInterrupt):
            session(plan, tmp_path / "killed", _stop_behind(steps))
    session(plan, tmp_path / "killed")
    assert weights(tmp_path / "killed", plan) == weights(tmp_path / "whole", plan)


def test_windows_are_no_part_of_what_comes_out(tmp_path: Path) -> None:
    plan = overlapping(make_plan((0, 2), (2, 6)))
    run = run_context(plan, tmp_path, 3)
    run.folder.weights.mkdir(parents=True)
    for context in run.stages:
        LoadedBlock(context).save(context.weights_path)
    save_tensors(run.folder.block_exits(0), [("exits.2.0.weight", torch.zeros(10, 2))])
    export_models(run, 6, 2)
    assert {name.split(".")[1] for name in load_file(run.folder.model)} == {"0", "1", "2", "3", "4", "5"}
    behind = load_file(run.folder.block_weights(1))
    found = load_file(run.folder.model)
    assert torch.equal(found["units.2.0.weight"], behind["units.2.0.weight"])
    assert {name.split(".")[1] for name in load_file(run.folder.exit_model)} == {"0", "1", "2"}
