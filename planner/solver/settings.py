"""What a request leaves to the planner beside blocks and cuts: the kind of head, and windows at all cuts or at none.

A problem has one of each, and is searched by itself; `planner.solver.auto` compares what is found. Windows at some of
the cuts are bought afterwards (`planner.solver.windows`).
"""

from __future__ import annotations

from dataclasses import replace

from planner.heads.base import HeadKind
from planner.heads.kinds import may_stand
from planner.schema.plan import Plan
from planner.schema.profile import Profile
from planner.schema.request import Request
from planner.solver.accuracy import LossModel
from planner.solver.request import settled


def settings_of(profile: Profile, request: Request) -> tuple[Request, ...]:
    """The request with a kind of head and an overlap in place of what it leaves open: those first that lose least.

    Of kinds the usual heads, and what the profile has measured besides.
    """
    kinds = _kinds(profile, request) if request.head == "auto" else (request.head,)
    overlaps = (1, 0) if request.overlap == "auto" else (request.overlap,)
    found = [
        replace(request, head=kind, overlap=overlap)
        for kind in kinds
        for overlap in overlaps
        if request.overlap != "auto" or overlap == 0 or _has_windows(profile, request, kind)
    ]
    return tuple(sorted(found, key=lambda setting: _points(profile, setting)))


def _kinds(profile: Profile, request: Request) -> tuple[HeadKind | None, ...]:
    measured = {
        found.head.asked_as
        for found in profile.heads
        if found.head is not None and found.boundary > request.training.freeze and not may_stand(found.head, None)
    }
    return (None, *sorted(kind for kind in measured if kind is not None))


def _has_windows(profile: Profile, request: Request, kind: HeadKind | None) -> bool:
    """Whether heads stand behind two units in a row, so that a cut may have a window."""
    standing = {
        found.boundary
        for found in profile.heads
        if found.head is not None and may_stand(found.head, kind) and found.boundary > request.training.freeze
    }
    return any(boundary + 1 in standing for boundary in standing)


def _points(profile: Profile, setting: Request) -> float:
    """What one cut loses."""
    return LossModel(profile.model, setting).points(2, settled(setting)[1])


def as_planned(request: Request, plan: Plan) -> Request:
    """The request with what the planner has chosen for a plan that answers it, in place of what it left open."""
    segments = [segment for block in plan.blocks for segment in block.segments]
    heads = [segment.head for segment in segments if segment.head is not None]
    own = next((head.asked_as for head in heads if not may_stand(head, None)), None)
    return replace(
        request,
        head=own if request.head == "auto" else request.head,
        overlap=int(any(segment.window for segment in segments)) if request.overlap == "auto" else request.overlap,
    )
