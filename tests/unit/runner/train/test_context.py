"""What blocks go by is what torch and the files say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from planner.model.build import build_unit
from planner.runner.protocol.job import RunLength
from planner.runner.storage.weights import save_tensors
from planner.schema.plan import BatchSetting
from tests.fault.support import frozen_plan, small_plan
from tests.unit.runner.contexts import block_context, run_context
from tests.unit.runner.train.test_block import make_plan


def test_shapes_and_parameters_are_those_of_the_modules() -> None:
    plan = small_plan()
    run = run_context(plan)
    outputs = torch.zeros(2, *plan.model.input)
    parameters = 0
    for index, unit in enumerate(plan.model.units):
        assert run.shapes[index] == tuple(outputs.shape[1:])
        assert run.parameters_before(index) == parameters
        module = build_unit(unit, run.shapes[index])
        outputs = module(outputs)
        parameters += sum(parameter.numel() for parameter in module.parameters())
    assert run.shapes[-1] == tuple(outputs.shape[1:])
    assert [block.input_shape for block in run.stages] == [run.shapes[block.units[0]] for block in plan.blocks]


def test_behind_the_last_fallback_its_setting_stays_in_force_at_smaller_micro_batches() -> None:
    plan = make_plan((0, 6))
    block = plan.blocks[0]
    ladder = (BatchSetting(4, 2, block.predicted),)
    context = block_context(replace(plan, blocks=(replace(block, micro_batch=8, accumulate=1, ladder=ladder),)), 0)
    assert context.micro_batches == (8, 4, 2, 1)
    assert [context.setting(fallback).accumulate for fallback in range(4)] == [1, 2, 2, 2]


def test_blocks_know_the_one_behind_them() -> None:
    first, second, last = run_context(small_plan()).stages
    assert (first.following, second.following, last.following) == (second, last, None)
    assert [block.reads_cache for block in (first, second, last)] == [False, True, True]


def test_a_block_knows_by_a_checksum_which_weights_lie_right_before_it(tmp_path: Path) -> None:
    assert block_context(small_plan(), 0, tmp_path).input_checksum() is None
    first, second = run_context(frozen_plan(), tmp_path).stages
    first.run.folder.weights.mkdir()
    found = []
    for value in (1.0, 2.0, 1.0):
        save_tensors(first.run.folder.frozen, [("units.0.0.weight", torch.full((3,), value))])
        save_tensors(first.weights_path, [("units.2.0.weight", torch.full((3,), 5 + value))])
        found.append((first.input_checksum(), second.input_checksum()))
    assert found[0] == found[2]
    assert found[0][0] != found[1][0] and found[0][1] != found[1][1]


def test_a_block_trains_for_its_own_epochs_and_in_proportion_for_others_that_are_asked_for() -> None:
    plan = make_plan((0, 2), (2, 4), (4, 6))
    passes = (3, 5, None)
    blocks = tuple(replace(block, epochs=own) for block, own in zip(plan.blocks, passes, strict=True))
    plan = replace(plan, blocks=blocks, training=replace(plan.training, epochs=8))
    for asked, epochs in ((8, [3, 5, 8]), (16, [6, 10, 16]), (4, [2, 3, 4]), (1, [1, 1, 1])):
        run = run_context(plan, length=RunLength(asked, None, 0))
        assert [block.epochs for block in run.stages] == epochs
