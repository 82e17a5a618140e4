"""A profile's memory along one training step by plain backpropagation, as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from planner.limits import MAX_BYTES
from planner.report.profile_tables import shared_micro_batch
from planner.report.style import BLUE, GREEN, ORANGE, SKY, VERMILLION, YELLOW, matplotlib_style, write_svg
from planner.report.text import clean, names
from planner.schema.plan import Budget, Training
from planner.schema.profile import Profile
from planner.solver.costs import PieceCost
from planner.solver.problem import CLASSIFIER, Problem
from planner.solver.request import Request
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

Phase = Literal["forward", "backward", "step"]


@dataclass(frozen=True)
class Moment:
    """Live bytes above what stays, while one piece of the network is run."""

    phase: Phase
    piece: str
    """The unit, the loss, or the optimizer."""
    activations_bytes: int
    """Kept for backward by the pieces below, and by this one."""
    gradients_bytes: int
    """Of the parameters of the pieces behind."""
    transient_bytes: int
    """What comes and goes within the moment, gradients that arise in it included."""


@dataclass(frozen=True)
class Step:
    """One training step at one micro-batch: what stays throughout, and what comes and goes."""

    micro_batch: int
    runtime_bytes: int
    """Resident bytes of the child before any step."""
    overhead_bytes: int
    """Resident beyond tensors at the peak."""
    data_bytes: int
    weights_bytes: int
    """Parameters and buffers."""
    optimizer_bytes: int
    moments: tuple[Moment, ...]

    @property
    def peak(self) -> int:
        """The highest moment's index."""
        levels = [self.level_bytes(moment) for moment in self.moments]
        return levels.index(max(levels))

    def level_bytes(self, moment: Moment) -> int:
        """Resident bytes of the child at a moment."""
        return sum(self.parts(moment).values())

    def parts(self, moment: Moment) -> dict[str, int]:
        """The same by band, from below."""
        return {
            "runtime": self.runtime_bytes,
            "overhead": self.overhead_bytes,
            "data": self.data_bytes,
            "weights": self.weights_bytes,
            "optimizer": self.optimizer_bytes,
            "gradients": moment.gradients_bytes,
            "activations": moment.activations_bytes,
            "transient": moment.transient_bytes,
        }


def training_step(profile: Profile) -> Step:
    """One step of the whole network by backpropagation, without accumulation, composed as the solver composes plans."""
    # A batch normalisation that was measured below what it needs to train is drawn at what it needs.
    trained = [*profile.units, *(head.cost for head in profile.heads if head.kind == "classifier")]
    size = max(shared_micro_batch(profile), *(piece.minimum_micro_batch for piece in trained))
    training = Training(batch=size, epochs=1, samples=size, optimizer=profile.optimizer, dtype=profile.dtype)
    problem = Problem(profile, Request(Budget(MAX_BYTES, "training"), training))
    units = [problem.unit_cost(index, size) for index in range(problem.count)]
    head = problem.head_cost(problem.count, CLASSIFIER, size)
    titles = [*(names(profile.model, (index, index + 1), _NAME_WIDTH) for index in range(problem.count)), "loss"]
    pieces = [*units, head]
    moments = tuple(_moments(pieces, titles))
    data, weights = problem.data_bytes(0, "data", size), sum(piece.weights for piece in pieces)
    optimizer = sum(piece.optimizer for piece in pieces)
    dynamic = max(moment.activations_bytes + moment.gradients_bytes + moment.transient_bytes for moment in moments)
    allocated = data + weights + optimizer + dynamic
    # Scope `training` leaves the processes out, so what is resident beyond tensors is the step's overhead.
    overhead = problem.resident(allocated + problem.kernel_bytes(size)) - allocated
    return Step(size, profile.runtime.baseline_bytes, overhead, data, weights, optimizer, moments)


def _moments(pieces: list[PieceCost], titles: list[str]) -> Iterator[Moment]:
    levels = [pieces[0].first, *(piece.inner for piece in pieces[1:])]
    kept = [0, *accumulate(level.kept for level in levels)]
    for level, below, title in zip(levels, kept, titles, strict=False):
        yield _moment("forward", title, below, level.kept, level.forward, 0)
    gradients = 0
    for index in range(len(pieces) - 1, -1, -1):
        level = levels[index]
        yield _moment("backward", titles[index], kept[index], level.kept, level.backward, gradients)
        gradients += pieces[index].gradients
    yield Moment("step", "optimizer", 0, gradients, max(piece.step_transient for piece in pieces))


def _moment(phase: Phase, title: str, below: int, kept: int, level: int, gradients: int) -> Moment:
    own = min(kept, level)
    return Moment(phase, title, below + own, gradients, level - own)


def draw_profile(profile: Profile, path: Path) -> None:
    """Write `path`, an SVG: memory along one training step, from the profile's traces, stacked by what it is.

    The same profile gives the same bytes. Raises InputError where matplotlib is not installed, StorageError where
    `path` cannot be written.
    """
    with matplotlib_style():
        write_svg(make_profile_figure(profile), path)


def make_profile_figure(profile: Profile) -> Figure:
    """The figure that `draw_profile` writes."""
    from matplotlib.figure import Figure

    step = training_step(profile)
    peak = step.level_bytes(step.moments[step.peak])
    figure = Figure(figsize=(11, 5.8), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlim(0, len(step.moments))
    axes.set_ylim(0, max(1, peak) / MIB * 1.12)
    _draw_bands(axes, step)
    _name_phases(axes, step)
    _name_pieces(axes, step)
    _mark_peak(axes, step, peak)
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


def _draw_bands(axes: Axes, step: Step) -> None:
    """One step of stairs a moment; a band that is empty throughout is left out."""
    edges = list(range(len(step.moments) + 1))
    bottom = [0] * len(step.moments)
    parts = [step.parts(moment) for moment in step.moments]
    for name, colour, label in _BANDS:
        top = [below + part[name] for below, part in zip(bottom, parts, strict=True)]
        if top != bottom:
            low, high = ([count / MIB for count in [*level, level[-1]]] for level in (bottom, top))
            axes.fill_between(edges, low, high, step="post", color=colour, linewidth=0, label=label)
        bottom = top
    axes.stairs([count / MIB for count in bottom], edges, color="black", linewidth=0.9)


def _name_phases(axes: Axes, step: Step) -> None:
    phases = [moment.phase for moment in step.moments]
    place = axes.get_xaxis_transform()
    for phase in dict.fromkeys(phases):
        start = phases.index(phase)
        end = start + phases.count(phase)
        if start:
            axes.axvline(start, color="black", linewidth=0.8, linestyle=":")
        axes.text((start + end) / 2, 1.01, phase, transform=place, ha="center", va="bottom", fontsize=10)


def _name_pieces(axes: Axes, step: Step) -> None:
    """Every piece by name, or every second, third … one where they would not be readable."""
    count = len(step.moments)
    stride = -(-count // _LABELS)
    shown = [*range(0, count - stride, stride), count - 1]
    axes.set_xticks([index + 0.5 for index in shown])
    labels = [step.moments[index].piece for index in shown]
    axes.set_xticklabels(labels, rotation=90, fontsize=9 if len(shown) <= 50 else 7)
    axes.tick_params(axis="x", length=2)


def _mark_peak(axes: Axes, step: Step, peak: int) -> None:
    moment = step.moments[step.peak]
    across = (step.peak + 0.5) / len(step.moments)
    side = "left" if across < 0.2 else "right" if across > 0.8 else "center"
    what = f"{moment.phase} of {moment.piece}" if moment.phase != "step" else "optimizer step"
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
