"""Units that are never trained: kept as they were given, run once or again, and exported with the others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from planner.errors import InputError, OverBudgetError
from planner.heads.convolution import ConvHead
from planner.model.heads import head_unit
from planner.model.shapes import model_sizes, unit_sizes
from planner.runner.input.samples import Samples
from planner.runner.protocol.events import BlockDone, BlockStarted, Deviation, Event, Step
from planner.runner.storage import cache
from planner.runner.storage.cache import CacheReader, CacheSpec, shard_path
from planner.runner.storage.planned_run import WeightFile
from planner.runner.supervise.exits import export_models
from planner.runner.supervise.initial import keep_initial
from planner.runner.train import frozen as frozen_module
from planner.runner.train import session as session_module
from planner.runner.train.block import load_before, load_frozen
from planner.runner.train.frozen import check_given, keep_frozen
from planner.runner.train.passes import Pass, rehearse
from planner.schema.plan import BlockInput, Plan
from planner.schema.report_parts import InitReport
from planner.schema.run_folder import RunFolder
from planner.tasks.base import CLASS_NUMBER, Label, class_label
from tests.fault.support import FROZEN as COUNT
from tests.fault.support import frozen_plan, session, small_plan, weights
from tests.prepared import open_prepared
from tests.unit import joint_chains
from tests.unit.runner.contexts import block_context, loaded_block, planned_run, run_context
from tests.unit.runner.test_joint_cuts import NETWORKS, joint_plan
from tests.unit.runner.test_methods import state_of
from tests.unit.runner.train.test_block import make_plan


def given(plan: Plan, seed: int = 99) -> dict[str, Tensor]:
    """Weights of all units; the batch normalisations have seen something."""
    whole = loaded_block(make_whole(plan), 0, seed)
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, tensor in state_of(whole).items():
        moved = (
            tensor + 7 if tensor.dtype == torch.int64 else tensor + torch.rand(tensor.shape, generator=generator) / 8
        )
        found[name] = moved.contiguous()
    return found


def make_whole(plan: Plan) -> Plan:
    """The plan's network in one block of one segment."""
    return replace(make_plan((0, len(plan.model.units))), model=plan.model)


def begin(plan: Plan, out: Path) -> dict[str, Tensor]:
    """A folder whose run begins with `given` weights."""
    tensors = given(plan)
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "given")
    keep_initial(out / "given", RunFolder(out).init, plan.model)
    (out / "weights").mkdir(exist_ok=True)
    return tensors


