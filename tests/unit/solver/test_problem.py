"""What a problem ranges over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.errors import InputError
from planner.schema.model import Unit
from planner.schema.profile import HeadProfile, Profile
from planner.schema.request import Budget, Request, Scope, Training
from planner.solver.problem import Problem
from tests.unit.solver.random_profiles import LAYERS
from tests.unit.solver.two_units import FIRST, HEAD, SGD, tiny_profile


def _problem(batch: int = 2, scope: Scope = "process", profile: Profile | None = None) -> Problem:
    training = Training(batch=batch, epochs=1, samples=4, optimizer=SGD)
    return Problem(profile or tiny_profile(), Request(Budget(1, scope), training, reserve_bytes=100))


@pytest.mark.parametrize(
    ("batch", "expected"),
    [(1, (1,)), (6, (6, 3, 2, 1)), (8, (8, 4, 2, 1)), (24, (8, 6, 4, 3, 2, 1)), (9, (3, 1)), (65536, (8, 4, 2, 1))],
)
def test_micro_batches_divide_the_batch_up_to_four_times_the_largest_profiled(
    batch: int, expected: tuple[int, ...]
) -> None:
    assert _problem(batch).micro_batches == expected


def test_on_a_gpu_what_has_arrived_there_counts_and_no_buffer_of_storage() -> None:
    profile = tiny_profile()
    problem = _problem(profile=replace(profile, device=replace(profile.device, kind="cuda")))
    # Two samples of 35 numbers, as float32, and 8 bytes of label each; or the first unit's 40 bytes of output; or both.
    assert problem.data_bytes(0, "data", 2) == 2 * (4 * 35 + 8)
    assert problem.data_bytes(1, "cache", 2) == 2 * (40 + 8)
    assert problem.data_bytes(1, "recompute", 2) == 2 * (4 * 35 + 8 + 40)
    assert problem.writer_bytes(1, 2) == 0


def test_times_are_added_up_for_as_many_micro_batches_as_there_are() -> None:
    """A second for a micro-batch, of whatever size, 4 × 10⁸ samples: 2 × 10⁸ s at 2, twice that at 1: too much."""
    profile = tiny_profile()
    slow = tuple(replace(cost, forward_seconds=1.0) for cost in profile.units[0].costs)
    units = (replace(profile.units[0], costs=slow), *profile.units[1:])
    training = Training(batch=8, epochs=4 * 10**4, samples=10**4, optimizer=SGD)
    with pytest.raises(InputError, match=r"would take years by this profile, .* seconds for a micro-batch of 1;"):
        Problem(replace(profile, units=units), Request(Budget(1, "process"), training))
    Problem(profile, Request(Budget(1, "process"), training))


def _of_kinds(kinds: str, freeze: int = 0, linear_segments: bool = False, heads: str = "") -> Problem:
    """A unit for each letter: `c` and `r` have a convolution. A head behind every unit, or behind those with a 1."""
    count = len(kinds)
    places = [place for place in range(1, count) if (heads or "1" * count)[place - 1] == "1"]
    found = tuple(HeadProfile(place, "auxiliary", 8, HEAD) for place in places)
    profile = tiny_profile(tuple(replace(FIRST) for _ in kinds), found or (HeadProfile(count, "auxiliary", 8, HEAD),))
    units = tuple(Unit(f"unit{index}", LAYERS[kind]) for index, kind in enumerate(kinds))
    profile = replace(profile, model=replace(profile.model, units=units))
    training = Training(batch=2, epochs=1, samples=4, optimizer=SGD, freeze=freeze)
    return Problem(profile, Request(Budget(1, "process"), training, linear_segments=linear_segments))


@pytest.mark.parametrize(
    ("problem", "boundaries", "narrow"),
    [
        (_of_kinds("cccl"), (1, 2, 4), (1, 2, 4)),  # as the zoo's networks are: no cut right before the classifier
        (_of_kinds("cccl", linear_segments=True), (1, 2, 3, 4), (1, 2, 3, 4)),
        (_of_kinds("ccc"), (1, 2, 3), (1, 2, 3)),
        (_of_kinds("llll"), (1, 2, 3, 4), (1, 2, 3, 4)),  # no convolution at all: cut anywhere
        (_of_kinds("lcprpll"), (2, 3, 7), (3, 7)),  # what leads and what trails joins, what is between goes with either
        (_of_kinds("pccl"), (2, 4), (2, 4)),
        (_of_kinds("clll"), (4,), (4,)),
        (_of_kinds("cpcl", freeze=1), (4,), (4,)),
        (_of_kinds("ccpcl", freeze=1), (2, 3, 5), (3, 5)),
        (_of_kinds("ccll", freeze=2), (4,), (4,)),  # what is trained has no convolution, the network has
        (_of_kinds("llll", freeze=2), (3, 4), (3, 4)),
        (_of_kinds("cpcpcl", heads="10101"), (1, 3, 6), (1, 3, 6)),
        (_of_kinds("cpcpcl", heads="11101"), (1, 2, 3, 6), (2, 3, 6)),
    ],
)
def test_where_segments_may_end(problem: Problem, boundaries: tuple[int, ...], narrow: tuple[int, ...]) -> None:
    assert problem.boundaries == boundaries
    assert problem.narrow_boundaries == narrow
    assert problem.block_boundaries == (problem.start, *boundaries)


def test_a_segment_in_the_middle_has_a_convolution_too() -> None:
    problem = _of_kinds("cpprl")
    assert problem.boundaries == (1, 2, 3, 5)
    spans = [(first, end) for first in (0, 1, 2, 3) for end in (1, 2, 3, 5) if first < end]
    assert [span for span in spans if not problem.allows_segment(*span)] == [(1, 2), (1, 3), (2, 3)]
    assert all(_of_kinds("cpprl", linear_segments=True).allows_segment(*span) for span in spans)
