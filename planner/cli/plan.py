"""`neuroflux plan`: from a budget to a plan."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from planner.cli import options
from planner.cli.measure import measured_profile, unmeasured_profile
from planner.cli.output import print_note, print_result
from planner.document import to_json
from planner.errors import InfeasibleError, InputError
from planner.settings import Optimizer
from planner.units import format_bytes

if TYPE_CHECKING:
    from planner.model.spec import Model
    from planner.profiler.schema import Profile
    from planner.solver.request import Request


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    options.add_model(parser)
    group = parser.add_argument_group("the budget")
    group.add_argument(
        "--budget",
        required=True,
        type=options.size("budget"),
        metavar="BYTES",
        help="for instance 300MiB; never exceeded",
    )
    group.add_argument(
        "--scope",
        choices=("process", "training"),
        default="process",
        help="process (default): everything resident, runtime included; training: bytes above the runtime's own",
    )
    group.add_argument(
        "--storage", type=options.size("storage"), metavar="BYTES", help="most storage for activation caches"
    )
    options.add_training(parser)
    options.add_schedule(parser)
    group = parser.add_argument_group("choosing")
    group.add_argument(
        "--strategy",
        choices=("auto", "backprop", "classic-local", "neuroflux"),
        default="auto",
        help="default auto: the best of all",
    )
    group.add_argument(
        "--prefer",
        choices=("balanced", "speed", "fidelity"),
        default="balanced",
        help="balanced (default): fewest cuts within 10 %% of the fastest; speed: fastest; fidelity: fewest cuts",
    )
    _add_source(parser.add_argument_group("what it costs here"))
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the plan here")
    options.add_json(parser)


def _add_source(group: argparse._ArgumentGroup) -> None:
    """Where the profile comes from."""
    group.add_argument(
        "--profile",
        type=Path,
        metavar="FILE",
        help="a profile measured before (default: this device's store, or measure now)",
    )
    group.add_argument(
        "--any-device",
        action="store_true",
        help="take FILE even if it was measured on another device, or on this one before it changed",
    )
    group.add_argument(
        "--no-measure",
        action="store_true",
        help="measure nothing: this device's store, or a shipped profile (also where torch is not installed)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Plan, print the table or the document, write the file."""
    from planner.report.tables import alternatives_table, breakdown_table, plan_table
    from planner.solver.plan import make_plan
    from planner.system.files import write_atomically

    with tempfile.TemporaryDirectory(prefix="neuroflux-") as work:
        subject = options.subject_from(arguments, Path(work))
    samples = subject.samples or arguments.samples or 50_000
    optimizer = options.optimizer_from(arguments)
    profile = _profile(arguments, subject.model, optimizer)
    plan = make_plan(profile, request_from(arguments, samples, subject.unpacked_bytes))
    if arguments.output is not None:
        write_atomically(arguments.output, to_json(plan))
    if arguments.json:
        print_result(to_json(plan))
        return 0
    print_result("\n\n".join((plan_table(plan), breakdown_table(plan), alternatives_table(plan))))
    if arguments.output is not None:
        print_note(
            f"written to {arguments.output}; train with:\n"
            f"  neuroflux run {arguments.output} --data {arguments.data or 'D'}"
        )
    return 0


def _profile(arguments: argparse.Namespace, model: Model, optimizer: Optimizer) -> Profile:
    from planner.system.machine import installed_torch_version

    if arguments.profile is not None:
        return _profile_in_file(arguments.profile, model, arguments.any_device)
    if arguments.any_device:
        raise InputError("--any-device says that the profile in a file may be foreign; name the file with --profile")
    if arguments.no_measure or installed_torch_version() is None:
        return unmeasured_profile(model, optimizer, arguments.batch)
    return measured_profile(model, optimizer, arguments.batch)


def _profile_in_file(file: Path, model: Model, any_device: bool) -> Profile:
    """The profile in `file`, if it is the model's and this device's; a foreign one only where `any_device` allows."""
    from planner.profiler.applies import differences, read_profile
    from planner.system.machine import probe

    profile = read_profile(file)
    if profile.model != model:
        raise InputError(
            f"{file}: is the profile of {profile.model.name} at "
            f"{'x'.join(str(extent) for extent in profile.model.input)} with {profile.model.classes} classes, "
            "not of the model asked for"
        )
    reasons = differences(profile, probe())
    if reasons and not any_device:
        raise InputError(
            f"{file}: was not measured on this device as it is now: {'; '.join(reasons)}. Measure again "
            "(`neuroflux profile`), or plan with it all the same: --any-device"
        )
    if reasons:
        print_note(f"warning: {file} is foreign or stale: memory and time may be others here ({'; '.join(reasons)})")
    return profile


def request_from(arguments: argparse.Namespace, samples: int, unpacked_bytes: int) -> Request:
    """The solver's question in the person's words. Compressed data, once unpacked, takes its part of the storage."""
    from planner.solver.request import Request
    from planner.solver.schema import Budget, Training

    training = Training(
        arguments.batch,
        arguments.epochs,
        samples,
        options.optimizer_from(arguments),
        schedule=arguments.schedule,
        seed=arguments.seed,
    )
    storage = arguments.storage
    if storage is not None:
        if storage < unpacked_bytes:
            raise InfeasibleError(
                f"storage of {format_bytes(storage)} does not hold the data: {unpacked_bytes} bytes unpacked",
                unpacked_bytes,
                "data",
            )
        storage -= unpacked_bytes
    return Request(Budget(arguments.budget, arguments.scope), training, storage, arguments.strategy, arguments.prefer)
