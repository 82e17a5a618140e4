"""A plan held against what its output folder takes of memory, before anything is trained. No torch here."""

from __future__ import annotations

from planner.schema.plan import Plan


def fallbacks_beside(plan: Plan, stored_bytes: int) -> tuple[int, ...]:
    """The first setting of every block that is predicted to fit beside `stored_bytes`: 0 is the plan's own.

    A larger one is not tried at all: its dry step alone would pass the budget. Where none fits, which is refused before
    a run begins, it is the last one.
    """
    left = plan.budget.bytes - stored_bytes
    return tuple(
        next(
            (number for number, setting in enumerate(block.settings) if setting.predicted.peak_bytes <= left),
            len(block.settings) - 1,
        )
        for block in plan.stages
    )
