"""Documents as tables for people: plans, their alternatives, profiles, and runs against their plans."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields as dataclass_fields
from itertools import groupby
from typing import get_args

from planner.model.spec import BatchNorm2d, Layer, Residual
from planner.profiler.schema import Costs, Profile, Trace
from planner.report.schema import BlockReport, ExitReport, Report
from planner.report.text import clean, columns, fields, indices, names, note
from planner.settings import Optimizer
from planner.solver.schema import Alternative, Block, Breakdown, Head, Plan, Segment, Strategy
from planner.units import KIB, MIB, format_bytes, format_seconds

_NOTHING = "–"
_BATCH = "micro-\nbatch ×\naccumulate"


def _short(id_: str) -> str:
    return clean(id_[:12])


def _mib(count: int) -> str:
    return f"{count / MIB:.1f}"


def _counted(number: int, one: str) -> str:
    return f"{number} {one}" if number == 1 else f"{number} {one}s"


def plan_table(plan: Plan) -> str:
    """The plan, block by block, with what it costs and what it was preferred to."""
    head = ("block", "units", "names", "segments", "head\nfilters", _BATCH, "input", "peak\nMiB", "binds", "per epoch")
    blocks = columns(head, list(_plan_rows(plan)), ">><<>><><>")
    parts = [fields(_plan_header(plan)), blocks, fields(_plan_summary(plan))]
    return "\n\n".join([*parts, *(note(text) for text in _plan_notes(plan))])


def _plan_header(plan: Plan) -> list[tuple[str, str]]:
    model, device, training = plan.model, plan.device, plan.training
    shape = "×".join(map(str, model.input))
    reserve = f", {format_bytes(plan.reserve_bytes)} of it in reserve" if plan.reserve_bytes else ""
    return [
        ("plan", _short(plan.id)),
        ("model", f"{clean(model.name)}: {_counted(len(model.units), 'unit')}, {shape}, {model.classes} classes"),
        ("device", f"{clean(device.name)}: {device.kind}, {_counted(device.threads, 'thread')}"),
        ("budget", f"{format_bytes(plan.budget.bytes)}, scope {plan.budget.scope}{reserve}"),
        ("strategy", f"{plan.strategy}, prefer {plan.prefer}"),
        (
            "training",
            f"batch {training.batch}, {_counted(training.epochs, 'epoch')} of {training.samples} samples per block, "
            f"{_optimizer(training.optimizer)}, {training.schedule} schedule",
        ),
    ]


def _optimizer(optimizer: Optimizer) -> str:
    return f"{optimizer.kind} with learning rate {optimizer.lr:g}"


def _plan_rows(plan: Plan) -> Iterator[tuple[str, ...]]:
    for index, block in enumerate(plan.blocks):
        predicted = block.predicted
        first, *others = _segment_cells(block)
        yield (
            str(index),
            indices(block.units),
            names(plan.model, block.units, 20),
            *first,
            _batch(block.micro_batch, block.accumulate),
            block.input.kind,
            _mib(predicted.peak_bytes),
            clean(predicted.binding, 11),
            format_seconds(predicted.seconds_per_epoch),
        )
        for other in others:
            yield ("", "", "", *other, "", "", "", "", "")


def _batch(micro_batch: int, accumulate: int) -> str:
    return f"{micro_batch} × {accumulate}"


def _segment_cells(block: Block) -> Iterator[tuple[str, str]]:
    """Units and filters of each segment; three or more of one unit each with equal heads share a line."""
    numbered = enumerate(block.segments)
    for _, group in groupby(numbered, key=lambda pair: _likeness(*pair)):
        segments = [segment for _, segment in group]
        if len(segments) > 2:
            span = (segments[0].units[0], segments[-1].units[1])
            yield f"{indices(span)} each", _filters(segments[0].head)
        else:
            for segment in segments:
                yield indices(segment.units), _filters(segment.head)


def _likeness(index: int, segment: Segment) -> tuple[int, str]:
    """Equal for neighbours that may share a line; a segment of several units is like no other."""
    is_single = segment.units[1] - segment.units[0] == 1
    return (-1 if is_single else index), _filters(segment.head)


def _filters(head: Head | None) -> str:
    return "own" if head is None else str(head.filters)


def _plan_summary(plan: Plan) -> list[tuple[str, str]]:
    ends = [segment.units[1] for block in plan.blocks for segment in block.segments][:-1]
    where = f", before unit {', '.join(map(str, ends))}" if ends else ""
    allowed = f" ({format_bytes(plan.storage_bytes)} allowed)" if plan.storage_bytes is not None else ""
    gap = f"; at most {plan.optimality_gap:.1%} slower than the best" if plan.optimality_gap else ""
    return [
        ("peak", f"{format_bytes(plan.predicted.peak_bytes)} of {format_bytes(plan.budget.bytes)}"),
        ("total time", f"{format_seconds(plan.predicted.seconds_total)}{gap}"),
        ("caches", f"{format_bytes(plan.predicted.cache_bytes)} of storage at one time, at most{allowed}"),
        ("cuts", f"{plan.cuts}{where}"),
        ("smallest budget", f"{format_bytes(plan.minimum_budget_bytes)}, with strategy {plan.strategy}"),
        ("trade", _trade(plan)),
    ]


def _trade(plan: Plan) -> str:
    """What the preference cost: this plan beside the fastest one and the one with the fewest cuts."""
    frontier = [other for other in plan.alternatives if other.strategy == "auto"]
    if not frontier:
        return "no alternatives are recorded"
    own = plan.predicted.seconds_total
    fastest = min(frontier, key=lambda other: (other.seconds_total, other.cuts))
    fewest = min(frontier, key=lambda other: (other.cuts, other.seconds_total))
    what = plan.prefer if plan.strategy == "auto" else f"strategy {plan.strategy} was asked for"
    said = f"{what}: {_counted(plan.cuts, 'cut')} in {format_seconds(own)}. "
    if fastest.seconds_total < own:
        said += f"The fastest plan has {_beside(fastest, own)}. "
    else:
        said += "No plan is faster. "
    if fewest.cuts < plan.cuts:
        return said + f"The plan with the fewest cuts has {_beside(fewest, own)}."
    return said + "No plan has fewer cuts."


def _beside(other: Alternative, seconds: float) -> str:
    said = f"{_counted(other.cuts, 'cut')} in {format_seconds(other.seconds_total)}"
    if seconds <= 0:
        return said
    much = abs(other.seconds_total - seconds) / seconds
    return f"{said} ({much:.1%} {'less' if other.seconds_total < seconds else 'more'} time)"


def _change(value: float, reference: float) -> str:
    """In percent; as a multiple where that reads better."""
    if reference <= 0:
        return _NOTHING
    share = (value - reference) / reference
    return f"{share:+.1%}" if share < 10 else f"×{value / reference:.3g}"


def _plan_notes(plan: Plan) -> Iterator[str]:
    if len(plan.blocks) == 1 and plan.cuts == 0:
        yield "This plan is plain backpropagation: one block of one segment, no cuts, no auxiliary heads."
    accumulating = [index for index, block in enumerate(plan.blocks) if block.accumulate > 1 and _has_norm(plan, block)]
    if accumulating:
        which = "block" if len(accumulating) == 1 else "blocks"
        yield (
            f"Batch normalisation takes its statistics from the micro-batch, not from the whole batch of "
            f"{plan.training.batch}, in {which} {', '.join(map(str, accumulating))}."
        )


def _has_norm(plan: Plan, block: Block) -> bool:
    """An auxiliary head always normalises."""
    units = plan.model.units[slice(*block.units)]
    return any(segment.head for segment in block.segments) or any(_normalises(unit.layers) for unit in units)


def _normalises(layers: tuple[Layer, ...]) -> bool:
    return any(
        isinstance(layer, BatchNorm2d) or (isinstance(layer, Residual) and _normalises(layer.body + layer.shortcut))
        for layer in layers
    )


def alternatives_table(plan: Plan) -> str:
    """Every strategy under the same budget, `auto` with its frontier of time against cuts."""
    rows: list[tuple[str, ...]] = []
    for strategy in get_args(Strategy):
        fitting = [other for other in plan.alternatives if other.strategy == strategy]
        rows += [_alternative_row(plan, other) for other in sorted(fitting, key=lambda other: other.cuts)]
        if not fitting:
            rows.append(("", strategy, "does not fit", *[_NOTHING] * 5))
    head = ("", "strategy", "fits", "peak MiB", "time", "cuts", "blocks", "cache MiB")
    under = f"under {format_bytes(plan.budget.bytes)}, scope {plan.budget.scope}; * is this plan"
    return f"{columns(head, rows, '<<<>>>>>')}\n\n{under}"


def _alternative_row(plan: Plan, other: Alternative) -> tuple[str, ...]:
    own = (plan.strategy, plan.cuts, plan.predicted.peak_bytes, plan.predicted.seconds_total)
    is_own = own == (other.strategy, other.cuts, other.peak_bytes, other.seconds_total)
    return (
        "*" if is_own else "",
        other.strategy,
        "yes",
        _mib(other.peak_bytes),
        format_seconds(other.seconds_total),
        str(other.cuts),
        str(other.blocks),
        _mib(other.cache_bytes),
    )


def breakdown_table(plan: Plan) -> str:
    """What each block's memory is made of while it trains, in MiB."""
    parts = [field.name for field in dataclass_fields(Breakdown)]
    rows = []
    for index, block in enumerate(plan.blocks):
        breakdown = block.predicted.breakdown
        cells = [_mib(getattr(breakdown, part)) for part in parts]
        rows.append([str(index), indices(block.units), *cells, _mib(breakdown.total)])
    table = columns(["block", "units", *parts, "sum"], rows, ">" * (len(parts) + 3))
    return f"{table}\n\nMiB at the peak of training, scope {plan.budget.scope}"


