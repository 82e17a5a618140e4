"""Exits: which one is good enough, and what lies in the output folder as the model that ends there. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from planner.document import to_json
from planner.limits import MAX_NAME_LENGTH
from planner.model.heads import auxiliary_head, pooled_exit
from planner.model.shapes import model_sizes
from planner.model.spec import Model
from planner.report.schema import ExitReport
from planner.runner import paths
from planner.runner.safetensors import merge_tensors
from planner.runner.stored import stored_units
from planner.solver.schema import Head, Plan, PooledHead
from planner.system.files import storage_errors, write_atomically


def choose_exit(exits: Sequence[ExitReport], tolerance: float | None) -> ExitReport:
    """The exit with the fewest parameters whose accuracy on held-out samples is at most `tolerance` points below the
    full model's, which is the last. Without a tolerance, or held-out samples, the full model; of equals the deepest."""
    full = exits[-1]
    if tolerance is None or full.validation_accuracy is None:
        return full
    least = full.validation_accuracy - tolerance / 100
    # A difference of exactly the tolerance counts as within it, whatever the subtraction rounded.
    good = [found for found in exits if (found.validation_accuracy or 0.0) >= least - 1e-9]
    return min(good, key=lambda found: (found.parameters, -found.unit))


def exit_model(plan: Plan, unit: int) -> Model:
    """The description of the network that ends in the exit behind `unit` units: these, and the exit's head as one."""
    head = _head(plan, unit)
    if head is None:
        return plan.model
    shape, classes = model_sizes(plan.model)[unit - 1].output, plan.model.classes
    last = pooled_exit(shape, classes) if isinstance(head, PooledHead) else auxiliary_head(shape, head.filters, classes)
    units = plan.model.units[:unit]
    taken = {before.name for before in units}
    names = (last.name, *(f"{last.name} {count}" for count in range(2, unit + 2)))
    name = next(name for name in names if name not in taken)
    title = f"{plan.model.name[: MAX_NAME_LENGTH - 20]}, {unit} units"
    return replace(plan.model, name=title, units=(*units, replace(last, name=name)))


def export_models(plan: Plan, chosen_unit: int, out: Path) -> None:
    """Write the full model from the blocks' weights, and the chosen exit's beside it where that is a smaller one.

    Raises StorageError.
    """
    stored = stored_units(plan, len(plan.blocks), out)
    weights = [path for _, path in stored]
    merge_tensors(weights, out / paths.MODEL, lambda name: name if name.startswith("units.") else None)
    write_atomically(out / paths.DESCRIPTION, to_json(plan.model))
    if chosen_unit == len(plan.model.units):
        for name in (paths.EXIT_DESCRIPTION, paths.EXIT_MODEL):
            with storage_errors(out):
                (out / name).unlink(missing_ok=True)  # of an earlier choice, by another tolerance
        return
    files = [path for units, path in stored if units.start < chosen_unit]
    if isinstance(_head(plan, chosen_unit), PooledHead):
        inside = (index for index, block in enumerate(plan.blocks) if block.units[0] < chosen_unit <= block.units[1])
        files.append(paths.exits_path(out, next(inside)))
    merge_tensors(files, out / paths.EXIT_MODEL, lambda name: _exit_name(name, chosen_unit))
    write_atomically(out / paths.EXIT_DESCRIPTION, to_json(exit_model(plan, chosen_unit)))


def _head(plan: Plan, unit: int) -> Head | PooledHead | None:
    return next(found.head for found in plan.exits if found.unit == unit)


def _exit_name(name: str, unit: int) -> str | None:
    """What a tensor of a block's files is called in the model that ends behind `unit` units; None where it has none.

    Behind a unit there is either an auxiliary head or a pooled exit.
    """
    kind, index, rest = name.split(".", 2)
    if kind == "units":
        return name if int(index) < unit else None
    return f"units.{unit}.{rest}" if int(index) == unit else None
