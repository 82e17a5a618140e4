"""Is the plan predicted to be fastest the fastest when measured? `python -m benchmarks.race.best [NETWORK ...]`.

At five budgets per network, from just above the least in which anything fits to one and a half times what plain
backpropagation needs, the plan that `auto --prefer speed` chooses is raced against the best plan of every strategy that
fits. Profiles are measured by this script right before. Kept in benchmarks/results/best.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from benchmarks.race.track import is_same_training, race
from planner.errors import InfeasibleError
from planner.model.zoo import from_zoo
from planner.profiler.profile import ProfileRequest, take_profile
from planner.schema.common import usual_optimizer
from planner.schema.plan import Plan
from planner.schema.profile import Profile
from planner.schema.request import Budget, Request, Strategy, Training
from planner.solver.plan import least_memory, make_plan
from planner.units import MIB

NETWORKS = ("vgg16", "resnet18", "mobilenetv2")
STRATEGIES: tuple[Strategy, ...] = ("auto", "backprop", "checkpoint", "classic-local", "neuroflux")
OPTIMIZER = usual_optimizer("sgd")
BATCH, THREADS = 128, 2
NEAR = 1.05


def request(budget: int, strategy: Strategy) -> Request:
    """Ten epochs over 50,000 samples."""
    return Request(Budget(budget, "process"), Training(BATCH, 10, 50_000, OPTIMIZER), strategy=strategy, prefer="speed")


def budgets(profile: Profile) -> list[int]:
    """Five, in equal ratios."""
    low = least_memory(profile, request(2**40, "auto")) + 4 * MIB
    high = least_memory(profile, request(2**40, "backprop")) * 3 // 2
    return [round(low * (high / low) ** (step / 4)) for step in range(5)]


def plans(profile: Profile, budget: int) -> dict[Strategy, Plan]:
    """The plan of every strategy that fits."""
    found: dict[Strategy, Plan] = {}
    for strategy in STRATEGIES:
        try:
            found[strategy] = make_plan(profile, request(budget, strategy))
        except InfeasibleError:
            continue
    return found


def rows(name: str, profile: Profile) -> Iterator[tuple[str, bool]]:
    """A line per strategy and budget, and whether the chosen plan is about the fastest at that budget."""
    for budget in budgets(profile):
        found = plans(profile, budget)
        distinct: list[Plan] = []
        for plan in found.values():
            if not any(is_same_training(plan, other) for other in distinct):
                distinct.append(plan)
        measured = race(distinct)
        of = {
            strategy: next(t for other, t in zip(distinct, measured, strict=True) if is_same_training(plan, other))
            for strategy, plan in found.items()
        }
        is_best = of["auto"] <= NEAR * min(measured)
        for strategy in STRATEGIES:
            head = f"| {name} | {budget / MIB:.0f} | {strategy} |"
            if strategy not in found:
                yield f"{head} does not fit | | | |", is_best
                continue
            plan = found[strategy]
            blocks = ", ".join(f"{b.micro_batch}×{b.accumulate}" for b in plan.blocks)
            yield (
                (
                    f"{head} {plan.predicted.seconds_total:.0f} | {of[strategy]:.0f} | {of[strategy] / of['auto']:.2f} "
                    f"| {plan.cuts} cuts, {plan.allocator}, {blocks} |"
                ),
                is_best,
            )


def main(names: list[str]) -> None:
    """Print the table and how often the choice was right."""
    print(
        "Made by `python -m benchmarks.race.best`. Budgets in MiB, everything resident included; seconds of ten epochs"
    )
    print("over 50,000 images of 3×32×32, batch 128; micro-batch × accumulation by block.\n")
    print("| network | budget | strategy | predicted | measured | against auto | plan |")
    print("| --- | ---: | --- | ---: | ---: | ---: | --- |")
    right: dict[tuple[str, str], bool] = {}
    for name in names or NETWORKS:
        profile = take_profile(
            ProfileRequest(from_zoo(name, (3, 32, 32), 10), OPTIMIZER, BATCH, THREADS), lambda *_: None
        )
        for line, is_best in rows(name, profile):
            print(line, flush=True)
            right[name, line.split("|")[2]] = is_best
    count = sum(right.values())
    print(f"\nThe chosen plan is the fastest measured, or within 5 % of it, at {count} of {len(right)} budgets.")


if __name__ == "__main__":
    main(sys.argv[1:])
