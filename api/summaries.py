"""What lists say of documents, and documents as rows of the store. Plain values: solver workers send them as JSON."""

from __future__ import annotations

import json
from typing import Any

from planner.model.shapes import model_sizes
from planner.schema.codec import content_id, to_json
from planner.schema.model import Model
from planner.schema.plan import Plan
from planner.schema.profile import Profile

NO_MARKS: dict[str, Any] = {"labels": [], "notes": "", "archived_at": None}
"""What people have written on the zoo's models: nothing, for those are not kept here."""


def model_summary(model: Model) -> dict[str, Any]:
    """What a list says of a model. Raises ModelError where the chain does not hold."""
    sizes = model_sizes(model)
    return {
        "name": model.name,
        "input": list(model.input),
        "classes": model.classes,
        "units": len(model.units),
        "parameters": sum(unit.parameters for unit in sizes),
        "task": model.task.kind,
    }


def model_item(model: Model) -> dict[str, Any]:
    """One of the zoo in a list of models."""
    return {"id": content_id(model), **model_summary(model), "created_at": None, **NO_MARKS}


def model_row(model: Model) -> dict[str, Any]:
    """A model as it is kept."""
    summary = json.dumps(model_summary(model))
    return {"id": content_id(model), "summary": summary, "body": to_json(model, indent=None)}


def profile_row(profile: Profile) -> dict[str, Any]:
    """A profile as it is kept."""
    summary = {
        "model": model_summary(profile.model),
        "model_id": content_id(profile.model),
        "device": {
            "name": profile.device.name,
            "fingerprint": profile.device.fingerprint,
            "total_bytes": profile.device.total_bytes,
        },
        "optimizer": profile.optimizer.kind,
        "dtype": profile.dtype,
        "batch": covered_batch(profile),
    }
    return {
        "id": profile.id,
        "model_id": summary["model_id"],
        "fingerprint": profile.device.fingerprint,
        "optimizer": profile.optimizer.kind,
        "state_copies": profile.optimizer.state_copies,
        "dtype": profile.dtype,
        "heads": _head_kinds(profile),
        "batch": summary["batch"],
        "summary": json.dumps(summary),
        "body": to_json(profile, indent=None),
    }


def _head_kinds(profile: Profile) -> str:
    """The kinds of its heads that may be asked for, each between spaces."""
    kinds = {found.head.asked_as for found in profile.heads if found.head is not None and found.head.asked_as}
    return f" {' '.join(sorted(kinds))} "


def covered_batch(profile: Profile) -> int:
    """The largest batch the profile is meant for: measured, or wanted where limits kept it from being measured."""
    components = [*profile.units, *(head.cost for head in profile.heads)]
    measured = min(component.costs[-1].micro_batch for component in components)
    left_out = profile.limits.left_out if profile.limits is not None else ()
    return max([measured, *(left.micro_batch for left in left_out)])


def plan_summary(plan: Plan) -> dict[str, Any]:
    """What a list says of a plan."""
    return {
        "model": plan.model.name,
        "task": plan.model.task.kind,
        "device": plan.device.name,
        "profile_id": plan.profile_id,
        "strategy": plan.strategy,
        "budget": {"bytes": plan.budget.bytes, "scope": plan.budget.scope},
        "peak_bytes": plan.predicted.peak_bytes,
        "seconds_total": plan.predicted.seconds_total,
        "blocks": len(plan.blocks),
        "cuts": plan.cuts,
    }