def report_table(report: Report, plan: Plan) -> str:
    """A run beside its plan: memory and time by block, whether it kept its budget, and how good the network is."""
    head = ("block", "units", _BATCH, "epochs", "loss", "peak MiB\npredicted", "\nmeasured", "\ndiff")
    times = ("per epoch\npredicted", "\nmeasured", "\ndiff")
    rows = [_block_row(index, block) for index, block in enumerate(report.blocks)]
    blocks = columns((*head, *times), rows, ">" * 11)
    exits = columns(
        ("", "exit", "units", "parameters", "accuracy", "samples/s"),
        [_exit_row(plan, report, found) for found in report.exits],
        "<<>>>>",
    )
    title = f"{clean(plan.model.name)} on {clean(plan.device.name)}, plan {_short(report.plan_id)}"
    parts = [note(title), blocks, note(_verdict(report)), exits, fields(_report_summary(report)), _deviations(report)]
    return "\n\n".join(parts)


def _block_row(index: int, block: BlockReport) -> tuple[str, ...]:
    measured = block.measured_seconds_per_epoch
    return (
        str(index),
        indices(block.units),
        _batch(block.micro_batch, block.accumulate),
        str(block.epochs),
        f"{block.loss:.4g}",
        _mib(block.predicted_peak_bytes),
        _mib(block.measured_peak_bytes),
        _change(block.measured_peak_bytes, block.predicted_peak_bytes),
        format_seconds(block.predicted_seconds_per_epoch),
        format_seconds(measured) if measured else _NOTHING,
        _change(measured, block.predicted_seconds_per_epoch) if measured else _NOTHING,
    )


