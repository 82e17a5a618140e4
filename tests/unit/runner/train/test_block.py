"""A block in memory trains as its plan says: cuts stop gradients, accumulation changes nothing but memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import nn

from planner.errors import StorageError
from planner.heads.convolution import ConvHead
from planner.model.activations import first_of
from planner.model.zoo import from_zoo
from planner.runner.input.samples import Samples
from planner.runner.train.block import LoadedBlock
from planner.runner.train.post_training import Prefix, validate
from planner.runner.train.stop import StopSignal
from planner.schema.common import Device, DeviceKind, OptimizerConfig, OptimizerKind, usual_optimizer
from planner.schema.plan import Block, BlockInput, Exit, Plan, Segment
from planner.schema.prediction import PlanPrediction, unpredicted
from planner.schema.preprocessing import USUAL
from planner.schema.request import Budget, Training
from planner.system.machine import fingerprint, probe
from planner.tasks.base import CLASS_BYTES, CLASS_NUMBER, Label, class_label
from tests.unit.runner.contexts import loaded_block

BATCH = 8


@cache
def this_device(kind: DeviceKind = "cpu") -> Device:
    """The device of a plan that may run here."""
    here = probe()
    return Device("test", fingerprint(here, here.torch_version, 1, kind), kind, 1, here.torch_version or "", 2**34)


def make_plan(*cuts_of_blocks: tuple[int, ...], micro_batch: int = BATCH, lr: float = 0.1) -> Plan:
    """A plan for cnn6; each block is given by its boundaries, for instance (0, 2, 4) for two segments."""
    model = from_zoo("cnn6", (1, 8, 8), 10)
    blocks, exits = [], []
    for bounds in cuts_of_blocks:
        segments = []
        for first, last in pairwise(bounds):
            head = None if last == len(model.units) else ConvHead("auxiliary", 8)
            segments.append(Segment((first, last), head))
            exits.append(Exit(last, head))
        kind = BlockInput("cache" if bounds[0] else "data", bounds[0], 64, "float32")
        span = (bounds[0], bounds[-1])
        blocks.append(Block(span, micro_batch, BATCH // micro_batch, False, kind, tuple(segments), unpredicted(), ()))
    return Plan(
        schema="plan/1",
        id="",
        model=model,
        device=this_device(),
        strategy="auto",
        prefer="balanced",
        budget=Budget(2**33, "process"),
        storage_bytes=None,
        reserve_bytes=0,
        allocator="tight",
        profile_id="0",
        training=Training(BATCH, 1, 64, OptimizerConfig("sgd", lr)),
        baseline_bytes=1,
        blocks=tuple(blocks),
        exits=tuple(exits),
        predicted=PlanPrediction(1, 1.0, 0),
        minimum_budget_bytes=1,
        optimality_gap=0.0,
        alternatives=(),
    )


def _batch(count: int = BATCH) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(count, 1, 8, 8, generator=generator), torch.arange(count) % 10


def _weights(block: LoadedBlock) -> dict[str, torch.Tensor]:
    return {
        f"{prefix}.{name}": parameter.detach().clone()
        for prefix, module in block.named_modules()
        for name, parameter in module.named_parameters()
    }


def test_weights_depend_on_seed_and_unit_not_on_the_grouping() -> None:
    whole = _weights(loaded_block(make_plan((0, 6)), 0, 3))
    parted = make_plan((0, 1, 3), (3, 6))
    parts = _weights(loaded_block(parted, 0, 3)) | _weights(loaded_block(parted, 1, 3))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    other = _weights(loaded_block(make_plan((0, 6)), 0, 4))
    assert not torch.equal(whole["units.0.0.weight"], other["units.0.0.weight"])


class _Torchs:
    """One of torch's optimizers over a block, with parameter groups as recipes make them: by kind of module."""

    def __init__(self, block: LoadedBlock, settings: OptimizerConfig) -> None:
        self.lr = settings.lr
        groups: list[list[nn.Parameter]] = [[], []]
        for part in {part for module in block.modules() for part in module.modules()}:
            for name, parameter in part.named_parameters(recurse=False):
                groups[name == "weight" and isinstance(part, nn.Conv2d | nn.Linear)].append(parameter)
        decays = zip(groups, (0.0, settings.weight_decay), strict=True)
        described = [{"params": group, "weight_decay": decay} for group, decay in decays]
        if settings.kind == "sgd":
            momentum = (settings.momentum, 0, 0.0, settings.nesterov)
            self._torchs: torch.optim.Optimizer = torch.optim.SGD(described, settings.lr, *momentum, foreach=False)
        else:
            self._torchs = torch.optim.AdamW(described, settings.lr, foreach=False)

    def step(self, parameters: Iterable[torch.Tensor]) -> None:
        self._torchs.step()  # of a segment at a time: no other has gradients then

    def state(self, parameter: torch.Tensor) -> dict[str, torch.Tensor]:
        raise NotImplementedError

    def restore(self, parameter: torch.Tensor, state: dict[str, torch.Tensor], steps: int) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("within", [False, True], ids=["behind backward", "in backward and recomputed"])
