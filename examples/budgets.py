"""Measure once, then ask what several budgets buy. Nothing is trained.

python examples/budgets.py
"""

import torch
from network import small_network

import planner
from planner.errors import InfeasibleError


def main(budgets: tuple[str, ...] = ("64MiB", "200MiB", "1GiB")) -> None:
    profile = planner.profile(small_network(), torch.zeros(1, 16, 16), batch=32)

    print("budget    predicted peak    cuts    seconds")
    for budget in budgets:
        try:
            plan = planner.plan(profile, budget, batch=32, epochs=3, samples=600)
        except InfeasibleError as error:
            print(f"{budget:8}  too small: {error.minimum_bytes / 2**20:.0f} MiB are needed")
            continue
        cuts = sum(len(block.segments) for block in plan.blocks) - 1
        peak, seconds = plan.predicted.peak_bytes / 2**20, plan.predicted.seconds_total
        print(f"{budget:8}  {peak:10.0f} MiB    {cuts:4}    {seconds:7.1f}")


if __name__ == "__main__":
    main()
