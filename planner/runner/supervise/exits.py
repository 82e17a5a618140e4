"""Exits: which one is good enough, and what lies in the output folder as the model that ends there. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from pathlib import Path

from planner.heads.kinds import ExitHead
from planner.heads.pooled import PooledHead
from planner.limits import MAX_NAME_LENGTH
from planner.model.heads import head_unit
from planner.model.shapes import model_sizes
from planner.operators.unit_graph import UnitGraph
from planner.runner.storage.planned_run import PlannedRun
from planner.runner.storage.safetensors import merge_tensors
from planner.schema.codec import to_json
from planner.schema.model import Model, Unit
from planner.schema.plan import Plan
from planner.schema.report_parts import ExitReport
from planner.system.files import storage_errors, write_atomically
from planner.tasks.base import Metric


def best_exit(exits: Sequence[ExitReport], metric: Metric) -> ExitReport:
    """The exit that is best on held-out samples; of equals the deepest. Without any, the full model, which is the last:
    what an exit's accuracy is told by must not choose it."""

    def goodness(found: ExitReport) -> float:
        return -inf if found.validation_accuracy is None else metric.goodness(found.validation_accuracy)

    return max(exits, key=lambda found: (goodness(found), found.unit))


def choose_exit(exits: Sequence[ExitReport], metric: Metric, tolerance: float | None) -> ExitReport:
    """The exit with the fewest parameters that loses at most `tolerance` points to the best on held-out samples; the
    best without a tolerance, or held-out samples. Of equals the deepest."""
    best = best_exit(exits, metric)
    if tolerance is None or best.validation_accuracy is None:
        return best
    good = [
        found
        for found in exits
        if found.validation_accuracy is not None
        and metric.is_within(tolerance, found.validation_accuracy, best.validation_accuracy)
    ]
    return min(good, key=lambda found: (found.parameters, -found.unit))


def exit_model(plan: Plan, unit: int) -> Model:
    """The description of the network that ends in the exit behind `unit` units: these, and the exit's head as one."""
    head = _head(plan, unit)
    if head is None:
        return plan.model
    last = head_unit(head, model_sizes(plan.model)[unit - 1].output, plan.model.output)
    units = (*plan.model.units[: unit - 1], _giving_one(plan.model.units[unit - 1]))
    taken = {before.name for before in units}
    names = (last.name, *(f"{last.name} {count}" for count in range(2, unit + 2)))
    name = next(name for name in names if name not in taken)
    title = f"{plan.model.name[: MAX_NAME_LENGTH - 20]}, {unit} units"
    model = plan.model
    if any(isinstance(layer, UnitGraph) for layer in last.layers):
        model = replace(model, schema="model/2")
    return replace(model, name=title, units=(*units, replace(last, name=name)))


def _giving_one(unit: Unit) -> Unit:
    """The unit without what it gives beside its first tensor, which is all that a head reads."""
    (layer, *_) = unit.layers
    if not isinstance(layer, UnitGraph) or not layer.further_results:
        return unit
    return replace(unit, layers=(replace(layer, further_results=()),))


def export_models(run: PlannedRun, best_unit: int, chosen_unit: int) -> None:
    """Write the best exit's model from the blocks' weights; beside it the full model and the chosen exit's, where these
    are others.

    Raises StorageError.
    """
    folder = run.folder
    _export(run, best_unit, folder.description, folder.model)
    full = len(run.plan.model.units)
    for unit, *files in (
        (full, folder.full_description, folder.full_model),
        (chosen_unit, folder.exit_description, folder.exit_model),
    ):
        if unit != best_unit:
            _export(run, unit, *files)
            continue
        for file in files:
            with storage_errors(folder.path):
                file.unlink(missing_ok=True)  # of an earlier choice, by another tolerance


def _export(run: PlannedRun, unit: int, description: Path, weights: Path) -> None:
    """Write the network that ends in the exit behind `unit` units."""
    plan = run.plan
    files = [path for units, path in run.weight_files(len(plan.stages)) if units.start < unit]
    if isinstance(_head(plan, unit), PooledHead):
        ends = (index for index in range(len(plan.stages)) if any(found.unit == unit for found in plan.exits_of(index)))
        files.append(run.folder.block_exits(max(ends)))
    merge_tensors(files, weights, lambda name: _exit_name(name, unit))
    write_atomically(description, to_json(exit_model(plan, unit)))


def _head(plan: Plan, unit: int) -> ExitHead | None:
    return next(found.head for found in plan.exits if found.unit == unit)


def _exit_name(name: str, unit: int) -> str | None:
    """What a tensor of a block's files is called in the model that ends behind `unit` units; None where it has none.

    Behind a unit there is either an auxiliary head or a pooled exit. What is trained beside a head is left behind, and
    so are windows and their heads.
    """
    kind, index, rest = name.split(".", 2)
    if kind == "units":
        return name if int(index) < unit else None
    if kind in ("windows", "window_heads"):
        return None
    if int(index) != unit or rest.startswith("decoder."):
        return None
    return f"units.{unit}.{rest.removeprefix('classifier.')}"
