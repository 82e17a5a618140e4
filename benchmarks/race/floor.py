"""How fast is VGG-16 in the least memory that backpropagation needs, and in half? `python -m benchmarks.race.floor`.

Scope `training` (bytes above the runtime's own), 3×32×32, batch 128. Every plan is raced in the same minutes: plain
backpropagation where nothing binds, every strategy at the smallest budget where backpropagation fits at all (at its own
fastest micro-batch there, accumulating to 128), and at half that budget. Kept in benchmarks/results/floor.md.
"""

from __future__ import annotations

from benchmarks.race.track import race
from planner.errors import InfeasibleError
from planner.model.zoo import from_zoo
from planner.profiler.profile import ProfileRequest, take_profile
from planner.schema.common import usual_optimizer
from planner.schema.plan import Plan
from planner.schema.request import Budget, Request, Strategy, Training
from planner.solver.plan import least_memory, make_plan
from planner.units import MIB

OPTIMIZER = usual_optimizer("sgd")
SAMPLES, EPOCHS, THREADS = 50_000, 10, 2
AT_FLOOR: tuple[Strategy, ...] = ("backprop", "checkpoint", "classic-local", "neuroflux", "auto")
AMPLE = 2**40


def request(budget: int, strategy: Strategy) -> Request:
    """Ten epochs of CIFAR-10's size."""
    training = Training(128, EPOCHS, SAMPLES, OPTIMIZER)
    return Request(Budget(budget, "training"), training, strategy=strategy, prefer="speed")


def main() -> None:
    """Print the table."""
    model = from_zoo("vgg16", (3, 32, 32), 10)
    profile = take_profile(ProfileRequest(model, OPTIMIZER, 128, THREADS), lambda *_: None)
    floor = least_memory(profile, request(AMPLE, "backprop"))
    wanted = [(AMPLE, "backprop"), *((floor, s) for s in AT_FLOOR), *((floor // 2, s) for s in AT_FLOOR)]
    plans: list[tuple[int, Plan]] = []
    missing: list[tuple[int, Strategy]] = []
    for budget, strategy in wanted:
        try:
            plans.append((budget, make_plan(profile, request(budget, strategy))))
        except InfeasibleError:
            missing.append((budget, strategy))
    measured = race([plan for _, plan in plans])
    speeds = [EPOCHS * SAMPLES / seconds for seconds in measured]
    by = {(budget, plan.strategy): speed for (budget, plan), speed in zip(plans, speeds, strict=True)}
    print(
        "Made by `python -m benchmarks.race.floor`. VGG-16, 3×32×32, batch 128, scope `training`; images per second to"
    )
    print("the end of ten epochs, measured with all plans' steps in turn.\n")
    print("| budget, MiB | strategy | predicted | measured | against backprop there | against ample backprop | plan |")
    print("| ---: | --- | ---: | ---: | ---: | ---: | --- |")
    for (budget, plan), speed in zip(plans, speeds, strict=True):
        size = "ample" if budget == AMPLE else f"{budget / MIB:.1f}"
        there = by.get((budget, "backprop"))
        against = f"{speed / there:.2f}" if there else "does not fit"
        blocks = ", ".join(f"{b.micro_batch}×{b.accumulate}" for b in plan.blocks)
        print(
            f"| {size} | {plan.strategy} | {EPOCHS * SAMPLES / plan.predicted.seconds_total:.1f} | {speed:.1f} "
            f"| {against} | {speed / by[AMPLE, 'backprop']:.2f} | {plan.cuts} cuts, {plan.allocator}, {blocks} |"
        )
    for budget, strategy in missing:
        print(f"| {budget / MIB:.1f} | {strategy} | does not fit | | | | |")


if __name__ == "__main__":
    main()
