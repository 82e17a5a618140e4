"""The same network by backpropagation, in ample memory: what a budget, and local learning under it, cost in the end.

It is a run of its own in a folder within the run's, after that one has ended and been reported: outside the budget,
with the same seed, recipe, epochs, data and held-out samples. Whatever becomes of it, the run's own network and figures
stay.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from planner.errors import InputError, InterruptedRunError, PlannerError
from planner.model.shapes import model_sizes
from planner.runner.supervise.begin import job_before
from planner.runner.supervise.comparison import compared
from planner.runner.supervise.supervisor import Observer, RunOptions, run_plan
from planner.schema.codec import content_id, read_document, to_json
from planner.schema.common import CHECKSUM_BYTES
from planner.schema.plan import BatchSetting, Block, BlockInput, Exit, Plan, Segment
from planner.schema.prediction import PlanPrediction, unpredicted
from planner.schema.report import ComparisonReport, Report
from planner.schema.run_folder import RunFolder
from planner.system.files import make_folder, write_atomically
from planner.system.memory import available_bytes


def backprop_plan(plan: Plan, budget_bytes: int) -> Plan:
    """One segment of all that `plan` trains, a whole batch at a time; less where that takes more than `budget_bytes`.

    Nobody predicts anything of it: what stands there keeps the runner from holding it to something.
    """
    first, last = plan.training.freeze, len(plan.model.units)
    training = replace(plan.training, polish=0, polish_lr=None, early_epochs=None)
    unused = max(block.predicted.untouched_bytes for block in plan.blocks)
    predicted = replace(unpredicted(), untouched_bytes=unused * training.batch)
    least = max(sizes.minimum_micro_batch for sizes in model_sizes(plan.model)[first:])
    sizes = [size for size in range(training.batch, least - 1, -1) if training.batch % size == 0]
    whole, *smaller = (BatchSetting(size, training.batch // size, predicted) for size in sizes)
    model = plan.model
    record_bytes = model.sample_bytes + model.label_form.bytes_behind(cached=False) + CHECKSUM_BYTES
    block = Block(
        units=(first, last),
        micro_batch=whole.micro_batch,
        accumulate=whole.accumulate,
        optimizer_in_backward=False,
        input=BlockInput("recompute" if first else "data", 0, record_bytes, "uint8"),
        segments=(Segment((first, last), None),),
        predicted=predicted,
        ladder=tuple(smaller),
    )
    made = replace(
        plan,
        schema="plan/1",
        id="",
        strategy="backprop",
        budget=replace(plan.budget, bytes=budget_bytes),
        storage_bytes=None,
        reserve_bytes=0,
        training=training,
        blocks=(block,),
        exits=(Exit(last, None),),
        predicted=PlanPrediction(1, 0.0, 0),
        minimum_budget_bytes=1,
        optimality_gap=0.0,
        alternatives=(),
        max_cuts=None,
        request=None,
        polish=None,
    )
    return replace(made, id=content_id(made))


def compare(
    plan: Plan,
    data: str,
    report: Report,
    run: RunFolder,
    options: RunOptions,
    make_observer: Callable[[Plan], Observer],
) -> Report:
    """Train the same network by backpropagation, and write the gap into the run's report, which is returned.

    Args:
        plan: What was run.
        data: Name or path of its data set.
        report: What came of it.
        run: Its output folder.
        options: What it was run with.
        make_observer: Gives who is told what the other run does, by its plan.

    Raises:
        InterruptedRunError: It was stopped. What is trained stays, and the report says so.
        StorageError: The report cannot be written.
    """
    folder = RunFolder(run.comparison)
    try:
        other, wanted = _begun(plan, run, options, report)
        make_folder(folder.path)
        _share_records(run, folder)
        found = run_plan(other, data, folder.path, wanted, make_observer(other))
    except InterruptedRunError as error:
        _written(run, replace(report, comparison=ComparisonReport("it was stopped")))
        raise InterruptedRunError(f"the run is done, its comparison by backpropagation {error}") from None
    except PlannerError as error:
        return _written(run, replace(report, comparison=ComparisonReport(str(error))))
    shutil.rmtree(folder.prepared, ignore_errors=True)
    return _written(run, compared(report, found))


def _begun(plan: Plan, run: RunFolder, options: RunOptions, report: Report) -> tuple[Plan, RunOptions]:
    """The other run's plan, and how it is run: as the run was begun. One that was begun itself goes on with its plan.

    Raises InputError where nothing says how the run was begun.
    """
    job, _ = job_before(run)
    if job is None:
        raise InputError(f"{run.job}: is damaged or lost, so that nothing says with which options the run was begun")
    folder = RunFolder(run.comparison)
    resumes = options.resume and folder.plan.exists()
    wanted = RunOptions(
        epochs=job.epochs,
        max_steps=job.max_steps,
        seed=job.seed,
        init=run.init if run.init.exists() and not resumes else None,
        resume=resumes,
        checkpoint_seconds=options.checkpoint_seconds,
        validation=options.validation or (report.data.description.validation if report.data else None),
        exit_tolerance=job.exit_tolerance,
        any_device=options.any_device,
        ignore_limit=True,
        holds_out=report.exits[-1].validation_accuracy is not None,
        guard=options.guard,
    )
    ample = plan.device.total_bytes if plan.device.is_accelerator else available_bytes()
    made = backprop_plan(plan, ample or plan.budget.bytes)
    with suppress(InputError):
        before = read_document(folder.plan, Plan)
        if resumes and replace(before, id="", budget=made.budget) == replace(made, id=""):
            return before, wanted
    return made, wanted


def _share_records(run: RunFolder, folder: RunFolder) -> None:
    """The prepared data is the same, and need not lie there twice."""
    with suppress(OSError):
        folder.prepared.mkdir(exist_ok=True)
        os.link(run.records, folder.records)


def _written(run: RunFolder, report: Report) -> Report:
    write_atomically(run.report, to_json(report))
    return report
