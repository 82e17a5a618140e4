"""Plans: a model and a budget in, a training plan out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api import bodies
from api.auth import may, needs
from api.known_models import KnownModel
from api.model_facts import ModelFacts
from api.plan_cache import CachedPlan
from api.problems import Problem, from_error, invalid, not_found, overloaded
from api.routes.common import (
    BODY_PROBLEMS,
    content_answer,
    gives,
    json_answer,
    reads,
    service_of,
    takes,
)
from api.routes.jobs import queue_profile
from api.schemas.plan_responses import Alternatives, Choice, Comparison, PlanChoices
from api.schemas.requests import CompareRequest, CompareTerms, JobTerms, PlanRequest, ServiceTerms
from api.schemas.responses import JobItem
from api.service import Service
from api.store import content, device_rows, document_lists, profile_rows
from api.store.tables import plans, profiles
from api.store.tokens import Principal
from planner.errors import InputError
from planner.heads.kinds import HEAD_CHOICES
from planner.schema.codec import content_id, encode
from planner.schema.common import OPTIMIZER_WORDS
from planner.schema.plan import PLAN_SCHEMA, Plan
from planner.schema.request import STRATEGY_WORDS, Strategy, Training
from planner.schema.request import Request as Question
from planner.schema.terms import BudgetTerms, PlanTerms
from planner.units import MIB

router = APIRouter(prefix="/v1/plans", tags=["plans"])

_TERMS = PlanTerms(budget=BudgetTerms(300 * MIB))
"""What a request says that leaves out all it may; the budget is one to begin with."""

_EXAMPLE = {
    "model": "vgg16",
    "budget": encode(_TERMS.budget),
    "device": "server",
    "training": {"batch": 128, "epochs": 10, "samples": 50000, "optimizer": {"kind": "sgd"}},
    "strategy": "auto",
    "prefer": "balanced",
}


@dataclass(frozen=True)
class _Asked:
    """A request whose model and profile are known."""

    model: KnownModel
    """What is to be trained."""
    question: Question
    """What is asked of the solver."""
    profile_id: str | None
    """The profile that answers it; none: there is none yet."""
    device: device_rows.DeviceKey | None
    """The device that was named."""
    subject: profile_rows.ProfileKey | None
    """What the profile was looked for by; none: it was named."""

    @property
    def key(self) -> str:
        """What equal requests have in common."""
        return content_id({"schema": PLAN_SCHEMA, "profile": self.profile_id, "request": self.question})


def _asked(service: Service, terms: ServiceTerms, model: KnownModel) -> _Asked:
    """Find what a request refers to. Raises Problem (422, 503)."""
    question = _question(terms)
    _check(model.facts, question.training)
    model_id, optimizer = model.facts.id, question.training.optimizer
    if terms.profile is not None:
        with service.database.read() as connection:
            found = connection.execute(select(profiles.c.model_id).where(profiles.c.id == terms.profile)).scalar()
        if found is None:
            raise invalid("$.profile", "there is no profile with this id; POST it to /v1/profiles first")
        if found != model_id:
            raise invalid("$.profile", f"is a profile of another model than {model.facts.name} as it is described here")
        return _Asked(model, question, terms.profile, None, None)
    device = device_rows.key_of(service.database, terms.device or device_rows.SERVER)
    if device is None and terms.device in (None, device_rows.SERVER):
        raise overloaded("no worker has said yet what machine this service measures on", seconds=5)
    if device is None:
        raise invalid("$.device", "there is no device with this id; GET /v1/devices lists them")
    training = question.training
    subject = profile_rows.ProfileKey(
        device.id,
        model_id,
        optimizer.kind,
        optimizer.state_copies,
        training.dtype,
        training.batch,
        profile_rows.measured_pattern(question.head),
    )
    return _Asked(model, question, profile_rows.find(service.database, subject), device, subject)


def _check(model: ModelFacts, training: Training) -> None:
    """Raise Problem (422) where a model cannot be trained so."""
    place = ".freeze"
    try:
        training.check_freeze(model.units)
        place = ".normalisation"
        (training.normalisation or model.normalised_by).check(model.input)
        place = ""
        training.check_images(model.input, model.input_dtype)
    except ValueError as error:
        raise invalid(f"$.training{place}", str(error)) from None


def _question(terms: ServiceTerms) -> Question:
    try:
        return terms.request()
    except InputError as error:
        raise from_error(error, f"$.{str(error).partition(' ')[0]}") from None


async def _plan_of(service: Service, asked: _Asked) -> tuple[str, bytes, bool]:
    """Id, text, and whether it is new. Raises Problem where nothing fits, or the solver is overloaded."""
    assert asked.profile_id is not None
    key = asked.key
    known = await run_in_threadpool(content.plan_for, service.database, key)
    if known is not None:
        return known, await _text(service, known), False
    profile = await run_in_threadpool(content.body, service.database, profiles, asked.profile_id)
    if profile is None:
        raise not_found(f"profile {asked.profile_id} any more: it was deleted")
    row = await service.solvers.solve(asked.profile_id, profile, asked.question)
    created = await run_in_threadpool(content.put_plan, service.database, key, row)
    text = row["body"].encode()
    service.put_plan(row["id"], text)
    return row["id"], text, created


async def _text(service: Service, plan_id: str) -> bytes:
    """A plan's text. Raises Problem (404)."""
    await service.check_plan(plan_id)
    found = service.plans.get(plan_id)
    if found is None:
        found = await run_in_threadpool(content.body, service.database, plans, plan_id)
        if found is None:
            raise not_found(f"plan {plan_id}")
        service.put_plan(plan_id, found)
    return found


