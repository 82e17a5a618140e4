"""A run's data is prepared with the validation part that was named, which a resumed run remembers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from planner.data.pace import Progress
from planner.errors import InputError
from planner.runner.storage.planned_run import PlannedRun
from planner.runner.supervise.begin import Begun
from planner.runner.supervise.run_data import data_report, prepare_data, unused_validation
from planner.runner.supervise.supervisor import RunOptions
from planner.schema.plan import Plan
from planner.schema.run_folder import RunFolder
from tests.fault.support import small_plan
from tests.unit.data.support import cycling_labels, random_images


@pytest.fixture(scope="module")
def plan() -> Plan:
    return small_plan()


def _write(path: Path, count: int, shape: tuple[int, ...]) -> str:
    np.savez(path, images=random_images(count, *shape[1:], shape[0]), labels=cycling_labels(count, 10))
    return str(path)


def _nothing(progress: Progress) -> None:
    """Nobody looks."""


def test_a_resumed_run_remembers_its_validation_part(plan: Plan, tmp_path: Path) -> None:
    run = PlannedRun(plan, RunFolder(tmp_path / "run"))
    data = _write(tmp_path / "train.npz", 40, plan.model.input)
    other = _write(tmp_path / "val.npz", 13, plan.model.input)
    named = RunOptions(validation=other, guard=False)
    first = prepare_data(run, data, Begun(named, True), True, False, _nothing)
    assert (first.description.part("validation").samples, first.description.validation) == (13, other)

    begun = Begun(RunOptions(guard=False), False, data=data_report(first, Begun(named, True)))
    assert prepare_data(run, data, begun, True, False, _nothing).reused
    third = _write(tmp_path / "third.npz", 14, plan.model.input)
    begun = Begun(RunOptions(validation=third, guard=False), False, data=begun.data)
    with pytest.raises(InputError, match="the validation part had 13 samples, and has 14"):
        prepare_data(run, data, begun, True, False, _nothing)


def test_a_part_by_which_nothing_is_chosen_is_told(plan: Plan) -> None:
    assert unused_validation(plan, Begun(RunOptions(exit_tolerance=0.5), True)) == ()
    assert unused_validation(plan, Begun(RunOptions(validation="v"), True)) == (
        "--validation is not used: without --exit-tolerance no exit is chosen by it",
    )
    assert unused_validation(plan, Begun(RunOptions(validation="v", exit_tolerance=0.5), True)) == ()
