"""Small random profiles whose figures lie on a coarse grid, so that ties and exact fits are common."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import get_args

from hypothesis import strategies as st

from planner.operators.unit_graph import GraphInput, GraphTensor, UnitGraph
from planner.schema.common import CacheDtype, Device, DeviceKind, Dtype, OptimizerConfig
from planner.schema.model import Activation, Conv2d, Layer, Model, Pool2d, Residual, Unit
from planner.schema.profile import ComponentProfile, Costs, HeadProfile, Profile, Storage, Trace, Traces
from planner.schema.request import Scope, Training
from planner.schema.runtime import Finishing, PolicyProfile, Runtime, UnitFinishing
from tests.unit.solver.two_units import policy_profile

GRID_BYTES = 8192
GRID_SECONDS = 1e-4
SGD = OptimizerConfig(kind="sgd", lr=0.1, momentum=0.9)
TABLES = ((1,), (2,), (4,), (1, 2), (1, 4), (2, 8), (1, 2, 4), (1, 2, 8))
BATCHES = (1, 2, 3, 4, 4, 6, 8, 9, 12)
MOST_SIZES = 3


@dataclass(frozen=True)
class Case:
    """A profile and how to train."""

    profile: Profile
    training: Training
    scope: Scope
    reserve_bytes: int
    head_time_share: float
    cache_dtype: CacheDtype | None = None
    """How caches hold activations, where that is asked for."""
    linear_segments: bool = False
    """Whether segments may do without a convolution."""
    overlap: int = 0
    """Units behind its own that a segment trains as well."""


@dataclass(frozen=True)
class Style:
    """What tends to be large: with one style alone, one constraint would nearly always bind and hide the others."""

    training: int
    """Grid steps of activations for one sample."""
    inference: int
    """The same without gradients."""
    detached: int
    """The same in the first forward of a recomputed span."""
    unit_parameters: int
    """Grid steps of a unit's parameters."""
    head_parameters: int
    """Grid steps of a head's."""
    seconds: tuple[int, int, int, int, int]
    """Grid steps of a sample's forward, backward, backward as first, inference, and of an optimizer step."""


STYLES = (
    Style(5, 6, 3, 12, 12, (12, 12, 12, 12, 4)),
    Style(5, 3, 4, 4, 60, (12, 12, 12, 12, 4)),
    Style(0, 40, 5, 2, 12, (12, 12, 12, 12, 4)),
    Style(1, 1, 1, 3, 3, (12, 12, 12, 12, 4)),
    Style(20, 2, 2, 2, 8, (4, 12, 12, 2, 4)),
    Style(2, 2, 2, 40, 40, (4, 12, 0, 2, 12)),
    Style(8, 1, 1, 2, 2, (2, 8, 8, 1, 0)),
)


@st.composite
def cases(draw: st.DrawFn, largest: int = 4) -> Case:
    """One to `largest` units, some of them frozen in half of the longer chains, at most three micro-batches; at each
    boundary no head, one width or two.

    The figures come from one drawn seed: thousands of draws for every profile would take most of the time.
    """
    count = draw(st.sampled_from((*range(1, largest + 1), *[largest] * 3)))
    sizes = draw(st.sampled_from(TABLES))
    style = draw(st.sampled_from(STYLES))
    dice = random.Random(draw(st.integers(0, 2**32)))
    model = _model(draw(st.sampled_from(KINDS)), count, dice)
    widths = [
        draw(st.sampled_from(((), (8,), (16,), (8, 16), (8, 16)))) if model.may_end(boundary) else ()
        for boundary in range(1, count)
    ]
    optimizer = draw(st.sampled_from((SGD, OptimizerConfig(kind="sgd", lr=0.1), OptimizerConfig(kind="adam", lr=0.1))))
    heads = [
        HeadProfile(boundary, "auxiliary", filters, head)
        for boundary, found in enumerate(widths, start=1)
        for filters, head in zip(found, _heads(dice, sizes, optimizer, style, len(found)), strict=True)
    ]
    classifier = HeadProfile(count, "classifier", 0, random_piece(dice, sizes, optimizer, style, 1))
    dtype: Dtype = draw(st.sampled_from(("float32", "float32", "bfloat16")))
    kind: DeviceKind = draw(st.sampled_from(("cpu", "cpu", "cpu", "cuda")))
    profile = Profile(
        schema="profile/1",
        id="0" * 64,
        model=model,
        device=Device("test", "0" * 64, kind, 1, "2.13.0", 2**40),
        dtype=dtype,
        optimizer=optimizer,
        allocator="tight",
        runtime=_runtime(dice, count),
        storage=Storage(dice.randint(1, 40) * 10**7, dice.randint(1, 40) * 10**7),
        units=tuple(random_piece(dice, sizes, optimizer, style, style.unit_parameters) for _ in range(count)),
        heads=(*heads, classifier),
        uncounted_operators=(),
        policies=draw(st.sampled_from((_policies(dice), _policies(dice), _policies(dice)[:1], ())))
        if kind == "cpu"
        else (),
    )
    epochs = draw(st.integers(1, 3))
    early_epochs = draw(st.sampled_from((None, None, *range(1, epochs + 1))))
    views = draw(st.sampled_from((1, 1, *range(1, (early_epochs or epochs) + 1))))
    training = Training(
        batch=draw(st.sampled_from([batch for batch in BATCHES if _few_sizes(batch, sizes[-1])])),
        epochs=epochs,
        early_epochs=early_epochs,
        samples=draw(st.integers(1, 30)),
        optimizer=optimizer,
        augment="none" if views == 1 else "crop",
        views=views,
        dtype=dtype,
        freeze=draw(st.sampled_from((*[0] * count, *range(1, count)))),
    )
    scope: Scope = draw(st.sampled_from(("process", "training")))
    asked: CacheDtype | None = draw(st.sampled_from((None, None, *get_args(CacheDtype))))
    linear = draw(st.sampled_from((False, False, False, True)))
    reserve, share, overlap = dice.choice((0, 5000)), dice.choice((0.0, 0.2, 1.0)), dice.choice((0, 0, 1))
    return Case(profile, training, scope, reserve, share, asked, linear, overlap)


