"""A child that is killed, and a step that does not get its memory: the run goes on at the next fallback and says so."""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from planner.cli.progress import Silent
from planner.errors import PlannerError
from planner.runner.input.samples import Samples
from planner.runner.protocol.events import BlockDone, BlockStarted, Deviation, Event
from planner.runner.supervise.supervisor import RunOptions, run_plan
from planner.runner.train import finishing
from planner.runner.train.block import LoadedBlock
from planner.runner.train.guard import MemoryGuard
from planner.runner.train.post_training import MeasuredBlock, validate
from planner.schema.codec import content_id, decode, read_document
from planner.schema.report import Report
from planner.schema.run_folder import RunFolder
from planner.system.ends import End
from tests.fault.support import Hurt, session, small_plan, weights
from tests.unit.system.support import MIB, run_child, with_read_only_proc

STEPS = 4


def test_a_killed_child_is_resumed_at_the_next_fallback(tmp_path: Path) -> None:
    number = signal.SIGABRT  # as good as SIGKILL, which others here send: unit/system/test_ends.py
    hurt = Hurt(small_plan(), tmp_path / "out", STEPS)
    assert hurt.run("checkpoint", 1, whom="child", number=number) == 0, hurt.said
    report = read_document(RunFolder(hurt.out).report, Report)
    assert len(report.deviations) == 1
    assert f"{End(-number).words} at micro-batch 8 (train)" in report.deviations[0]
    assert "resumed from the last checkpoint at micro-batch 4" in report.deviations[0]
    assert [(block.micro_batch, block.accumulate) for block in report.blocks] == [(4, 2), (8, 1), (8, 1)]
    assert [block.steps for block in report.blocks] == [STEPS] * 3
    begun = [event for event in hurt.events if event["kind"] == "phase" and event["phase"] == "train"]
    assert begun[1]["done_steps"] >= 1
    before = hurt.events[: hurt.events.index(begun[1])]
    assert report.deviation_steps == (len([event for event in before if event["kind"] == "step"]),)


@pytest.mark.parametrize("phase", ["save", "validate", "cache"])
def test_a_child_killed_behind_its_training_does_not_train_again(tmp_path: Path, phase: str) -> None:
    hurt = Hurt(small_plan(), tmp_path / "out", STEPS)
    assert hurt.run(phase, whom="child") == 0, hurt.said
    steps = [event["step"] for event in hurt.events if event["kind"] == "step" and event["block"] == 0]
    assert steps == list(range(STEPS))
    report = read_document(RunFolder(hurt.out).report, Report)
    assert "killed (SIGKILL)" in report.deviations[0]


def test_without_a_fallback_left_the_run_ends_with_4_and_what_was_tried(tmp_path: Path) -> None:
    plan = small_plan()
    plan = replace(plan, blocks=(replace(plan.blocks[0], ladder=()), *plan.blocks[1:]))
    hurt = Hurt(replace(plan, id=content_id(plan)), tmp_path / "out", STEPS)
    assert hurt.run("checkpoint", whom="child") == 4
    assert "block 0 has no fallback left" in hurt.said
    assert "block 0 killed (SIGKILL) at micro-batch 8 (train)" in hurt.said
    # What was trained is kept.
    assert hurt.run() == 0, hurt.said
    begun = next(event for event in hurt.events if event["kind"] == "phase" and event["phase"] == "train")
    assert begun["done_steps"] >= 1