def _verdict(report: Report) -> str:
    peak = format_bytes(report.peak_bytes)
    child = format_bytes(report.child_peak_bytes)
    if report.scope == "process":
        made_of = f"child {child} + supervisor {format_bytes(report.supervisor_peak_bytes)}"
    else:
        made_of = f"above the child's baseline of {format_bytes(report.baseline_bytes)}"
    over = report.peak_bytes - report.budget_bytes
    answer = "yes" if report.within_budget else "NO"
    excess = f", {format_bytes(over)} above it" if over > 0 else ""
    return f"stayed under {format_bytes(report.budget_bytes)}: {answer}, peak {peak}{excess} ({made_of})"


def _exit_row(plan: Plan, report: Report, found: ExitReport) -> tuple[str, ...]:
    return (
        "*" if found.unit == report.chosen_exit else "",
        names(plan.model, (found.unit - 1, found.unit), 30),
        str(found.unit),
        f"{found.parameters:,}",
        f"{found.accuracy:.1%}",
        f"{found.samples_per_second:.1f}",
    )


def _report_summary(report: Report) -> list[tuple[str, str]]:
    stall = format_seconds(report.cache.stall_seconds)
    return [
        ("accuracy", f"{report.accuracy:.1%} at the exit kept (*)"),
        ("time", format_seconds(report.seconds)),
        ("cache", f"{format_bytes(report.cache.bytes_written)} written; training waited {stall} for samples"),
    ]


