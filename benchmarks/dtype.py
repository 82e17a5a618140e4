"""What bfloat16 buys: `python -m benchmarks.dtype > benchmarks/results/dtype.md`.

Per network and arithmetic the smallest budgets, and images per second at three budgets of `auto --prefer speed`, the
fastest of two rounds in which all plans run in turn. 3×32×32, batch 128, scope `training`. Profiles are measured right
before.
"""

from __future__ import annotations

from typing import get_args

from benchmarks.peers.measure import AMPLE_BYTES
from benchmarks.peers.ours import time_plan
from planner.errors import InfeasibleError
from planner.model.zoo import from_zoo
from planner.profiler.profile import ProfileRequest, take_profile
from planner.schema.common import Dtype, usual_optimizer
from planner.schema.plan import Plan
from planner.schema.profile import Profile
from planner.schema.request import Budget, Request, Strategy, Training
from planner.solver.plan import least_memory, make_plan
from planner.system.machine import probe
from planner.units import MIB

NETWORKS = ("vgg16", "resnet18")
OPTIMIZER = usual_optimizer("sgd")
BATCH, SAMPLES, EPOCHS, THREADS = 128, 50_000, 10, 2
SHARES = (0.5, 1.0, 2.0)
"""Of the least that plain backpropagation in float32 needs."""
ROUNDS = 2


def request(dtype: Dtype, budget: int, strategy: Strategy = "auto") -> Request:
    """Ten epochs of CIFAR-10's size."""
    training = Training(BATCH, EPOCHS, SAMPLES, OPTIMIZER, dtype=dtype)
    return Request(Budget(budget, "training"), training, strategy=strategy, prefer="speed")


def planned(profile: Profile, budget: int) -> Plan | None:
    """The plan, where one fits."""
    try:
        return make_plan(profile, request(profile.dtype, budget))
    except InfeasibleError:
        return None


def rows(name: str) -> list[str]:
    """A network's part of the table."""
    model = from_zoo(name, (3, 32, 32), 10)
    profiles: dict[Dtype, Profile] = {
        dtype: take_profile(ProfileRequest(model, OPTIMIZER, BATCH, THREADS, dtype), lambda *_: None)
        for dtype in get_args(Dtype)
    }
    least = {
        (dtype, strategy): least_memory(profile, request(dtype, 2**40, strategy))
        for dtype, profile in profiles.items()
        for strategy in ("auto", "backprop")
    }
    budgets = [int(share * least["float32", "backprop"]) for share in SHARES]
    plans = {(dtype, budget): planned(profile, budget) for dtype, profile in profiles.items() for budget in budgets}
    entered = {place: plan for place, plan in plans.items() if plan is not None}
    speeds = dict.fromkeys(entered, 0.0)
    for _ in range(ROUNDS):
        for place, plan in entered.items():
            judged, found_speeds = time_plan(plan, AMPLE_BYTES)
            if found_speeds is None:
                raise SystemExit(f"{name} in {place[0]}: a run failed: {judged.said}")
            speeds[place] = max(speeds[place], found_speeds[1])
    found = []
    for dtype in profiles:
        smallest = " | ".join(f"{least[dtype, strategy] / MIB:.0f}" for strategy in ("auto", "backprop"))
        for budget in budgets:
            plan, speed = entered.get((dtype, budget)), speeds.get((dtype, budget), 0.0)
            told = "does not fit | | |" if plan is None else _told(plan, speed)
            found.append(f"| {name} | {dtype} | {smallest} | {budget / MIB:.0f} | {told}")
    return found


def _told(plan: Plan, speed: float) -> str:
    predicted = EPOCHS * SAMPLES / plan.predicted.seconds_total
    return f"{plan.cuts} cuts, {len(plan.blocks)} blocks, {plan.allocator} | {predicted:.0f} | {speed:.0f} |"


def main() -> None:
    """Print the table."""
    print(
        "Made by `python -m benchmarks.dtype`: 3×32×32, batch 128, scope `training`, budgets in MiB, images per second"
    )
    print(f"over ten epochs. Instruction sets: {', '.join(probe().isa)}.\n")
    print("| network | arithmetic | least, auto | least, backprop | budget | plan | predicted | measured |")
    print("| --- | --- | ---: | ---: | ---: | --- | ---: | ---: |")
    for name in NETWORKS:
        for row in rows(name):
            print(row, flush=True)


if __name__ == "__main__":
    main()
