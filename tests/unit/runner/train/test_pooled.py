"""Pooled exits: where they stand, what they are fitted to, and that they stay in the room they are given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from planner.heads.convolution import ConvHead
from planner.heads.pooled import PooledHead
from planner.runner.input.samples import Samples
from planner.runner.train.pooled import fit_exits, samples_to_fit, save_exits, wanted_exits
from planner.runner.train.post_training import Prefix, validate
from planner.runner.train.stop import StopSignal
from planner.schema.codec import content_id
from planner.schema.plan import Exit, Plan
from planner.schema.preprocessing import USUAL
from planner.tasks.base import CLASS_NUMBER
from planner.tasks.kinds import CLASSIFICATION
from planner.training.discriminant import Discriminant
from tests.unit.runner.contexts import block_context, loaded_block
from tests.unit.runner.train.test_block import make_plan
from tests.unit.runner.train.test_train import Images

AMPLE = 2**30
SIZE = 8


def with_pooled_exits(plan: Plan) -> Plan:
    """An exit behind every unit, and room for them."""
    heads = {found.unit: found.head for found in plan.exits}
    units = range(1, len(plan.model.units) + 1)
    exits = tuple(Exit(unit, heads.get(unit, PooledHead("pooled"))) for unit in units)
    blocks = tuple(
        replace(block, predicted=replace(block.predicted, peak_bytes=AMPLE, fit_room_bytes=None))
        for block in plan.blocks
    )
    plan = replace(plan, id="", exits=exits, blocks=blocks)
    return replace(plan, id=content_id(plan))


def test_every_boundary_of_a_block_without_a_head_has_one() -> None:
    plan = with_pooled_exits(make_plan((0, 2, 4), (4, 6)))
    assert list(wanted_exits(block_context(plan, 0), SIZE, AMPLE)) == [1, 3]
    assert list(wanted_exits(block_context(plan, 1), SIZE, AMPLE)) == [5]
    assert wanted_exits(block_context(make_plan((0, 2, 4), (4, 6)), 0), SIZE, AMPLE) == {}


def test_what_has_no_room_is_left_out() -> None:
    plan = with_pooled_exits(make_plan((0, 6)))
    shapes = wanted_exits(block_context(plan, 0), SIZE, AMPLE)
    first = CLASSIFICATION.fit_bytes(shapes[1][0], 10, SIZE)
    assert list(wanted_exits(block_context(plan, 0), SIZE, first)) == [1]
    assert wanted_exits(block_context(plan, 0), SIZE, first - 1) == {}
    assert wanted_exits(block_context(plan, 0), SIZE, -1) == {}


def test_fitting_takes_a_few_samples_at_most() -> None:
    assert samples_to_fit(50_000, 500_000) == 8192
    assert samples_to_fit(3_000, 30_000) == 1_800
    assert samples_to_fit(100, 50) == 100
    assert samples_to_fit(50_000, 64) == 256
    # A forward pass over them is a third of as many training steps.
    assert samples_to_fit(50_000, 50_000) / 50_000 / 3 <= 0.03


def test_they_are_fitted_to_the_outputs_of_the_units_before_them(tmp_path: Path) -> None:
    plan = with_pooled_exits(make_plan((0, 2, 6)))
    block = loaded_block(plan, 0, 3)
    block.stop_training()
    samples = Samples(Images(40), (1, 8, 8), cached=None, micro_batch=8, labels=CLASS_NUMBER, normalisation=USUAL)
    wanted = wanted_exits(block_context(plan, 0), SIZE, AMPLE)
    assert list(wanted) == [1, 3, 4, 5]
    exits = fit_exits(block, wanted, samples, (1, 2), 20, 10, StopSignal())

    used = [next_ for _, next_ in zip(range(3), samples.in_order(0, (1, 2)), strict=False)]  # 20 of them: 3 × 8
    inputs, labels = (torch.cat(each) for each in zip(*used, strict=True))
    units = [unit for segment in block.segments for unit in segment.units]
    with torch.no_grad():
        for unit, module in enumerate(units, start=1):
            inputs = module(inputs)
            if unit not in exits:
                continue
            fit = Discriminant(inputs.shape[1], 10)
            for first in range(0, len(inputs), 8):
                fit.add(inputs[first : first + 8].mean((2, 3)), labels[first : first + 8])
            weight, bias = fit.solve()
            expected = inputs.mean((2, 3)) @ weight.T + bias
            torch.testing.assert_close(exits[unit](inputs), expected, rtol=1e-3, atol=1e-2)

    save_exits(tmp_path / "exits.safetensors", exits)
    kept = load_file(tmp_path / "exits.safetensors")
    assert sorted(kept) == [f"exits.{unit}.2.{part}" for unit in exits for part in ("bias", "weight")]


def test_validation_measures_them_in_their_place() -> None:
    plan = with_pooled_exits(make_plan((0, 2, 6)))
    block = loaded_block(plan, 0, 3)
    block.stop_training()
    samples = Samples(Images(40), (1, 8, 8), cached=None, micro_batch=8, labels=CLASS_NUMBER, normalisation=USUAL)
    exits = fit_exits(block, wanted_exits(block_context(plan, 0), SIZE, AMPLE), samples, None, 40, 10, StopSignal())
    measured = validate(block, samples, exits, None, Prefix(0, 0.0), StopSignal())
    assert [found.unit for found in measured.exits] == [1, 2, 3, 4, 5, 6]
    without = validate(block, samples, {}, None, Prefix(0, 0.0), StopSignal())
    assert [(found.unit, found.parameters, found.accuracy) for found in without.exits] == [
        (found.unit, found.parameters, found.accuracy) for found in measured.exits if found.unit in (2, 6)
    ]
    assert measured.behind.parameters == without.behind.parameters
    units = [unit for segment in block.segments for unit in segment.units]
    for found in measured.exits:
        if found.unit in exits:
            before = sum(parameter.numel() for unit in units[: found.unit] for parameter in unit.parameters())
            assert found.parameters == before + sum(each.numel() for each in exits[found.unit].parameters())
            right = 0
            for inputs, labels in samples.in_order():
                with torch.no_grad():
                    for unit in units[: found.unit]:
                        inputs = unit(inputs)
                    right += int((exits[found.unit](inputs).argmax(1) == labels).sum())
            assert found.accuracy == right / samples.count


def test_an_auxiliary_head_stays_where_a_segment_ends() -> None:
    plan = with_pooled_exits(make_plan((0, 2), (2, 6)))
    kinds = {found.unit: type(found.head) for found in plan.exits}
    assert kinds == {1: PooledHead, 2: ConvHead, 3: PooledHead, 4: PooledHead, 5: PooledHead, 6: type(None)}
