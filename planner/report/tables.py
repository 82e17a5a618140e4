"""Documents as tables for people: plans, their alternatives, and runs against their plans."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields as dataclass_fields
from itertools import groupby
from statistics import fmean
from types import MappingProxyType
from typing import get_args

from planner.model.spec import BatchNorm2d, Layer, Residual
from planner.report.schema import BlockReport, Evaluation, ExitReport, Report
from planner.report.text import NOTHING, clean, columns, counted, described, fields, indices, mib, names, note
from planner.solver.schema import Alternative, Block, Breakdown, Head, Plan, Segment, Strategy
from planner.units import format_bytes, format_seconds

_BATCH = "micro-\nbatch ×\naccumulate"

_AGAIN_WIDTH = 10

_ALLOCATORS = {
    "tight": "what is freed goes back to the system at once",
    "fast": "what is freed is kept for the next step, which is faster; the peak counts it as if all of it were kept",
}

_SAME_SPEED = 0.05
"""Share by which two times of the calibration kernel may differ on one and the same device."""


def _short(id_: str) -> str:
    return clean(id_[:12])


def plan_table(plan: Plan) -> str:
    """The plan, block by block, with what it costs and what it was preferred to."""
    cut = ("segments", "head\nfilters", "recomputed")
    head = ("block", "units", "names", *cut, _BATCH, "input", "peak\nMiB", "per epoch")
    blocks = columns(head, list(_plan_rows(plan)), ">><<><><>>")
    parts = [fields(plan_header(plan)), blocks, fields(_plan_summary(plan))]
    return "\n\n".join([*parts, *(note(text) for text in _plan_notes(plan))])


def plan_header(plan: Plan) -> list[tuple[str, str]]:
    """What was asked for, each with its name."""
    model, device, training = plan.model, plan.device, plan.training
    shape = "×".join(map(str, model.input))
    reserve = f", {format_bytes(plan.reserve_bytes)} of it in reserve" if plan.reserve_bytes else ""
    cuts = "" if plan.max_cuts is None else f", at most {counted(plan.max_cuts, 'cut')}"
    return [
        ("plan", _short(plan.id)),
        ("model", f"{clean(model.name)}: {counted(len(model.units), 'unit')}, {shape}, {model.classes} classes"),
        ("device", f"{clean(device.name)}: {device.kind}, {counted(device.threads, 'thread')}"),
        ("budget", f"{format_bytes(plan.budget.bytes)}, scope {plan.budget.scope}{reserve}"),
        ("strategy", f"{plan.strategy}, prefer {plan.prefer}{cuts}"),
        ("allocator", f"{plan.allocator}: {_ALLOCATORS[plan.allocator]}"),
        (
            "training",
            f"batch {training.batch}, {counted(training.epochs, 'epoch')} of {training.samples} samples per block, "
            f"{described(training.optimizer)}, {training.schedule} schedule",
        ),
    ]


def _plan_rows(plan: Plan) -> Iterator[tuple[str, ...]]:
    for index, block in enumerate(plan.blocks):
        predicted = block.predicted
        first, *others = _segment_cells(block)
        yield (
            str(index),
            indices(block.units),
            names(plan.model, block.units, 16),
            *first,
            _batch(block.micro_batch, block.accumulate),
            block.input.kind,
            mib(predicted.peak_bytes),
            format_seconds(predicted.seconds_per_epoch),
        )
        for other in others:
            yield ("", "", "", *other, "", "", "", "")


def _batch(micro_batch: int, accumulate: int) -> str:
    return f"{micro_batch} × {accumulate}"


def _segment_cells(block: Block) -> Iterator[tuple[str, str, str]]:
    """Units, filters and recomputed units of each segment; three or more of one unit each that are alike share a line.

    Recomputed spans that take too much room are counted here, and listed below the table.
    """
    numbered = enumerate(block.segments)
    for _, group in groupby(numbered, key=lambda pair: _likeness(*pair)):
        segments = [segment for _, segment in group]
        if len(segments) > 2:
            span = (segments[0].units[0], segments[-1].units[1])
            again = "each" if segments[0].recompute else NOTHING
            yield f"{indices(span)} each", _filters(segments[0].head), again
        else:
            for segment in segments:
                yield indices(segment.units), _filters(segment.head), _again(segment)


def _again(segment: Segment) -> str:
    spans = ", ".join(map(indices, segment.recompute)) or NOTHING
    count = sum(last - first for first, last in segment.recompute)
    return spans if len(spans) <= _AGAIN_WIDTH else counted(count, "unit")


def _likeness(index: int, segment: Segment) -> tuple[int, str, bool]:
    """Equal for neighbours that may share a line; a segment of several units is like no other."""
    is_single = segment.units[1] - segment.units[0] == 1
    return (-1 if is_single else index), _filters(segment.head), bool(segment.recompute)


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
        ("recomputed", _recomputed(plan)),
        ("optimizer", _stepping(plan)),
        ("smallest budget", f"{format_bytes(plan.minimum_budget_bytes)}, with strategy {plan.strategy}"),
        ("trade", _trade(plan)),
    ]


def _recomputed(plan: Plan) -> str:
    """Every span, by block."""
    found = []
    for index, block in enumerate(plan.blocks):
        spans = [indices(span) for segment in block.segments for span in segment.recompute]
        if spans:
            found.append(f"block {index}: units {', '.join(spans)}")
    return "; ".join(found) or "nothing: every unit keeps what its backward needs"


def _stepping(plan: Plan) -> str:
    stepping = [str(index) for index, block in enumerate(plan.blocks) if block.optimizer_in_backward]
    if not stepping:
        return "steps after backward"
    others = "" if len(stepping) == len(plan.blocks) else "; after backward in the others"
    which = "block" if len(stepping) == 1 else "blocks"
    return f"steps within backward in {which} {', '.join(stepping)}, so that gradients never pile up{others}"


def _trade(plan: Plan) -> str:
    """What the preference cost: this plan beside the fastest one and the one with the fewest cuts."""
    frontier = [other for other in plan.alternatives if other.strategy == "auto"]
    if not frontier:
        return "no alternatives are recorded"
    own = plan.predicted.seconds_total
    fastest = min(frontier, key=lambda other: (other.seconds_total, other.cuts))
    fewest = min(frontier, key=lambda other: (other.cuts, other.seconds_total))
    what = plan.prefer if plan.strategy == "auto" else f"strategy {plan.strategy} was asked for"
    said = f"{what}: {counted(plan.cuts, 'cut')} in {format_seconds(own)}. "
    if fastest.seconds_total < own:
        said += f"The fastest plan has {_beside(fastest, own)}. "
    else:
        said += "No plan is faster. "
    if fewest.cuts < plan.cuts:
        return said + f"With the fewest cuts that were sought: {_beside(fewest, own)}."
    if plan.prefer == "fidelity":
        return said + "No plan was found with fewer cuts."
    return said + "None that takes at most 10 % more than the fastest was found with fewer cuts."


def _beside(other: Alternative, seconds: float) -> str:
    said = f"{counted(other.cuts, 'cut')} in {format_seconds(other.seconds_total)}"
    if seconds <= 0:
        return said
    much = abs(other.seconds_total - seconds) / seconds
    return f"{said} ({much:.1%} {'less' if other.seconds_total < seconds else 'more'} time)"


def _change(value: float, reference: float) -> str:
    """In percent; as a multiple where that reads better."""
    if reference <= 0:
        return NOTHING
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
    yield from _extrapolations(plan)


def _extrapolations(plan: Plan) -> Iterator[str]:
    """Where the plan goes beyond its measurements; blocks of which the same is said share a sentence."""
    found: dict[tuple[int, int], list[str]] = {}
    for index, block in enumerate(plan.blocks):
        measured = block.predicted.extrapolated_from
        if measured is not None:
            found.setdefault((block.micro_batch, measured), []).append(str(index))
    for (micro_batch, measured), blocks in found.items():
        which, whose = ("Block", "its") if len(blocks) == 1 else ("Blocks", "their")
        yield (
            f"{which} {', '.join(blocks)}: micro-batch {micro_batch} lies beyond what was measured ({measured}); "
            f"{whose} figures are extrapolated."
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


def alternatives_table(plan: Plan, needs: Mapping[Strategy, str] = MappingProxyType({})) -> str:
    """Every strategy under the same budget, `auto` with its frontier of time against cuts.

    `needs` says what a strategy that does not fit would need.
    """
    rows: list[tuple[str, ...]] = []
    for strategy in get_args(Strategy):
        fitting = [other for other in plan.alternatives if other.strategy == strategy]
        rows += [_alternative_row(plan, other) for other in sorted(fitting, key=lambda other: other.cuts)]
        if not fitting:
            rows.append(("", strategy, needs.get(strategy, "does not fit"), *[NOTHING] * 5))
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
        mib(other.peak_bytes),
        format_seconds(other.seconds_total),
        str(other.cuts),
        str(other.blocks),
        mib(other.cache_bytes),
    )


def breakdown_table(plan: Plan) -> str:
    """What each block's memory is made of while it trains, in MiB."""
    parts = [field.name for field in dataclass_fields(Breakdown)]
    rows = []
    for index, block in enumerate(plan.blocks):
        breakdown = block.predicted.breakdown
        cells = [mib(getattr(breakdown, part)) for part in parts]
        rows.append([str(index), indices(block.units), *cells, mib(breakdown.total)])
    table = columns(["block", "units", *parts, "sum"], rows, ">" * (len(parts) + 3))
    return f"{table}\n\nMiB at the peak of training, scope {plan.budget.scope}"


