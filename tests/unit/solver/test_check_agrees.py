"""The checker agrees with the solver on whatever plan."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from planner.schema.common import Policy
from planner.solver.memory_model import is_legal, live_bytes
from planner.solver.problem import BlockChoice, Problem
from tests.unit.solver.checked_plans import (
    problem_of,
    runs,
)
from tests.unit.solver.random_profiles import Case, cases
from tests.unit.solver.requests import trainable


@st.composite
def plans(draw: st.DrawFn) -> tuple[Problem, tuple[BlockChoice, ...]]:
    """Any plan of a small random profile that can be run."""
    case: Case = draw(cases(6))
    both: tuple[Policy, ...] = ("tight", "fast")
    policy = draw(st.sampled_from(both[: max(1, len(case.profile.policies))]))
    assume(trainable(case))
    problem = problem_of(case.profile, case.scope, policy, case.training, case.overlap)
    first = case.training.freeze
    boundaries = [first, *draw(st.lists(st.sampled_from(problem.boundaries), unique=True).map(sorted))]
    spans = list(pairwise([*(boundary for boundary in boundaries if boundary < problem.count), problem.count]))
    inputs = [draw(st.sampled_from(("cache", "recompute"))) if first else "data" for first, _ in spans] + ["none"]
    choices = []
    for place, (first, last) in enumerate(spans):
        inner = [boundary for boundary in problem.boundaries if first < boundary < last]
        ends = (*(end for end in inner if draw(st.booleans())), last)
        choice = BlockChoice(
            first=first,
            micro_batch=1,
            ends=ends,
            heads=tuple(draw(st.sampled_from(list(problem.heads[end + problem.has_window(end)]))) for end in ends),
            recompute=draw(_spans_in((first, *ends))),
            source=inputs[place],  # type: ignore[arg-type]
            caches=inputs[place + 1] == "cache",
            windows=problem.windows(ends),
        )
        legal = [size for size in problem.micro_batches if is_legal(problem, replace(choice, micro_batch=size))]
        assume(legal)
        choice = replace(choice, micro_batch=draw(st.sampled_from(legal)))
        stepping = choice.micro_batch == problem.training.batch and draw(st.booleans())
        choices.append(replace(choice, optimizer_in_backward=stepping))
    return problem, tuple(choices)


@st.composite
def _spans_in(draw: st.DrawFn, boundaries: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Spans that may touch and cross no boundary."""
    found = []
    for first, last in pairwise(boundaries):
        edges = sorted({first, last, *draw(st.lists(st.integers(first, last), max_size=4))})
        found += [span for span in pairwise(edges) if draw(st.booleans())]
    return tuple(found)


@settings(max_examples=400, suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large))
@given(plans())
def test_agrees_with_the_solver(drawn: tuple[Problem, tuple[BlockChoice, ...]]) -> None:
    problem, choices = drawn
    for choice, run in zip(choices, runs(problem, *choices), strict=True):
        assert run.training.peak == live_bytes(problem, choice).train
