"""A polish trains on from what the blocks have trained, end to end, and its exits are those of the network that comes
out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from planner.runner.protocol.events import BlockDone, BlockStarted, Event
from planner.runner.protocol.job import RunLength
from planner.runner.storage.planned_run import WeightFile
from planner.runner.supervise.exits import export_models
from planner.runner.train import session as session_module
from planner.schema.codec import content_id
from planner.schema.run_folder import RunFolder
from tests.fault.support import frozen_plan, polished_plan, session, weights
from tests.unit.runner.contexts import planned_run, run_context


@pytest.fixture(autouse=True)
def _untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "calibration_seconds", lambda device: 1.0)


def test_it_moves_what_the_blocks_have_trained_by_as_much_as_its_rate(tmp_path: Path) -> None:
    plan, told = polished_plan(1e-9), list[Event]()
    session(plan, tmp_path, told.append, steps=2)
    folder = RunFolder(tmp_path)
    stage = len(plan.blocks)
    before = {name: t for index in range(stage) for name, t in load_file(folder.block_weights(index)).items()}
    polished = load_file(folder.block_weights(stage))
    assert polished.keys() == {name for name in before if name.startswith("units.")}
    for name, tensor in polished.items():
        if "running" in name or "num_batches" in name:
            assert torch.equal(tensor, before[name]), name
        else:
            torch.testing.assert_close(tensor, before[name], rtol=0, atol=1e-6)
    assert any(not torch.equal(tensor, before[name]) for name, tensor in polished.items() if "weight" in name)
    phases = [(event.block, event.phase) for event in told if isinstance(event, BlockStarted)]
    assert [phase for block, phase in phases if block == stage] == ["prepare", "train", "save", "fit", "validate"]
    assert all(phase != "fit" for block, phase in phases if block < stage)

    done = [event for event in told if isinstance(event, BlockDone)]
    assert [found.unit for found in done[-1].exits] == list(range(1, len(plan.model.units) + 1))
    export_models(planned_run(plan, tmp_path), len(plan.model.units), 3)
    full, smaller = load_file(folder.model), load_file(folder.exit_model)
    assert all(torch.equal(full[name], tensor) for name, tensor in polished.items())
    fitted = load_file(folder.block_exits(stage))
    assert any(torch.equal(tensor, fitted[f"exits.3.{name.removeprefix('units.3.')}"]) for name, tensor in
               smaller.items() if name.startswith("units.3."))  # fmt: skip


def test_its_order_and_its_end_are_functions_of_the_seed(tmp_path: Path) -> None:
    plan = polished_plan()
    session(plan, tmp_path / "one", steps=2)
    session(plan, tmp_path / "other", steps=2)
    assert weights(tmp_path / "one", plan) == weights(tmp_path / "other", plan)


def test_the_files_of_a_run_are_those_of_the_polish_once_it_is_done(tmp_path: Path) -> None:
    plan, folder = polished_plan(), RunFolder(tmp_path)
    run, count = planned_run(plan, tmp_path), len(plan.blocks)
    whole = range(len(plan.model.units))
    assert run.weight_files(count + 1) == [WeightFile(whole, folder.block_weights(count))]
    assert [found.path for found in run.weight_files(count)] == [folder.block_weights(index) for index in range(count)]
    polish = run_context(plan, tmp_path).stages[count]
    assert polish.weight_files_before() == []
    assert polish.weight_files_to_begin_with() == run.weight_files(count)
    last = run_context(plan, tmp_path).stages[count - 1]
    assert last.weight_files_to_begin_with() == []
    assert last.weight_files_before() == run.weight_files(count - 1)


def test_frozen_units_stay_as_they_are(tmp_path: Path) -> None:
    plan, whole = frozen_plan(), polished_plan()
    assert whole.polish is not None
    count = plan.training.freeze
    span = (count, len(plan.model.units))
    block = whole.polish.block
    source = replace(block.input, kind="recompute")
    segments = (replace(block.segments[0], units=span, recompute=((3, 4),)),)
    polish = replace(whole.polish, block=replace(block, units=span, input=source, segments=segments))
    training = replace(plan.training, polish=2, polish_lr=polish.lr)
    exits = tuple(found for found in whole.exits if found.unit > count)
    plan = replace(plan, training=training, polish=polish, exits=exits)
    plan = replace(plan, id=content_id(plan))
    session(plan, tmp_path, steps=2)
    run = planned_run(plan, tmp_path)
    stages = len(plan.stages)
    frozen, polished = run.weight_files(stages)
    assert (frozen.path, polished.path) == (run.folder.frozen, run.folder.block_weights(stages - 1))
    units = {int(name.split(".")[1]) for name in load_file(polished.path)}
    assert units == set(range(*span))


def test_epochs_rate_and_warmup_are_its_own(tmp_path: Path) -> None:
    plan = polished_plan(0.004)
    plan = replace(plan, training=replace(plan.training, warmup=1))
    context = run_context(plan, tmp_path, length=RunLength(7, None, 0))
    assert [(stage.epochs, stage.warmup, stage.lr) for stage in context.stages] == [
        *[(7, 1, plan.training.optimizer.lr)] * len(plan.blocks),
        (2, 0, 0.004),
    ]
    assert context.stages[-1].name == "the polish"
