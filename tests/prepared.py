"""A data set prepared in this process, as a run's supervisor has it done in another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from planner.data.prepare import Wanted
from planner.data.preparer import prepare
from planner.data.records import Records
from planner.schema.run_folder import RunFolder
from planner.tasks.kinds import CLASSIFICATION


def open_prepared(name: str | Path, work_dir: Path, size: tuple[int, ...] = (1, 28, 28), **wanted: Any) -> Records:
    """Prepare `name` in `work_dir`, for a model of that input and ten classes, and open the records."""
    usual = Wanted(str(name), str(work_dir), size, classes=10, called="the model", task=CLASSIFICATION, seed=0)
    prepare(replace(usual, **wanted))
    return Records(RunFolder(work_dir).records)
