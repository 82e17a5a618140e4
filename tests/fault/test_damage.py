"""Files of an output folder damaged or lost: made again and said, or refused with a way out; never believed."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from planner.cli.progress import Silent
from planner.errors import InputError
from planner.runner.protocol.position import read_position
from planner.runner.storage.safetensors import Entry, content_checksum, write_tensors
from planner.runner.supervise.resume import find_damage
from planner.runner.supervise.supervisor import RunOptions, run_plan
from planner.schema.codec import content_id, read_document
from planner.schema.plan import Plan
from planner.schema.report import Report
from planner.schema.run_folder import RunFolder
from tests.fault.support import Hurt, frozen_plan, small_plan, weights
from tests.unit.runner.contexts import planned_run
from tests.unit.runner.train.test_pooled import with_pooled_exits

STEPS = 2


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


HURTS: dict[str, Callable[[Path], None]] = {"flipped": _flip, "truncated": _truncate, "lost": Path.unlink}

BLOCK = "block 0 is trained again"
MEASURE = "block 0 is measured again"
MENDED = {
    "weights/block-000.safetensors": BLOCK,
    "weights/block-000.json": MEASURE,
    "weights/exits-000.safetensors": MEASURE,
    "weights/checkpoint.safetensors": "block 1 begins anew, its checkpoint is damaged",
    "plan.json": "plan.json was damaged or lost",
    "job.json": "job.json was damaged or lost",
    "known.json": "",
    "memory.jsonl": "",
    "deviations.json": "deviations.json was damaged",
}
"""What a run that stopped in its second block has on storage, and what is said where it is damaged."""

QUIET = {
    ("weights/block-000.json", "lost"): "resumed at block 0",
    ("weights/checkpoint.safetensors", "lost"): "resumed at block 1",
    ("deviations.json", "lost"): "resumed at block 1",
}
"""Where a file that is not there is no damage: the run had not come so far, or had nothing to say."""


@pytest.fixture(scope="module")
def plan() -> Plan:
    return with_pooled_exits(small_plan())


@pytest.fixture(scope="module")
def whole(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing happened to."""
    hurt = Hurt(plan, tmp_path_factory.mktemp("whole") / "out", STEPS)
    assert hurt.run() == 0, hurt.said
    return hurt.out


