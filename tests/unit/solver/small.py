"""Small random profiles whose figures lie on a coarse grid, so that ties and exact fits are common."""

from __future__ import annotations

import random
from dataclasses import dataclass

from hypothesis import strategies as st

from planner.model.spec import Activation, Model, Unit
from planner.profiler.schema import (
    Costs,
    HeadProfile,
    PieceProfile,
    Profile,
    Runtime,
    Storage,
    Trace,
    Traces,
)
from planner.settings import Device, Optimizer
from planner.solver.schema import Scope, Training

GRID_BYTES = 8192
GRID_SECONDS = 1e-4
SGD = Optimizer(kind="sgd", lr=0.1, momentum=0.9)
TABLES = ((1,), (2,), (4,), (1, 2), (1, 4), (2, 8), (1, 2, 4), (1, 2, 8))


@dataclass(frozen=True)
class Case:
    """A profile and how to train."""

    profile: Profile
    training: Training
    scope: Scope
    reserve_bytes: int
    head_time_share: float


@dataclass(frozen=True)
class Style:
    """What tends to be large: with one style alone, one constraint would nearly always bind and hide the others."""

    training: int
    """Grid steps of activations for one sample."""
    inference: int
    """The same without gradients."""
    unit_parameters: int
    """Grid steps of a unit's parameters."""
    head_parameters: int
    """Grid steps of a head's."""


STYLES = (Style(5, 6, 12, 12), Style(5, 3, 4, 60), Style(0, 40, 2, 12), Style(1, 1, 1, 3))


@st.composite
def cases(draw: st.DrawFn, largest: int = 5) -> Case:
    """One to `largest` units; at each boundary no head, one width or two.

    The figures come from one drawn seed: thousands of draws for every profile would take most of the time.
    """
    count = draw(st.integers(1, largest))
    sizes = draw(st.sampled_from(TABLES))
    style = draw(st.sampled_from(STYLES))
    dice = random.Random(draw(st.integers(0, 2**32)))
    widths = [draw(st.sampled_from(((), (8,), (16,), (8, 16), (8, 16)))) for _ in range(count - 1)]
    optimizer = draw(st.sampled_from((SGD, Optimizer(kind="sgd", lr=0.1), Optimizer(kind="adam", lr=0.1))))
    heads = [
        HeadProfile(boundary, "auxiliary", filters, _piece(dice, sizes, optimizer, style, style.head_parameters))
        for boundary, found in enumerate(widths, start=1)
        for filters in found
    ]
    classifier = HeadProfile(count, "classifier", 0, _piece(dice, sizes, optimizer, style, 1))
    profile = Profile(
        schema="profile/1",
        id="0" * 64,
        model=_model(count),
        device=Device("test", "0" * 64, "cpu", 1, "2.13.0", 2**40),
        dtype="float32",
        optimizer=optimizer,
        allocator="tight",
        runtime=_runtime(dice),
        storage=Storage(dice.randint(1, 40) * 10**7, dice.randint(1, 40) * 10**7),
        units=tuple(_piece(dice, sizes, optimizer, style, style.unit_parameters) for _ in range(count)),
        heads=(*heads, classifier),
        uncounted_operators=(),
    )
    training = Training(
        batch=draw(st.sampled_from((2, 3, 4, 6, 8, 12))),
        epochs=draw(st.integers(1, 3)),
        samples=draw(st.integers(1, 30)),
        optimizer=optimizer,
    )
    scope: Scope = draw(st.sampled_from(("process", "training")))
    return Case(profile, training, scope, dice.choice((0, 5000)), dice.choice((0.0, 0.2, 1.0)))


def _runtime(dice: random.Random) -> Runtime:
    baseline, start, supervisor, overhead = (dice.randint(0, 40) * GRID_BYTES for _ in range(4))
    small = dice.randint(1, 4)
    large, growing = small + dice.randint(0, 4), dice.choice((0, 3)) * GRID_BYTES
    return Runtime(baseline, start, supervisor, overhead, dice.choice((0, 7, 20)), small, large, growing)


def _model(count: int) -> Model:
    units = tuple(Unit(f"unit{index}", (Activation("relu"),)) for index in range(count))
    return Model("model/1", "random", (1, 5, 7), 2, units)


def _piece(
    dice: random.Random, sizes: tuple[int, ...], optimizer: Optimizer, style: Style, most_parameters: int
) -> PieceProfile:
    parameters = dice.randint(0, most_parameters) * GRID_BYTES
    output = dice.randint(1, 4) * GRID_BYTES
    return PieceProfile(
        parameters=parameters // 4,
        parameter_bytes=parameters,
        buffer_bytes=dice.choice((0, GRID_BYTES)),
        optimizer_bytes=parameters * optimizer.state_copies,
        step_transient_bytes=dice.randint(0, 2 * style.training) * GRID_BYTES,
        step_seconds=dice.randint(0, 4) * GRID_SECONDS,
        flops=0,
        output_bytes=output,
        minimum_micro_batch=dice.choice((1, 1, 1, 1, 2)),
        costs=tuple(_costs(dice, style, size, parameters, size * output) for size in sizes),
    )


def _costs(dice: random.Random, style: Style, size: int, parameters: int, output: int) -> Costs:
    def grid(most: int) -> int:
        return dice.randint(0, most) * GRID_BYTES

    def trace() -> Trace:
        saved = grid(style.training * size)
        kept = max(saved, output)
        end = grid(size) + parameters
        backward = end + grid(style.training * size)
        return Trace(kept + grid(3 * size), kept, saved, backward, backward + dice.choice((0, output)), end)

    traces, inference = Traces(*(trace() for _ in range(6))), output + grid(style.inference * size)
    forward, backward, first_backward, running = (dice.randint(0, 12) * size * GRID_SECONDS for _ in range(4))
    return Costs(size, traces, inference, output, inference, forward, backward, first_backward, running)
