"""`neuroflux demo`: the whole way, once, on real images: profile → plan → run → report."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from planner.cli.measure import measured_profile
from planner.cli.output import print_note, print_stored_result
from planner.errors import InputError, RunError
from planner.system.ends import End
from planner.system.files import make_folder
from planner.units import MIB, format_bytes

if TYPE_CHECKING:
    from planner.schema.profile import Profile
    from planner.schema.terms import TrainingTerms

_PLAN = "demo-plan.json"
_MODEL = "vgg11"
_BATCH = 64
_EPOCHS = 3
_SOME_BYTES = 8 * MIB
"""Above the least that any plan needs."""

_BELOW_BACKPROP = 0.9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "--out", type=Path, default=Path("runs/demo"), metavar="DIR", help="output folder (default runs/demo)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Profile, plan below plain backpropagation's least memory, train, report."""
    from planner.data.dataset import open_data
    from planner.data.describe import describe
    from planner.model.load import load_model
    from planner.report.tables import alternatives_table, plan_table
    from planner.schema.codec import to_json
    from planner.schema.terms import BudgetTerms, PlanTerms, TrainingTerms
    from planner.solver.plan import make_plan
    from planner.system.files import write_atomically

    out: Path = arguments.out
    _clear(out)
    with tempfile.TemporaryDirectory(prefix="neuroflux-") as work, open_data("sample", Path(work)) as data:
        found = describe(data, TrainingTerms.seed).description
    model = load_model(_MODEL, found.input, found.classes)
    training = TrainingTerms(batch=_BATCH, epochs=_EPOCHS, samples=found.training_samples)
    profile = measured_profile(model, training.optimizer.optimizer(), _BATCH)
    least, budget = budget_for(profile, training)
    print_note(
        f"\n{found.training_samples} images of clothing, {_MODEL}, batch {_BATCH}, {_EPOCHS} epochs for each block\n"
        f"least memory plain backpropagation needs: {format_bytes(least)}\n"
        f"the budget for this run:                  {format_bytes(budget)}\n"
    )
    plan = make_plan(profile, PlanTerms(budget=BudgetTerms(budget), training=training).request())
    print_note(f"{plan_table(plan)}\n\n{alternatives_table(plan)}\n")
    plan_file = out / _PLAN
    write_atomically(plan_file, to_json(plan))
    _neuroflux("run", str(plan_file), "--data", "sample", "--out", str(out))
    _neuroflux("report", str(out))
    print_stored_result(
        f"plain backpropagation needs at least {format_bytes(least)}; this run was given {format_bytes(budget)}"
    )
    return 0


def budget_for(profile: Profile, training: TrainingTerms) -> tuple[int, int]:
    """The least bytes that plain backpropagation needs, and the demo's budget: below that where any plan fits there."""
    from planner.schema.terms import BudgetTerms, PlanTerms
    from planner.solver.plan import least_memory

    anything = BudgetTerms(profile.device.total_bytes)
    least = least_memory(profile, PlanTerms(budget=anything, training=training, strategy="backprop").request())
    # Where starting torch takes more than training (CUDA builds), a tenth less than backpropagation's is out of reach.
    lowest = least_memory(profile, PlanTerms(budget=anything, training=training).request()) + _SOME_BYTES
    return least, max(int(least * _BELOW_BACKPROP), lowest) // MIB * MIB


def _clear(out: Path) -> None:
    """Remove an earlier demo: its files, nothing else. Raises InputError where the folder holds another run."""
    from planner.runner.supervise.begin import clear_run, is_taken
    from planner.schema.run_folder import RunFolder

    folder = RunFolder(out)
    if is_taken(folder) and not (out / _PLAN).exists():
        raise InputError(f"{out}: holds a run that is no demo; choose another folder with --out")
    if (out / _PLAN).exists():
        folder.report.unlink(missing_ok=True)
        clear_run(folder)
    make_folder(out)


def _neuroflux(*arguments: str) -> None:
    """Run a command in a process of its own, so that its memory is its own."""
    done = subprocess.run([sys.executable, "-m", "planner.cli.main", *arguments])
    if done.returncode != 0:
        raise RunError(f"neuroflux {arguments[0]} was {End(done.returncode).explained}")
