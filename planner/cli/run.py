"""`neuroflux run`: execute a plan. This process is the run's supervisor, so it imports as little as it can."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from planner.cli import options
from planner.cli.commands import command_line, default_folder, run_command
from planner.cli.output import print_error, print_note, print_stored_result
from planner.cli.reporting import add_service, check_client, given, reporting
from planner.errors import InputError, InterruptedRunError, RunError
from planner.limits import MAX_EPOCHS

if TYPE_CHECKING:
    from planner.cli.progress import RunProgress, Silent
    from planner.runner.protocol.events import Event
    from planner.runner.supervise.supervisor import Observer, RunOptions
    from planner.schema.plan import Plan
    from planner.schema.report import Report

_NAMED_DATA = ("sample", "fashion-mnist")
"""Data sets that have a name instead of a path."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("plan", metavar="PLAN", help="the plan's file, or its address: URL/v1/plans/ID")
    parser.add_argument("--data", required=True, metavar="D", help="sample, fashion-mnist, or a path")
    options.add_validation(parser)
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
        help="begin with the weights of a safetensors, torch (.pt, .pth) or ONNX file, as far as names and shapes are "
        "those of the network; of a run's output folder, with its full model's",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with a run that was stopped, from its last checkpoint"
    )
    parser.add_argument(
        "--any-device",
        action="store_true",
        help="run the plan even if it was made for another device, or for this one before it changed: what starting "
        "takes here is held against the plan, blocks begin with what fits beside it, and the report says so",
    )
    parser.add_argument(
        "--ignore-limit",
        action="store_true",
        help="run the plan even if the memory limit of this container (control group) is below its budget, so that the "
        "kernel may kill it within that",
    )
    parser.add_argument(
        "--checkpoint-seconds",
        type=options.count("checkpoint-seconds", 0, 10**9),
        default=60,
        metavar="N",
        help="time between two checkpoints, the most that a crash can cost; 0: after every step (default: 60)",
    )
    parser.add_argument(
        "--exit-tolerance",
        type=options.points("exit-tolerance"),
        default=0.5,
        metavar="POINTS",
        help="also keep the smallest exit that loses at most so many points of accuracy to the best, on a tenth of the "
        "training samples that is held out to choose both by; none: hold nothing out (default: 0.5)",
    )
    parser.add_argument(
        "--compare",
        choices=["backprop"],
        help="afterwards train the same network by backpropagation as well, outside the budget, in whatever memory "
        "there is, and report by how many points it is better; goes to the folder backprop within the output folder",
    )
    add_service(parser, "report the run, while it goes on,")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the plan; print its report as JSON, or where it lies."""
    from planner.cli.progress import RunProgress, Silent
    from planner.runner.supervise.begin import is_taken
    from planner.runner.supervise.supervisor import RunOptions, run_plan
    from planner.schema.codec import to_json
    from planner.schema.run_folder import RunFolder
    from planner.units import format_bytes

    plan = _plan(arguments.plan, arguments.report_to, arguments.token_file)
    _warn(plan, arguments)
    out: Path = arguments.out or default_folder(plan.id)
    if not arguments.resume:
        for data in filter(None, (arguments.data, arguments.validation)):
            _check_apart(data, out)
    wanted = RunOptions(
        epochs=arguments.epochs,
        max_steps=arguments.max_steps,
        seed=arguments.seed,
        init=arguments.init,
        resume=arguments.resume,
        validation=arguments.validation,
        checkpoint_seconds=arguments.checkpoint_seconds,
        exit_tolerance=arguments.exit_tolerance,
        any_device=arguments.any_device,
        ignore_limit=arguments.ignore_limit,
    )
    observer = Silent() if arguments.quiet else RunProgress(plan)
    with reporting(arguments.report_to, arguments.token_file, out, plan.id) as begun:
        announcing = _Announcing(observer, begun)
        try:
            report = run_plan(plan, arguments.data, out, wanted, announcing)
            if arguments.compare is not None:
                report = _compared(plan, report, wanted, arguments, out, observer)
        except (RunError, InterruptedRunError) as error:
            if announcing.has_begun and is_taken(RunFolder(out)):
                error.add_note(f"go on with:\n  {_resuming(arguments, out)}")
            raise
        finally:
            observer.close()
        begun()  # a run whose blocks were all done has no event
    _learn(plan, report)
    if arguments.json:
        print_stored_result(to_json(report))
    else:
        verdict = "stayed under" if report.within_budget else "DID NOT STAY under"
        metric = report.task.metric
        print_stored_result(
            f"{verdict} {format_bytes(report.budget_bytes)}: peak {format_bytes(report.peak_bytes)}; "
            f"{metric.name} {metric.sentence(report.accuracy, report.samples)}{_exits_text(report)}; {out}"
        )
        if report.comparison is not None:
            from planner.report.comparison_text import comparison_text

            print_note(comparison_text(report, report.comparison))
        if report.missed is not None:
            from planner.report.run_tables import missed_text  # not before the run, which counts this process

            print_note(f"warning: {missed_text(report.missed, metric)}")
        print_note(f"more: {command_line('report', out)}")
    problems = [] if report.within_budget else [report.exceeded]
    if arguments.compare is not None and report.comparison is not None and report.comparison.problem is not None:
        again = _resuming(arguments, out)
        problem = f"the comparison by backpropagation failed: {report.comparison.problem}"
        problems.append(f"{problem}; what the run has trained is kept. Compare again with:\n  {again}")
    for problem in problems:
        print_error(problem, RunError.exit_code, as_json=False)  # the JSON document is the report
    return RunError.exit_code if problems else 0


def _learn(plan: Plan, report: Report) -> None:
    """Let the next plan on this device know how long this one's epochs took."""
    from planner.profiler.library.observed import Observations
    from planner.profiler.library.place import usual_folder

    with suppress(OSError):  # the run is done and told of, whether or not a next one profits from it
        Observations(usual_folder()).add(plan, report)


