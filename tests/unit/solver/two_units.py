"""Two units whose figures fit on a page, for tables worked out by hand."""

from __future__ import annotations

from planner.schema.common import Device, OptimizerConfig, Policy
from planner.schema.model import Activation, Model, Unit
from planner.schema.profile import ComponentProfile, Costs, HeadProfile, Profile, Storage, Trace, Traces
from planner.schema.runtime import Account, PolicyProfile, Runtime, StepTime

SGD = OptimizerConfig(kind="sgd", lr=0.1, momentum=0.9)
MICROSECOND = 1e-6


def trace(forward: int, kept: int, backward: int, held: int = 0) -> Trace:
    """A trace whose other fields play no part."""
    return Trace(forward, kept, 0, backward, max(held, backward), 0)


def costs(size: int, traces: Traces, inference: int, microseconds: tuple[int, int, int, int]) -> Costs:
    """Forward, backward, backward as first, and inference in microseconds."""
    forward, backward, first, running = (count * MICROSECOND for count in microseconds)
    return Costs(size, traces, inference, 0, inference, forward, backward, first, running)


def component(
    fixed: tuple[int, int, int], step: int, output: int, table: tuple[Costs, ...], minimum: int = 1
) -> ComponentProfile:
    """Parameters, buffers and step transient in bytes; the step in microseconds; momentum as state."""
    parameters, buffers, transient = fixed
    return ComponentProfile(
        parameters=parameters // 4,
        parameter_bytes=parameters,
        buffer_bytes=buffers,
        optimizer_bytes=parameters,
        step_transient_bytes=transient,
        step_seconds=step * MICROSECOND,
        flops=0,
        output_bytes=output,
        minimum_micro_batch=minimum,
        costs=table,
    )


def policy_profile(
    policy: Policy, baseline: int, overhead: int, permille: int, *seconds: float, sizes: tuple[int, ...] = (1,)
) -> PolicyProfile:
    """A policy's figures, with the seconds of a step at every one of `sizes`; its account plays no part in planning."""
    steps = tuple(StepTime(size, time) for size, time in zip(sizes, seconds, strict=True))
    return PolicyProfile(policy, baseline, overhead, permille, steps, Account(1, *[0] * 13))


UNUSED = trace(10**6, 10**6, 10**6)
"""A case that must not be looked at: it would set every peak."""

FIRST = component(
    (100, 10, 7),
    4,
    40,
    (
        costs(
            1,
            Traces(UNUSED, UNUSED, trace(170, 120, 180, 200), trace(160, 110, 190, 205), UNUSED, UNUSED),
            60,
            (6, 12, 9, 5),
        ),
        costs(2, Traces(UNUSED, UNUSED, trace(300, 200, 350, 380), UNUSED, UNUSED, UNUSED), 120, (10, 20, 15, 8)),
    ),
)
SECOND = component(
    (50, 0, 3),
    2,
    8,
    (
        costs(
            1,
            Traces(trace(80, 50, 90), trace(78, 48, 88), trace(76, 46, 86), trace(75, 45, 85), UNUSED, UNUSED),
            30,
            (4, 6, 5, 3),
        ),
        costs(2, Traces(trace(150, 90, 170), UNUSED, trace(140, 85, 160), UNUSED, UNUSED, UNUSED), 60, (6, 9, 7, 5)),
    ),
)
HEAD = component(
    (20, 4, 1),
    1,
    4,
    (
        costs(1, Traces(trace(33, 17, 51), trace(32, 16, 50), UNUSED, UNUSED, UNUSED, UNUSED), 15, (1, 2, 2, 1)),
        costs(2, Traces(trace(60, 30, 95), UNUSED, UNUSED, UNUSED, UNUSED, UNUSED), 30, (2, 3, 3, 1)),
    ),
)
CLASSIFIER = component(
    (0, 0, 0),
    0,
    4,
    (
        costs(1, Traces(trace(12, 8, 15), trace(11, 7, 14), UNUSED, UNUSED, UNUSED, UNUSED), 6, (1, 1, 1, 1)),
        costs(2, Traces(trace(20, 12, 25), UNUSED, UNUSED, UNUSED, UNUSED, UNUSED), 10, (1, 1, 1, 1)),
    ),
)


def tiny_profile(units: tuple[ComponentProfile, ...] = (FIRST, SECOND), heads: tuple[HeadProfile, ...] = ()) -> Profile:
    """The two units over 1×5×7 images, one head between them (or the ones given), and the classifier behind."""
    names = tuple(Unit(f"unit{index}", (Activation("relu"),)) for index in range(len(units)))
    heads = heads or (HeadProfile(1, "auxiliary", 8, HEAD),)
    return Profile(
        schema="profile/1",
        id="1" * 64,
        model=Model("model/1", "tiny", (1, 5, 7), 2, names),
        device=Device("test", "2" * 64, "cpu", 1, "2.13.0", 2**30),
        dtype="float32",
        optimizer=SGD,
        allocator="tight",
        runtime=Runtime(
            baseline_bytes=1000, start_peak_bytes=1500, supervisor_bytes=200, overhead_bytes=5, overhead_permille=10
        ),
        storage=Storage(write_bytes_per_second=2_000_000, read_bytes_per_second=1_000_000),
        units=units,
        heads=(*heads, HeadProfile(len(units), "classifier", 0, CLASSIFIER)),
        uncounted_operators=(),
    )