@pytest.fixture(autouse=True)
def _small_and_untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several shards in a cache of a few samples, and no calibration."""
    monkeypatch.setattr(cache, "_SHARD_BYTES", 400_000)
    monkeypatch.setattr(session_module, "calibration_seconds", lambda device: 1.0)


def test_the_files_of_a_run_hold_its_units_in_the_order_of_the_chain(tmp_path: Path) -> None:
    run, folder = planned_run(frozen_plan(), tmp_path), RunFolder(tmp_path)
    frozen, first = WeightFile(range(2), folder.frozen), WeightFile(range(2, 4), folder.block_weights(0))
    assert run.weight_files(0) == [frozen]
    assert run.weight_files(2) == [frozen, first, WeightFile(range(4, 6), folder.block_weights(1))]
    assert planned_run(small_plan(), tmp_path).weight_files(0) == []


def test_frozen_units_keep_what_they_are_given_to_the_bit(tmp_path: Path) -> None:
    plan = frozen_plan()
    tensors = begin(plan, tmp_path)
    keep_frozen(run_context(plan, tmp_path, 3))
    kept = load_file(RunFolder(tmp_path).frozen)
    assert kept.keys() == {name for name in tensors if name.startswith(("units.0.", "units.1."))}
    assert any(tensor.dtype == torch.int64 for tensor in kept.values())
    assert all(torch.equal(kept[name], tensors[name]) for name in kept)
    units = load_before(block_context(plan, 0, tmp_path))
    assert len(units) == COUNT and not any(unit.training for unit in units)
    assert load_frozen(block_context(plan, 0, tmp_path)) == []
    assert len(load_frozen(block_context(frozen_plan("recompute"), 0, tmp_path))) == COUNT


def test_without_given_weights_they_are_those_that_training_would_begin_with(tmp_path: Path) -> None:
    plan = frozen_plan()
    (tmp_path / "weights").mkdir()
    keep_frozen(run_context(plan, tmp_path, 3))
    fresh = state_of(loaded_block(small_plan(), 0, 3))
    kept = load_file(RunFolder(tmp_path).frozen)
    assert kept and all(torch.equal(kept[name], fresh[name]) for name in kept)


def test_what_is_kept_stays_and_what_is_damaged_is_written_again(tmp_path: Path) -> None:
    plan = frozen_plan()
    begin(plan, tmp_path)
    keep_frozen(run_context(plan, tmp_path, 3))
    file = RunFolder(tmp_path).frozen
    whole, inode = file.read_bytes(), file.stat().st_ino
    keep_frozen(run_context(plan, tmp_path, 3))
    assert file.stat().st_ino == inode
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    keep_frozen(run_context(plan, tmp_path, 3))
    assert file.read_bytes() == whole


def test_a_frozen_unit_without_all_its_weights_is_refused() -> None:
    plan = frozen_plan()
    check_given(plan, InitReport(3, ("units.1.1.num_batches_tracked", "units.2.0.weight", "units.10.0.weight"), ()))
    with pytest.raises(InputError, match=r"--init: holds no tensor 'units\.1\.0\.weight'.* first 2 units are frozen"):
        check_given(plan, InitReport(3, ("units.1.0.weight",), ()))


@pytest.mark.parametrize("kind", ["cache", "recompute"])
def test_a_run_trains_what_is_behind_them_and_exports_them_as_they_were(tmp_path: Path, kind: str) -> None:
    plan = frozen_plan(kind)
    tensors = begin(plan, tmp_path)
    events: list[Event] = []
    session(plan, tmp_path, events.append)
    unit = len(plan.model.units)
    export_models(planned_run(plan, tmp_path), unit, unit)
    model = load_file(RunFolder(tmp_path).model)
    assert model.keys() == tensors.keys()
    frozen = {name for name in tensors if name.startswith(("units.0.", "units.1."))}
    assert {name for name in model if torch.equal(model[name], tensors[name])} == frozen

    # An exit's parameters count the frozen units; they ran first, and their outputs are part of what was written.
    done = [event for event in events if isinstance(event, BlockDone)]
    sizes = model_sizes(plan.model)
    head = unit_sizes(head_unit(ConvHead("auxiliary", 8), sizes[2].output, plan.model.output), sizes[2].output)
    assert done[0].exits[0].parameters == sum(size.parameters for size in sizes[:3]) + head.parameters
    assert done[-1].exits[-1].parameters == sum(size.parameters for size in sizes)
    phases = [(event.block, event.phase) for event in events if isinstance(event, BlockStarted)]
    assert (
        phases[:3] == [(0, "prepare"), *([(0, "cache")] if kind == "cache" else []), (0, "prepare"), (0, "train")][:3]
    )
    assert done[0].cache_bytes > 0 and list((tmp_path / "cache").iterdir()) == []


def test_both_ways_of_reading_through_them_end_in_the_same_weights(tmp_path: Path) -> None:
    found = []
    for kind in ("cache", "recompute"):
        plan = frozen_plan(kind)
        begin(plan, tmp_path / kind)
        session(plan, tmp_path / kind)
        found.append(weights(tmp_path / kind, plan))
    assert found[0] == found[1]


def joint_frozen_plan(name: str, kind: str) -> Plan:
    """Frozen units end where several tensors pass, and so do both blocks behind them."""
    plan, pattern = frozen_plan(kind), joint_plan(name, (0, COUNT), (COUNT, 3), (3, 5))
    _, first, second = pattern.blocks
    if kind == "recompute":
        first = replace(first, input=BlockInput("recompute", 0, 785, "uint8"))
    return replace(plan, model=pattern.model, blocks=(first, second), exits=pattern.exits[1:])


@pytest.mark.parametrize("name", NETWORKS)
def test_they_may_end_where_several_tensors_pass(tmp_path: Path, name: str) -> None:
    random, found = numpy.random.default_rng(0), []
    for part in ("x_train", "x_test"):
        numpy.save(tmp_path / part, random.integers(0, 256, (24, *joint_chains.IMAGE), dtype=numpy.uint8))
        numpy.save(tmp_path / part.replace("x", "y"), numpy.arange(24) % joint_chains.CLASSES)
    for kind in ("cache", "recompute"):
        plan = joint_frozen_plan(name, kind)
        assert not plan.model.is_single(COUNT)
        session(plan, tmp_path / kind, source=str(tmp_path))
        found.append(weights(tmp_path / kind, plan))
    assert found[0] == found[1]


def test_what_is_cached_is_what_they_make_of_the_data_in_evaluation_mode(tmp_path: Path) -> None:
    plan = frozen_plan()
    begin(plan, tmp_path)
    with pytest.raises(ZeroDivisionError):
        session(plan, tmp_path, _Stop(BlockStarted, "train"))
    whole = loaded_block(make_whole(plan), 0, 0)
    whole.begin_with(RunFolder(tmp_path).init)
    whole.stop_training()
    stem = nn.Sequential(*whole.segments[0].units[:COUNT])
    count, size = 3 * 8, 4 * prod(model_sizes(plan.model)[COUNT - 1].output)
    with open_prepared("sample", tmp_path, size=plan.model.input) as data:
        images, labels = next(
            Samples(
                data.test, plan.model.input, None, count, labels=CLASS_NUMBER, normalisation=plan.normalisation
            ).in_order()
        )
    with torch.no_grad():
        expected = stem(images)
    done = (RunFolder(tmp_path).block_cache(0, "test") / "done").read_text()
    spec = CacheSpec(count, size, done.split()[-1])
    assert spec.done() == done
    reader = CacheReader(RunFolder(tmp_path).block_cache(0, "test"), spec)
    records = memoryview(bytearray(count * size))
    assert reader.read_many(range(count), records) == list(map(class_label, labels.tolist()))
    reader.close()
    found = torch.frombuffer(records, dtype=torch.float32).view(expected.shape)
    torch.testing.assert_close(found, expected)


class _Stop:
    """Ends a session, as a kill would, when it comes to a place."""

    def __init__(self, kind: type[Event], phase: str | None = None) -> None:
        self._kind, self._phase = kind, phase

    def __call__(self, event: Event) -> None:
        if isinstance(event, self._kind) and (self._phase is None or getattr(event, "phase", None) == self._phase):
            raise ZeroDivisionError


@pytest.mark.parametrize("kind", ["cache", "recompute"])
@pytest.mark.parametrize(
    "stop",
    [_Stop(BlockStarted, "cache"), _Stop(BlockStarted, "prepare"), _Stop(Step), _Stop(BlockDone)],
    ids=["before they run", "behind them", "in training", "behind the first block"],
)
def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path: Path, stop: _Stop, kind: str) -> None:
    plan = frozen_plan(kind)
    for name in ("whole", "stopped"):
        begin(plan, tmp_path / name)
    session(plan, tmp_path / "whole")
    with pytest.raises(ZeroDivisionError):
        session(plan, tmp_path / "stopped", stop)
    session(plan, tmp_path / "stopped")
    assert weights(tmp_path / "stopped", plan) == weights(tmp_path / "whole", plan)


def test_a_cache_that_is_half_written_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = frozen_plan()
    for name in ("whole", "stopped"):
        begin(plan, tmp_path / name)
    session(plan, tmp_path / "whole")
    append, left = cache.CacheWriter.append, [20]

    def fail(writer: cache.CacheWriter, index: int, record: cache.Record, label: Label) -> None:
        left[0] -= 1
        if not left[0]:
            raise ZeroDivisionError
        append(writer, index, record, label)

    with monkeypatch.context() as patch:
        patch.setattr(cache.CacheWriter, "append", fail)
        with pytest.raises(ZeroDivisionError):
            session(plan, tmp_path / "stopped")
    events: list[Event] = []
    session(plan, tmp_path / "stopped", events.append)
    assert weights(tmp_path / "stopped", plan) == weights(tmp_path / "whole", plan)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_damaged_shard_of_their_outputs_is_computed_anew(tmp_path: Path, part: str) -> None:
    plan = frozen_plan()
    for name in ("whole", "spoiled"):
        begin(plan, tmp_path / name)
    session(plan, tmp_path / "whole")
    events: list[Event] = []

    def spoil(event: Event) -> None:
        events.append(event)
        begun = [event.phase for event in events if isinstance(event, BlockStarted)]
        if isinstance(event, BlockStarted) and begun == ["prepare", "cache", "prepare"]:
            shard = shard_path(RunFolder(tmp_path / "spoiled").block_cache(0, part), 1)
            content = bytearray(shard.read_bytes())
            content[len(content) // 2] ^= 4
            shard.write_bytes(content)

    session(plan, tmp_path / "spoiled", spoil)
    said = [event.text for event in events if isinstance(event, Deviation)]
    assert len(said) == 1 and "computed anew" in said[0]
    assert weights(tmp_path / "spoiled", plan) == weights(tmp_path / "whole", plan)


@pytest.mark.parametrize("error", [MemoryError(), OverBudgetError("too much")], ids=["refused", "seen too late"])
def test_they_fall_back_where_memory_does_not_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    plan = frozen_plan()
    begin(plan, tmp_path)
    sizes = [fallback.micro_batch for fallback in plan.blocks[0].settings]
    tried: list[int] = []

    def refuse(modules: Iterable[nn.Module], run: Pass, samples: Samples, *others: Any) -> None:
        tried.append(samples.micro_batch)
        if len(tried) == 1:
            raise error
        rehearse(modules, run, samples, *others)

    monkeypatch.setattr(frozen_module, "rehearse", refuse)
    events: list[Event] = []
    session(plan, tmp_path, events.append)
    assert tried[:2] == sizes[:2]
    said = [event.text for event in events if isinstance(event, Deviation)]
    assert len(said) == 1 and said[0].startswith("block 0: running its frozen units does not fit with micro-batch 8")
    # Training itself still begins with the plan's own setting.
    assert next(event for event in events if isinstance(event, BlockDone)).micro_batch == sizes[0]
