"""How long planning takes from a stored profile: `python benchmarks/plan_time.py profile.json [--batch 128]`.

Plans with every strategy, and `auto` under every preference, at budgets between the least that `auto` needs and twice
what plain backpropagation needs. The time is the median of five, on whatever the machine is doing besides.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

from planner.errors import InfeasibleError
from planner.schema.codec import read_document
from planner.schema.profile import Profile
from planner.schema.request import Budget, Preference, Request, Strategy, Training
from planner.solver.plan import least_memory, make_plan
from planner.units import format_bytes, format_seconds

REPEATS = 5
RULES: tuple[tuple[Strategy, Preference], ...] = (
    ("auto", "speed"),
    ("auto", "balanced"),
    ("auto", "fidelity"),
    ("backprop", "balanced"),
    ("classic-local", "balanced"),
    ("neuroflux", "balanced"),
)


def main() -> None:
    """Print a table: rule, budget, seconds to plan, and what was planned."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--samples", type=int, default=50_000)
    arguments = parser.parse_args()
    profile = read_document(arguments.profile, Profile)
    training = Training(batch=arguments.batch, epochs=10, samples=arguments.samples, optimizer=profile.optimizer)
    request = Request(Budget(1, "process"), training)
    least = least_memory(profile, request)
    most = 2 * least_memory(profile, replace(request, strategy="backprop"))
    print(f"{profile.model.name}: {len(profile.units)} units, {len(profile.heads)} heads, batch {arguments.batch}")
    print(f"{'strategy':14} {'prefer':9} {'budget':>10} {'planning':>9} {'blocks':>6} {'cuts':>4} {'training':>16}")
    for strategy, prefer in RULES:
        for step in range(5):
            budget = Budget(least + (most - least) * step // 4, "process")
            _row(profile, replace(request, budget=budget, strategy=strategy, prefer=prefer))


def _row(profile: Profile, request: Request) -> None:
    seconds = []
    found = "does not fit"
    for _ in range(REPEATS):
        start = time.perf_counter()
        try:
            plan = make_plan(profile, request)
            found = f"{len(plan.blocks):6} {plan.cuts:4} {format_seconds(plan.predicted.seconds_total):>16}"
        except InfeasibleError:
            pass
        seconds.append(time.perf_counter() - start)
    planning = format_seconds(statistics.median(seconds))
    budget = format_bytes(request.budget.bytes)
    print(f"{request.strategy:14} {request.prefer:9} {budget:>10} {planning:>9} {found}")


if __name__ == "__main__":
    main()
