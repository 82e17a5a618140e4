"""A run beside its plan, and an exported model, as tables of text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import fmean

from planner.report.comparison_text import comparison_text
from planner.report.data_tables import data_text
from planner.report.read import Unfinished
from planner.report.tables import BATCH_COLUMN, batch_text, short_id
from planner.report.text import DASH, clean, columns, counted, fields, indices, mib, names, note, stage_cell
from planner.schema.plan import Plan
from planner.schema.preprocessing import given_words
from planner.schema.report import BlockReport, DataReport, Evaluation, PolishReport, Report
from planner.schema.report_parts import ExitReport, Figure
from planner.tasks.base import Metric
from planner.units import format_bytes, format_seconds

_SAME_SPEED = 0.05

_HARDLY = 0.02
"""Waiting for a processor that is not worth a word."""
"""Share by which two times of the calibration kernel may differ on one and the same device."""


def report_table(report: Report, plan: Plan) -> str:
    """A run beside its plan: memory and time by block, whether it kept its budget, and how good the network is."""
    rows = [block_row(stage_cell(plan, index), block) for index, block in enumerate(report.stages)]
    blocks = columns(BLOCK_COLUMNS, rows, ">" * 11)
    phases = phase_rows(report, plan)
    exits = columns(
        exit_columns(report),
        [exit_row(plan, report, found) for found in report.exits],
        "<<><>>>>>>",
    )
    parts = [
        note(report_title(report, plan)),
        blocks,
        *([columns(PHASE_COLUMNS, phases, ">" + "<" + ">" * 3)] if phases else []),
        note(verdict(report)),
        exits,
        fields(report_summary(report, plan)),
        _deviations(report),
    ]
    return "\n\n".join(parts)


BLOCK_COLUMNS = (
    "block", "units", BATCH_COLUMN, "epochs", "loss", "peak MiB\npredicted", "\nmeasured", "\ndiff",
    "per epoch\npredicted", "\nmeasured", "\ndiff",
)  # fmt: skip
"""Headings of what `block_row` gives."""


def block_row(name: str, block: BlockReport) -> tuple[str, ...]:
    """One block, predicted against measured."""
    measured = block.measured_seconds_per_epoch
    return (
        name,
        indices(block.units),
        batch_text(block.micro_batch, block.accumulate),
        str(block.epochs),
        f"{block.loss:.4g}",
        mib(block.predicted_peak_bytes),
        mib(block.measured_peak_bytes),
        _change(block.measured_peak_bytes, block.predicted_peak_bytes),
        format_seconds(block.predicted_seconds_per_epoch),
        format_seconds(measured) if measured else DASH,
        _change(measured, block.predicted_seconds_per_epoch) if measured else DASH,
    )


PHASE_COLUMNS = ("block", "phase", "peak MiB\npredicted", "\nmeasured", "\ndiff")
"""Headings of what `phase_rows` gives."""


def phase_rows(report: Report, plan: Plan) -> list[tuple[str, ...]]:
    """What every block did one after another, predicted against measured; empty where a run did not tell."""
    return [
        (
            stage_cell(plan, index),
            found.phase,
            DASH if found.predicted_peak_bytes is None else mib(found.predicted_peak_bytes),
            mib(found.measured_peak_bytes),
            _change(found.measured_peak_bytes, found.predicted_peak_bytes or 0),
        )
        for index, block in enumerate(report.stages)
        for found in block.phases
    ]


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
    times = [block.calibration_seconds for block in report.stages if block.calibration_seconds is not None]
    if plan.calibration_seconds is None or not times:
        return None
    then, now = plan.calibration_seconds, fmean(times)
    if abs(now / then - 1) < _SAME_SPEED:
        text = "as fast as"
    else:
        text = f"{now / then:.2f}× slower than" if now > then else f"{then / now:.2f}× faster than"
    text += f" when profiled (calibration kernel {format_seconds(now)}; {format_seconds(then)} then)"
    whole = _equal_speed(plan, report.stages)
    if whole is None:
        return text
    single = ((index, _equal_speed(plan, [block])) for index, block in enumerate(report.stages))
    parts = ", ".join(f"{plan.stage_name(index)} {change}" for index, change in single if change)
    return f"{text}; at equal speed, epochs are off by {whole} ({parts})"


def _waiting(report: Report) -> str | None:
    """How long the run waited for a processor, and what its epochs took without; none where it hardly did."""
    told = [block for block in report.stages if block.waited_permille is not None and block.measured_seconds_per_epoch]
    whole = sum(block.measured_seconds_per_epoch * block.epochs for block in told)
    if not whole:
        return None
    waited = sum(
        block.measured_seconds_per_epoch * block.epochs * (block.waited_permille or 0) / 1000 for block in told
    )
    if waited < _HARDLY * whole:
        return None
    predicted = sum(block.predicted_seconds_per_epoch * block.epochs for block in told)
    change = f"; without that, epochs are off by {_change(whole - waited, predicted)}" if predicted else ""
    return f"{waited / whole:.0%} of the epochs' time went by waiting for a processor that other processes had{change}"


def report_title(report: Report, plan: Plan) -> str:
    """Which network on which device, by which plan."""
    return f"{clean(plan.model.name)} on {clean(plan.device.name)}, plan {short_id(report.plan_id)}"


def verdict(report: Report) -> str:
    """Whether the run kept its budget."""
    peak = format_bytes(report.peak_bytes)
    child = format_bytes(report.child_peak_bytes)
    if report.scope == "process":
        made_of = f"child {child} + supervisor {format_bytes(report.supervisor_peak_bytes)}"
    else:
        made_of = f"above the child's baseline of {format_bytes(report.baseline_bytes)}"
    if report.stored_in_memory_bytes:
        made_of += f" + up to {format_bytes(report.stored_in_memory_bytes)} in an output folder that is memory"
    over = report.peak_bytes - report.budget_bytes
    answer = "yes" if report.within_budget else "NO"
    when = f", {report.peak.words}" if report.peak else ""
    excess = f", {format_bytes(over)} above it{when}" if over > 0 else ""
    return f"stayed under {format_bytes(report.budget_bytes)}: {answer}, peak {peak}{excess} ({made_of})"


def exit_columns(report: Report) -> tuple[str, ...]:
    """Headings of what `exit_row` gives."""
    return (
        "", "exit", "units", "head", "parameters", "of the\nfull model", report.task.metric.name, "\non held-out",
        "samples/s", "times the\nfull model",
    )  # fmt: skip


def exit_row(plan: Plan, report: Report, found: ExitReport) -> tuple[str, ...]:
    """One exit beside the full model; `*` marks the smallest that is good enough, where samples were held out to choose
    by `best` the best."""
    full, held_out, metric = report.exits[-1], found.validation_accuracy, report.task.metric
    is_best = report.exit_tolerance is not None and found.unit == report.best.unit
    marks = ("best" if is_best else "", "*" if found.unit == report.chosen_exit else "")
    return (
        " ".join(mark for mark in marks if mark),
        names(plan.model, (found.unit - 1, found.unit), 20),
        str(found.unit),
        _head(plan, found.unit),
        f"{found.parameters:,}",
        f"{found.parameters / full.parameters:.1%}" if full.parameters else DASH,
        metric.cell(found.accuracy, found.samples),
        DASH if held_out is None else metric.cell(held_out, found.validation_samples),
        f"{found.samples_per_second:.1f}",
        f"{found.samples_per_second / full.samples_per_second:.2f}" if full.samples_per_second else DASH,
    )


def _head(plan: Plan, unit: int) -> str:
    """What an exit ends in; nothing where the plan has no such exit."""
    planned = next((planned for planned in plan.exits if planned.unit == unit), None)
    if planned is None:
        return DASH
    if planned.head is None:
        return "own"
    return planned.head.words


def _network(report: Report, plan: Plan) -> str:
    """Which network the accuracy is of."""
    if not report.exits or report.best is report.exits[-1]:
        return "the full model"
    unit = report.best.unit
    return f"the exit behind unit {unit} ({names(plan.model, (unit - 1, unit), 20)})"


def _accuracy(report: Report, plan: Plan) -> str:
    metric = report.task.metric
    text = f"{metric.sentence(report.accuracy, report.samples)}, by {_network(report, plan)}"
    best = report.best if report.exits and report.best_exit is not None else None
    if best is None or best.validation_accuracy is None:
        return text
    return f"{text}, the best on held-out samples ({metric.share(best.validation_accuracy, best.validation_samples)})"


def _exported(report: Report, plan: Plan) -> str:
    """What lies in the output folder, and what the marks in the list of exits stand for."""
    if report.exit_tolerance is None or not report.exits:
        return "the full model (*); no samples were held out to choose another exit by"
    best, points = report.best.unit, report.task.metric.tolerance(report.exit_tolerance)
    text = f"{_network(report, plan)} as model.safetensors"
    if best != report.exits[-1].unit:
        text += ", the full model as full.safetensors"
    if report.chosen_exit == best:
        return f"{text}; every smaller exit than that (*) loses more than {points}"
    return f"{text}, and as exit.safetensors the smallest exit (*) that loses at most {points} on held-out samples"


def figures_text(figures: tuple[Figure, ...]) -> str:
    """Further figures of a network: `top-5 98.1%, R² 0.83`."""
    return ", ".join(
        f"{clean(found.name)} {f'{found.value:.1%}' if found.is_share else f'{found.value:.4g}'}" for found in figures
    )


def missed_text(found: ExitReport, metric: Metric) -> str:
    """That the full model came out, although an exit is better."""
    return (
        f"on test samples the exit behind unit {found.unit} is better than the full model: "
        f"{metric.share(found.accuracy, found.samples)}; with "
        "--exit-tolerance, samples are held out to choose it by, and the best comes out"
    )


def report_summary(report: Report, plan: Plan) -> list[tuple[str, str]]:
    """The run in a few lines, each with its name."""
    stall = format_seconds(report.cache.stall_seconds)
    speed, waiting = _speed(plan, report), _waiting(report)
    model = plan.model
    called, given = given_words(model.input_dtype, model.input, plan.normalisation, report.resize, report.shorter_side)
    return [
        (report.task.metric.name, _accuracy(report, plan)),
        *([("besides", figures_text(report.best.further))] if report.exits and report.best.further else []),
        *([("polish", _polished(report, report.polish))] if report.polish is not None else []),
        *([("compared", comparison_text(report, report.comparison))] if report.comparison is not None else []),
        ("kept", _exported(report, plan)),
        *([("data", _data(report.data))] if report.data is not None else []),
        (called, f"went in as {given}"),
        *([("warning", missed_text(report.missed, report.task.metric))] if report.missed is not None else []),
        ("time", format_seconds(report.seconds)),
        *([("device", speed)] if speed else []),
        *([("busy", waiting)] if waiting else []),
        ("cache", f"{format_bytes(report.cache.bytes_written)} written; training waited {stall} for samples"),
    ]


def _polished(report: Report, polish: PolishReport) -> str:
    """What the polish has made of the full model."""
    metric, full = report.task.metric, report.exits[-1]
    epochs = counted(polish.block.epochs, "epoch")
    before, behind = (metric.share(found.accuracy, found.samples) for found in (polish.before, full))
    return f"{epochs} end to end took the full model from {before} to {behind}; exits were fitted and measured anew"


def _data(data: DataReport) -> str:
    """What was trained on, how it was parted, and what a person should know of it."""
    peak = f"prepared as {format_bytes(data.storage_bytes)}, at a peak of {format_bytes(data.prepare_peak_bytes)}"
    return "; ".join([*map(str.strip, data_text(data.description).splitlines()), peak])


def unfinished_table(found: Unfinished, state: str) -> str:
    """How far a run has come that has no report yet; `state` says whether it goes on."""
    plan, last = found.plan, found.last
    title = f"{clean(plan.model.name)} on {clean(plan.device.name)}, plan {short_id(plan.id)}"
    rows = [("run", title), ("state", state)]
    if last is not None:
        units = names(plan.model, plan.stages[last.block].units, 40)
        which = f"{last.block + 1} of {len(plan.blocks)}" if last.block < len(plan.blocks) else "the polish"
        rows += [
            ("block", f"{which} ({units})"),
            ("step", f"{last.step + 1} of the block, in epoch {last.epoch + 1}; loss {last.loss:.4g}"),
            ("in all", f"{counted(found.steps, 'step')} in {format_seconds(last.seconds)}"),
            ("peak", f"{format_bytes(found.peak_bytes)} of {format_bytes(plan.budget.bytes)}, in training steps"),
        ]
    if found.failure is not None:
        rows.append(("failed", clean(found.failure)))
    return fields(rows)


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
            (found.task.metric.name, found.task.metric.sentence(found.accuracy, found.samples)),
            *([("besides", figures_text(found.further))] if found.further else []),
            ("data", clean(found.data)),
            *(("", clean(text)) for text in found.notes),
            *_given(found),
            ("speed", f"{found.samples_per_second:.1f} samples/s, {found.micro_batch} at a time"),
            ("time", f"{format_seconds(found.seconds)}, reading samples and weights included"),
            ("peak", f"{format_bytes(found.peak_bytes)}{of}, everything resident"),
        ]
    )


def _given(found: Evaluation) -> Iterator[tuple[str, str]]:
    """What samples went in as, where it is told."""
    if found.normalisation is not None:
        resize = found.resize if found.input else None  # of what sizes they became an earlier release did not tell
        called, given = given_words(found.input_dtype, found.input, found.normalisation, resize, found.shorter_side)
        yield called, f"went in as {given}"


def _change(value: float, reference: float) -> str:
    """In percent; as a multiple where that reads better."""
    if reference <= 0:
        return DASH
    share = (value - reference) / reference
    return f"{share:+.1%}" if share < 10 else f"×{value / reference:.3g}"