@pytest.mark.parametrize("kind", get_args(OptimizerKind)[::2])
def test_norms_and_biases_do_not_decay_as_with_torchs_parameter_groups(kind: OptimizerKind, within: bool) -> None:
    settings = replace(usual_optimizer(kind), weight_decay=0.3)
    plan = make_plan((0, 2, 6))
    plan = replace(plan, training=replace(plan.training, optimizer=settings))
    expected = loaded_block(plan, 0, 0)
    expected.optimizer = _Torchs(expected, settings)
    if within:
        planned = plan.blocks[0]
        segments = tuple(replace(segment, recompute=(segment.units,)) for segment in planned.segments)
        plan = replace(plan, blocks=(replace(planned, optimizer_in_backward=True, segments=segments),))
    ours = loaded_block(plan, 0, 0)
    for block in (expected, ours):
        for _ in range(4):
            block.train_batch(iter([_batch()]), BATCH, accumulate=False)
    found = _weights(ours)
    assert all(torch.equal(found[name], weight) for name, weight in _weights(expected).items())


def test_a_later_segments_loss_does_not_reach_an_earlier_one() -> None:
    alone, together = loaded_block(make_plan((0, 2), (2, 6)), 0, 0), loaded_block(make_plan((0, 2, 6)), 0, 0)
    for block in (alone, together):
        block.train_batch(iter([_batch()]), BATCH, accumulate=False)
    first, second = _weights(alone), _weights(together)
    assert all(torch.equal(first[name], second[name]) for name in first)
    untouched = _weights(loaded_block(make_plan((0, 2, 6)), 0, 0))
    assert all(not torch.equal(second[name], untouched[name]) for name in second if name.endswith("0.weight"))


def test_a_step_of_one_segment_is_plain_backpropagation() -> None:
    block = loaded_block(make_plan((0, 6)), 0, 0)
    reference = loaded_block(make_plan((0, 6)), 0, 0)
    inputs, labels = _batch()
    loss = block.train_batch(iter([(inputs, labels)]), BATCH, accumulate=False)
    output = inputs
    for unit in reference.segments[0].units:
        output = unit(output)
    expected = torch.nn.functional.cross_entropy(output, labels)
    expected.backward()  # type: ignore[no-untyped-call]  # torch gives it no type
    assert loss == pytest.approx(expected.item())
    for mine, other in zip(block.segments[0].parameters(), reference.segments[0].parameters(), strict=True):
        assert other.grad is not None
        torch.testing.assert_close(mine.detach(), other.detach() - 0.1 * other.grad)
        assert mine.grad is None


def test_accumulation_steps_once_with_the_mean_gradient() -> None:
    # Normalisation in evaluation mode, for its statistics are the micro-batch's.
    halves = loaded_block(make_plan((0, 2, 6), micro_batch=4), 0, 0)
    whole = loaded_block(make_plan((0, 2, 6)), 0, 0)
    for block in (halves, whole):
        for _, module in block.named_modules():
            module.eval()
    inputs, labels = _batch()
    halves.train_batch(iter([(inputs[:4], labels[:4]), (inputs[4:], labels[4:])]), BATCH, accumulate=True)
    whole.train_batch(iter([(inputs, labels)]), BATCH, accumulate=False)
    first, second = _weights(halves), _weights(whole)
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-4, atol=1e-6)


def test_saved_weights_are_read_back_and_foreign_ones_refused(tmp_path: Path) -> None:
    plan = make_plan((0, 2, 4), (4, 6))
    trained = loaded_block(plan, 0, 0)
    trained.train_batch(iter([_batch()]), BATCH, accumulate=False)
    trained.save(tmp_path / "b0")
    again = loaded_block(plan, 0, 9)
    again.load(tmp_path / "b0")
    first, second = _weights(trained), _weights(again)
    assert all(torch.equal(first[name], second[name]) for name in first)
    with pytest.raises(StorageError, match=r"no tensor called 'units\.4"):
        loaded_block(plan, 1, 0).load(tmp_path / "b0")


class _Images:
    """Twenty 1×8×8 images, every label 3."""

    samples = 20
    record_bytes = 64

    label_bytes = CLASS_BYTES

    def read_into(self, index: int, image: memoryview) -> Label:
        image[:] = bytes((index * 7 + place * 3) % 256 for place in range(64))
        return class_label(3)

    def close(self) -> None:
        """Nothing is open."""


def test_validation_counts_what_each_head_gets_right_and_every_parameter_up_to_it() -> None:
    block = loaded_block(make_plan((0, 2, 4), (4, 6)), 0, 0)
    block.stop_training()
    samples = Samples(_Images(), (1, 8, 8), cached=None, micro_batch=8, labels=CLASS_NUMBER, normalisation=USUAL)
    measured = validate(block, samples, {}, None, Prefix(0, 0.0), StopSignal())
    x = torch.cat(
        [
            first_of(inputs)
            for inputs, _ in Samples(
                _Images(), (1, 8, 8), cached=None, micro_batch=20, labels=CLASS_NUMBER, normalisation=USUAL
            ).in_order()
        ]
    )
    total = 0
    for segment, found in zip(block.segments, measured.exits, strict=True):
        with torch.no_grad():
            for unit in segment.units:
                x = unit(x)
                total += sum(parameter.numel() for parameter in unit.parameters())
            assert segment.head is not None
            right = (segment.head(x).argmax(1) == 3).sum().item()
        assert found.accuracy == right / 20
        assert found.parameters == total + sum(parameter.numel() for parameter in segment.head.parameters())
        assert found.unit == segment.spec.units[1]
    assert measured.behind.parameters == total


def test_after_training_nothing_but_the_weights_is_left() -> None:
    block = loaded_block(make_plan((0, 6)), 0, 0)
    inputs, labels = _batch()
    block.train_batch(iter([(inputs, labels)]), BATCH, accumulate=False)
    block.stop_training()
    parameters = list(block.segments[0].parameters())
    assert all(parameter.grad is None and block.optimizer.state(parameter) == {} for parameter in parameters)
    assert not any(module.training for _, module in block.named_modules())
