"""`neuroflux plan`: from a budget to a plan."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from planner.cli import options
from planner.cli.commands import RUNS, command_line, default_folder, run_command
from planner.cli.measure import measured_profile, unmeasured_profile
from planner.cli.output import print_note, print_result, print_stored_result
from planner.cli.plan_options import add_arguments, request_from
from planner.cli.subject import ModelAndData, subject_from
from planner.errors import DocumentError, InfeasibleError, InputError
from planner.schema.codec import to_json
from planner.schema.common import OptimizerConfig
from planner.schema.request import Request
from planner.schema.terms import TrainingTerms
from planner.units import format_bytes

__all__ = ["add_arguments", "run"]

if TYPE_CHECKING:
    from planner.schema.explain import Point
    from planner.schema.model import Model
    from planner.schema.plan import Plan
    from planner.schema.profile import Profile


_TEST_SHARE = 5
"""Of so many training samples one more is taken to be held out or tested on, where the data is not looked at."""


def run(arguments: argparse.Namespace) -> int:
    """Plan, print the tables or the document, write the files."""
    from planner.report.data_tables import data_text
    from planner.schema.plan import with_class_names
    from planner.system.files import check_target

    for target in filter(None, (arguments.output, arguments.svg)):
        check_target(target)
    if arguments.svg is not None:
        from planner.report.style import check_drawing

        check_drawing()
    with tempfile.TemporaryDirectory(prefix="neuroflux-") as work:
        subject = subject_from(arguments, Path(work), arguments.validation)
        if arguments.normalise is not None:
            subject = _normalised(arguments, subject, Path(work))
    samples = subject.samples or arguments.samples or TrainingTerms.samples
    request = request_from(arguments, samples, subject)
    _check_training(subject.model, request)
    profile = _profile(arguments, subject.model, request.training.optimizer)
    plan = _planned(profile, request, fixed_input=arguments.data is not None)
    if subject.data is not None:
        plan = with_class_names(plan, subject.data.class_names)
        print_note(data_text(subject.data))
    _say_of_times(profile)
    _warn_of_limit(profile, plan)
    _warn_of_memory(profile, plan)
    if arguments.output is not None:
        from planner.system.files import write_atomically

        write_atomically(arguments.output, to_json(plan))
    show = print_result if arguments.output is None else print_stored_result
    if arguments.json:
        if arguments.svg is not None:
            _draw(arguments.svg, plan, _frontier(profile, request))
        show(to_json(plan))
        return 0
    _say_form(arguments.model, subject.model)
    _explain(arguments, profile, request, plan, show)
    if request.allocator != "tight":
        for text in profile.notes:
            print_note(f"the profile notes: {text}")
    if arguments.output is not None:
        print_note(f"written to {arguments.output}; {_next_command(arguments, plan)}{_foreign_note(profile)}")
    return 0


def _normalised(arguments: argparse.Namespace, subject: ModelAndData, work: Path) -> ModelAndData:
    """The same, normalised by what is measured of its data. Raises InputError, DataError."""
    from planner.cli.line import DataProgress
    from planner.data.dataset import open_data
    from planner.data.pace import Pace
    from planner.data.statistics import measure

    if arguments.data is None:
        raise InputError("--normalise measured reads the training samples; name them with --data")
    if arguments.mean is not None or arguments.std is not None:
        raise InputError("--normalise measured finds mean and std; leave out --mean and --std")
    model = subject.model
    size, dtype = model.input, model.input_dtype
    is_image = dtype == "uint8" and len(size) == 3
    resize = (size[1], size[2]) if is_image else None
    given, asked = options.framing_from(arguments)
    shorter_side = subject.shorter_side if given is None else asked
    reading = {"size": size, "dtype": dtype, "layout": arguments.layout, "task": model.task}
    reading |= {"resize": resize, "shorter_side": shorter_side}
    with (
        DataProgress() as shown,
        open_data(arguments.data, work, pace=Pace(shown), **reading) as data,
    ):
        return replace(subject, normalisation=measure(data, arguments.seed, Pace(shown)))


def _next_command(arguments: argparse.Namespace, plan: Plan) -> str:
    """How to go on: train, go on with a training of the same plan that was stopped, or look at one that is done."""
    from planner.runner.supervise.begin import is_taken
    from planner.schema.run_folder import RunFolder

    out = default_folder(plan.id)
    folder = RunFolder(out)
    if folder.report.exists():
        return f"it was trained before:\n  {command_line('report', out)}\nonce more, into another folder:\n  " + (
            run_command(arguments.output, arguments.data, out.with_name(f"{out.name}-again"), *_more(arguments))
        )
    if is_taken(folder):
        resuming = run_command(arguments.output, arguments.data, None, *_validation(arguments), "--resume")
        return f"its training in {out} was stopped, go on with:\n  {resuming}"
    return f"train with:\n  {run_command(arguments.output, arguments.data, None, *_more(arguments))}"


def _more(arguments: argparse.Namespace) -> tuple[str, ...]:
    return (*_validation(arguments), *_init(arguments))


def _validation(arguments: argparse.Namespace) -> tuple[str, ...]:
    return () if arguments.validation is None else ("--validation", arguments.validation)


def _init(arguments: argparse.Namespace) -> tuple[str, ...]:
    if arguments.model.endswith(".onnx"):  # it has weights
        return ("--init", arguments.model)
    return ("--init", "WEIGHTS") if arguments.freeze else ()


def _say_form(name: str, model: Model) -> None:
    """Whose network it is that goes by a name of the zoo, which depends on the size of the images."""
    from planner.model.zoo import ZOO

    if name in ZOO:
        print_note(f"{name}: {ZOO[name].form_at(model.input)}")


def _say_of_times(profile: Profile) -> None:
    """Say where the profile's times were taken beside other work, and where they are those of runs."""
    from planner.report.profile_tables import disturbance_text, observed_text

    if profile.observed is not None:
        print_note(f"the profile's {observed_text(profile.observed)}")
    elif profile.disturbance is not None and profile.disturbance.is_large:
        print_note(f"warning: the profile was taken on a busy device: {disturbance_text(profile.disturbance)}")


