"""SIGKILL at any moment: the run goes on from its last checkpoint and ends in the weights of an undisturbed one."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from planner.runner.protocol.events import Event, Step
from planner.runner.protocol.position import read_position
from planner.runner.supervise.supervisor import RunOptions, run_plan
from planner.schema.codec import read_document
from planner.schema.common import OptimizerConfig
from planner.schema.plan import Plan
from planner.schema.report import Report
from planner.schema.run_folder import RunFolder
from planner.system.locks import LOCK_NAME, lock_folder
from tests.fault.support import Hurt, frozen_plan, polished_plan, session, small_plan, weights

STEPS = 4
MANY_STEPS = 40
"""So many that a signal sent in the middle of them arrives there."""

# An event of each phase, and how many events may pass before the kill: within a phase, or in what follows it.
PLACES = {"step": 6, "checkpoint": 6, "save": 1, "validate": 1, "cache": 1, "block-done": 1, "prepare": 1}
PHASES = {
    "step": "training",
    "train": "training",
    "checkpoint": "training",
    "save": "saving",
    "validate": "validating",
    "cache": "cache writing",
    "block-done": "switching blocks",
    "prepare": "switching blocks",
}


@pytest.fixture(scope="module", params=[small_plan, frozen_plan], ids=["all trained", "two units frozen"])
def undisturbed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Plan, dict[str, bytes], bytes]:
    """The plan, what its run ends in, and the model's file."""
    hurt = Hurt(request.param(), tmp_path_factory.mktemp("undisturbed") / "out", STEPS)
    assert hurt.run() == 0, hurt.said
    return hurt.plan, weights(hurt.out, hurt.plan), RunFolder(hurt.out).model.read_bytes()


def _kill_until(undisturbed: tuple[Plan, dict[str, bytes], bytes], folder: Path, kills: int, seed: int) -> Counter[str]:
    """Kill runs, as often as asked, at places drawn from `seed`; each run is resumed until it ends, and compared."""
    plan, expected, model = undisturbed
    source, counted = random.Random(seed), Counter[str]()
    for number in range(10 * kills):
        hurt = Hurt(plan, folder / f"run-{number}", STEPS)
        kept: dict[int, int] = {}
        while True:
            place = source.choice(list(PLACES)) if counted.total() < kills else ""
            code = hurt.run(place, source.randint(0, PLACES[place]) if place else 0)
            _check_nothing_was_lost(hurt, kept)
            if code == 0:
                break
            assert code == -signal.SIGKILL, hurt.said
            if hurt.last in PHASES:
                counted[PHASES[hurt.last]] += 1
        assert weights(hurt.out, plan) == expected
        assert RunFolder(hurt.out).model.read_bytes() == model
        assert all("resumed at block" in text for text in read_document(RunFolder(hurt.out).report, Report).deviations)
        if counted.total() >= kills:
            return counted
    raise AssertionError(f"only {counted.total()} of {kills} kills hit a run at work")


def _check_nothing_was_lost(hurt: Hurt, kept: dict[int, int]) -> None:
    """A session begins no earlier than the last checkpoint that an earlier one has told of; `kept` remembers those."""
    for event in hurt.events:
        if event["kind"] == "phase" and event["phase"] == "train":
            assert event["done_steps"] >= kept.get(event["block"], 0)
        if event["kind"] == "checkpoint":
            kept[event["block"]] = event["step"]


def test_a_few_kills(undisturbed: tuple[Plan, dict[str, bytes], bytes], tmp_path: Path) -> None:
    assert _kill_until(undisturbed, tmp_path, 4, seed=7).total() >= 4


