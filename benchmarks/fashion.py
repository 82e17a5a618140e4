"""VGG-16 on the whole of Fashion-MNIST at three budgets: `python -m benchmarks.fashion [STEPS]`.

A little above the least memory that any plan needs, a tenth below the least that plain backpropagation needs, and well
above that; each block takes STEPS optimizer steps of 128 (default 40), or with `0` a whole epoch. The table and a
picture of memory against time for each budget go to benchmarks/results/ (fashion.md, fashion-*.svg). Needs the Debian
package dataset-fashion-mnist.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from planner.cli.measure import measured_profile
from planner.model.zoo import from_zoo
from planner.report.plot import draw_memory
from planner.report.read import read_run
from planner.schema.codec import to_json
from planner.schema.common import usual_optimizer
from planner.schema.plan import Plan
from planner.schema.profile import Profile
from planner.schema.report import Report
from planner.schema.request import Budget, Request, Strategy, Training
from planner.solver.plan import least_memory, make_plan
from planner.units import MIB

RESULTS = Path(__file__).parent / "results"
BATCH, SAMPLES = 128, 60_000
STEPS = 40
HEADER = """\
Made by `python -m benchmarks.fashion{0}`: VGG-16, 60,000 images of 1×28×28, batch 128, {1} of every block.
MiB of everything resident; seconds of a whole epoch of all blocks, as predicted and as the steps taken come to.

| budget | blocks | cuts | allocator | peak predicted | measured | under | epoch predicted | measured | accuracy |
| ---: | ---: | ---: | --- | ---: | ---: | --- | ---: | ---: | ---: |
"""


def request(budget: int, strategy: Strategy = "auto") -> Request:
    """One epoch."""
    training = Training(BATCH, 1, SAMPLES, usual_optimizer("sgd"))
    return Request(Budget(budget, "process"), training, strategy=strategy)


def run(plan: Plan, steps: int, name: str) -> Report:
    """Train, and draw memory against time."""
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "plan.json", Path(folder) / "out"
        file.write_text(to_json(plan))
        words = ["run", str(file), "--data", "fashion-mnist", "--out", str(out), "--exit-tolerance", "none", "--quiet"]
        words += ["--max-steps", str(steps)] if steps else []
        # A process of its own: the supervisor's bytes count, and this one draws pictures.
        command = [sys.executable, "-m", "planner.cli.main", *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        record = read_run(out)
    draw_memory(record, RESULTS / f"fashion-{name}.svg")
    return record.report


def row(plan: Plan, report: Report, steps: int) -> str:
    """A line of the table."""
    predicted = sum(block.predicted_seconds_per_epoch for block in report.blocks)
    passed = 1.0 if not steps else steps * BATCH / SAMPLES
    measured = sum(block.measured_seconds_per_epoch for block in report.blocks) / passed
    return (
        f"| {plan.budget.bytes / MIB:.0f} | {len(plan.blocks)} | {plan.cuts} | {plan.allocator} "
        f"| {plan.predicted.peak_bytes / MIB:.1f} | {report.peak_bytes / MIB:.1f} "
        f"| {'yes' if report.within_budget else 'NO'} | {predicted:.0f} | {measured:.0f} "
        f"| {100 * report.accuracy:.1f} % |"
    )


def budgets(profile: Profile) -> list[tuple[str, int]]:
    """Three budgets, named."""
    least = least_memory(profile, request(2**40))
    backprop = least_memory(profile, request(2**40, "backprop"))
    return [("least", least + 4 * MIB), ("below", backprop * 9 // 10), ("ample", backprop * 3 // 2)]


def main(steps: int) -> None:
    """Run all, then write the table."""
    profile = measured_profile(from_zoo("vgg16", (1, 28, 28), 10), usual_optimizer("sgd"), BATCH)
    what = f"{steps} optimizer steps" if steps else "a whole epoch"
    lines = [HEADER.format("" if steps == STEPS else f" {steps}", what)]
    for name, budget in budgets(profile):
        plan = make_plan(profile, request(budget))
        lines.append(row(plan, run(plan, steps, name), steps) + "\n")
        print(lines[-1], end="", flush=True)
    (RESULTS / "fashion.md").write_text("".join(lines))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else STEPS)
