"""A run's memory against time as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from planner.errors import InputError
from planner.report.read import MemorySample, RunRecord, merge_samples
from planner.report.style import BLUE, GREEN, VERMILLION, matplotlib_style, write_svg
from planner.report.text import clean, indices, names, stage_cell
from planner.units import MIB, format_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_RESIDENT = BLUE
_PEAK = VERMILLION
_PREDICTED = GREEN
_SHADES = ("#F3F3F3", "#E2E8EE")

_POINTS = 2000
_MARKED = 150
_LETTERS_ACROSS = 120
_NARROWEST = 0.008


@dataclass(frozen=True)
class _Stage:
    """A block on the time axis."""

    block: int
    start: float
    """In the axis' unit, like `end`: from the block's first step to the next block's."""
    end: float
    samples: tuple[MemorySample, ...]


def draw_memory(record: RunRecord, path: Path) -> None:
    """Write `path`, an SVG: resident memory and peaks of a run's steps against time, its blocks, budget and prediction.

    The same record gives the same bytes. Raises InputError where matplotlib is not installed or no step was recorded,
    StorageError where `path` cannot be written.
    """
    with matplotlib_style():
        write_svg(make_figure(record), path)


def make_figure(record: RunRecord) -> Figure:
    """The figure that `draw_memory` writes. Raises InputError where no step was recorded."""
    from matplotlib.figure import Figure

    if not record.samples:
        raise InputError("memory.jsonl: no step is recorded, so there is nothing to draw")
    unit, factor = _time_unit(record)
    stages = _stages(record, factor)
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlim(0, stages[-1].end)
    axes.set_ylim(0, _highest(record) / MIB * 1.08)
    for position, stage in enumerate(stages):
        axes.axvspan(stage.start, stage.end, color=_SHADES[position % 2], linewidth=0)
        _name_stage(axes, record, stage)
        _draw_stage(axes, record, stage, factor, is_first=position == 0)
    _draw_budget(axes, record)
    axes.set_xlabel(f"time ({unit})")
    axes.set_ylabel(f"memory (MiB, scope {record.report.scope})")
    axes.spines[["top", "right"]].set_visible(False)
    model, device = clean(record.plan.model.name, 40), clean(record.plan.device.name, 40)
    peak, budget = format_bytes(record.report.peak_bytes), format_bytes(record.report.budget_bytes)
    figure.suptitle(f"{model} on {device}: peak {peak}, budget {budget}", fontsize=12)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure


def _time_unit(record: RunRecord) -> tuple[str, float]:
    return ("s", 1.0) if _end_seconds(record) < 180 else ("min", 60.0)


def _end_seconds(record: RunRecord) -> float:
    """The run's own time goes on behind its last step; that of a resumed run covers its last part alone."""
    return max(record.samples[-1].seconds, record.report.seconds, 1e-3)


def _highest(record: RunRecord) -> int:
    report = record.report
    predicted = [block.predicted_peak_bytes for block in report.stages]
    measured = [block.measured_peak_bytes for block in report.stages]
    return max(report.budget_bytes, *predicted, *measured, *(sample.peak_bytes for sample in record.samples))


def _stages(record: RunRecord, factor: float) -> list[_Stage]:
    samples = merge_samples(record.samples, max(_POINTS, 2 * len(record.plan.stages)), len(record.plan.stages))
    by_block: dict[int, list[MemorySample]] = {}
    for sample in samples:
        by_block.setdefault(sample.block, []).append(sample)
    starts = [steps[0].seconds / factor for steps in by_block.values()]
    ends = [*starts[1:], _end_seconds(record) / factor]
    return [
        _Stage(block, start, end, tuple(steps))
        for (block, steps), start, end in zip(by_block.items(), starts, ends, strict=True)
    ]


def _draw_stage(axes: Axes, record: RunRecord, stage: _Stage, factor: float, is_first: bool) -> None:
    """Curves of one block; labels once, for the legend."""

    def label(text: str) -> str | None:
        return text if is_first else None

    report = record.report.stages[stage.block]
    seconds = [sample.seconds / factor for sample in stage.samples]
    marker = "." if len(record.samples) <= _MARKED else ""
    resident = [sample.resident_bytes / MIB for sample in stage.samples]
    peaks = [sample.peak_bytes / MIB for sample in stage.samples]
    across = (stage.start, stage.end)
    axes.plot(seconds, resident, color=_RESIDENT, linewidth=1.8, marker=marker, label=label("resident after a step"))
    axes.plot(seconds, peaks, color=_PEAK, linewidth=1.2, marker=marker, label=label("peak of a step"))
    measured = report.measured_peak_bytes / MIB
    axes.plot(across, (measured,) * 2, color=_PEAK, linewidth=1, alpha=0.6, label=label("peak of a block, all phases"))
    predicted = report.predicted_peak_bytes / MIB
    axes.plot(across, (predicted,) * 2, ":", color=_PREDICTED, linewidth=2.2, label=label("predicted peak of a block"))


def _name_stage(axes: Axes, record: RunRecord, stage: _Stage) -> None:
    """Name a block above its stage; inside it, upwards, where it is too narrow for that; nowhere if narrower still."""
    share = (stage.end - stage.start) / axes.get_xlim()[1]
    room = int(share * _LETTERS_ACROSS)
    units = record.plan.stages[stage.block].units
    title = f"{record.plan.stage_name(stage.block)}, {'unit' if units[1] - units[0] == 1 else 'units'} {indices(units)}"
    middle = (stage.start + stage.end) / 2
    transform = axes.get_xaxis_transform()
    if len(title) <= room:
        text = f"{title}\n{names(record.plan.model, units, room)}"
        axes.text(middle, 1.01, text, transform=transform, ha="center", va="bottom", fontsize=9, linespacing=1.3)
    elif share >= _NARROWEST:
        text = f"{stage_cell(record.plan, stage.block)}: {names(record.plan.model, units, 28)}"
        axes.text(middle, 0.02, text, transform=transform, ha="center", va="bottom", fontsize=8, rotation=90)


def _draw_budget(axes: Axes, record: RunRecord) -> None:
    budget = record.report.budget_bytes
    axes.axhline(budget / MIB, color="black", linestyle="--", linewidth=1.4)
    axes.annotate(
        f"budget {format_bytes(budget)}",
        (1, budget / MIB),
        xycoords=axes.get_yaxis_transform(),
        xytext=(-3, 3),
        textcoords="offset points",
        ha="right",
        fontweight="bold",
    )