def _split(text: bytes, kind: type[ServiceTerms]) -> tuple[Any, Any]:
    """The body without its model, as `kind`, and the model."""
    value = bodies.value_of(text)
    if not isinstance(value, dict) or "model" not in value:
        raise (
            invalid("$.model", "this field is missing")
            if isinstance(value, dict)
            else invalid("$", "an object is needed")
        )
    model = value.pop("model")
    return bodies.decoded(kind, value), model


async def _understood(service: Service, text: bytes, kind: type[ServiceTerms]) -> tuple[Any, _Asked]:
    terms, value = await run_in_threadpool(_split, text, kind)
    model = await service.models.of(value, "$.model")
    return terms, await run_in_threadpool(_asked, service, terms, model)


@router.post(
    "",
    operation_id="make_plan",
    openapi_extra=takes(PlanRequest, _EXAMPLE),
    responses=gives(
        {
            201: ("The plan", Plan),
            200: ("The plan that was made for an equal request", Plan),
            202: ("The model is being measured on this service's machine; ask again after Retry-After", JobItem),
        },
        (*BODY_PROBLEMS, 409, 429),
    ),
)
async def make_plan(request: Request, principal: Annotated[Principal, Depends(needs("plan"))]) -> Response:
    """The plan that trains within the budget and is as fast as it can be.

    Infeasible requests get 422 with `minimum_bytes` and `binding_term`; a device whose profile is missing gets 409 with
    the `command` to run there, and so does whoever may not have this service's machine measure.
    """
    service = service_of(request)
    text = await bodies.receive(request)
    known = service.plan_cache.get(text)
    if known is not None and await _is_true(service, known):
        return content_answer(request, known.plan_id, await _text(service, known.plan_id), 200, _path(known.plan_id))
    terms, asked = await _understood(service, text, ServiceTerms)
    if asked.profile_id is None:
        may_measure = may(principal, "jobs")
        return await run_in_threadpool(_measure_first, service, terms, asked, _base(request), may_measure)
    identity, plan, created = await _plan_of(service, asked)
    service.plan_cache.put(text, CachedPlan(identity, asked.profile_id, asked.subject))
    return content_answer(request, identity, plan, 201 if created else 200, _path(identity))


def _path(plan_id: str) -> str:
    return f"/v1/plans/{plan_id}"


async def _is_true(service: Service, known: CachedPlan) -> bool:
    """Whether the profile is still the one to be taken: it may have been deleted, and another process may have stored a
    newer one, or revoked the device. The plan may have been deleted too."""
    await service.check_plan(known.plan_id)
    if service.plans.get(known.plan_id) is None and not await run_in_threadpool(
        content.exists, service.database, plans, known.plan_id
    ):
        return False
    if known.subject is None:
        return await run_in_threadpool(profile_rows.exists, service.database, known.profile_id)
    return await run_in_threadpool(profile_rows.find, service.database, known.subject) == known.profile_id


def _measure_first(service: Service, terms: ServiceTerms, asked: _Asked, base: str, may_measure: bool) -> Response:
    """202 where this service can measure, and may for who asks, else Problem (409) with what to run."""
    assert asked.device is not None
    if not asked.device.is_server:
        raise _missing(asked, asked.device, base)
    if not may_measure:
        name, batch = asked.model.facts.name, asked.question.training.batch
        raise Problem(
            HTTPStatus.CONFLICT,
            "profile-missing",
            f"{name} was not measured on this service's machine for a batch of {batch} yet, and a device may not have "
            "it measured, an admin may; or name this device, to plan for it",
            field="$.device",
        )
    training = terms.training
    needed = JobTerms(
        kind="profile", batch=training.batch, optimizer=training.optimizer, dtype=training.dtype, head=terms.head
    )
    job = queue_profile(service, needed, asked.model, None)
    headers = {"Location": f"/v1/jobs/{job['id']}", "Retry-After": str(max(5, round(job["eta_seconds"] or 30)))}
    return json_answer(job, HTTPStatus.ACCEPTED, headers)


def _base(request: Request) -> str:
    """This service's address, as whoever asks reaches it."""
    return str(request.base_url).rstrip("/")


