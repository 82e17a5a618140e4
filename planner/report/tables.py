"""Documents as tables for people: plans, their alternatives, and runs against their plans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields as dataclass_fields
from itertools import groupby
from types import MappingProxyType
from typing import get_args

from planner.heads.kinds import AuxiliaryHead
from planner.report.text import (
    DASH,
    clean,
    columns,
    counted,
    described,
    fields,
    indices,
    mib,
    names,
    note,
    stage_cell,
    stage_list,
)
from planner.schema.inputs import show_input
from planner.schema.model import every_layer
from planner.schema.plan import Alternative, Block, Plan, Polish, Segment
from planner.schema.prediction import Breakdown, LossPoints
from planner.schema.preprocessing import given_words
from planner.schema.request import Strategy
from planner.units import format_bytes, format_seconds

BATCH_COLUMN = "micro-\nbatch ×\naccumulate"

_AGAIN_WIDTH = 10

_LONGEST_GUESS = 300

_ALLOCATORS = {
    "tight": "what is freed goes back to the system at once",
    "fast": "what is freed is kept for the next step, which is faster; the peak counts it as if all of it were kept",
    "huge": "kept in huge pages, which is faster still; its peaks are not bounded yet: a run may end above its budget",
}


def short_id(id_: str) -> str:
    """What people tell plans apart by."""
    return clean(id_[:12])


def plan_table(plan: Plan) -> str:
    """The plan, block by block, with what it costs and what it was preferred to."""
    cut = ("segments", "head", "recomputed")
    head = ("block", "units", "names", *cut, BATCH_COLUMN, "input", "peak\nMiB", "per epoch")
    blocks = columns(head, list(_plan_rows(plan)), ">><<><><>>")
    parts = [fields(plan_header(plan)), blocks, fields(_plan_summary(plan))]
    return "\n\n".join([*parts, *(note(text) for text in _plan_notes(plan))])


def plan_header(plan: Plan) -> list[tuple[str, str]]:
    """What was asked for, each with its name."""
    model, device, training = plan.model, plan.device, plan.training
    shape = show_input(model.input, model.input_dtype)
    called, given = given_words(model.input_dtype, model.input, plan.normalisation, plan.resize, plan.shorter_side)
    reserve = f", {format_bytes(plan.reserve_bytes)} of it in reserve" if plan.reserve_bytes else ""
    cuts = "" if plan.max_cuts is None else f", at most {counted(plan.max_cuts, 'cut')}"
    return [
        ("plan", short_id(plan.id)),
        (
            "model",
            f"{clean(model.name)}: {counted(len(model.units), 'unit')}, {shape}, {model.task.words(model.classes)}",
        ),
        (called, f"go in as {given}"),
        ("device", f"{clean(device.name)}: {device.kind}, {counted(device.threads, 'thread')}"),
        ("budget", f"{format_bytes(plan.budget.bytes)}, scope {plan.budget.scope}{reserve}"),
        ("strategy", f"{plan.strategy}, prefer {plan.prefer}{cuts}"),
        ("allocator", f"{plan.allocator}: {_ALLOCATORS[plan.allocator]}"),
        (
            "training",
            f"batch {training.batch}, {_epochs(plan)} of {training.samples} samples per block, "
            f"{described(training.optimizer)}, {training.schedule} schedule{_particulars(plan)}{_ending(plan)}",
        ),
    ]


def _epochs(plan: Plan) -> str:
    """`10 epochs`, or those of every block: `4, 7 and 10 epochs`."""
    *others, last = (plan.training.epochs if block.epochs is None else block.epochs for block in plan.blocks)
    if set(others) <= {last}:
        return counted(last, "epoch")
    return f"{', '.join(map(str, others))} and {counted(last, 'epoch')}"


def _particulars(plan: Plan) -> str:
    """What differs from the usual way to train."""
    training, found = plan.training, ""
    if training.warmup:
        found += f", after a warm-up of {counted(training.warmup, 'epoch')}"
    if training.dtype != "float32":
        found += f", in {training.dtype}"
    if training.augment != "none":
        found += f", augmented by {training.augment}"
    if training.freeze:
        found += ", the first unit frozen" if training.freeze == 1 else f", the first {training.freeze} units frozen"
    return found


def _ending(plan: Plan) -> str:
    """What follows behind the blocks."""
    polish = plan.polish
    if polish is None:
        return ""
    return f"; then a polish: {counted(polish.epochs, 'epoch')} end to end, learning rate {polish.lr:g}"


def _plan_rows(plan: Plan) -> Iterator[tuple[str, ...]]:
    if plan.training.freeze:
        frozen = (0, plan.training.freeze)
        yield (DASH, indices(frozen), names(plan.model, frozen, 16), "frozen", *[""] * 3, "data", "", "")
    for index, block in enumerate(plan.stages):
        predicted = block.predicted
        first, *others = _segment_cells(block)
        yield (
            stage_cell(plan, index),
            indices(block.units),
            names(plan.model, block.units, 16),
            *first,
            batch_text(block.micro_batch, block.accumulate),
            block.input.kind,
            mib(predicted.peak_bytes),
            format_seconds(predicted.seconds_per_epoch),
        )
        for other in others:
            yield ("", "", "", *other, "", "", "", "")


def batch_text(micro_batch: int, accumulate: int) -> str:
    """Of `BATCH_COLUMN`."""
    return f"{micro_batch} × {accumulate}"


def _segment_cells(block: Block) -> Iterator[tuple[str, str, str]]:
    """Units, head and recomputed units of each segment; three or more of one unit each that are alike share a line.

    Recomputed spans that take too much room are counted here, and listed below the table.
    """
    numbered = enumerate(block.segments)
    for _, group in groupby(numbered, key=lambda pair: _likeness(*pair)):
        segments = [segment for _, segment in group]
        if len(segments) > 2:
            span = (segments[0].units[0], segments[-1].units[1])
            again = "each" if segments[0].recompute else DASH
            yield f"{indices(span)} each", _head(segments[0].head), again
        else:
            for segment in segments:
                yield indices(segment.units), _head(segment.head), _again(segment)


def _again(segment: Segment) -> str:
    spans = ", ".join(map(indices, segment.recompute)) or DASH
    count = sum(last - first for first, last in segment.recompute)
    return spans if len(spans) <= _AGAIN_WIDTH else counted(count, "unit")


def _likeness(index: int, segment: Segment) -> tuple[int, str, bool, int]:
    """Equal for neighbours that may share a line; a segment of several units is like no other."""
    is_single = segment.units[1] - segment.units[0] == 1
    return (-1 if is_single else index), _head(segment.head), bool(segment.recompute), segment.window


def _head(head: AuxiliaryHead | None) -> str:
    return "own" if head is None else head.words


def _plan_summary(plan: Plan) -> list[tuple[str, str]]:
    ends = [segment.units[1] for block in plan.blocks for segment in block.segments][:-1]
    where = f", before unit {', '.join(map(str, ends))}" if ends else ""
    stored_as = "" if plan.cache_dtype in (None, plan.training.dtype) else f", in {plan.cache_dtype}"
    allowed = f" ({format_bytes(plan.storage_bytes)} allowed)" if plan.storage_bytes is not None else ""
    gap = f"; at most {plan.optimality_gap:.1%} slower than the best" if plan.optimality_gap else ""
    return [
        ("peak", f"{format_bytes(plan.predicted.peak_bytes)} of {format_bytes(plan.budget.bytes)}"),
        ("total time", f"{format_seconds(plan.predicted.seconds_total)}{gap}"),
        ("caches", f"{format_bytes(plan.predicted.cache_bytes)} of storage at one time, at most{allowed}{stored_as}"),
        ("cuts", f"{plan.cuts}{where}"),
        *([("overlap", overlap)] if (overlap := _overlap(plan)) else []),
        ("accuracy", loss_text(plan.predicted.accuracy_loss_points)),
        ("recomputed", _recomputed(plan)),
        *([("polish", _polish(plan.polish))] if plan.polish is not None else []),
        ("optimizer", _stepping(plan)),
        ("smallest budget", f"{format_bytes(plan.minimum_budget_bytes)}, with strategy {plan.strategy}"),
        ("trade", _preference_cost(plan)),
    ]


def _polish(polish: Polish) -> str:
    """What the end-to-end training costs."""
    predicted = polish.block.predicted
    return (
        f"{counted(polish.epochs, 'epoch')} of the whole network end to end, {format_seconds(polish.seconds)} of the "
        f"total time, at a peak of {format_bytes(predicted.peak_bytes)}"
    )


def _overlap(plan: Plan) -> str:
    """Which units two segments train; empty where none is."""
    windows = [segment.units[1] for block in plan.blocks for segment in block.segments if segment.window]
    if not windows:
        return ""
    which, verb = ("unit", "is") if len(windows) == 1 else ("units", "are")
    return f"{which} {', '.join(map(str, windows))} {verb} trained with the segment before as well, up to its head"


def loss_text(loss: LossPoints | None) -> str:
    """What cuts are predicted to cost."""
    if loss is None:
        return (
            "what cuts cost is not predicted: what the task measures is no share, or the plan is of an earlier release"
        )
    if loss.low == loss.high == 0:
        return "trains as backpropagation does, and loses nothing to it"
    guess = f"; a guess: {clean(loss.guess, _LONGEST_GUESS)}" if loss.guess else ""
    points = f"{loss.expected:.1f} points lost to backpropagation"
    return f"about {points} (nine of ten between {loss.low:.1f} and {loss.high:.1f}{guess})"


def points_cell(loss: LossPoints | None) -> str:
    """What cuts cost, in a table."""
    return DASH if loss is None else f"{loss.expected:.1f}"


def _recomputed(plan: Plan) -> str:
    """Every span, by block."""
    found = []
    for index, block in enumerate(plan.stages):
        spans = [indices(span) for segment in block.segments for span in segment.recompute]
        if spans:
            found.append(f"{plan.stage_name(index)}: units {', '.join(spans)}")
    return "; ".join(found) or "nothing: every unit keeps what its backward needs"


def _stepping(plan: Plan) -> str:
    stepping = [str(index) for index, block in enumerate(plan.blocks) if block.optimizer_in_backward]
    if not stepping:
        return "steps after backward"
    others = "" if len(stepping) == len(plan.blocks) else "; after backward in the others"
    which = "block" if len(stepping) == 1 else "blocks"
    return f"steps within backward in {which} {', '.join(stepping)}, so that gradients never pile up{others}"


def _preference_cost(plan: Plan) -> str:
    """What the preference cost: this plan beside the fastest one and the one with the fewest cuts."""
    frontier = [other for other in plan.alternatives if other.strategy == "auto"]
    if not frontier:
        return "no alternatives are recorded"
    own = plan.predicted.seconds_total
    fastest = min(frontier, key=lambda other: (other.seconds_total, other.cuts))
    fewest = min(frontier, key=lambda other: (other.cuts, other.seconds_total))
    what = plan.prefer if plan.strategy == "auto" else f"strategy {plan.strategy} was asked for"
    lost = plan.predicted.accuracy_loss_points
    text = f"{what}: {counted(plan.cuts, 'cut')}{_points(lost)} in {format_seconds(own)}. "
    if fastest.seconds_total < own:
        text += f"The fastest plan has {_beside(fastest, own)}{_bought(lost, fastest.accuracy_loss_points)}. "
    else:
        text += "No plan is faster. "
    if fewest.cuts < plan.cuts:
        return text + f"With the fewest cuts that were sought: {_beside(fewest, own)}."
    if plan.prefer == "fidelity":
        return text + "No plan was found with fewer cuts."
    return text + "None that takes at most 10 % more than the fastest was found with fewer cuts."


def _beside(other: Alternative, seconds: float) -> str:
    text = f"{counted(other.cuts, 'cut')}{_points(other.accuracy_loss_points)} in {format_seconds(other.seconds_total)}"
    if seconds <= 0:
        return text
    much = abs(other.seconds_total - seconds) / seconds
    return f"{text} ({much:.1%} {'less' if other.seconds_total < seconds else 'more'} time)"


def _points(loss: LossPoints | None) -> str:
    return "" if loss is None else f", about {loss.expected:.1f} points lost,"


def _bought(own: LossPoints | None, fastest: LossPoints | None) -> str:
    """How many points the slower plan spares."""
    spared = 0.0 if own is None or fastest is None else fastest.expected - own.expected
    return f": that time buys about {spared:.1f} points" if spared > 0 else ""


def _plan_notes(plan: Plan) -> Iterator[str]:
    if plan.training.freeze:
        yield _frozen_note(plan)
    if plan.training.augment != "none":
        yield _views_note(plan)
    if plan.polish is not None:
        yield _POLISHED
    if len(plan.blocks) == 1 and plan.cuts == 0:
        what = "what is trained" if plan.training.freeze else "this plan"
        yield f"{what.capitalize()} is plain backpropagation: one block of one segment, no cuts, no auxiliary heads."
    # A polish normalises by the statistics that blocks have learned.
    accumulating = [index for index, block in enumerate(plan.blocks) if block.accumulate > 1 and _has_norm(plan, block)]
    if accumulating:
        yield (
            f"Batch normalisation takes its statistics from the micro-batch, not from the whole batch of "
            f"{plan.training.batch}, in {stage_list(plan, accumulating)}."
        )
    yield from _extrapolations(plan)


_POLISHED = (
    "The polish trains on what the blocks have trained, all of it against the network's own loss, and holds the "
    "statistics of batch normalisation still. The exits of the network that comes out are fitted and measured behind "
    "it; the heads of cuts are left behind."
)

_FRESH = "Images are augmented otherwise in every epoch"


def _views_note(plan: Plan) -> str:
    """Where images differ in every epoch, and where a few passes are taken in turn."""
    cached = [str(index) for index, block in enumerate(plan.blocks) if block.input.kind == "cache"]
    if not cached:
        return f"{_FRESH}."
    views = plan.training.views
    taken = "one augmented pass, the same in every epoch" if views == 1 else f"{views} augmented passes in turn"
    who = f"block {cached[0]} reads" if len(cached) == 1 else f"blocks {', '.join(cached)} read"
    text = f"{who} {taken}, from a cache."
    return f"{_FRESH}; {text}" if len(cached) < len(plan.blocks) else f"{text[0].upper()}{text[1:]}"


def _frozen_note(plan: Plan) -> str:
    """What becomes of the units that are not trained."""
    first = plan.blocks[0].input
    text = "run once, and block 0 reads their outputs from a cache" if first.kind == "cache" else "run in every epoch"
    which = "Unit 0 keeps" if plan.training.freeze == 1 else f"Units {indices((0, plan.training.freeze))} keep"
    return f"{which} the weights that the run is given (--init): no gradients, no optimizer state; they {text}."


def _extrapolations(plan: Plan) -> Iterator[str]:
    """Where the plan goes beyond its measurements; blocks of which the same is said share a sentence."""
    found: dict[tuple[int, int], list[int]] = {}
    for index, block in enumerate(plan.stages):
        measured = block.predicted.extrapolated_from
        if measured is not None:
            found.setdefault((block.micro_batch, measured), []).append(index)
    for (micro_batch, measured), stages in found.items():
        which, whose = stage_list(plan, stages), "its" if len(stages) == 1 else "their"
        yield (
            f"{which[0].upper()}{which[1:]}: micro-batch {micro_batch} lies beyond what was measured ({measured}); "
            f"{whose} figures are extrapolated."
        )


def _has_norm(plan: Plan, block: Block) -> bool:
    heads = (segment.head for segment in block.segments if segment.head is not None)
    layers = (layer for unit in plan.model.units[slice(*block.units)] for layer in every_layer(unit.layers))
    return any(part.depends_on_batch for part in (*heads, *layers))


def alternatives_table(plan: Plan, needs: Mapping[Strategy, str] = MappingProxyType({})) -> str:
    """Every strategy under the same budget, `auto` with its frontier of time against cuts.

    `needs` says what a strategy that does not fit would need.
    """
    rows: list[tuple[str, ...]] = []
    for strategy in get_args(Strategy):
        fitting = [other for other in plan.alternatives if other.strategy == strategy]
        rows += [_alternative_row(plan, other) for other in sorted(fitting, key=lambda other: other.cuts)]
        if not fitting:
            rows.append(("", strategy, needs.get(strategy, "does not fit"), *[DASH] * 6))
    head = ("", "strategy", "fits", "peak MiB", "time", "cuts", "points lost", "blocks", "cache MiB")
    under = f"under {format_bytes(plan.budget.bytes)}, scope {plan.budget.scope}; * is this plan"
    return f"{columns(head, rows, '<<<>>>>>>')}\n\n{under}"


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
        points_cell(other.accuracy_loss_points),
        str(other.blocks),
        mib(other.cache_bytes),
    )


def breakdown_table(plan: Plan) -> str:
    """What each block's memory is made of while it trains, in MiB."""
    parts = [field.name for field in dataclass_fields(Breakdown)]
    rows = []
    for index, block in enumerate(plan.stages):
        breakdown = block.predicted.breakdown
        cells = [mib(getattr(breakdown, part)) for part in parts]
        rows.append([stage_cell(plan, index), indices(block.units), *cells, mib(breakdown.total)])
    table = columns(["block", "units", *parts, "sum"], rows, ">" * (len(parts) + 3))
    return f"{table}\n\nMiB at the peak of training, scope {plan.budget.scope}"