def _few_sizes(batch: int, profiled: int) -> bool:
    return sum(batch % size == 0 for size in range(1, min(batch, 4 * profiled) + 1)) <= MOST_SIZES


def _runtime(dice: random.Random, units: int) -> Runtime:
    baseline, start, supervisor, overhead = (dice.randint(0, 40) * GRID_BYTES for _ in range(4))
    small = dice.randint(1, 4)
    large, growing = small + dice.randint(0, 4), dice.choice((0, 3)) * GRID_BYTES
    run = dice.choice((0, 777))
    behind = [dice.randint(0, baseline + overhead) for _ in range(4)]
    converting = [dice.choice((0, 3 * GRID_BYTES, 5 * GRID_BYTES)) for _ in range(4)]
    alone = tuple(UnitFinishing(*(dice.randint(0, overhead) for _ in range(3))) for _ in range(units))
    common, with_heads = (dice.randint(0, baseline) for _ in range(2))
    whole = Finishing(*behind, *converting)  # type: ignore[arg-type]  # eight numbers; mypy counts the tuple behind them
    by_unit = replace(whole, common_bytes=common, common_heads_bytes=with_heads, units=alone)
    finishing = dice.choice((None, whole, by_unit))
    return Runtime(
        baseline, start, supervisor, overhead, dice.choice((0, 7, 20)), small, large, growing, run, finishing
    )


def _policies(dice: random.Random) -> tuple[PolicyProfile, ...]:
    """What `tight` has measured here beside its seconds plays no part: the runtime says it."""
    baseline, overhead = (dice.choice((0, dice.randint(0, 60))) * GRID_BYTES for _ in range(2))
    permille, ratio = dice.choice((0, 100, 400)), dice.choice((0.5, 0.7, 0.93, 1.0, 1.1))
    first, second = sorted(dice.sample(range(1, 9), 2))
    sizes = dice.choice(((first,), (second,), (first, second)))
    seconds = [size * dice.randint(1, 9) / 7 for size in sizes]
    tight = policy_profile("tight", 2**30, 2**30, 999, *seconds, sizes=sizes)
    fast = [ratio * time * dice.choice((1, 1, 1, 1.3)) for time in seconds]
    return tight, policy_profile("fast", baseline, overhead, permille, *fast, sizes=sizes)


CONVOLUTION = Conv2d("conv2d", 1, 1)
RELU = Activation("relu")
LAYERS: dict[str, tuple[Layer, ...]] = {
    "l": (RELU,),
    "p": (Pool2d("max_pool2d", 1, 1), Residual("residual", (RELU,))),
    "c": (CONVOLUTION, RELU),
    "r": (RELU, Residual("residual", (RELU,), (Residual("residual", (RELU, CONVOLUTION)),))),
}
"""What units are made of, by a letter; those of the last two have a convolution. Nothing else is known of layers."""

KINDS = ("l", "l", "cccl", "cpcl", "cprc", "rplc", "lcpr", "cl", "skips", "skips")
"""Networks, over and over to their last unit: without a convolution, as the zoo's, and with units between convolutions
that have none, so that cuts may be in front of them or behind, and not both. `skips`: units carry tensors along."""