def _missing(asked: _Asked, device: device_rows.DeviceKey, base: str) -> Problem:
    training, model = asked.question.training, asked.model.facts
    shape = "x".join(str(extent) for extent in model.input)
    named = f"{model.name} --input {shape} --classes {model.classes}" if model.is_of_zoo else "model.json"
    where = "" if model.is_of_zoo else ", where model.json holds the description that you have sent"
    return Problem(
        HTTPStatus.CONFLICT,
        "profile-missing",
        f"{model.name} was not measured on {device.name} for a batch of {training.batch} yet; run the command there"
        f"{where}: it measures, and stores the profile here",
        field="$.device",
        command=f"neuroflux profile --model {named} --batch {training.batch} --optimizer {training.optimizer.kind}"
        f"{'' if training.dtype == 'float32' else f' --dtype {training.dtype}'}"
        f"{'' if asked.question.head is None else f' --head {asked.question.head}'} --report-to {base}",
    )


@router.get("/terms", **reads("get_plan_terms", "Every term with its default, and a budget to begin with", PlanTerms))
def get_terms() -> Response:
    """What a request is taken to say where it says nothing: the defaults of command line, Python and REST."""
    return json_answer(encode(_TERMS))


@router.get("/choices", **reads("get_plan_choices", "Strategies, optimizers and heads, in words", PlanChoices))
def get_choices() -> Response:
    """What there is to choose from, for who offers it to people."""
    strategies, optimizers, heads = (
        tuple(Choice(name, words) for name, words in found.items())
        for found in (STRATEGY_WORDS, OPTIMIZER_WORDS, HEAD_CHOICES)
    )
    return json_answer(encode(PlanChoices(strategies, optimizers, heads)))


@router.get("/{plan_id}", **reads("get_plan", "The plan", Plan, 404, never_changes=True))
async def get_plan(request: Request, plan_id: Annotated[str, Path(max_length=64)]) -> Response:
    """A plan, as `neuroflux run` takes it."""
    return content_answer(request, plan_id, await _text(service_of(request), plan_id))


@router.get(
    "/{plan_id}/alternatives", **reads("get_alternatives", "Other plans for the same request", Alternatives, 404)
)
async def get_alternatives(request: Request, plan_id: Annotated[str, Path(max_length=64)]) -> Response:
    """Every strategy that fits, and the frontier of time against cuts."""
    text = await _text(service_of(request), plan_id)
    found = await run_in_threadpool(json.loads, text)
    return json_answer({"plan_id": plan_id, "alternatives": found["alternatives"]})


@router.post(
    "/compare",
    operation_id="compare_plans",
    openapi_extra=takes(
        CompareRequest, {**_EXAMPLE, "budgets_bytes": [262144000, 314572800], "strategies": ["auto", "backprop"]}
    ),
    responses=gives({200: ("The plans beside each other", Comparison)}, (*BODY_PROBLEMS, 409)),
    dependencies=[Depends(needs("plan"))],
)
async def compare_plans(request: Request) -> Response:
    """Several budgets or strategies at once. The profile must be there; every plan is kept."""
    service = service_of(request)
    text = await bodies.receive(request)
    terms, asked = await _understood(service, text, CompareTerms)
    if asked.profile_id is None and asked.device is not None:
        raise _missing(asked, asked.device, _base(request))
    return json_answer({"rows": [await _compared(service, each) for each in _each(terms, asked)]})


def _each(terms: CompareTerms, asked: _Asked) -> Iterator[_Asked]:
    strategies: tuple[Strategy, ...] = terms.strategies or (asked.question.strategy,)
    for budget in terms.budgets_bytes or (asked.question.budget.bytes,):
        for strategy in strategies:
            changed = replace(asked.question.budget, bytes=budget)
            yield replace(asked, question=replace(asked.question, budget=changed, strategy=strategy))


async def _compared(service: Service, asked: _Asked) -> dict[str, Any]:
    question = asked.question
    row: dict[str, Any] = {
        "budget": {"bytes": question.budget.bytes, "scope": question.budget.scope},
        "strategy": question.strategy,
    }
    try:
        identity, _, _ = await _plan_of(service, asked)
    except Problem as problem:
        if problem.kind != "infeasible":
            raise
        names = ("plan_id", "peak_bytes", "seconds_total", "blocks", "cuts")
        return {
            **row,
            **dict.fromkeys(names),
            "minimum_bytes": problem.extra["minimum_bytes"],
            "binding_term": problem.extra["binding_term"],
        }
    found = await run_in_threadpool(document_lists.page, service.database, plans, None, 1, (plans.c.id == identity,))
    summary = {name: found.items[0][name] for name in ("peak_bytes", "seconds_total", "blocks", "cuts")}
    return {**row, "plan_id": identity, **summary, "minimum_bytes": None, "binding_term": None}