@pytest.mark.long
def test_sixty_kills_in_every_phase(
    undisturbed: tuple[Plan, dict[str, bytes], bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counted = _kill_until(undisturbed, tmp_path, 60, seed=1)
    with capsys.disabled():
        print(f"\nkills by phase: {dict(counted)}")
    assert all(counted[phase] >= 3 for phase in set(PHASES.values())), counted


def test_a_run_that_is_asked_to_stop_saves_first(tmp_path: Path) -> None:
    plan = small_plan(blocks_at=((0, 6),))
    whole = Hurt(plan, tmp_path / "whole", MANY_STEPS)
    assert whole.run() == 0, whole.said
    for number in (signal.SIGTERM, signal.SIGINT):
        # No checkpoint is due for days: what is kept was saved because of the signal.
        hurt = Hurt(plan, tmp_path / number.name, MANY_STEPS, checkpoint_seconds=1e6)
        assert hurt.run("step", 1, number=number) == 130
        assert "--resume" in hurt.said
        position = read_position(RunFolder(hurt.out).checkpoint)
        assert position is not None
        told = [event["step"] for event in hurt.events if event["kind"] == "checkpoint"]
        assert (position.block, [position.step]) == (0, told)
        assert 2 <= position.step < MANY_STEPS
        assert hurt.run() == 0, hurt.said
        steps = [event["step"] for event in hurt.events if event["kind"] == "step" and event["block"] == 0]
        assert steps == list(range(position.step, MANY_STEPS))
        assert weights(hurt.out, plan) == weights(whole.out, plan)


def test_a_run_that_is_asked_to_stop_while_it_caches_goes_on_there(
    undisturbed: tuple[Plan, dict[str, bytes], bytes], tmp_path: Path
) -> None:
    plan, expected, _ = undisturbed
    hurt = Hurt(plan, tmp_path / "out", STEPS)
    assert hurt.run("validate", number=signal.SIGTERM) == 130
    assert hurt.run() == 0, hurt.said
    assert not [event for event in hurt.events if event["kind"] == "step" and event["block"] == 0]
    assert weights(hurt.out, plan) == expected


def test_a_child_that_is_killed_while_frozen_units_run_goes_on_a_rung_lower(tmp_path: Path) -> None:
    hurt = Hurt(frozen_plan(), tmp_path / "out", STEPS)
    assert hurt.run("cache", whom="child") == 0, hurt.said
    report = read_document(RunFolder(hurt.out).report, Report)
    assert [block.micro_batch for block in report.blocks] == [4, 8]
    (said,) = report.deviations
    assert said.startswith("block 0: the training process was killed (SIGKILL) at micro-batch 8 (cache); resumed")


def test_a_run_is_resumed_as_it_was_begun(tmp_path: Path) -> None:
    hurt = Hurt(small_plan(), tmp_path / "out", STEPS)
    assert hurt.run("step", 1) == -signal.SIGKILL
    other = Hurt(hurt.plan, hurt.out, STEPS + 1)
    assert other.run() == 2
    assert f"--max-steps is {STEPS + 1}" in other.said and f"--max-steps {STEPS}" in other.said


def test_a_polish_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    """In its training, and while its exits are fitted: no block before it fits any."""
    plan = polished_plan()
    whole, hurt = Hurt(plan, tmp_path / "whole", 2), Hurt(plan, tmp_path / "hurt", 2)
    assert whole.run() == 0, whole.said
    stage = len(plan.blocks)
    steps = [index for index, event in enumerate(whole.events) if event["kind"] == "step"]
    polishing = next(index for index in steps if whole.events[index]["block"] == stage)
    kept: dict[int, int] = {}
    for place, after in (("step", polishing - steps[0] + 1), ("fit", 0)):
        assert hurt.run(place, after) == -signal.SIGKILL
        _check_nothing_was_lost(hurt, kept)
    assert hurt.run() == 0, hurt.said
    _check_nothing_was_lost(hurt, kept)
    assert kept[stage] == 2
    assert {event["block"] for event in hurt.events if event["kind"] == "phase"} == {stage}
    assert not any(event["kind"] == "step" for event in hurt.events)
    assert weights(hurt.out, plan) == weights(whole.out, plan)
    assert RunFolder(hurt.out).model.read_bytes() == RunFolder(whole.out).model.read_bytes()
    said = read_document(RunFolder(hurt.out).report, Report).deviations
    assert said and all(text.startswith("resumed at the polish, step ") for text in said)


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_optimizer_state_is_kept_to_the_bit(tmp_path: Path, kind: str) -> None:
    """Without a process of its own: the session never comes back from where it told of its third checkpoint."""
    plan = small_plan(OptimizerConfig(kind, 0.01, weight_decay=0.01))  # type: ignore[arg-type]  # a literal
    session(plan, tmp_path / "whole", steps=STEPS)
    told = 0

    def end_at_third(event: Event) -> None:
        nonlocal told
        told += event.kind == "checkpoint"
        if told == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session(plan, tmp_path / "ended", end_at_third, steps=STEPS)
    position = read_position(RunFolder(tmp_path / "ended").checkpoint)
    assert position is not None and (position.block, position.step) == (0, 3)
    session(plan, tmp_path / "ended", steps=STEPS)
    assert weights(tmp_path / "ended", plan) == weights(tmp_path / "whole", plan)


class _Descriptors:
    """Lists what the training child holds open, once it trains."""

    def __init__(self) -> None:
        self.files: set[Path] = set()

    def observe(self, event: Event) -> None:
        if isinstance(event, Step):
            pid = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()[-1]
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):  # closed since it was listed
                    self.files.add(link.readlink())


def test_the_child_holds_the_folders_lock_so_that_no_second_run_writes_beside_an_orphan(tmp_path: Path) -> None:
    seen = _Descriptors()
    run_plan(small_plan(), "sample", tmp_path / "out", RunOptions(max_steps=2), seen)
    assert tmp_path / "out" / LOCK_NAME in seen.files
    # And gives it back when its supervisor is killed, for it goes with it.
    hurt = Hurt(small_plan(), tmp_path / "killed", STEPS)
    assert hurt.run("step") == -signal.SIGKILL
    lock_folder(hurt.out).release()
