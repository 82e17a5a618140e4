"""Predicted against measured peak, block by block: `python benchmarks/memory.py > benchmarks/results/memory.md`.

Three networks at three budgets each, on the bundled images (1×28×28): a little above the least memory any plan needs, a
tenth below the least that plain backpropagation needs, and well above that. The prediction is the plan's, made before
the run; the measurement is the kernel's (VmHWM of child and supervisor).
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from planner.cli.measure import measured_profile
from planner.model.zoo import from_zoo
from planner.schema.codec import to_json
from planner.schema.common import usual_optimizer
from planner.schema.profile import Profile
from planner.schema.report import Report
from planner.schema.request import Budget, Request, Strategy, Training
from planner.solver.plan import least_memory, make_plan
from planner.units import MIB

NETWORKS = ("vgg11", "vgg16", "resnet18")
OPTIMIZER = usual_optimizer("sgd")
BATCH = 128
STEPS = 4


def request(budget: int, strategy: Strategy = "auto") -> Request:
    """A request for the bundled images."""
    return Request(Budget(budget, "process"), Training(BATCH, 1, 4000, OPTIMIZER), strategy=strategy)


def budgets(profile: Profile) -> list[int]:
    """The three budgets of a network."""
    least = least_memory(profile, request(2**40))
    backprop = least_memory(profile, request(2**40, "backprop"))
    return [least + 4 * MIB, backprop * 9 // 10, backprop * 3 // 2]


def run(profile: Profile, budget: int) -> Report:
    """Plan and run in processes of their own, as a person would."""
    import subprocess

    from planner.schema.codec import read_document
    from planner.schema.run_folder import RunFolder

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "plan.json").write_text(to_json(make_plan(profile, request(budget))))
        command = [sys.executable, "-m", "planner.cli.main", "run", str(folder / "plan.json"), "--data", "sample"]
        subprocess.run(
            [*command, "--out", str(folder / "out"), "--max-steps", str(STEPS), "--quiet"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return read_document(RunFolder(folder / "out").report, Report)


def rows(name: str) -> Iterator[tuple[str, float, float]]:
    """Table rows of one network, with excess over the measured peak, whole and above the baseline, in per cent."""
    profile = measured_profile(from_zoo(name, (1, 28, 28), 10), OPTIMIZER, BATCH)
    for budget in budgets(profile):
        report = run(profile, budget)
        kept = "yes" if report.within_budget else "NO"
        base = report.baseline_bytes + report.supervisor_peak_bytes
        for block in report.blocks:
            predicted, measured = block.predicted_peak_bytes, block.measured_peak_bytes
            excess = 100 * (predicted / measured - 1)
            above = 100 * ((predicted - base) / (measured - base) - 1)
            first, last = block.units
            text = (
                f"| {name} | {budget / MIB:.0f} | {first}-{last - 1} | {block.micro_batch} x {block.accumulate} "
                f"| {predicted / MIB:.1f} | {measured / MIB:.1f} | {excess:+.2f} | {above:+.1f} | {kept} "
                f"| {len(report.deviations)} |"
            )
            yield text, excess, above


def main() -> None:
    """Print the table and its summary."""
    print("Made by `python benchmarks/memory.py`. MiB; excess of the prediction over the measured peak in per cent,")
    print("of the whole process and of what lies above its baseline.\n")
    print(
        "| network | budget | units | micro-batch | predicted | measured | excess | above baseline "
        "| under | deviations |"
    )
    print("| --- | ---: | --- | --- | ---: | ---: | ---: | ---: | --- | ---: |")
    excesses: list[float] = []
    for name in NETWORKS:
        for text, excess, _ in rows(name):
            print(text, flush=True)
            excesses.append(excess)
    print(
        f"\n{len(excesses)} blocks: least excess {min(excesses):+.2f} %, median {statistics.median(excesses):+.2f} %, "
        f"largest {max(excesses):+.2f} %."
    )


if __name__ == "__main__":
    main()