def report_table(report: Report, plan: Plan) -> str:
    """A run beside its plan: memory and time by block, whether it kept its budget, and how good the network is."""
    rows = [block_row(index, block) for index, block in enumerate(report.blocks)]
    blocks = columns(BLOCK_COLUMNS, rows, ">" * 11)
    exits = columns(
        EXIT_COLUMNS,
        [exit_row(plan, report, found) for found in report.exits],
        "<<>>>>>>>",
    )
    parts = [
        note(report_title(report, plan)),
        blocks,
        note(verdict(report)),
        exits,
        fields(report_summary(report, plan)),
        _deviations(report),
    ]
    return "\n\n".join(parts)


BLOCK_COLUMNS = (
    "block", "units", _BATCH, "epochs", "loss", "peak MiB\npredicted", "\nmeasured", "\ndiff",
    "per epoch\npredicted", "\nmeasured", "\ndiff",
)  # fmt: skip
"""Headings of what `block_row` gives."""


def block_row(index: int, block: BlockReport) -> tuple[str, ...]:
    """One block, predicted against measured."""
    measured = block.measured_seconds_per_epoch
    return (
        str(index),
        indices(block.units),
        _batch(block.micro_batch, block.accumulate),
        str(block.epochs),
        f"{block.loss:.4g}",
        mib(block.predicted_peak_bytes),
        mib(block.measured_peak_bytes),
        _change(block.measured_peak_bytes, block.predicted_peak_bytes),
        format_seconds(block.predicted_seconds_per_epoch),
        format_seconds(measured) if measured else NOTHING,
        _change(measured, block.predicted_seconds_per_epoch) if measured else NOTHING,
    )


