"""What is advised where nothing fits, and what it is computed from."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import pytest

from planner.errors import InfeasibleError
from planner.model.shapes import model_sizes
from planner.schema.common import Dtype
from planner.schema.model import Unit
from planner.schema.request import Budget, Request, Training
from planner.solver.explain.advice import advice, with_input
from planner.solver.plan import least_memory, make_plan
from tests.unit.solver.chains import zoo_profile
from tests.unit.solver.random_profiles import LAYERS
from tests.unit.solver.two_units import FIRST, SECOND, SGD, tiny_profile


@pytest.mark.parametrize(("dtype", "number_bytes"), [("float32", 4), ("bfloat16", 2)])
def test_outputs_of_another_input_are_numbers_of_the_profiles_type(dtype: Dtype, number_bytes: int) -> None:
    profile = replace(zoo_profile("cnn6", (1, 4)), dtype=dtype)
    smaller = with_input(profile, (3, 16, 16))
    expected = [number_bytes * prod(sizes.output) for sizes in model_sizes(replace(profile.model, input=(3, 16, 16)))]
    assert [unit.output_bytes for unit in smaller.units] == expected


def test_more_lost_accuracy_where_no_plan_without_cuts_fits() -> None:
    """Two units of 100,000 bytes of parameters, as below; without a cut both are in memory."""
    heavy = {"parameters": 25_000, "parameter_bytes": 100_000, "optimizer_bytes": 100_000}
    profile = tiny_profile((replace(FIRST, **heavy), replace(SECOND, **heavy)))  # type: ignore[arg-type]  # numbers
    units = tuple(Unit(f"unit{index}", LAYERS["c"]) for index in range(2))
    profile = replace(profile, model=replace(profile.model, units=units))
    request = Request(Budget(1, "process"), Training(batch=2, epochs=1, samples=4, optimizer=SGD), reserve_bytes=0)
    short = replace(request, budget=Budget(least_memory(profile, request), "process"), max_accuracy_loss=0.0)
    with pytest.raises(InfeasibleError) as caught:
        make_plan(profile, short)
    assert caught.value.minimum_bytes == least_memory(profile, replace(request, max_cuts=0))
    said = advice(profile, short, caught.value)
    points = make_plan(profile, replace(short, max_accuracy_loss=None)).predicted.accuracy_loss_points
    assert points is not None
    assert said.startswith(
        f"The smallest change that fits: {points.expected:g} points of accuracy instead of 0 (--max-"
    )
    allowed = make_plan(profile, replace(short, max_accuracy_loss=points.expected))
    assert allowed.predicted.accuracy_loss_points == points


@pytest.mark.parametrize(("kinds", "advised"), [("cl", True), ("cc", False)])
def test_segments_of_linear_layers_where_they_alone_fit(kinds: str, advised: bool) -> None:
    """Two units of 100,000 bytes of parameters: with a cut between them one at a time is in memory."""
    heavy = {"parameters": 25_000, "parameter_bytes": 100_000, "optimizer_bytes": 100_000}
    profile = tiny_profile((replace(FIRST, **heavy), replace(SECOND, **heavy)))  # type: ignore[arg-type]  # numbers
    units = tuple(Unit(f"unit{index}", LAYERS[kind]) for index, kind in enumerate(kinds))
    profile = replace(profile, model=replace(profile.model, units=units))
    request = Request(Budget(1, "process"), Training(batch=2, epochs=1, samples=4, optimizer=SGD), reserve_bytes=0)
    alone = replace(request, linear_segments=True)
    least = least_memory(profile, alone)
    short = replace(request, budget=Budget(least - (0 if advised else 1), "process"))
    with pytest.raises(InfeasibleError) as caught:
        make_plan(profile, short)
    said = advice(profile, short, caught.value)
    assert ("--linear-segments" in said) is advised
    if advised:
        assert said.startswith("The smallest change that fits: segments that extract no features")
        assert f"({least} bytes)" in said
        assert make_plan(profile, replace(alone, budget=short.budget)).cuts == 1