def _warn_of_limit(profile: Profile, plan: Plan) -> None:
    """Say where the plan would be refused here, in this container; one for another device is not run here."""
    from planner.runner.supervise.room import limit_problem

    problem = limit_problem(plan)
    if problem is not None and not _is_foreign(profile):
        print_note(f"warning: {problem}; `neuroflux run` refuses it")


def _warn_of_memory(profile: Profile, plan: Plan) -> None:
    """Say where the run's output would lie in memory, and so in its budget, if no other folder is named."""
    from planner.runner.supervise.folder_bytes import SampleCounts, folder_bytes
    from planner.system.storage import memory_kind

    kind = memory_kind(RUNS)
    if kind is None or plan.device.is_accelerator or _is_foreign(profile):
        return
    samples = plan.training.samples
    kept = folder_bytes(plan, SampleCounts(samples, samples // _TEST_SHARE), plan.training.epochs, 0).training_bytes
    left = plan.budget.bytes - plan.predicted.peak_bytes
    print_note(
        f"warning: {RUNS.absolute()} is memory ({kind}): what a run keeps there counts in its budget, about "
        f"{format_bytes(kept)} and the data, of which the plan leaves {format_bytes(left)}; name an output folder on "
        "storage (neuroflux run --out)"
    )


def _is_foreign(profile: Profile) -> bool:
    from planner.profiler.library.applies import differences
    from planner.system.machine import probe

    return bool(differences(profile, probe()))


def _foreign_note(profile: Profile) -> str:
    """What `neuroflux run` wants to be told of a plan that is another device's."""
    if not _is_foreign(profile):
        return ""
    return f"\non {profile.device.name}, where its profile was measured; elsewhere (also here) add --any-device"


def _check_training(model: Model, request: Request) -> None:
    """Before anything is measured. Raises InputError."""
    from planner.solver.request import check_freeze, check_images, check_normalisation

    check_images(model, request.training)
    check_freeze(model, request.training)
    check_normalisation(model, request.training)


def _planned(profile: Profile, request: Request, fixed_input: bool) -> Plan:
    """The plan. Raises InfeasibleError that says what to change."""
    from planner.schema.device_checks import check_device
    from planner.solver.explain.advice import advice
    from planner.solver.plan import make_plan

    check_device(profile.device, request.budget.bytes)
    try:
        return make_plan(profile, request)
    except InfeasibleError as error:
        message = f"{error}. {advice(profile, request, error, fixed_input)}"
        raise InfeasibleError(message, error.minimum_bytes, error.term) from None


def _explain(
    arguments: argparse.Namespace, profile: Profile, request: Request, plan: Plan, show: Callable[[str], None]
) -> None:
    """Print the plan and, as soon as it is there, what else there would be."""
    from planner.report import plan_tables as tables
    from planner.report.tables import breakdown_table, plan_table
    from planner.solver.explain.advice import needs_of
    from planner.solver.explain.frontier import knees, more_budget
    from planner.solver.explain.polish import polish_offer
    from planner.solver.unit_bytes import largest_unit

    show("\n\n".join((plan_table(plan), breakdown_table(plan), tables.binding_table(plan))))
    largest = largest_unit(profile, plan)
    if largest is not None:
        print_note(
            f"{largest.name} is one unit, made of several layers, and takes {format_bytes(largest.own_bytes)} alone, "
            "most of what the plan takes beside the processes: cuts and recomputation lie between units"
        )
    show("\n" + tables.comparison_table(plan, needs_of(profile, request, plan)))
    offer = polish_offer(profile, request, plan)
    if offer is not None:
        show("\n" + tables.polish_text(plan, offer))
    points = _frontier(profile, request)
    show("\n" + tables.frontier_table(plan, points, knees(points)))
    show("\n" + tables.more_budget_text(plan, more_budget(profile, request, plan)))
    if arguments.svg is not None:
        _draw(arguments.svg, plan, points)


def _frontier(profile: Profile, request: Request) -> tuple[Point, ...]:
    from planner.solver.explain.frontier import frontier

    return frontier(profile, request)


def _draw(file: Path, plan: Plan, points: tuple[Point, ...]) -> None:
    from planner.report.frontier_plot import draw_frontier
    from planner.solver.explain.frontier import knees

    draw_frontier(plan, points, knees(points), file)
    print_note(f"time against budget drawn in {file}")


def _profile(arguments: argparse.Namespace, model: Model, optimizer: OptimizerConfig) -> Profile:
    if arguments.profile is not None:
        _check_beginning(arguments.profile, model, arguments.budget)
        profile = _profile_in_file(arguments.profile, arguments.any_device)
        if arguments.device not in (None, profile.device.kind):
            raise InputError(
                f"{arguments.profile}: was measured on {profile.device.kind}, but --device is {arguments.device}"
            )
        return profile
    if arguments.any_device:
        raise InputError("--any-device says that the profile in a file may be foreign; name the file with --profile")
    from planner.system.machine import installed_torch_version

    if arguments.no_measure or installed_torch_version() is None:
        return unmeasured_profile(
            model, optimizer, arguments.batch, arguments.dtype, arguments.device or "cpu", arguments.head
        )
    return measured_profile(
        model, optimizer, arguments.batch, arguments.dtype, arguments.device or "cpu", head=arguments.head
    )


def _check_beginning(file: Path, model: Model, budget: int) -> None:
    """Refuse the profile of another model, or of a device that is too small, before the rest of it is decoded.

    That rest is nearly all of it. What is no profile at all is left to `_profile_in_file`.
    """
    from planner.schema.codec import decode, read_json
    from planner.schema.common import Device
    from planner.schema.device_checks import check_device
    from planner.schema.model import Model

    value = read_json(file)
    try:
        profiled, device = decode(Model, value["model"]), decode(Device, value["device"])
    except (DocumentError, LookupError, TypeError):
        return
    if profiled != model:
        raise InputError(
            f"{file}: is the profile of {profiled.name} at {_shape(profiled)}, not of the model asked for, "
            f"{model.name} at {_shape(model)}"
        )
    check_device(device, budget)


def _profile_in_file(file: Path, any_device: bool) -> Profile:
    """The profile in `file`, if it is this device's; a foreign one only where `any_device` allows."""
    from planner.profiler.library.applies import differences, read_profile
    from planner.system.machine import probe

    profile = read_profile(file)
    reasons = differences(profile, probe())
    if reasons and not any_device:
        raise InputError(
            f"{file}: was not measured on this device as it is now: {'; '.join(reasons)}. Measure again "
            "(`neuroflux profile`), or plan with it all the same: --any-device"
        )
    if reasons:
        print_note(f"warning: {file} is foreign or stale: memory and time may be others here ({'; '.join(reasons)})")
    return profile


def _shape(model: Model) -> str:
    return f"{'x'.join(str(extent) for extent in model.input)} with {model.task.words(model.classes)}"