def _slowdown(plan: Plan, block: BlockReport) -> float | None:
    """How many times the calibration kernel's time in the profile its time in the run is."""
    if plan.calibration_seconds is None or block.calibration_seconds is None:
        return None
    return block.calibration_seconds / plan.calibration_seconds


def _equal_speed(plan: Plan, blocks: Iterable[BlockReport]) -> str | None:
    """How far the blocks' epochs would be off, had the device been as fast as when profiled; none where unknown."""
    measured = predicted = 0.0
    for block in blocks:
        slowdown = _slowdown(plan, block)
        if slowdown is not None and block.measured_seconds_per_epoch:
            measured += block.measured_seconds_per_epoch / slowdown
            predicted += block.predicted_seconds_per_epoch
    return _change(measured, predicted) if measured and predicted else None


def _speed(plan: Plan, report: Report) -> str | None:
    """How fast the device was, on average over the blocks, beside what it was when profiled; none where unknown."""
    times = [block.calibration_seconds for block in report.blocks if block.calibration_seconds is not None]
    if plan.calibration_seconds is None or not times:
        return None
    then, now = plan.calibration_seconds, fmean(times)
    if abs(now / then - 1) < _SAME_SPEED:
        said = "as fast as"
    else:
        said = f"{now / then:.2f}× slower than" if now > then else f"{then / now:.2f}× faster than"
    said += f" when profiled (calibration kernel {format_seconds(now)}; {format_seconds(then)} then)"
    whole = _equal_speed(plan, report.blocks)
    if whole is None:
        return said
    single = ((index, _equal_speed(plan, [block])) for index, block in enumerate(report.blocks))
    parts = ", ".join(f"block {index} {change}" for index, change in single if change)
    return f"{said}; at equal speed, epochs are off by {whole} ({parts})"


