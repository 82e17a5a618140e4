from __future__ import annotations

from dataclasses import replace
from math import prod

import pytest

from planner.model.shapes import model_sizes
from planner.settings import Dtype
from planner.solver.advice import with_input
from tests.unit.solver.chains import zoo_profile


@pytest.mark.parametrize(("dtype", "number_bytes"), [("float32", 4), ("bfloat16", 2)])
def test_outputs_of_another_input_are_numbers_of_the_profiles_type(dtype: Dtype, number_bytes: int) -> None:
    profile = replace(zoo_profile("cnn6", (1, 4)), dtype=dtype)
    smaller = with_input(profile, (3, 16, 16))
    expected = [number_bytes * prod(sizes.output) for sizes in model_sizes(replace(profile.model, input=(3, 16, 16)))]
    assert [unit.output_bytes for unit in smaller.units] == expected
