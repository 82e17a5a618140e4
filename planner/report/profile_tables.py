"""A profile as tables for people: units and their layers, the audit, and why the process is as large as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from planner.report.text import DASH, clean, columns, columns_of, counted, described, fields, mib, names, note
from planner.schema.common import Machine
from planner.schema.disturbance import Disturbance
from planner.schema.observed import Observed
from planner.schema.profile import ComponentProfile, Costs, HeadProfile, LayerProfile, Limits, Profile
from planner.schema.runtime import Account, PolicyProfile
from planner.units import MIB, format_bytes, format_seconds

_NAME_WIDTH = 23
_NAMED = 6
_NOTE_WIDTH = 1000
_COLUMNS = (
    ("param-\neters\nMiB", MIB),
    ("grad-\nients\nMiB", MIB),
    ("optim-\nizer\nMiB", MIB),
    ("\nbuffers\nMiB", MIB),
    ("saved for\nbackward\nMiB", MIB),
    ("\noutput\nMiB", MIB),
    ("transient\nforward\nMiB", MIB),
    ("\nbackward\nMiB", MIB),
    ("library\nscratch\nMiB", MIB),
    ("multiply-\nadds of a\nsample, M", 1e6),
    ("time\nforward\nms", 1e-3),
    ("\nbackward\nms", 1e-3),
    ("\nstep\nms", 1e-3),
)
_ACCOUNT = {
    "interpreter": "Python, before it imports anything of ours",
    "libraries": "file pages of torch and what it brings along",
    "heap": "what importing left in anonymous memory",
    "stacks": "stacks of all threads, as far as resident",
    "code": "kernels in use: compiled code, primitives, library pages",
    "data": "images and labels of the micro-batch",
    "parameters": "parameters and buffers",
    "gradients": "gradients of parameters at the moment of the peak",
    "optimizer": "optimizer state",
    "activations": "saved tensors, outputs, their gradients, scratch",
    "retention": "held by the allocator, used by nobody",
    "rest": "what the parts above do not explain",
    "peak": "highest resident bytes of the process",
}
"""What the parts of an account are."""


class _Figures(NamedTuple):
    """A row's figures, bytes and seconds as in the profile; none where a figure was not measured or means nothing."""

    parameters: float | None
    gradients: float | None
    optimizer: float | None
    buffers: float | None
    saved: float | None
    output: float | None
    forward_transient: float | None
    backward_transient: float | None
    scratch: float | None
    flops: float | None
    forward_seconds: float | None
    backward_seconds: float | None
    step_seconds: float | None


_NO_SUM = ("output", "forward_transient", "backward_transient", "scratch")
"""Figures that are never all there at one time."""


def profile_table(profile: Profile) -> str:
    """What units and layers cost on the device, whether that was all, and what the process is made of."""
    parts = [note(_title(profile)), _unit_table(profile), note(_legend(profile)), fields(list(_checks(profile)))]
    if profile.policies:
        parts += [note(_question(profile)), _account_table(profile)]
    return "\n\n".join([*parts, fields(list(_summary(profile)))])


def _title(profile: Profile) -> str:
    sizes = sorted({_costs(profile, unit).micro_batch for unit in profile.units})
    device = profile.device
    return (
        f"{clean(profile.model.name)} on {clean(device.name)} ({device.kind}, {counted(device.threads, 'thread')}), "
        f"{described(profile.optimizer)}, at micro-batch {' or '.join(map(str, sizes))}"
    )


def _legend(profile: Profile) -> str:
    text = (
        "Transient is the highest level during a pass above the level before it. Times are of one micro-batch and one "
        "optimizer step."
    )
    layered = [(index, unit, unit.layers) for index, unit in enumerate(profile.units) if unit.layers]
    if not layered:
        return text
    text += " Layers stand below their unit."
    other = [
        f"{index} (at {layers.micro_batch})"
        for index, unit, layers in layered
        if layers.micro_batch != _costs(profile, unit).micro_batch
    ]
    return f"{text} Those of units {', '.join(other)} were measured at another micro-batch." if other else text


