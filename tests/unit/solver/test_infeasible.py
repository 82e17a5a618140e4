from __future__ import annotations

from dataclasses import replace

import pytest

from planner.errors import InfeasibleError
from planner.schema.request import Budget, Request, Training
from planner.solver.plan import make_plan
from tests.unit.solver.two_units import SGD, policy_profile, tiny_profile

REQUEST = Request(Budget(1, "training"), Training(batch=2, epochs=1, samples=4, optimizer=SGD), reserve_bytes=0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "no plan fits a budget of 1 B (1 bytes) (scope training); the smallest feasible one is "),
        ({"strategy": "backprop"}, "no plan of strategy backprop fits a budget"),
        ({"max_cuts": 1}, "no plan with at most 1 cut fits a budget"),
        ({"strategy": "neuroflux", "max_cuts": 2}, "no plan of strategy neuroflux with at most 2 cuts fits a budget"),
        (
            {"max_accuracy_loss": 99.0},
            "no plan that is predicted to lose at most 99 points of accuracy fits a budget of 1 B",
        ),
        ({"allocator": "tight"}, "no plan under allocator tight fits a budget"),
    ],
)
def test_an_error_repeats_what_was_asked_for(changes: dict[str, object], said: str) -> None:
    policies = (policy_profile("tight", 1000, 5, 10, 1.0), policy_profile("fast", 1100, 5, 10, 0.5))
    profile = replace(tiny_profile(), policies=policies)
    with pytest.raises(InfeasibleError) as raised:
        make_plan(profile, replace(REQUEST, **changes))  # type: ignore[arg-type]  # by name
    assert str(raised.value).startswith(said)