def test_a_child_killed_before_its_first_block_is_not_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts, program, out = tmp_path / "starts", tmp_path / "python", tmp_path / "out"
    # What looks at the data beforehand is let through.
    child = f'*planner.runner.train.child*) echo started >> "{starts}"; kill -KILL $$ ;;'
    program.write_text(f'#!/bin/sh\ncase "$*" in {child} esac\nexec "{sys.executable}" "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(PlannerError, match=r"killed \(SIGKILL\) .*, before its first block") as caught:
        run_plan(small_plan(), "sample", out, RunOptions(max_steps=STEPS), Silent())
    assert caught.value.exit_code == 4
    assert starts.read_text() == "started\n"
    assert not RunFolder(out).report.exists()


def test_an_overrun_behind_training_falls_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = small_plan()
    events: list[Event] = []

    def fail_or_validate(block: LoadedBlock, samples: Samples, *more: Any) -> MeasuredBlock:
        if samples.micro_batch == 8:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return validate(block, samples, *more)

    monkeypatch.setattr(finishing, "validate", fail_or_validate)
    session(plan, tmp_path / "hurt", events.append)
    words = [event.text for event in events if isinstance(event, Deviation)]
    said = "finishing does not fit with micro-batch 8"
    assert [text.rpartition(": ")[0] for text in words] == [f"block {index}: {said}" for index in range(3)]
    done = [event for event in events if isinstance(event, BlockDone)]
    assert [(block.micro_batch, block.steps) for block in done] == [(8, 3)] * 3  # as it was trained


_RLIMIT = """
import json, math, mmap, sys
from dataclasses import replace
from pathlib import Path
from planner.training.runtime import start_torch
start_torch("tight", 1)
from planner.runner.storage.checkpoint import Checkpoints
from tests.prepared import open_prepared
from planner.runner.train.guard import MemoryGuard
from planner.runner.protocol.job import RunLength
from planner.runner.input.samples import Samples
from planner.runner.train.stop import StopSignal
from planner.runner.train.train import BlockTrainer
from planner.schema.plan import BatchSetting
from planner.system.proc import read_memory
from planner.tasks.base import CLASS_NUMBER
from planner.units import MIB
from tests.fault.support import small_plan
from tests.unit.runner.contexts import run_context

plan, folder = small_plan(), Path(sys.argv[1])
ladder = (BatchSetting(8, 16, plan.blocks[0].predicted),)
blocks = tuple(replace(block, micro_batch=128, accumulate=1, ladder=ladder) for block in plan.blocks)
plan = replace(plan, blocks=blocks, training=replace(plan.training, batch=128))
guard = MemoryGuard(read_memory().resident_bytes + 1024 * MIB)
told, ballast = [], []

def tell(event):
    told.append([event.kind, getattr(event, "text", ""), getattr(event, "step", -1)])
    if event.kind == "step" and event.step == 1:
        # Mapped and never touched: what is left is half of what a step takes on top.
        left = guard._limit.limit_bytes - read_memory().data_bytes
        ballast.append(mmap.mmap(-1, left - (event.peak_bytes - event.resident_bytes) // 2, flags=mmap.MAP_PRIVATE))

with open_prepared("sample", folder, size=plan.model.input) as data:
    by = plan.normalisation
    make = lambda size: Samples(data.train, plan.model.input, None, size, labels=CLASS_NUMBER, normalisation=by)
    block = run_context(plan, length=RunLength(1, 5, 0)).stages[0]
    trainer = BlockTrainer(block, make, guard, tell, Checkpoints(folder / "c", math.inf), StopSignal())
    trained = trainer.train()
print(json.dumps([told, trained.setting.micro_batch, trained.position.step]))
"""


def test_an_overrun_that_the_kernel_refuses_costs_one_batch(tmp_path: Path) -> None:
    """RLIMIT_DATA leaves too little in the middle of training: a real refusal, caught, and the next fallback fits."""
    (tmp_path / "work").mkdir()
    words, micro_batch, steps = run_child(_RLIMIT, str(tmp_path / "work"))
    deviations = [text for kind, text, _ in words if kind == "deviation"]
    assert len(deviations) == 1
    assert "micro-batch 128, after step 2: an allocation beyond the budget was refused" in deviations[0]
    assert [step for kind, _, step in words if kind == "step"] == [0, 1, 2, 3, 4]
    assert (micro_batch, steps) == (8, 5)


def test_a_child_that_ends_for_another_reason_than_memory_is_not_tried_lower(tmp_path: Path) -> None:
    number = signal.SIGILL
    hurt = Hurt(small_plan(), tmp_path / "out", STEPS)
    assert hurt.run("checkpoint", 1, whom="child", number=number) == 4
    assert End(-number).explained in hurt.said
    assert not RunFolder(hurt.out).report.exists()
    # What was trained is kept.
    assert hurt.run() == 0, hurt.said


def _stand_in(program: Path, script: str) -> None:
    """What the training process is in place of Python; whatever else is started is itself."""
    itself = f'case "$*" in *planner.runner.train.child*) ;; *) exec "{sys.executable}" "$@" ;; esac'
    program.write_text(f"#!/bin/sh\n{itself}\n{script}\n")
    program.chmod(0o755)


def test_a_childs_log_survives_its_successor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter, program, out = tmp_path / "starts", tmp_path / "python", tmp_path / "out"
    _stand_in(program, f'echo start >> "{counter}"\necho "words of $(wc -l < "{counter}")" >&2\nexit 3')
    monkeypatch.setattr(sys, "executable", str(program))
    for number in (1, 2):
        with pytest.raises(PlannerError, match=rf"ended \(exit 3\), unexpectedly: words of {number}; its log is"):
            run_plan(small_plan(), "sample", out, RunOptions(max_steps=STEPS, resume=True), Silent())
    lines = RunFolder(out).log.read_text().splitlines()
    assert [line for line in lines if not line.startswith("---")] == ["words of 1", "words of 2"]
    assert [line.split(",")[1:] for line in lines if line.startswith("---")] == [[" block 0", " fallback 0 ---"]] * 2


def test_a_child_that_said_nothing_is_not_given_another_ones_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    _stand_in(program, "exit 3")
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(PlannerError, match=r"ended \(exit 3\), unexpectedly; its log is"):
        run_plan(small_plan(), "sample", tmp_path / "out", RunOptions(max_steps=STEPS), Silent())


READ_ONLY = """
    import sys
    from pathlib import Path
    from planner.cli.progress import Silent
    from planner.schema.codec import to_json
    from planner.runner.supervise.supervisor import RunOptions, run_plan
    from tests.fault.support import small_plan
    report = run_plan(small_plan(), "sample", Path(sys.argv[1]), RunOptions(max_steps=3), Silent())
    print(to_json(report, indent=None))
"""


def test_where_no_peak_begins_anew_a_run_says_so_and_its_peaks_are_never_too_low(tmp_path: Path) -> None:
    usual = decode(Report, run_child(READ_ONLY, str(tmp_path / "usual")))
    found = decode(Report, run_child(READ_ONLY, str(tmp_path / "odd"), wrapper=with_read_only_proc()))
    assert found.deviations[0].startswith("the kernel lets no process begin its peak anew here (/proc/self/clear_refs")
    assert not usual.deviations
    for block, exact in zip(found.blocks, usual.blocks, strict=True):
        assert exact.measured_peak_bytes - 4 * MIB < block.measured_peak_bytes <= found.peak_bytes
    # The start of torch is the highest that such a small run has; two runs of it differ by some library pages.
    highest = max(exact.measured_peak_bytes for exact in usual.blocks)
    assert found.child_peak_bytes > highest - usual.supervisor_peak_bytes - 4 * MIB
    weights = [RunFolder(folder).model.read_bytes() for folder in (tmp_path / "usual", tmp_path / "odd")]
    assert weights[0] == weights[1]


def test_what_is_done_behind_training_has_smaller_sizes_than_the_ladder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ladder that is empty, and measuring that has room for one sample alone: told by the guard, from real peaks."""
    plan = small_plan()
    plan = replace(plan, blocks=tuple(replace(block, ladder=()) for block in plan.blocks))
    plan = replace(plan, id=content_id(plan))
    phase, sizes = "", dict[str, list[int]]()
    real = MemoryGuard.is_over

    def tell(event: Event) -> None:
        nonlocal phase
        if isinstance(event, BlockStarted):
            phase = event.phase
            sizes.setdefault(phase, []).append(event.micro_batch)

    def is_over(guard: MemoryGuard, peak_bytes: int) -> bool:
        return real(guard, peak_bytes) or (phase in ("validate", "cache") and sizes[phase][-1] > 1)

    monkeypatch.setattr(MemoryGuard, "is_over", is_over)
    session(plan, tmp_path / "hurt", tell)
    # Halved from the plan's own 8 for each of three blocks; the last one writes no cache, and training was never asked.
    assert sizes["validate"] == [8, 4, 2, 1] * 3
    assert sizes["cache"] == [1, 1]
    assert sizes["train"] == [8, 8, 8]
    assert len(weights(tmp_path / "hurt", plan)) > 0  # every block has come to its end
