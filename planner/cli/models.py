"""`neuroflux models`: the networks that go by a name, and what each would need here."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, get_args

from planner.cli import options
from planner.cli.output import print_note, print_result
from planner.errors import InfeasibleError, InputError, ModelError
from planner.limits import MAX_BYTES

if TYPE_CHECKING:
    from planner.model.zoo import Input
    from planner.schema.model import Model
    from planner.schema.profile import Profile

_HEAD = ("network", "input", "classes", "units", "parameters", "multiply-\nadds, M")


@dataclass(frozen=True)
class Entry:
    """A network of the zoo."""

    name: str
    """What `--model` takes."""
    form: str
    """What it is at this input, and whose names its weights have."""
    input: tuple[int, ...]
    """Shape of one sample."""
    classes: int
    """Of its classifier."""
    units: int | None = None
    """Its units; None where it cannot be made for this input."""
    parameters: int | None = None
    """Its trainable numbers."""
    multiply_adds: int | None = None
    """Of one sample's forward; None where it cannot be made for this input."""
    least_bytes: dict[str, int | None] | None = None
    """By strategy the smallest budget for batch 128 with SGD; None without a profile, and of a strategy that has no
    plan."""
    measured_on: str | None = None
    """The device of the profile that this comes from, where that is another one than this."""
    problem: str | None = None
    """Why it cannot be made for this input."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    options.add_shape(parser, "what each is made for, 3x32x32 for most")
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print a line for each network, or one JSON document."""
    from planner.model.zoo import ZOO

    entries = [_entry(name, arguments.input, arguments.classes) for name in ZOO]
    if arguments.json:
        print_result(json.dumps({"networks": [asdict(entry) for entry in entries]}, ensure_ascii=False))
        return 0
    print_result(table(entries))
    if any(entry.measured_on for entry in entries):
        print_note("* from a shipped profile, measured on another device; `neuroflux profile --model M` measures here")
    elif all(entry.least_bytes is None for entry in entries):
        print_note("least memory stands here where a network was measured: neuroflux profile --model M")
    return 0


def _entry(name: str, shape: Input | None, classes: int | None) -> Entry:
    from planner.model.flops import model_flops
    from planner.model.shapes import model_sizes
    from planner.model.zoo import ZOO, from_zoo

    network = ZOO[name]
    shape = network.input if shape is None else shape
    classes = network.classes if classes is None else classes
    form = network.form_at(shape)
    try:
        model = from_zoo(name, shape, classes)
        parameters = sum(sizes.parameters for sizes in model_sizes(model))
    except ModelError as error:
        return Entry(name, form, shape, classes, problem=str(error))
    profile = _profile(model)
    found = Entry(name, form, shape, classes, len(model.units), parameters, model_flops(model))
    return found if profile is None else replace(found, least_bytes=_least(profile), measured_on=_foreign(profile))


def _profile(model: Model) -> Profile | None:
    """What was measured of it here, else what is shipped."""
    from planner.profiler.library.shipped import find_shipped
    from planner.profiler.library.store import ProfileStore
    from planner.profiler.profile import ProfileRequest
    from planner.schema.terms import TrainingTerms
    from planner.system.machine import probe

    training = TrainingTerms().training()
    request = ProfileRequest(model, training.optimizer, training.batch, probe().cores)
    found = ProfileStore.default().find(request)
    if found is not None:
        return found
    try:
        return find_shipped(model, training.optimizer, training.batch)
    except InputError:
        return None


def _least(profile: Profile) -> dict[str, int | None]:
    from planner.schema.request import Budget, Request, Strategy
    from planner.schema.terms import TrainingTerms
    from planner.solver.plan import least_memory

    found: dict[str, int | None] = {}
    for strategy in get_args(Strategy):
        request = Request(Budget(MAX_BYTES, "process"), TrainingTerms().training(), strategy=strategy)
        try:
            found[strategy] = least_memory(profile, request)
        except (InputError, InfeasibleError):
            found[strategy] = None
    return found


def _foreign(profile: Profile) -> str | None:
    from planner.profiler.library.applies import differences
    from planner.system.machine import probe

    return profile.device.name if differences(profile, probe()) else None


def table(entries: list[Entry]) -> str:
    """A line for each network; a star marks what was measured on another device."""
    from planner.report.text import columns
    from planner.schema.request import Strategy
    from planner.units import MIB

    strategies = get_args(Strategy)
    rows = []
    for entry in entries:
        least = entry.least_bytes or {}
        star = "*" if entry.measured_on else ""
        sizes = [f"{size / MIB:.0f}{star}" if (size := least.get(each)) is not None else "-" for each in strategies]
        adds = "-" if entry.multiply_adds is None else f"{entry.multiply_adds / 1e6:.1f}"
        counts = ["-", "-"] if entry.units is None else [str(entry.units), f"{entry.parameters:,}"]
        shape = "x".join(str(extent) for extent in entry.input)
        rows.append([entry.name, shape, str(entry.classes), *counts, adds, *sizes, entry.problem or entry.form])
    head = (*_HEAD, *(f"{each}\nMiB" for each in strategies), "what it is")
    return columns(head, rows, "<<>>>>" + ">" * len(strategies) + "<")
