"""Whole runs that recompute, step in backward and leave out caches end in the weights of a run that does none of it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from planner.cli.progress import Silent
from planner.heads.convolution import ConvHead
from planner.heads.pooled import PooledHead
from planner.model.heads import head_unit
from planner.model.shapes import model_sizes, unit_sizes
from planner.runner.supervise.supervisor import RunOptions, run_plan
from planner.schema.codec import content_id, decode, parse_json, read_document, to_json
from planner.schema.model import Model
from planner.schema.plan import Block, BlockInput, Exit, Plan, Segment
from planner.schema.profile import Profile
from planner.schema.report import Report
from planner.schema.request import Budget, Request, Training
from planner.schema.run_folder import RunFolder
from planner.solver.plan import make_plan
from tests.integration.conftest import OPTIMIZER

Command = Callable[..., subprocess.CompletedProcess[str]]

BATCH = 32
STEPS = 4
BOUNDS = (0, 2, 4, 6)
HEAD = ConvHead("auxiliary", 8)
# Every block whole at once, or in two halves.
MICRO_BATCHES = (BATCH, BATCH // 2, BATCH)
# The first block's second unit, the last one's both.
SPANS = (((1, 2),), (), ((4, 5), (5, 6)))


@pytest.fixture(scope="module")
def plain(read: Callable[[str, int], Profile]) -> Plan:
    """Three blocks of two units each, that read caches and use no other method."""
    training = Training(BATCH, 1, 4000, OPTIMIZER)
    plan = make_plan(read("cnn6", BATCH), Request(Budget(2 * 2**30, "process"), training, prefer="fidelity"))
    blocks = []
    for first, last, size in zip(BOUNDS, BOUNDS[1:], MICRO_BATCHES, strict=False):
        head = None if last == BOUNDS[-1] else HEAD
        cache = BlockInput("cache", first, _record_bytes(plan.model, first), "float32")
        source = cache if first else plan.blocks[0].input
        segments = (Segment((first, last), head),)
        predicted = plan.blocks[0].predicted
        blocks.append(Block((first, last), size, BATCH // size, False, source, segments, predicted, ()))
    exits = tuple(Exit(block.units[1], block.segments[0].head) for block in blocks)
    return _named(replace(plan, blocks=tuple(blocks), exits=exits))


def _record_bytes(model: Model, unit: int) -> int:
    """A float32 input of `unit`, its label and a checksum."""
    return 4 * prod([model.input, *(size.output for size in model_sizes(model))][unit]) + 8


def _named(plan: Plan) -> Plan:
    return replace(plan, id=content_id(plan))


def _with_methods(plan: Plan, recomputing: int) -> Plan:
    """`plan` with spans, steps in backward where the batch is whole, and one block reading through frozen units."""
    blocks = []
    for index, (block, spans) in enumerate(zip(plan.blocks, SPANS, strict=True)):
        segments = (replace(block.segments[0], recompute=spans),)
        source = replace(plan.blocks[0].input, kind="recompute") if index == recomputing else block.input
        blocks.append(replace(block, segments=segments, input=source, optimizer_in_backward=block.accumulate == 1))
    return _named(replace(plan, blocks=tuple(blocks)))


@pytest.fixture(scope="module")
def finished(plain: Plan, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    """The run that does none of it."""
    out = tmp_path_factory.mktemp("plain") / "out"
    return out, run_plan(plain, "sample", out, RunOptions(max_steps=STEPS), Silent())


def _cache_bytes(plan: Plan) -> int:
    """A record for every sample of `STEPS` steps, of training data and as many of test data."""
    read = [block.units[0] for block in plan.blocks if block.input.kind == "cache"]
    return sum(2 * STEPS * BATCH * _record_bytes(plan.model, unit) for unit in read)


@pytest.mark.parametrize("recomputing", [1, 2])
def test_a_run_with_every_method_ends_in_the_same_weights(
    neuroflux: Command, plain: Plan, finished: tuple[Path, Report], recomputing: int, tmp_path: Path
) -> None:
    before, expected = finished
    plan, out = _with_methods(plain, recomputing), tmp_path / "out"
    (tmp_path / "plan.json").write_text(to_json(plan))
    options = ("--max-steps", STEPS, "--exit-tolerance", "none", "--json")
    command = ("run", tmp_path / "plan.json", "--data", "sample", "--out", out, *options)
    done = neuroflux(*command)
    assert done.returncode == 0, done.stderr
    report = decode(Report, parse_json(done.stdout))

    assert RunFolder(out).model.read_bytes() == RunFolder(before).model.read_bytes()
    for index in range(len(plan.blocks)):
        found, other = (load_file(RunFolder(folder).block_weights(index)) for folder in (out, before))
        assert found.keys() == other.keys()
        assert all(torch.equal(found[name], other[name]) for name in found)
    assert [exit.accuracy for exit in report.exits] == [exit.accuracy for exit in expected.exits]
    assert [block.loss for block in report.blocks] == [block.loss for block in expected.blocks]
    assert [exit.parameters for exit in report.exits] == _parameters_of_exits(plan)
    assert report.within_budget and report.deviations == ()

    # Only one block writes for the next; nobody leaves anything behind.
    assert expected.cache.bytes_written == _cache_bytes(plain)
    assert report.cache.bytes_written == _cache_bytes(plan) < _cache_bytes(plain)
    assert list((out / "cache").iterdir()) == []

    # As if the run had been stopped in the block that reads no cache: what the blocks before have saved is enough.
    shutil.rmtree(out / "cache")
    for index in range(recomputing, len(plan.blocks)):
        RunFolder(out).block_weights(index).unlink()
        RunFolder(out).block_result(index).unlink()
    for name in ("model.safetensors", "report.json"):
        (out / name).unlink()
    resumed = neuroflux(*command, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert RunFolder(out).model.read_bytes() == RunFolder(before).model.read_bytes()
    again = read_document(RunFolder(out).report, Report)
    assert f"resumed at block {recomputing}" in " ".join(again.deviations)
    assert [exit.parameters for exit in again.exits] == _parameters_of_exits(plan)


def _parameters_of_exits(plan: Plan) -> list[int]:
    """Units up to the exit, and its head."""
    sizes = model_sizes(plan.model)
    found = []
    for place in plan.exits:
        total = sum(size.parameters for size in sizes[: place.unit])
        if place.head is not None:
            shape = sizes[place.unit - 1].output
            classes = plan.model.classes
            if isinstance(place.head, PooledHead):
                total += shape[0] * classes + classes
            else:
                total += unit_sizes(head_unit(place.head, shape, (classes,)), shape).parameters
        found.append(total)
    return found
