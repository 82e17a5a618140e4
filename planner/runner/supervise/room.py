"""Whether a plan has the memory that it wants: of the machine, or of the container around this process."""

from __future__ import annotations

from collections.abc import Iterable
from mmap import PAGESIZE
from pathlib import Path

from planner.errors import InfeasibleError, OverBudgetError
from planner.schema.plan import Block, Plan
from planner.schema.prediction import BlockPrediction
from planner.system import memory
from planner.system.hierarchy import FILESYSTEM_ROOT
from planner.units import MIB, format_bytes

CODE_BYTES = 24 * MIB
"""Of what a run has resident, code of libraries: the kernel can take it back, and need not have it twice."""


def limit_problem(plan: Plan, root: Path = FILESYSTEM_ROOT) -> str | None:
    """Why a run may be killed while it stays within its budget: a container's limit is below that. None otherwise."""
    limit = memory.group_limit(root)
    if plan.device.is_accelerator or limit is None:
        return None
    budget = _with_runtime(plan, plan.budget.bytes)
    if budget // PAGESIZE <= limit.bytes // PAGESIZE:  # both are used by the page; the kernel rounds limits down
        return None
    counted = "" if budget == plan.budget.bytes else f" and the {format_bytes(plan.baseline_bytes)} that torch takes"
    return (
        f"the budget of {format_bytes(plan.budget.bytes)}{counted} is above the limit of {format_bytes(limit.bytes)} "
        f"that holds here ({limit.file}): the kernel may kill the run within its budget"
    )


def check_room(plan: Plan, ours_bytes: int, root: Path = FILESYSTEM_ROOT, ignore_limit: bool = False) -> str | None:
    """What a person should know before the plan begins; None where there is room for its peak.

    `ours_bytes` are those that are in use now and belong to the run, or go before it begins. With `ignore_limit` a
    container's limit may be below the budget, as long as the predicted peak is not above it. Raises InfeasibleError
    where there can never be room, OverBudgetError where there is none now for the smallest settings.
    """
    if plan.device.is_accelerator:
        return None  # the budget is of its memory
    peak, least = (
        _needed(plan, (block.predicted for block in plan.stages)),
        _needed(plan, map(least_prediction, plan.stages)),
    )
    limit = memory.cgroup_limit_bytes(root)
    ever, whose = (memory.total_bytes(root), "this machine has") if limit is None else (limit, "the limit here is")
    if peak > ever:
        raise InfeasibleError(
            f"the plan takes up to {format_bytes(peak)}, but {whose} {format_bytes(ever)} of memory; plan for a budget "
            "of at most that" + (", or raise the container's limit" if limit is not None else ""),
            plan.minimum_budget_bytes,
            "memory",
        )
    problem = limit_problem(plan, root)
    if problem is not None and not ignore_limit:
        raise InfeasibleError(
            f"{problem}. Plan for a budget of at most {format_bytes(ever)}, raise the limit, or run it all the same: "
            "--ignore-limit",
            plan.minimum_budget_bytes,
            "memory",
        )
    available = memory.available_bytes(root) + ours_bytes
    if least > available + CODE_BYTES + memory.swap_bytes(root):
        raise OverBudgetError(
            f"{format_bytes(available)} of memory are available now, and the plan takes {format_bytes(least)} even "
            f"with its smallest micro-batches ({format_bytes(peak)} otherwise); free memory, or plan for a smaller "
            "budget"
        )
    if peak > available + CODE_BYTES:
        return (
            f"the plan takes up to {format_bytes(peak)}, but {format_bytes(available)} of memory are available now: "
            "free memory, or the kernel may kill the training process, which then goes on with smaller micro-batches"
        )
    return problem


def least_prediction(block: Block) -> BlockPrediction:
    """The lowest of a block's settings."""
    return min((setting.predicted for setting in block.settings), key=lambda found: found.peak_bytes)


def _needed(plan: Plan, predictions: Iterable[BlockPrediction]) -> int:
    """What all processes take at most."""
    return _with_runtime(plan, max(found.peak_bytes for found in predictions))


def _with_runtime(plan: Plan, counted_bytes: int) -> int:
    """Bytes under the budget's scope as resident ones: where it counts tensors alone, the runtime comes on top."""
    return counted_bytes if plan.budget.scope == "process" else counted_bytes + plan.baseline_bytes