def _costs(profile: Profile, unit: ComponentProfile) -> Costs:
    """At the micro-batch that makes rows comparable: the layers', or the largest that all units share."""
    shared = profile.shared_micro_batches
    layered = {unit.layers.micro_batch for unit in profile.units if unit.layers}
    wanted = layered.pop() if len(layered) == 1 and layered <= shared else profile.shared_micro_batch
    return next((costs for costs in unit.costs if costs.micro_batch == wanted), unit.costs[-1])


def _unit_table(profile: Profile) -> str:
    labels, rows, units = [], [], []
    for index, unit in enumerate(profile.units):
        units.append(_unit_figures(profile, index))
        labels.append((str(index), names(profile.model, (index, index + 1), _NAME_WIDTH)))
        rows.append(units[-1])
        for layer in unit.layers.rows if unit.layers else ():
            labels.append(("", f"  {_ending(layer.name, _NAME_WIDTH - 2)}"))
            rows.append(_layer_figures(layer))
    labels.append(("", "total"))
    rows.append(_total(units))
    cells = [_aligned(column, factor) for column, (_, factor) in zip(zip(*rows, strict=True), _COLUMNS, strict=True)]
    lines = [[*label, *line] for label, line in zip(labels, zip(*cells, strict=True), strict=True)]
    return columns(("unit", "name", *(head for head, _ in _COLUMNS)), lines, "><" + ">" * len(_COLUMNS))


def _ending(text: str, width: int) -> str:
    """The way to a layer within `width` columns, from the first step that leaves room: its end says what it is."""
    if columns_of(clean(text)) <= width:
        return clean(text)
    steps = text.split(".")
    shorter = ("…" + clean(".".join(steps[first:])) for first in range(1, len(steps)))
    return next((found for found in shorter if columns_of(found) <= width), clean(text, width))


def _unit_figures(profile: Profile, index: int) -> _Figures:
    """Of the case that applies: the first unit's input is data, which needs no gradient."""
    unit = profile.units[index]
    costs = _costs(profile, unit)
    trace = costs.traces.inner if index else costs.traces.first
    return _Figures(
        unit.parameter_bytes,
        unit.parameter_bytes,
        unit.optimizer_bytes,
        unit.buffer_bytes,
        trace.saved_bytes,
        costs.micro_batch * unit.output_bytes,
        trace.forward_peak_bytes,
        max(0, trace.backward_peak_bytes - trace.kept_bytes),
        max((layer.scratch_bytes for layer in unit.layers.rows), default=0) if unit.layers else None,
        unit.flops,
        costs.forward_seconds,
        costs.backward_seconds if index else costs.first_backward_seconds,
        unit.step_seconds,
    )


def _layer_figures(layer: LayerProfile) -> _Figures:
    return _Figures(
        layer.parameter_bytes,
        layer.parameter_bytes,
        layer.optimizer_bytes,
        layer.buffer_bytes,
        layer.saved_bytes,
        layer.output_bytes,
        layer.forward_transient_bytes,
        layer.backward_transient_bytes,
        layer.scratch_bytes,
        layer.flops,
        layer.forward_seconds,
        layer.backward_seconds,
        layer.step_seconds,
    )


def _total(units: list[_Figures]) -> _Figures:
    known = [[value for value in column if value is not None] for column in zip(*units, strict=True)]
    return _Figures(*(sum(column) if column else None for column in known))._replace(**dict.fromkeys(_NO_SUM))


def _aligned(values: Sequence[float | None], factor: float) -> list[str]:
    """A column in units of `factor`, all with as many digits as its largest leaves room for."""
    largest = max((value / factor for value in values if value is not None), default=0.0)
    digits = 3 if largest < 100 else 2 if largest < 1000 else 1
    return [DASH if value is None else _number(value / factor, digits) for value in values]


def _number(value: float, digits: int) -> str:
    """What is there never reads as nothing: `<0.001`."""
    least = 10**-digits
    if value == 0:
        return "0"
    return f"{value:.{digits}f}" if value >= least else f"<{least:.{digits}f}"


