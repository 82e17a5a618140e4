"""What a budget buys, as a picture: time against budget, in steps, with the plan that was chosen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from planner.report.style import BLUE, GREEN, VERMILLION, matplotlib_style, write_svg
from planner.report.text import clean, counted
from planner.schema.explain import Point, point_of
from planner.schema.plan import Plan
from planner.units import MIB, format_bytes, format_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BEYOND = 1.08
"""The axis goes on beyond the last point and the budget, so that a step's length is seen."""

_UNITS = ((7200, "h", 3600), (180, "min", 60), (2, "s", 1), (0, "ms", 0.001))
"""From how many seconds on, the unit of the axis, and its seconds."""


def draw_frontier(plan: Plan, points: tuple[Point, ...], knees: tuple[Point, ...], path: Path) -> None:
    """Write `path`, an SVG: the fastest plan at every budget, the knees, and this plan under its budget.

    The same frontier gives the same bytes. Raises InputError where matplotlib is not installed, StorageError where
    `path` cannot be written.
    """
    with matplotlib_style():
        write_svg(make_figure(plan, points, knees), path)


def make_figure(plan: Plan, points: tuple[Point, ...], knees: tuple[Point, ...]) -> Figure:
    """The figure that `draw_frontier` writes."""
    from matplotlib.figure import Figure

    own = point_of(plan)
    slowest = max(points[0].seconds_total, own.seconds_total)
    unit, factor = next((unit, factor) for least, unit, factor in _UNITS if slowest >= least)
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    axes = figure.add_subplot()
    budgets = [point.budget_bytes / MIB for point in points]
    times = [point.seconds_total / factor for point in points]
    end = max(budgets[-1], own.budget_bytes / MIB) * _BEYOND
    axes.set_xlim(budgets[0] / _BEYOND, end)
    axes.set_ylim(0, max(slowest / factor * _BEYOND, 1e-9))
    axes.step([*budgets, end], [*times, times[-1]], where="post", color=BLUE, linewidth=1.8, label="fastest plan")
    axes.plot(budgets, times, ".", color=BLUE, markersize=7)
    _draw_knees(axes, knees, factor)
    position = (own.budget_bytes / MIB, own.seconds_total / factor)
    axes.plot(*position, "*", color=VERMILLION, markersize=14, label=f"this plan (prefer {plan.prefer})")
    if plan.budget.bytes / MIB <= end:
        axes.axvline(plan.budget.bytes / MIB, color="black", linestyle="--", linewidth=1.4, label="its budget")
    axes.set_xlabel(f"budget (MiB, scope {plan.budget.scope})")
    axes.set_ylabel(f"time to the end of training ({unit})")
    axes.spines[["top", "right"]].set_visible(False)
    model, device = clean(plan.model.name, 40), clean(plan.device.name, 40)
    budget, time = format_bytes(plan.budget.bytes), format_seconds(plan.predicted.seconds_total)
    figure.suptitle(f"{model} on {device}: what a budget buys; {time} under {budget}", fontsize=12)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure


def _draw_knees(axes: Axes, knees: tuple[Point, ...], factor: float) -> None:
    budgets = [knee.budget_bytes / MIB for knee in knees]
    times = [knee.seconds_total / factor for knee in knees]
    if knees:
        axes.plot(budgets, times, "o", color=GREEN, markersize=11, fillstyle="none", markeredgewidth=2, label="knee")
    for knee, budget, time in zip(knees, budgets, times, strict=True):
        loss = knee.accuracy_loss_points
        points = "" if loss is None else f", {loss.expected:.1f} points lost"
        text = f"{format_bytes(knee.budget_bytes)}, {counted(knee.cuts, 'cut')}{points}"
        axes.annotate(text, (budget, time), xytext=(8, 8), textcoords="offset points", fontsize=9)
