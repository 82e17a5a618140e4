"""`neuroflux run`: execute a plan. This process is the run's supervisor, so it imports as little as it can."""

from __future__ import annotations

import argparse
from pathlib import Path

from planner.cli import options
from planner.cli.output import print_note, print_result
from planner.limits import MAX_EPOCHS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("plan", type=Path, metavar="PLAN", help="the plan's file")
    parser.add_argument("--data", required=True, metavar="D", help="sample, fashion-mnist, or a path")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="output folder (default: runs/<first 12 digits of the plan's id>)"
    )
    parser.add_argument(
        "--epochs",
        type=options.count("epochs", 1, MAX_EPOCHS),
        metavar="N",
        help="passes over the data instead of the plan's",
    )
    parser.add_argument(
        "--max-steps",
        type=options.count("max-steps", 1, 10**9),
        metavar="N",
        help="most optimizer steps of each block, for a short run",
    )
    parser.add_argument("--seed", type=options.count("seed", 0, 2**62), metavar="N", help="instead of the plan's")
    parser.add_argument(
        "--init",
        type=Path,
        metavar="WEIGHTS",
        help="begin with the weights of a safetensors file, as far as names and shapes are those of an exported model",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with a run that was stopped, from its last checkpoint"
    )
    parser.add_argument(
        "--checkpoint-seconds",
        type=options.count("checkpoint-seconds", 0, 10**9),
        default=60,
        metavar="N",
        help="time between two checkpoints, the most that a crash can cost; 0: after every step (default: 60)",
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the plan; print its report as JSON, or where it lies."""
    from planner.cli.progress import RunProgress, Silent
    from planner.document import read_document, to_json
    from planner.runner.supervisor import RunOptions, run_plan
    from planner.solver.schema import Plan
    from planner.units import format_bytes

    plan = read_document(arguments.plan, Plan)
    out: Path = arguments.out or Path("runs") / plan.id[:12]
    wanted = RunOptions(
        epochs=arguments.epochs,
        max_steps=arguments.max_steps,
        seed=arguments.seed,
        init=arguments.init,
        resume=arguments.resume,
        checkpoint_seconds=arguments.checkpoint_seconds,
    )
    observer = Silent() if arguments.quiet else RunProgress(plan)
    report = run_plan(plan, arguments.data, out, wanted, observer)
    if arguments.json:
        print_result(to_json(report))
    else:
        verdict = "stayed under" if report.within_budget else "DID NOT STAY under"
        print_result(
            f"{verdict} {format_bytes(report.budget_bytes)}: peak {format_bytes(report.peak_bytes)}; "
            f"accuracy {100 * report.accuracy:.1f} %; {out}"
        )
        print_note(f"more: neuroflux report {out}")
    return 0
