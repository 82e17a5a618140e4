"""What a search that ends early gives away: `python -m benchmarks.gap > benchmarks/results/gap.md`.

The chains of `benchmarks/solve_time.py` with 100 and 200 units, `--prefer speed`: the plan and its `optimality_gap`
beside the exact optimum, for which the same search goes on until nothing better is possible. That search is the one
that brute force was compared with on small problems (`tests/unit/solver/test_oracle_campaign.py`).
"""

from __future__ import annotations

import time

from benchmarks.solve_time import SGD, synthetic_profile
from planner.schema.request import Budget, Request, Training
from planner.solver.auto import Solution, Solver
from planner.solver.memory_model import total_ns
from planner.solver.plan import least_memory
from planner.solver.search.search import EXACT, Effort
from planner.units import MIB

UNITS = (100, 200)
TIMES_LEAST = (1.001, 1.3, 2.3, 4.3, 7.8)
"""Budgets, as multiples of the smallest feasible one."""


def solve(units: int, budget: int, effort: Effort | None) -> tuple[float, Solution]:
    """Seconds of one core, and the fastest plan."""
    request = Request(Budget(budget, "process"), Training(128, 10, 50_000, SGD), prefer="speed")
    started = time.process_time()
    answer = Solver(synthetic_profile(units), request, effort).plan("auto", budget)
    if answer is None:
        raise RuntimeError(f"nothing fits {budget} bytes, which is above the smallest feasible budget")
    return time.process_time() - started, answer


def main() -> None:
    """Print the table; a gap below what was given away would be a bug."""
    print("Made by `python -m benchmarks.gap`. Slower than the exact optimum by, against what the plan says at most.\n")
    print("| units | budget MiB | optimality_gap | given away | searched | searched to the end |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for units in UNITS:
        asked = Request(Budget(1, "process"), Training(128, 10, 50_000, SGD), prefer="speed")
        least = least_memory(synthetic_profile(units), asked)
        for times in TIMES_LEAST:
            budget = round(least * times)
            (quick, found), (slow, best) = (solve(units, budget, effort) for effort in (None, EXACT))
            given = total_ns(found.problem, found.choices) / total_ns(best.problem, best.choices) - 1
            if given > found.gap + 1e-9:
                raise RuntimeError(f"{units} units in {budget} bytes: {given:.4%} given away, {found.gap:.4%} said")
            print(
                f"| {units} | {budget / MIB:.1f} | {found.gap:.3%} | {given:.3%} | {quick:.1f} s | {slow:.1f} s |",
                flush=True,
            )


if __name__ == "__main__":
    main()
