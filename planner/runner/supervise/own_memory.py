"""What the supervising process takes of the budget itself, and what that leaves to its children. No torch here."""

from __future__ import annotations

from planner.schema.plan import Plan
from planner.system.pages import allow_huge_pages
from planner.system.proc import read_memory, reset_peak
from planner.system.resident import trim_clean_pages
from planner.units import MIB

GROWTH_BYTES = MIB
"""What the supervisor may still grow after it has started the child."""


def release_start_memory() -> None:
    """Give back what only this process's start needed, before there is a child to share the budget with.

    Where its peak cannot begin anew, that of the start counts all the same: more than need be, never less.
    """
    allow_huge_pages(False)  # to the child from its first moment on; its allocator policy has the last word
    trim_clean_pages()
    reset_peak()


def allowed_bytes(plan: Plan, folder_bytes: int = 0) -> int:
    """What the child may take of the plan's budget, beside this process and what is stored in memory."""
    if plan.budget.scope == "process" and not plan.device.is_accelerator:
        folder_bytes += read_memory().peak_bytes + GROWTH_BYTES
    return plan.budget.bytes - folder_bytes