def _checks(profile: Profile) -> Iterator[tuple[str, str]]:
    """Whether every byte is explained, and what could not be attributed."""
    yield "audit", _audit(profile)
    layers = [(index, unit.layers) for index, unit in enumerate(profile.units) if unit.layers]
    outside = [(index, found.unattributed_bytes) for index, found in layers if found.unattributed_bytes]
    if outside:
        most = (f"{_unit_name(profile, index)} {format_bytes(size)}" for index, size in outside)
        yield "in no layer", f"held at one time, at most: {_some(list(most))}"
    elif layers:
        yield "in no layer", f"nothing: every allocation lies in a layer of its unit ({counted(len(layers), 'unit')})"
    if any(unit.flops is None for unit in profile.units):
        yield "not counted", "multiply-adds: fvcore, which counted them then, was not installed"
    if profile.uncounted_operators:
        missing = clean(", ".join(profile.uncounted_operators))
        yield "not counted", f"{missing} (missing in multiply-adds)"


def _audit(profile: Profile) -> str:
    components = [(_unit_name(profile, index), unit) for index, unit in enumerate(profile.units)]
    components += [(_head_name(found), found.cost) for found in profile.heads]
    audited = [
        (name, cost.micro_batch, cost.unexplained_bytes)
        for name, component in components
        for cost in component.costs
        if cost.unexplained_bytes is not None
    ]
    if not audited:
        return "none: nobody compared what the allocator holds after forward with what autograd says is saved"
    units = sum(any(cost.unexplained_bytes is not None for cost in unit.costs) for unit in profile.units)
    heads = sum(any(cost.unexplained_bytes is not None for cost in head.cost.costs) for head in profile.heads)
    what = f"{counted(units, 'unit')} of {len(profile.units)}" if units < len(profile.units) else f"all {units} units"
    what += f" and {counted(heads, 'head')}" if heads else ""
    sizes = {size for _, size, _ in audited}
    what += f" ({len(sizes)} micro-batch{'' if len(sizes) == 1 else 'es'})"
    residuals = [f"{name} {_signed(rest)} at micro-batch {size}" for name, size, rest in audited if rest]
    if not residuals:
        return f"what the allocator holds after forward and what autograd says is saved agree to the byte in {what}"
    return f"what the allocator holds after forward, less what autograd says is saved, in {what}: {_some(residuals)}"


def _unit_name(profile: Profile, index: int) -> str:
    return f"unit {index} ({names(profile.model, (index, index + 1), _NAME_WIDTH)})"


def _head_name(found: HeadProfile) -> str:
    return f"head behind unit {found.boundary - 1} ({found.head.words if found.head else 'classifier'})"


def _signed(count: int) -> str:
    return f"{'+' if count > 0 else '−'}{format_bytes(abs(count))}"


