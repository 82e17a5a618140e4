"""Why a plan is as it is, as tables for people: what binds, what a budget buys, what other strategies would need."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields as dataclass_fields

from planner.report.tables import alternatives_table, points_cell
from planner.report.text import DASH, columns, counted, indices, mib, note, stage_cell
from planner.schema.explain import Need, Point, PolishOffer
from planner.schema.plan import Block, Plan
from planner.schema.prediction import PhasePeaks
from planner.units import format_bytes, format_seconds

_PHASES = {"train": "training", "cache": "writing the cache", "validate": "validating", "save": "saving"}

_LEAST_SHARE = 200
"""A part that is less than one of so many is not named."""


def binding_table(plan: Plan) -> str:
    """What each block's peak is made of, the largest part first."""
    rows = [
        (stage_cell(plan, index), indices(block.units), *_binding(block)) for index, block in enumerate(plan.stages)
    ]
    title = note("What binds: the highest moment of each block, and what memory is made of while it trains.")
    return f"{title}\n\n{columns(('block', 'units', 'highest in', 'most of it is', 'then'), rows, '>><<<')}"


def _binding(block: Block) -> tuple[str, str, str]:
    predicted = block.predicted
    phases = predicted.peak_bytes_by_phase
    highest = max((field.name for field in dataclass_fields(PhasePeaks)), key=lambda name: int(getattr(phases, name)))
    whole = predicted.breakdown.total
    kinds = sorted(predicted.breakdown.by_kind().items(), key=lambda item: -item[1])
    first, *others = (f"{kind} {size / max(whole, 1):.0%}" for kind, size in kinds if size >= whole / _LEAST_SHARE)
    return _PHASES[highest], first, ", ".join(others)


def comparison_table(plan: Plan, needs: Collection[Need]) -> str:
    """Every strategy under the plan's budget; those that do not fit with what they need instead."""
    title = note("All strategies at this budget:")
    cells = {need.strategy: _needed(need) for need in needs}
    reasons = [note(f"{need.strategy}: {need.reason}") for need in needs if need.budget_bytes is None]
    return "\n\n".join([title, alternatives_table(plan, cells), *reasons])


def _needed(need: Need) -> str:
    return "no" if need.budget_bytes is None else f"no: needs {mib(need.budget_bytes)} MiB"


def frontier_table(plan: Plan, points: tuple[Point, ...], knees: tuple[Point, ...]) -> str:
    """Budget against time, knees and the plan's own budget marked."""
    inside = [point for point in points if point.budget_bytes <= plan.budget.bytes]
    slowest = points[0].seconds_total
    rows = [
        (
            mib(point.budget_bytes),
            format_seconds(point.seconds_total),
            f"{point.seconds_total / slowest:.1%}" if slowest else DASH,
            str(point.blocks),
            str(point.cuts),
            points_cell(point.accuracy_loss_points),
            str(point.recomputed),
            mib(point.cache_bytes),
            point.allocator,
            " ".join(["knee"] * (point in knees) + ["<- fits your budget"] * (point in inside[-1:])),
        )
        for point in points
    ]
    head = (
        "budget\nMiB",
        "time",
        "of the\nslowest",
        "blocks",
        "cuts",
        "points\nlost",
        "units\nrecomputed",
        "cache\nMiB",
        "allocator",
        "",
    )
    title = "What a budget buys: the fastest plan (prefer speed) from the smallest budget to where more is of no use."
    knee = "knee: with a little less it gets much slower, and more gains little" if knees else ""
    return "\n\n".join(part for part in (note(title), columns(head, rows, ">>>>>>>><<"), knee) if part)


_POLISH = "A polish, which ends training with epochs end to end (--polish N)"


def polish_text(plan: Plan, offer: PolishOffer) -> str:
    """Whether a polish would fit, and what it would cost."""
    if offer.epoch_seconds is None or offer.peak_bytes is None:
        needed = format_bytes(offer.needed_bytes)
        return note(
            f"A polish, which ends training with epochs end to end (--polish N), does not fit: it needs {needed}."
        )
    share = f", {offer.epoch_seconds / plan.predicted.seconds_total:.1%} more" if plan.predicted.seconds_total else ""
    return note(
        f"{_POLISH}, would fit: each takes {format_seconds(offer.epoch_seconds)}{share}, at a peak of "
        f"{format_bytes(offer.peak_bytes)}."
    )


def more_budget_text(plan: Plan, more: Point | None) -> str:
    """What 10 % more budget would buy."""
    title = f"10 % more budget ({format_bytes(plan.budget.bytes * 11 // 10)}) would buy"
    if more is None:
        return note(f"{title} nothing: the plan would take the same time with the same cuts.")
    own, other = plan.predicted.seconds_total, more.seconds_total
    share = f" ({abs(other - own) / own:.1%} {'less' if other < own else 'more'})" if own and other != own else ""
    cuts = counted(more.cuts, "cut")
    if more.cuts != plan.cuts:
        cuts += f" instead of {plan.cuts}"
    enough = f"{format_bytes(more.budget_bytes)} are enough for that"
    return note(f"{title}: {format_seconds(other)}{share}, {cuts}; {enough}.")
