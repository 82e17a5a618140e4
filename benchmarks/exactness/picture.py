"""Excess of every prediction against the size of what was predicted."""

from __future__ import annotations

from pathlib import Path

from planner.units import MIB

_COLOURS = ("#0072B2", "#D55E00", "#009E73")
_MARKS = ("o", "^", "s")


def draw(path: Path, series: dict[str, list[tuple[int, float]]]) -> None:
    """`series`: by predictor, measured bytes and excess in per cent."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.add_subplot()
    for (name, points), colour, mark in zip(series.items(), _COLOURS, _MARKS, strict=True):
        sizes = [size / MIB for size, _ in points]
        axes.scatter(sizes, [excess for _, excess in points], s=18, color=colour, marker=mark, label=name, alpha=0.75)
    axes.axhline(0, color="black", linewidth=1)
    axes.axhspan(-1, 6, color="#0072B2", alpha=0.08, linewidth=0)
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=10)
    axes.set_xlabel("measured peak above the baseline (MiB)")
    axes.set_ylabel("excess of the prediction (%)")
    axes.set_title("Predicted against the kernel's peak; shaded: -1 to +6 %", fontsize=11)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="svg", metadata={"Date": None})