def _compared(
    plan: Plan,
    report: Report,
    wanted: RunOptions,
    arguments: argparse.Namespace,
    out: Path,
    observer: RunProgress | Silent,
) -> Report:
    """The report with what backpropagation comes to in ample memory."""
    from planner.cli.progress import RunProgress, Silent
    from planner.runner.supervise.compare import compare
    from planner.schema.run_folder import RunFolder

    observer.close()
    if not arguments.quiet:
        where = out / "backprop"
        print_note(f"the run is done; now the same network by backpropagation, outside the budget, in {where}")
    watching = []

    def make_observer(other: Plan) -> Observer:
        watching.append(Silent() if arguments.quiet else RunProgress(other))
        return watching[-1]

    try:
        return compare(plan, arguments.data, report, RunFolder(out), wanted, make_observer)
    finally:
        for each in watching:
            each.close()


def _check_apart(data: str, out: Path) -> None:
    """Raise InputError where the output would lie inside the data, and be read as a part of it from then on."""
    if data in _NAMED_DATA or not Path(data).is_dir():
        return
    within = Path(data).resolve()
    if out.resolve().is_relative_to(within):
        raise InputError(
            f"{out}: the output folder lies inside the data ({within}), where it would be read as a part of it; name "
            "another one with --out"
        )


def _resuming(arguments: argparse.Namespace, out: Path) -> str:
    """The command that goes on with a run that has not come to its end."""
    options = [] if arguments.validation is None else ["--validation", arguments.validation]
    options.append("--resume")
    if arguments.compare is not None:
        options += ["--compare", arguments.compare]
    for name in ("any_device", "ignore_limit"):
        if getattr(arguments, name):
            options.append(f"--{name.replace('_', '-')}")
    if arguments.report_to is not None:
        options += ["--report-to", arguments.report_to]
    if arguments.token_file is not None:
        options += ["--token-file", str(arguments.token_file)]
    return run_command(arguments.plan, arguments.data, out, *options)


def _warn(plan: Plan, arguments: argparse.Namespace) -> None:
    """Warn where units would be frozen at random weights; a resumed run keeps the weights that it began with."""
    count = plan.training.freeze
    if count and arguments.init is None and not arguments.resume:
        which = "first unit" if count == 1 else f"first {count} units"
        print_note(f"warning: the plan freezes the {which}, and no --init gives weights: random ones are kept for good")


def _exits_text(report: Report) -> str:
    """Which exit the accuracy is of where that is not the full model, and what else was exported is like."""
    full, best, metric = report.exits[-1], report.best, report.task.metric
    chosen = next(found for found in report.exits if found.unit == report.chosen_exit)
    parts = []
    if best is not full:
        parts.append(
            f"behind unit {best.unit} of {full.unit}; the full model: {metric.share(full.accuracy, full.samples)}"
        )
    if chosen is not best:
        share = f"{chosen.parameters / full.parameters:.0%} of the parameters" if full.parameters else "fewer units"
        parts.append(f"an exit with {share}: {metric.share(chosen.accuracy, chosen.samples)}")
    return f", {'; '.join(parts)}" if parts else ""


def _plan(source: str, report_to: str | None, token_file: Path | None) -> Plan:
    """The plan in a file or at a URL. The token is sent to one service alone: the run's, where the run has one."""
    from planner.schema.codec import decode, parse_json, read_document
    from planner.schema.plan import Plan
    from planner.system.child import ask

    if not source.startswith(("http://", "https://")):
        return read_document(Path(source), Plan)
    from planner.client.credentials import service_address  # of no use to a plan that lies here

    check_client()
    if report_to is not None and service_address(report_to) != service_address(source):
        token_file = None
    # Another process fetches it: this one counts in the budget, and would keep what a client takes.
    fetched = ask(["-m", "planner.cli.fetch", source, *given(token_file)])
    if fetched.code:
        ended = f"{source}: the process that fetches it was {fetched.end.explained}"
        raise (InputError if fetched.code == 2 else RunError)(fetched.printed_text or ended)
    return decode(Plan, parse_json(fetched.text))


class _Announcing:
    """Passes events on, and says that the run has begun: from then on neither folder nor data can be refused."""

    def __init__(self, observer: Observer, begun: Callable[[], None]) -> None:
        self._observer = observer
        self._begun = begun
        self.has_begun = False

    def observe(self, event: Event) -> None:
        """Take note of an event."""
        self._observer.observe(event)
        if event.kind == "warning":
            print_note(f"warning: {event.text}")
        elif event.kind not in ("preparing", "failed"):
            self.has_begun = True
            self._begun()
