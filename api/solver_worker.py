"""A warm process that solves: `python -m api.solver_worker PARENT_PID BYTES`, where BYTES is what it may map when it is
warm. It reads requests on standard input, one after another.

A message is a line of JSON that says how many bytes of profile follow it. Profiles that were sent stay decoded here,
the newest few of them; the parent (`api.solving`) knows which.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import OrderedDict
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, Literal

from api.limits import FRONTIER_SECONDS, SOLVER_PROFILES
from api.model_facts import ModelFacts
from api.problems import from_error
from api.summaries import model_item, model_row, plan_summary, profile_row
from planner.errors import DocumentError, InfeasibleError, InputError, ModelError, PlannerError
from planner.model.load import model_from_json
from planner.model.zoo import ZOO, from_zoo
from planner.schema.codec import content_id, decode, encode, parse_json, to_json
from planner.schema.device_checks import check_device
from planner.schema.model import Model
from planner.schema.plan import Plan
from planner.schema.profile import Profile
from planner.schema.request import Request
from planner.solver.explain.frontier import MAX_SOLVES, frontier
from planner.solver.explain.peak_moment import peak_moments
from planner.solver.plan import make_plan
from planner.solver.request import check_measured
from planner.solver.unit_bytes import unit_bytes
from planner.system.answers import Answers
from planner.system.rlimit import die_with_parent, limit_data
from planner.tasks.kinds import CLASSIFICATION, AnyTask


@dataclass(frozen=True)
class Asked:
    """One message."""

    profile_id: str
    """Which profile; empty where what follows is a profile to be checked, or an ONNX file."""
    profile_bytes: int
    """How many bytes of it follow; 0: it was sent before."""
    request: Request | None
    """What is asked of the solver; none: to check the profile, to look at a plan, or to read an ONNX file."""
    plan: Plan | None = None
    """A plan made from the profile, to be looked at."""
    about: Literal["frontier", "units", "peak", "onnx", "model", "zoo"] = "frontier"
    """What is to be said of it; `onnx` and `model` are of what follows, `zoo` of nothing that was sent."""
    task: AnyTask = CLASSIFICATION
    """What the network in that file is for."""
    field: str = "$"
    """Where the model stands in the request that it comes from."""


def main() -> None:
    """Answer until standard input ends."""
    die_with_parent(int(sys.argv[1]))
    answers = Answers()
    limit_data(int(sys.argv[2]))
    profiles: OrderedDict[str, Profile] = OrderedDict()
    answers.emit("ready")
    while True:
        try:
            line = sys.stdin.buffer.readline()
            if not line:
                return
            answer = json.dumps(_answer(line, sys.stdin.buffer, profiles), allow_nan=False)
        except MemoryError:
            profiles.clear()
            answer = '{"over": "memory"}'  # after which another worker takes this one's place
        answers.emit(answer)


def _answer(line: bytes, source: BinaryIO, profiles: OrderedDict[str, Profile]) -> dict[str, Any]:
    asked = decode(Asked, parse_json(line))
    sent = source.read(asked.profile_bytes)
    try:
        if asked.about == "onnx":
            return _read_onnx(sent, asked.task)
        if asked.about == "model":
            return _read_model(sent)
        if asked.about == "zoo":
            return {"rows": [model_item(from_zoo(name)) for name in ZOO]}
        if asked.request is None and asked.plan is None:
            return {"row": _checked(sent)}
        if sent:
            profiles[asked.profile_id] = decode(Profile, parse_json(sent))
        profile = profiles[asked.profile_id]
        profiles.move_to_end(asked.profile_id)
        while len(profiles) > SOLVER_PROFILES:
            profiles.popitem(last=False)
        if asked.plan is not None:
            return {"rows": _look(profile, asked.plan, asked.about)}
        assert asked.request is not None
        return {"plan": _row(_solve(profile, asked.request))}
    except PlannerError as error:
        field = "$.budget.bytes" if isinstance(error, InfeasibleError) else asked.field
        problem = from_error(error, field)
        return {"status": problem.status, "kind": problem.kind, "detail": problem.detail, "extra": problem.extra}


def _row(plan: Plan) -> dict[str, Any]:
    return {
        "id": plan.id,
        "blocks": len(plan.stages),
        "summary": json.dumps(plan_summary(plan)),
        "body": to_json(plan, indent=None),
    }


def _checked(text: bytes) -> dict[str, Any]:
    """A profile that was sent in, as it is kept. Raises DocumentError, InputError."""
    profile = decode(Profile, parse_json(text))
    if content_id(profile) != profile.id:
        raise DocumentError("$.id", "is not the hash of the content: the profile was changed after it was measured")
    if not re.fullmatch(r"[0-9a-f]{64}", profile.device.fingerprint):
        raise DocumentError("$.device.fingerprint", "a fingerprint is a sha256 in hexadecimal digits")
    return profile_row(profile)


def _read_model(text: bytes) -> dict[str, Any]:
    """A model as it is kept, and what is to be known of it. Raises DocumentError, ModelError."""
    value = parse_json(text)
    model = from_zoo(value) if isinstance(value, str) else model_from_json(value)
    row = model_row(model)
    facts = ModelFacts(
        id=row["id"],
        name=model.name,
        input=model.input,
        input_dtype=model.input_dtype,
        normalised_by=model.normalised_by,
        classes=model.classes,
        units=len(model.units),
        is_of_zoo=model.name in ZOO and _is_of_zoo(model),
    )
    return {"row": row, "facts": encode(facts)}


def _is_of_zoo(model: Model) -> bool:
    """Whether the zoo makes this model under its name, as whoever gives that name and the model's input gets it."""
    try:
        return from_zoo(model.name, model.input, model.classes) == model
    except (ModelError, InputError):
        return False


def _read_onnx(file: bytes, task: AnyTask) -> dict[str, Any]:
    """The network of a file, as it is kept, and what is to be known of it. Raises ModelError."""
    from planner.model.importers.onnx.chain import import_onnx_bytes

    found = import_onnx_bytes(file, task)
    return {"row": model_row(found.model), "notes": found.notes}


def _look(profile: Profile, plan: Plan, about: str) -> list[Any]:
    """What there is to see of a plan, beside its document."""
    if about == "units":
        return [asdict(row) for row in unit_bytes(profile, plan)]
    if about == "peak":
        return [asdict(row) for row in peak_moments(profile, plan)]
    request = plan.asked
    started = time.perf_counter()
    make_plan(profile, request)
    solves = int(FRONTIER_SECONDS / (time.perf_counter() - started))
    return [asdict(point) for point in frontier(profile, request, min(max(solves, 2), MAX_SOLVES))]


def _solve(profile: Profile, request: Request) -> Plan:
    check_measured(profile, request.training)
    check_device(profile.device, request.budget.bytes)
    try:
        return make_plan(profile, request)
    except InfeasibleError as error:
        raise InfeasibleError(_with_advice(profile, request, error), error.minimum_bytes, error.term) from None


def _with_advice(profile: Profile, request: Request, error: InfeasibleError) -> str:
    from planner.solver.explain.advice import advice

    try:
        return f"{error}. {advice(profile, request, error, False)}"
    except (InputError, InfeasibleError):
        return str(error)


if __name__ == "__main__":
    main()