@pytest.fixture(scope="module")
def stopped(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was killed in its second block, after it had been resumed there once."""
    hurt = Hurt(plan, tmp_path_factory.mktemp("stopped") / "out", STEPS)
    assert hurt.run("block-done") == -signal.SIGKILL
    assert hurt.run("checkpoint") == -signal.SIGKILL
    position = read_position(RunFolder(hurt.out).checkpoint)
    assert position is not None and position.block == 1
    return hurt.out


def _resume(plan: Plan, out: Path, data: str = "sample", init: Path | None = None) -> Report:
    options = RunOptions(max_steps=STEPS, resume=True, init=init, checkpoint_seconds=0.0)
    return run_plan(plan, data, out, options, Silent())


def _copied(stopped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "out"))


def _check(plan: Plan, name: str, how: str, stopped: Path, whole: Path, tmp_path: Path) -> None:
    out = _copied(stopped, tmp_path)
    HURTS[how](out / name)
    report = _resume(plan, out)
    said = QUIET.get((name, how), MENDED[name])
    assert any(text.startswith(said) for text in report.deviations), report.deviations
    assert weights(out, plan) == weights(whole, plan)
    assert RunFolder(out).model.read_bytes() == RunFolder(whole).model.read_bytes()
    expected = read_document(RunFolder(whole).report, Report)
    assert [(found.unit, found.accuracy) for found in report.exits] == [
        (found.unit, found.accuracy) for found in expected.exits
    ]
    assert [(block.steps, block.loss) for block in report.blocks] == [
        (block.steps, block.loss) for block in expected.blocks
    ]


@pytest.mark.parametrize(("name", "how"), list(zip(MENDED, [*HURTS] * len(MENDED), strict=False)))
def test_what_is_damaged_is_made_again_and_said(
    plan: Plan, name: str, how: str, stopped: Path, whole: Path, tmp_path: Path
) -> None:
    _check(plan, name, how, stopped, whole, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("how", HURTS)
@pytest.mark.parametrize("name", MENDED)
def test_every_file_in_every_way(plan: Plan, name: str, how: str, stopped: Path, whole: Path, tmp_path: Path) -> None:
    _check(plan, name, how, stopped, whole, tmp_path)


@pytest.mark.parametrize("how", HURTS)
@pytest.mark.parametrize("index", [0, 1, 2])
def test_damage_is_found_wherever_it_is(plan: Plan, whole: Path, tmp_path: Path, index: int, how: str) -> None:
    out = _copied(whole, tmp_path)
    assert find_damage(planned_run(plan, out)) == []
    HURTS[how](RunFolder(out).block_weights(index))
    (found,) = find_damage(planned_run(plan, out))
    assert found.text.startswith(f"block {index} is trained again")
    gone = {RunFolder(out).block_weights(index), RunFolder(out).block_exits(index)}
    assert set(found.files) == gone | {RunFolder(out).block_result(number) for number in range(index, 3)}


def test_another_blocks_weights_are_none(plan: Plan, whole: Path, tmp_path: Path) -> None:
    out = _copied(whole, tmp_path)
    shutil.copy(RunFolder(out).block_weights(0), RunFolder(out).block_weights(1))
    (found,) = find_damage(planned_run(plan, out))
    assert "is another block's" in found.text


def test_a_finished_run_with_a_damaged_block_trains_that_one_alone(plan: Plan, whole: Path, tmp_path: Path) -> None:
    """It comes out to the bit as before, so that those behind it still belong to it."""
    out = _copied(whole, tmp_path)
    before = RunFolder(out).memory.read_bytes()
    _flip(RunFolder(out).block_weights(1))
    report = _resume(plan, out)
    said, resumed, *rebuilt = report.deviations
    assert said.startswith("block 1 is trained again: ") and resumed.startswith("resumed at block 1;")
    assert len(rebuilt) == 2 and all(text.startswith("block 1: ") and "computed anew" in text for text in rebuilt)
    steps = RunFolder(out).memory.read_text()[len(before) :].splitlines()
    assert len(steps) == STEPS and all('"block": 1' in line or '"block":1' in line for line in steps)
    assert RunFolder(out).model.read_bytes() == RunFolder(whole).model.read_bytes()


def test_a_block_is_trained_again_behind_one_that_came_out_otherwise(plan: Plan, whole: Path, tmp_path: Path) -> None:
    """Half the micro-batch rounds otherwise, which is as good as other weights: what was trained behind them is not."""
    out = _copied(whole, tmp_path)
    other = replace(plan, blocks=(replace(plan.blocks[0], micro_batch=4, accumulate=2), *plan.blocks[1:]))
    hurt = Hurt(replace(other, id=content_id(other)), tmp_path / "other", STEPS)
    assert hurt.run() == 0, hurt.said
    assert content_checksum(RunFolder(hurt.out).block_weights(0)) != content_checksum(RunFolder(out).block_weights(0))
    # As if block 0 had been trained again, at a fallback, by a session that then was killed.
    shutil.copy(RunFolder(hurt.out).block_weights(0), RunFolder(out).block_weights(0))
    RunFolder(out).block_result(0).unlink()
    report = _resume(plan, out)
    said = "is trained again: what lies before it is no longer what it was trained behind"
    assert [f"block {index} {said}" in report.deviations for index in (0, 1, 2)] == [False, True, True]
    expected = weights(hurt.out, plan)
    assert weights(out, plan) == expected


@pytest.fixture(scope="module")
def frozen_and_stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that froze its first units, killed in the first block it trains."""
    hurt = Hurt(frozen_plan(), tmp_path_factory.mktemp("frozen") / "out", STEPS)
    assert hurt.run("checkpoint") == -signal.SIGKILL
    return hurt.out


@pytest.mark.parametrize("how", HURTS)
def test_frozen_weights_are_written_again(frozen_and_stopped: Path, tmp_path: Path, how: str) -> None:
    hurt = Hurt(frozen_plan(), _copied(frozen_and_stopped, tmp_path), STEPS)
    frozen = RunFolder(hurt.out).frozen
    before = frozen.read_bytes()
    HURTS[how](frozen)
    assert hurt.run() == 0, hurt.said
    assert frozen.read_bytes() == before


def _some_weights(path: Path) -> None:
    shape = (32, 1, 3, 3)
    write_tensors(path, [Entry("units.0.0.weight", "F32", shape)], lambda: [memoryview(bytes(4 * 32 * 9))])


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was given weights to begin with, which lie beside it; its last block is to be done."""
    folder = tmp_path_factory.mktemp("begun")
    _some_weights(folder / "given")
    options = RunOptions(max_steps=STEPS, init=folder / "given", checkpoint_seconds=0.0)
    run_plan(small_plan(), "sample", folder / "out", options, Silent())
    RunFolder(folder / "out").block_result(2).unlink()
    RunFolder(folder / "out").block_weights(2).unlink()
    return folder / "out"


@pytest.mark.parametrize("how", HURTS)
def test_weights_to_begin_with_are_asked_for_again(begun: Path, tmp_path: Path, how: str) -> None:
    plan, given, out = small_plan(), begun.with_name("given"), _copied(begun, tmp_path)
    HURTS[how](RunFolder(out).init)
    with pytest.raises(InputError, match=r"give the same file once more with --init"):
        _resume(plan, out)
    other = tmp_path / "other"
    write_tensors(other, [Entry("units.0.0.weight", "F32", (1,))], lambda: [memoryview(bytes(4))])
    with pytest.raises(InputError, match="holds other weights than the run was begun with"):
        _resume(plan, out, init=other)
    report = _resume(plan, out, init=given)
    assert report.init is not None and report.init.taken == 1
    assert any(text.startswith("init.safetensors was damaged or lost") for text in report.deviations)


def test_what_no_file_tells_is_refused_with_a_way_out(plan: Plan, stopped: Path, tmp_path: Path) -> None:
    out = _copied(stopped, tmp_path)
    _flip(RunFolder(out).job)
    _truncate(RunFolder(out).known)
    with pytest.raises(InputError, match=r"nothing says with which options .*choose another folder with --out"):
        _resume(plan, out)
    _flip(RunFolder(out).plan)
    with pytest.raises(InputError, match=r"nothing else says of which plan .*choose another folder with --out"):
        _resume(plan, out)


def test_a_run_killed_before_its_report_reports_what_it_would_have(tmp_path: Path) -> None:
    """Behind the last block no child is left to tell how it started, and what it began with."""
    plan, given = small_plan(), tmp_path / "given"
    _some_weights(given)
    plan = replace(plan, budget=replace(plan.budget, scope="training", bytes=2**30))
    plan = replace(plan, id=content_id(plan))
    whole, killed = (Hurt(plan, tmp_path / name, STEPS, init=given) for name in ("whole", "killed"))
    assert whole.run() == 0, whole.said
    done = [number for number, event in enumerate(whole.events) if event["kind"] == "block-done"]
    assert killed.run("block-done", done[-1] - done[0]) == -signal.SIGKILL
    assert (killed.events[-1]["kind"], killed.events[-1]["block"]) == ("block-done", 2)
    ready = next(event for event in killed.events if event["kind"] == "ready")
    assert not RunFolder(killed.out).report.exists()
    assert killed.run() == 0, killed.said
    assert killed.events == []  # no child was started
    first, second = (read_document(RunFolder(hurt.out).report, Report) for hurt in (whole, killed))
    assert (second.baseline_bytes, second.within_budget, second.deviations) == (ready["baseline_bytes"], True, ())
    assert second.init == first.init and first.init is not None
    assert [(b.units, b.micro_batch, b.steps, b.epochs, b.loss) for b in second.blocks] == [
        (b.units, b.micro_batch, b.steps, b.epochs, b.loss) for b in first.blocks
    ]
    assert [(e.unit, e.parameters, e.accuracy) for e in second.exits] == [
        (e.unit, e.parameters, e.accuracy) for e in first.exits
    ]
    assert second.peak_bytes == pytest.approx(first.peak_bytes, abs=4 * 2**20)
    # Where that file is lost as well, a child is started to tell it.
    for name in ("report.json", "known.json"):
        (killed.out / name).unlink()
    assert killed.run() == 0, killed.said
    assert {"ready", "initialised", "finished"} == {event["kind"] for event in killed.events}
    third = read_document(RunFolder(killed.out).report, Report)
    assert third.init == first.init and third.baseline_bytes > 0 and third.within_budget