def report_title(report: Report, plan: Plan) -> str:
    """Which network on which device, by which plan."""
    return f"{clean(plan.model.name)} on {clean(plan.device.name)}, plan {_short(report.plan_id)}"


def verdict(report: Report) -> str:
    """Whether the run kept its budget."""
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


EXIT_COLUMNS = (
    "", "exit", "units", "parameters", "of the\nfull model", "accuracy", "\non held-out", "samples/s",
    "times the\nfull model",
)  # fmt: skip
"""Headings of what `exit_row` gives."""


def exit_row(plan: Plan, report: Report, found: ExitReport) -> tuple[str, ...]:
    """One exit beside the full model; `*` marks the smallest that is good enough."""
    full = report.exits[-1]
    return (
        "*" if found.unit == report.chosen_exit else "",
        names(plan.model, (found.unit - 1, found.unit), 24),
        str(found.unit),
        f"{found.parameters:,}",
        f"{found.parameters / full.parameters:.1%}" if full.parameters else NOTHING,
        f"{found.accuracy:.1%}",
        NOTHING if found.validation_accuracy is None else f"{found.validation_accuracy:.1%}",
        f"{found.samples_per_second:.1f}",
        f"{found.samples_per_second / full.samples_per_second:.2f}" if full.samples_per_second else NOTHING,
    )


def _kept(report: Report) -> str:
    """What the mark in the list of exits stands for."""
    if report.exit_tolerance is None or not report.exits:
        return "the full model (*); no samples were held out to choose a smaller one by"
    if report.chosen_exit == report.exits[-1].unit:
        return f"the full model alone (*): every smaller exit loses more than {report.exit_tolerance:g} points"
    return (
        f"the full model, and as exit.safetensors the smallest exit (*) that loses at most {report.exit_tolerance:g} "
        "points on held-out samples"
    )


def report_summary(report: Report, plan: Plan) -> list[tuple[str, str]]:
    """The run in a few lines, each with its name."""
    stall = format_seconds(report.cache.stall_seconds)
    speed = _speed(plan, report)
    return [
        ("accuracy", f"{report.accuracy:.1%} of test samples, by the full model"),
        ("kept", _kept(report)),
        ("time", format_seconds(report.seconds)),
        *([("device", speed)] if speed else []),
        ("cache", f"{format_bytes(report.cache.bytes_written)} written; training waited {stall} for samples"),
    ]


def _deviations(report: Report) -> str:
    if not report.deviations:
        return "The run followed its plan."
    return "The run left its plan:\n" + fields([("  -", clean(text)) for text in report.deviations])


def evaluation_table(found: Evaluation) -> str:
    """What an exported model was measured to be."""
    of = f" of {format_bytes(found.budget_bytes)}" if found.budget_bytes is not None else ""
    return fields(
        [
            ("model", f"{clean(found.model)}: {found.parameters:,} parameters"),
            ("accuracy", f"{found.accuracy:.2%} of {counted(found.samples, 'test sample')} of {clean(found.data)}"),
            ("speed", f"{found.samples_per_second:.1f} samples/s, {found.micro_batch} at a time"),
            ("time", f"{format_seconds(found.seconds)}, reading samples and weights included"),
            ("peak", f"{format_bytes(found.peak_bytes)}{of}, everything resident"),
        ]
    )
