"""How long solving takes for long chains: `python benchmarks/solve_time.py [--units 16 50 100 200] [--repeats 3]`.

The profiles are made up here, by plain formulas and a seeded dice: units of five stages, each with fewer and wider
positions than the one before, three widths of head at every boundary, five micro-batches, both allocator policies.
Every solve is a whole `make_plan` (the plan, the smallest budget, every alternative, the checker) in a process of its
own, at budgets between the smallest feasible one and twice what plain backpropagation needs. Times are seconds of one
core (the solver has one thread), so that other work on the machine hardly shows. Memory is the process's highest
resident size.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import get_args

from planner.errors import InfeasibleError
from planner.schema.common import Device, OptimizerConfig
from planner.schema.model import Activation, Model, Unit
from planner.schema.profile import ComponentProfile, Costs, HeadProfile, Profile, Storage, Trace, Traces
from planner.schema.request import Budget, Preference, Request, Training
from planner.schema.runtime import Account, PolicyProfile, Runtime, StepTime
from planner.solver.plan import least_memory, make_plan
from planner.units import MIB, format_bytes, format_seconds

SIZES = (1, 2, 8, 32, 128)
FILTERS = (16, 64, 256)
STAGES = ((32, 32), (64, 16), (128, 8), (256, 4), (512, 2))
"""Channels and extent."""
OPERATIONS_PER_SECOND = 4e10
SGD = OptimizerConfig(kind="sgd", lr=0.05, momentum=0.9)
SHARES = (0.0, 0.05, 0.2, 0.5, 1.0)
"""Where between the smallest feasible budget and twice backpropagation's the budgets lie."""
TARGETS = {16: 0.2, 50: 0.5, 100: 1.5, 200: 4.0}
"""Seconds, from the issue."""