def _model(kinds: str, count: int, dice: random.Random) -> Model:
    if kinds == "skips":
        return Model("model/2", "random", (1, 5, 7), 2, tuple(_carrying(count, dice)))
    letters = (kinds * count)[:count]
    units = tuple(Unit(f"unit{index}", LAYERS[kind]) for index, kind in enumerate(letters))
    return Model("model/1", "random", (1, 5, 7), 2, units)


def _carrying(count: int, dice: random.Random) -> Iterator[Unit]:
    """Units that each give what they make, and carry along some of what they are given."""
    given = ["x"]
    for index in range(count):
        shapes = tuple(GraphInput(name, (1, 5, 7)) for name in given[1:])
        if index == count - 1:
            lines = ("m = mean.dim(x, [2, 3])", "y = linear(m, $w)")
            tensors = (GraphTensor("w", (2, 1), scale=0.1),)
            yield Unit(f"unit{index}", (UnitGraph("graph", lines, "y", tensors, (), "float32", shapes),))
            return
        carried = tuple(name for name in given if dice.random() < 0.6) if index < count - 2 else ()
        graph = UnitGraph("graph", ("y = relu(x)",), "y", (), (), "float32", shapes, carried)
        yield Unit(f"unit{index}", (graph,))
        given = ["x", *(f"x{place}" for place in range(1, len(carried) + 1))]


def _heads(
    dice: random.Random, sizes: tuple[int, ...], optimizer: OptimizerConfig, style: Style, count: int
) -> list[ComponentProfile]:
    """By rising width; mostly each as slow as the one before or slower, as real ones are. Half of them take no time."""
    if dice.random() < 0.5:
        style = replace(style, seconds=(0, 0, 0, 0, 1))
    found = [random_piece(dice, sizes, optimizer, style, style.head_parameters) for _ in range(count)]
    if count == 2 and dice.random() < 0.8:
        narrow, wide = found
        more = dice.choice((0, 1, 3)) * GRID_SECONDS
        costs = tuple(
            replace(
                cost,
                forward_seconds=other.forward_seconds,
                backward_seconds=other.backward_seconds + more * cost.micro_batch,
            )
            for cost, other in zip(wide.costs, narrow.costs, strict=True)
        )
        found[1] = replace(wide, costs=costs, step_seconds=narrow.step_seconds)
    return found


def random_piece(
    dice: random.Random, sizes: tuple[int, ...], optimizer: OptimizerConfig, style: Style, most_parameters: int
) -> ComponentProfile:
    """A unit or a head."""
    parameters = dice.randint(0, most_parameters) * GRID_BYTES
    output = dice.randint(1, 4) * GRID_BYTES
    return ComponentProfile(
        parameters=parameters // 4,
        parameter_bytes=parameters,
        buffer_bytes=dice.choice((0, GRID_BYTES)),
        optimizer_bytes=parameters * optimizer.state_copies,
        step_transient_bytes=dice.randint(0, 2 * style.training) * GRID_BYTES,
        step_seconds=dice.randint(0, style.seconds[-1]) * GRID_SECONDS,
        flops=0,
        output_bytes=output,
        minimum_micro_batch=dice.choice((1, 1, 1, 1, 2)),
        costs=tuple(_costs(dice, style, size, parameters, size * output) for size in sizes),
    )


def _costs(dice: random.Random, style: Style, size: int, parameters: int, output: int) -> Costs:
    def grid(most: int) -> int:
        return dice.randint(0, most) * GRID_BYTES

    def trace(gradients: int) -> Trace:
        saved = grid(style.training * size)
        kept = max(saved, output)
        end = grid(size) + gradients
        backward = end + grid(style.training * size)
        return Trace(kept + grid(3 * size), kept, saved, backward, backward + dice.choice((0, output)), end)

    def seconds(most: int) -> float:
        return (dice.randint(0, most) * size + dice.choice((0, most))) * GRID_SECONDS

    forward, backward, first_backward, running, _ = style.seconds
    inner, first, stepping, first_stepping = trace(parameters), trace(parameters), trace(0), trace(0)
    return Costs(
        micro_batch=size,
        traces=Traces(inner, trace(0), first, trace(0), stepping, first_stepping),
        inference_peak_bytes=output + grid(style.inference * size),
        inference_kept_bytes=output,
        detached_peak_bytes=output + grid(style.detached * size),
        forward_seconds=seconds(forward),
        backward_seconds=seconds(backward),
        first_backward_seconds=seconds(first_backward),
        inference_seconds=seconds(running),
        untouched_bytes=grid(style.training * size),
    )
