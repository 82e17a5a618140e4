"""Widths of heads: the widest within its share of time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from planner.errors import InputError, PlannerError
from planner.heads.base import HeadKind
from planner.heads.convolution import ConvHead
from planner.heads.kinds import AuxiliaryHead
from planner.heads.mlp import MlpHead
from planner.schema.plan import Block
from planner.schema.profile import ComponentProfile, HeadProfile, Profile
from planner.schema.request import Budget, Request, Training
from planner.solver.plan import make_plan
from planner.solver.problem import Problem
from planner.solver.search.heads import preferred_heads, widest_heads
from tests.heads import heads
from tests.unit.solver.random_profiles import Case, cases
from tests.unit.solver.two_units import FIRST, HEAD, SECOND, SGD, tiny_profile


def _timed(microseconds: float) -> ComponentProfile:
    """The tiny head with this forward time at micro-batch 2, and no backward."""
    at_two = replace(HEAD.costs[1], forward_seconds=microseconds * 1e-6, backward_seconds=0.0)
    return replace(HEAD, costs=(HEAD.costs[0], at_two))


def _problem(share: float) -> Problem:
    # At micro-batch 2 the chain takes 10+15 + 6+9 + 6+9 + 1+1 = 57 microseconds; a quarter is 14.25.
    heads = (
        HeadProfile(1, "auxiliary", 16, _timed(3)),
        HeadProfile(1, "auxiliary", 8, _timed(2)),
        HeadProfile(2, "auxiliary", 32, _timed(14)),
        HeadProfile(2, "auxiliary", 8, _timed(3)),
    )
    training = Training(batch=2, epochs=1, samples=4, optimizer=SGD)
    profile = tiny_profile((FIRST, SECOND, SECOND), heads)
    return Problem(profile, Request(Budget(10**6, "training"), training, head_time_share=share))


@pytest.mark.parametrize(
    ("share", "first", "second"),
    [
        (1.0, 16, 32),
        (14 / 14.25 - 0.001, 16, 8),
        (3 / 14.25 + 0.001, 16, 8),
        (3 / 14.25 - 0.001, 8, 8),
        (0.0, 8, 8),  # none fits: the narrowest
    ],
)
def test_widest_within_its_share(share: float, first: int, second: int) -> None:
    assert preferred_heads(_problem(share)) == dict(enumerate(heads(first, second, 0), start=1))


def test_widest() -> None:
    assert widest_heads(_problem(0.0)) == dict(enumerate(heads(16, 32, 0), start=1))


def _as_mlp(head: HeadProfile) -> HeadProfile:
    return HeadProfile.of(head.boundary, MlpHead("mlp", head.filters), head.cost) if head.filters else head


def _blocks(profile: Profile, case: Case, kind: HeadKind | None) -> tuple[Block, ...] | str:
    """Of the plan, or why there is none."""
    request = Request(Budget(2**39, case.scope), case.training, strategy="neuroflux", head=kind)
    try:
        return make_plan(profile, request).blocks
    except PlannerError as error:
        return str(error)


@settings(max_examples=25, deadline=None)
@given(cases())
def test_a_kind_that_is_asked_for_is_priced_as_the_usual_one_is(case: Case) -> None:
    """The same figures under another name give the same plan, with those heads; what else is measured plays no part."""
    usual = case.profile
    others = tuple(replace(_as_mlp(head), cost=usual.heads[0].cost) for head in usual.heads if head.filters)
    renamed = replace(usual, heads=tuple(map(_as_mlp, usual.heads)))
    both = replace(usual, heads=(*others, *usual.heads))
    expected = _blocks(usual, case, None)
    assert _blocks(both, case, None) == expected
    found = _blocks(renamed, case, "mlp")
    if isinstance(found, str):
        assert found == expected
        return
    assert not any(isinstance(segment.head, ConvHead) for block in found for segment in block.segments)
    as_usual = (
        replace(block, segments=tuple(replace(segment, head=_as_conv(segment.head)) for segment in block.segments))
        for block in found
    )
    assert tuple(as_usual) == expected


def _as_conv(head: AuxiliaryHead | None) -> AuxiliaryHead | None:
    return None if head is None else ConvHead("auxiliary", head.rank)


def test_a_kind_that_was_not_measured_is_refused_with_what_to_do() -> None:
    profile = tiny_profile((FIRST, SECOND), (HeadProfile(1, "auxiliary", 16, HEAD),))
    training = Training(batch=2, epochs=1, samples=4, optimizer=SGD)
    with pytest.raises(InputError, match=r"^head is mlp, but .*neuroflux profile --head mlp"):
        Problem(profile, Request(Budget(10**6, "training"), training, head="mlp"))
    alone = replace(profile, heads=profile.heads[-1:])  # nothing can be cut there, whatever is asked for
    assert Problem(alone, Request(Budget(10**6, "training"), training, head="mlp")).boundaries == (2,)