def synthetic_profile(count: int, seed: int = 0) -> Profile:
    """A chain of `count` units, a head of three widths behind each."""
    dice = random.Random(seed)
    units, heads, before = [], [], 3
    for index in range(count):
        channels, extent = STAGES[index * len(STAGES) // count]
        layers = dice.choice((2, 3, 4, 6))
        units.append(_component(dice, 9 * before * channels, channels, channels * extent**2, extent, layers))
        before = channels
        if index + 1 < count:
            for filters in FILTERS:
                head = _component(dice, 9 * channels * filters, filters, 1, min(extent, 4), 3)
                heads.append(HeadProfile(index + 1, "auxiliary", filters, head))
    heads.append(HeadProfile(count, "classifier", 0, _component(dice, 0, 0, 10, 1, 1)))
    return Profile(
        schema="profile/1",
        id="0" * 64,
        model=Model("model/1", f"chain{count}", (3, 32, 32), 10, _names(count)),
        device=Device("synthetic", "0" * 64, "cpu", 1, "2.13.0", 2**36),
        dtype="float32",
        optimizer=SGD,
        allocator="tight",
        runtime=Runtime(164 * MIB, 172 * MIB, 15 * MIB, 9 * MIB, 2, 2, 8, 200_000, 4 * MIB),
        storage=Storage(300_000_000, 800_000_000),
        units=tuple(units),
        heads=tuple(heads),
        uncounted_operators=(),
        policies=(
            PolicyProfile("tight", 164 * MIB, 9 * MIB, 2, (StepTime(8, 0.30),), Account(8, *[0] * 13)),
            PolicyProfile("fast", 164 * MIB, 3 * MIB, 112, (StepTime(8, 0.24),), Account(8, *[0] * 13)),
        ),
    )


def _names(count: int) -> tuple[Unit, ...]:
    return tuple(Unit(f"unit{index}", (Activation("relu"),)) for index in range(count))


def _component(
    dice: random.Random, weights: int, channels: int, output: int, extent: int, layers: int
) -> ComponentProfile:
    parameters = 4 * (weights + 2 * channels)
    operations = max(weights, 10 * output) * extent**2
    return ComponentProfile(
        parameters=parameters // 4,
        parameter_bytes=parameters,
        buffer_bytes=8 * channels,
        optimizer_bytes=parameters,
        step_transient_bytes=parameters // 2,
        step_seconds=parameters / 4e9,
        flops=operations,
        output_bytes=4 * output,
        minimum_micro_batch=1 if extent > 1 else 2 if channels else 1,
        costs=tuple(_costs(dice, size, parameters, 4 * output, layers, operations) for size in SIZES),
    )


def _costs(dice: random.Random, size: int, parameters: int, output: int, layers: int, operations: int) -> Costs:
    kept = size * output * layers
    scratch = dice.randint(0, 2 * output * size)

    def trace(gradient: int, left: int) -> Trace:
        backward = kept + size * output + gradient + left + scratch
        return Trace(kept + scratch, kept, kept - size * output, backward, backward + size * output, gradient + left)

    forward = (size + 3) * operations * dice.uniform(0.9, 1.1) / OPERATIONS_PER_SECOND + layers * 2e-5
    inner, first = size * output, 0
    return Costs(
        micro_batch=size,
        traces=Traces(
            trace(inner, parameters), trace(inner, 0), trace(first, parameters), trace(first, 0),
            trace(inner, parameters // 3), trace(first, parameters // 3),
        ),
        inference_peak_bytes=2 * size * output + scratch,
        inference_kept_bytes=size * output,
        detached_peak_bytes=2 * size * output + scratch,
        forward_seconds=forward,
        backward_seconds=2 * forward,
        first_backward_seconds=1.4 * forward,
        inference_seconds=0.8 * forward,
    )  # fmt: skip


def main() -> None:
    """Print a row per chain, preference and budget; with `--one`, solve once and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, nargs="+", default=list(TARGETS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(_solve(**json.loads(arguments.one))))
        return
    print("| units | prefer | budget | solving | memory | gap | blocks | cuts | training |")
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for count in arguments.units:
        rows = list(_rows(count, arguments.repeats))
        worst = max(row["seconds"] for row in rows)
        most = max(row["peak"] for row in rows)
        target = f", target {format_seconds(TARGETS[count])}" if count in TARGETS else ""
        print(f"| {count} | worst | | {format_seconds(worst)}{target} | {format_bytes(most)} | | | | |", flush=True)


def _rows(count: int, repeats: int) -> Iterator[dict[str, float]]:
    least, backprop = (_least(count, strategy) for strategy in ("auto", "backprop"))
    for prefer, share in product(get_args(Preference), SHARES):
        budget = round(least + share * (2 * backprop - least))
        found = [_child({"count": count, "budget": budget, "prefer": prefer}) for _ in range(repeats)]
        row = dict(found[0], seconds=statistics.median(one["seconds"] for one in found))
        print(
            f"| {count} | {prefer} | {format_bytes(budget)} | {format_seconds(row['seconds'])} | "
            f"{format_bytes(row['peak'])} | {row['gap']:.2%} | {row['blocks']} | {row['cuts']} | "
            f"{format_seconds(row['training'])} |",
            flush=True,
        )
        yield row


def _request(budget: int, prefer: Preference) -> Request:
    return Request(Budget(budget, "process"), Training(128, 10, 50_000, SGD), prefer=prefer)


def _least(count: int, strategy: str) -> int:
    return int(_child({"count": count, "budget": 1, "prefer": "speed", "least": strategy})["budget"])


def _child(asked: dict[str, int | str]) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", json.dumps(asked)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=dict(os.environ, OMP_NUM_THREADS="1")
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _solve(count: int, budget: int, prefer: Preference, least: str | None = None) -> dict[str, float]:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    profile, request = synthetic_profile(count), _request(budget, prefer)
    if least is not None:
        return {"budget": least_memory(profile, replace(request, strategy=least))}
    start = time.process_time()
    try:
        plan = make_plan(profile, request)
    except InfeasibleError as error:
        raise SystemExit(str(error)) from None
    return {
        "seconds": time.process_time() - start,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "gap": plan.optimality_gap,
        "blocks": len(plan.blocks),
        "cuts": plan.cuts,
        "training": plan.predicted.seconds_total,
    }


if __name__ == "__main__":
    main()