def _deviations(report: Report) -> str:
    if not report.deviations:
        return "The run followed its plan."
    return "The run left its plan:\n" + fields([("  -", clean(text)) for text in report.deviations])


def profile_table(profile: Profile) -> str:
    """What every unit costs on the device, at the largest micro-batch measured, and what the process around it does."""
    head = ("unit", "name", "parameters", "multiply-\nadds (M)", "output\nKiB/sample")
    costs = ("kept\nMiB", "backward\npeak MiB", "forward\nms/sample", "backward\nms/sample", "step\nms")
    rows = [_unit_row(profile, index) for index in range(len(profile.units))]
    table = columns((*head, *costs), [*rows, _total_row(profile)], "><" + ">" * 8)
    sizes = sorted({unit.costs[-1].micro_batch for unit in profile.units})
    title = (
        f"{clean(profile.model.name)} on {clean(profile.device.name)} ({profile.device.kind}, "
        f"{_counted(profile.device.threads, 'thread')}), {_optimizer(profile.optimizer)}, "
        f"at micro-batch {' or '.join(map(str, sizes))}"
    )
    return "\n\n".join([note(title), table, fields(_profile_summary(profile))])


def _case(profile: Profile, index: int) -> tuple[Costs, Trace, float]:
    """Costs at the largest micro-batch, with the trace and backward time that apply: data needs no gradient."""
    costs = profile.units[index].costs[-1]
    if index == 0:
        return costs, costs.traces.first, costs.first_backward_seconds
    return costs, costs.traces.inner, costs.backward_seconds


def _unit_row(profile: Profile, index: int) -> tuple[str, ...]:
    unit = profile.units[index]
    costs, trace, backward = _case(profile, index)
    return (
        str(index),
        names(profile.model, (index, index + 1), 18),
        f"{unit.parameters:,}",
        f"{unit.flops / 1e6:.2f}",
        f"{unit.output_bytes / KIB:.1f}",
        _mib(trace.kept_bytes),
        _mib(trace.backward_peak_bytes),
        f"{costs.forward_seconds / costs.micro_batch * 1e3:.3f}",
        f"{backward / costs.micro_batch * 1e3:.3f}",
        f"{unit.step_seconds * 1e3:.3f}",
    )


def _total_row(profile: Profile) -> tuple[str, ...]:
    cases = [_case(profile, index) for index in range(len(profile.units))]
    return (
        "",
        "total",
        f"{sum(unit.parameters for unit in profile.units):,}",
        f"{sum(unit.flops for unit in profile.units) / 1e6:.2f}",
        "",
        _mib(sum(trace.kept_bytes for _, trace, _ in cases)),
        "",
        f"{sum(costs.forward_seconds / costs.micro_batch for costs, _, _ in cases) * 1e3:.3f}",
        f"{sum(backward / costs.micro_batch for costs, _, backward in cases) * 1e3:.3f}",
        f"{sum(unit.step_seconds for unit in profile.units) * 1e3:.3f}",
    )


def _profile_summary(profile: Profile) -> list[tuple[str, str]]:
    runtime, storage = profile.runtime, profile.storage
    write, read = format_bytes(storage.write_bytes_per_second), format_bytes(storage.read_bytes_per_second)
    share = f"{runtime.overhead_permille / 10:.1f}%"
    pairs = [
        ("child", f"{format_bytes(runtime.baseline_bytes)} at rest, {format_bytes(runtime.start_peak_bytes)} to start"),
        ("supervisor", format_bytes(runtime.supervisor_bytes)),
        ("overhead", f"{format_bytes(runtime.overhead_bytes)} + {share} of a step's peak"),
        ("allocator", profile.allocator),
        ("storage", f"writes {write}/s, reads {read}/s"),
    ]
    if profile.uncounted_operators:
        pairs.append(("not counted", clean(", ".join(profile.uncounted_operators)) + " (missing in multiply-adds)"))
    return pairs