def _some(items: list[str]) -> str:
    more = len(items) - _NAMED
    return "; ".join(items[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _question(profile: Profile) -> str:
    peaks = [f"{format_bytes(found.account.peak_bytes)} ({found.policy})" for found in profile.policies]
    sizes = sorted({found.account.micro_batch for found in profile.policies})
    return (
        f"Why is this process at {' or '.join(peaks)}? One training step by backpropagation at micro-batch "
        f"{' or '.join(map(str, sizes))}:"
    )


def _account_table(profile: Profile) -> str:
    """Parts of the peak under every allocator policy, then what the policy costs."""
    accounts = [found.account for found in profile.policies]
    rows = [_account_row(accounts, part, what) for part, what in _ACCOUNT.items()]
    resting = [cell for found in profile.policies for cell in (mib(found.baseline_bytes), "")]
    rows.append(["at rest", *resting, "after the first tiny step"])
    for size in sorted({step.micro_batch for found in profile.policies for step in found.steps}):
        rows.append([f"step of {size}", *_step_cells(profile.policies, size), "time of a whole step"])
    heads = [cell for found in profile.policies for cell in (f"{found.policy}\nMiB", "share")]
    return columns(["part", *heads, "what it is"], rows, "<" + ">>" * len(accounts) + "<")


def _step_cells(policies: tuple[PolicyProfile, ...], size: int) -> Iterator[str]:
    for found in policies:
        times = {step.micro_batch: step.seconds for step in found.steps}
        yield from (format_seconds(times[size]) if size in times else DASH, "")


def _account_row(accounts: list[Account], part: str, what: str) -> list[str]:
    cells = []
    for account in accounts:
        value = getattr(account, f"{part}_bytes")
        share = f"{value / account.peak_bytes:.1%}" if account.peak_bytes else DASH
        cells += [mib(value), share]
    return [part, *cells, what]


def disturbance_text(found: Disturbance) -> str:
    """What else the device did while a profile was taken, and what that means for its times."""
    samples, told = found.samples, []
    if found.pressure_permille is not None:
        told.append(f"processes waited for a processor {found.pressure_permille / 10:.0f}% of the time")
    if found.stolen_permille:
        told.append(f"{found.stolen_permille / 10:.1f}% of the processors' time was stolen by the machine below")
    told.append(f"of {samples.taken} timings {samples.disturbed} were disturbed ({samples.again} taken again)")
    if found.is_large:
        told.append("times are those without waiting, and may be off: profile again when the device is quiet")
    return "; ".join(told)


def observed_text(found: Observed) -> str:
    """How runs have changed a profile's times."""
    factors = ", ".join(f"{each.policy} × {each.factor:.2f}" for each in found.factors)
    return f"times are those of {counted(found.runs, 'run')} on this device: {factors} of what was measured"


def _summary(profile: Profile) -> Iterator[tuple[str, str]]:
    runtime, storage = profile.runtime, profile.storage
    write, read = format_bytes(storage.write_bytes_per_second), format_bytes(storage.read_bytes_per_second)
    share = f"{runtime.overhead_permille / 10:.1f}%"
    yield "child", f"{format_bytes(runtime.baseline_bytes)} at rest, {format_bytes(runtime.start_peak_bytes)} to start"
    yield "supervisor", format_bytes(runtime.supervisor_bytes)
    yield "overhead", f"{format_bytes(runtime.overhead_bytes)} + {share} of a step's peak"
    yield "allocator", profile.allocator
    kind = "" if storage.file_system is None else f" ({clean(storage.file_system, 20)})"
    yield "storage", f"writes {write}/s, reads {read}/s{kind}"
    if profile.disturbance is not None:
        yield "meanwhile", disturbance_text(profile.disturbance)
    if profile.observed is not None:
        yield "observed", observed_text(profile.observed)
    if profile.calibration_seconds is not None:
        yield "calibration", f"{format_seconds(profile.calibration_seconds)} for the fixed kernel times are compared by"
    if profile.machine is not None:
        yield "machine", _machine(profile.machine)
    if profile.limits is not None:
        yield "limits", _limits(profile.limits)
    for text in profile.notes:
        yield "note", clean(text, _NOTE_WIDTH)


def _machine(machine: Machine) -> str:
    limit = f", limited to {format_bytes(machine.limit_bytes)}" if machine.limit_bytes is not None else ""
    return (
        f"{clean(machine.name, 60)}: {clean(machine.cpu_model, 60)} ({clean(machine.architecture, 20)}), "
        f"{counted(machine.cores, 'core')}, {format_bytes(machine.total_bytes)} of memory{limit}"
    )


def _limits(limits: Limits) -> str:
    allowed = f"{format_bytes(limits.max_bytes)} a process, {format_seconds(limits.max_seconds)} in all"
    if not limits.left_out:
        return f"{allowed}; nothing was left out for them"
    reasons = Counter(left.reason for left in limits.left_out)
    counts = ", ".join(f"{count} × {reason}" for reason, count in sorted(reasons.items()))
    components = len({left.piece for left in limits.left_out})
    least = min(limits.left_out, key=lambda left: left.micro_batch)
    return (
        f"{allowed}; left out: {counts}, in {counted(components, 'component')}, from micro-batch {least.micro_batch} "
        f"({clean(least.piece, 40)}) on; larger ones are extrapolated"
    )
