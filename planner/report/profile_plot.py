"""A profile's memory along one training step by plain backpropagation, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from planner.report.style import BLUE, GREEN, ORANGE, SKY, VERMILLION, YELLOW, matplotlib_style, write_svg
from planner.report.text import clean, names
from planner.schema.explain import MemoryPoint, TrainingStep
from planner.schema.profile import Profile
from planner.units import MIB, format_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABELS = 90
_NAME_WIDTH = 18
_BANDS = (
    ("runtime", "#8C8C8C", "runtime at rest (Python, torch)"),
    ("overhead", "#C9C9C9", "what a step touches beyond tensors"),
    ("data", YELLOW, "data"),
    ("weights", BLUE, "parameters and buffers"),
    ("optimizer", SKY, "optimizer state"),
    ("gradients", GREEN, "gradients"),
    ("activations", ORANGE, "activations kept"),
    ("transient", VERMILLION, "transient"),
)


def draw_profile(profile: Profile, step: TrainingStep, path: Path) -> None:
    """Write `path`, an SVG: memory along one training step (`training_step` of the profile), stacked by what it is.

    The same profile gives the same bytes. Raises InputError where matplotlib is not installed, StorageError where
    `path` cannot be written.
    """
    with matplotlib_style():
        write_svg(make_profile_figure(profile, step), path)


def make_profile_figure(profile: Profile, step: TrainingStep) -> Figure:
    """The figure that `draw_profile` writes."""
    from matplotlib.figure import Figure

    peak = step.level_bytes(step.points[step.peak])
    figure = Figure(figsize=(11, 5.8), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlim(0, len(step.points))
    axes.set_ylim(0, max(1, peak) / MIB * 1.12)
    _draw_bands(axes, step)
    _name_phases(axes, step)
    _name_points(axes, [_title(profile, point) for point in step.points])
    _mark_peak(axes, step, _title(profile, step.points[step.peak]), peak)
    axes.set_ylabel("memory of the training process (MiB)")
    axes.spines[["top", "right"]].set_visible(False)
    model, device = clean(profile.model.name, 40), clean(profile.device.name, 40)
    figure.suptitle(
        f"One training step of {model} on {device}, micro-batch {step.micro_batch}: peak {format_bytes(peak)}",
        fontsize=12,
    )
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _draw_bands(axes: Axes, step: TrainingStep) -> None:
    """One step of stairs a point; a band that is empty throughout is left out."""
    edges = list(range(len(step.points) + 1))
    bottom = [0] * len(step.points)
    parts = [step.parts(point) for point in step.points]
    for name, colour, label in _BANDS:
        top = [below + part[name] for below, part in zip(bottom, parts, strict=True)]
        if top != bottom:
            low, high = ([count / MIB for count in [*level, level[-1]]] for level in (bottom, top))
            axes.fill_between(edges, low, high, step="post", color=colour, linewidth=0, label=label)
        bottom = top
    axes.stairs([count / MIB for count in bottom], edges, color="black", linewidth=0.9)


def _name_phases(axes: Axes, step: TrainingStep) -> None:
    phases = [point.phase for point in step.points]
    transform = axes.get_xaxis_transform()
    for phase in dict.fromkeys(phases):
        start = phases.index(phase)
        end = start + phases.count(phase)
        if start:
            axes.axvline(start, color="black", linewidth=0.8, linestyle=":")
        axes.text((start + end) / 2, 1.01, phase, transform=transform, ha="center", va="bottom", fontsize=10)


def _title(profile: Profile, point: MemoryPoint) -> str:
    if point.phase == "step":
        return "optimizer"
    return "loss" if point.unit is None else names(profile.model, (point.unit, point.unit + 1), _NAME_WIDTH)


def _name_points(axes: Axes, titles: list[str]) -> None:
    """Every point by name, or every second, third … one where they would not be readable."""
    count = len(titles)
    stride = -(-count // _LABELS)
    shown = [*range(0, count - stride, stride), count - 1]
    axes.set_xticks([index + 0.5 for index in shown])
    labels = [titles[index] for index in shown]
    axes.set_xticklabels(labels, rotation=90, fontsize=9 if len(shown) <= 50 else 7)
    axes.tick_params(axis="x", length=2)


def _mark_peak(axes: Axes, step: TrainingStep, title: str, peak: int) -> None:
    point = step.points[step.peak]
    across = (step.peak + 0.5) / len(step.points)
    side = "left" if across < 0.2 else "right" if across > 0.8 else "center"
    what = f"{point.phase} of {title}" if point.phase != "step" else "optimizer step"
    axes.plot([step.peak + 0.5], [peak / MIB], "o", color="black", markersize=4)
    axes.annotate(
        f"peak {format_bytes(peak)}, {what}",
        (step.peak + 0.5, peak / MIB),
        xytext=(0, 6),
        textcoords="offset points",
        ha=side,
        fontweight="bold",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1},
    )
