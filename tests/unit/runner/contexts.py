"""What a run and its blocks go by, for tests of single parts: as a session makes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from planner.runner.protocol.job import RunLength
from planner.runner.storage.planned_run import PlannedRun
from planner.runner.train.block import LoadedBlock
from planner.runner.train.context import BlockContext, RunContext
from planner.schema.plan import Plan
from planner.schema.run_folder import RunFolder

_NOWHERE = Path("no folder")


def planned_run(plan: Plan, out: Path) -> PlannedRun:
    """A plan and its output folder."""
    return PlannedRun(plan, RunFolder(out))


def run_context(plan: Plan, out: Path = _NOWHERE, seed: int = 0, length: RunLength | None = None) -> RunContext:
    """A run; `length` where it is not the plan's."""
    return RunContext(plan, RunFolder(out), length or RunLength(plan.training.epochs, None, seed))


def block_context(plan: Plan, index: int, out: Path = _NOWHERE, seed: int = 0) -> BlockContext:
    """One block of a run, or its polish."""
    return run_context(plan, out, seed).stages[index]


def loaded_block(plan: Plan, index: int, seed: int, frozen: Sequence[nn.Module] = ()) -> LoadedBlock:
    """One block in memory."""
    return LoadedBlock(block_context(plan, index, seed=seed), frozen)
