"""A plan beside what its output folder takes of memory."""

from __future__ import annotations

from planner.runner.train.stored import fallbacks_beside
from tests.unit.runner.train.test_foreign import RUNTIME, plan_of
from tests.unit.system.support import MIB


def test_what_would_pass_the_budget_is_not_tried() -> None:
    plan = plan_of((70, 60, 50), (80, 75), (40, 30, 20))  # of 200 MiB, beside a runtime of 120
    assert RUNTIME == 120 * MIB
    assert fallbacks_beside(plan, 0) == (0, 0, 0)
    assert fallbacks_beside(plan, 10 * MIB) == (0, 1, 0)
    assert fallbacks_beside(plan, 10 * MIB + 1) == (1, 1, 0)
    assert fallbacks_beside(plan, 50 * MIB) == (2, 1, 1)
