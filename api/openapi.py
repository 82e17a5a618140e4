"""The description of the service: FastAPI's, and the schemas of the documents that routes read and write themselves."""

from __future__ import annotations

import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from api.documents import adapter
from api.problems import ProblemDocument
from api.schemas import plan_responses, requests, responses
from planner.schema.model import Model
from planner.schema.plan import Plan
from planner.schema.profile import Profile
from planner.schema.report import Report
from planner.schema.terms import PlanTerms

TITLE = "neuroflux"
VERSION = "1"

_ABOUT = (
    "POST a model description, get a training plan. Bytes are integers, times UTC. Every error is an RFC 9457 problem "
    "with a `type`, and where it applies the `field` and the `limit`."
)

_TAGS = {
    "plans": "A model, a device and a budget in, a training plan out.",
    "models": "Networks: those of the zoo, and descriptions that were stored.",
    "profiles": "What units and heads of a model cost on a device, in bytes and seconds.",
    "devices": "Machines that train, and letting them in and out.",
    "runs": "What devices report while they train, and afterwards.",
    "jobs": "Measurements on this service's own machine.",
    "people": "Named tokens with roles, and who changed what.",
    "session": "Who asks, and browsers that are signed in.",
    "health": "Whether this service works, and what it counts.",
}
"""Groups of operations, in the order in which they are read."""

_KINDS: tuple[type, ...] = (
    Model,
    Plan,
    Profile,
    ProblemDocument,
    Report,
    plan_responses.Alternatives,
    requests.CompareRequest,
    plan_responses.Comparison,
    responses.DeviceItem,
    responses.DevicePage,
    requests.DeviceRequest,
    responses.EnrolledDevice,
    responses.Enrolment,
    responses.EnrolmentPage,
    requests.EnrolmentRequest,
    plan_responses.Frontier,
    responses.Health,
    responses.JobItem,
    responses.JobPage,
    requests.JobRequest,
    responses.ModelItem,
    responses.ModelPage,
    plan_responses.PlanNames,
    requests.MarkRequest,
    requests.NamedMarkRequest,
    plan_responses.PlanItem,
    plan_responses.PlanPage,
    plan_responses.PlanPeak,
    requests.PlanRequest,
    PlanTerms,
    plan_responses.PlanUnits,
    responses.ProfileItem,
    responses.ProfilePage,
    responses.Run,
    responses.RunChoices,
    responses.RunItem,
    responses.RunPage,
    requests.RunRequest,
    requests.RunStateRequest,
    requests.SampleBatch,
    responses.SampleChart,
    responses.SamplesTaken,
    responses.SessionItem,
    responses.SessionPage,
    requests.TokenRequest,
    responses.NewToken,
    responses.TokenPage,
    responses.AuditPage,
)

_SECURITY = {
    "token": {"type": "http", "scheme": "bearer", "description": "Of the admin, of a device, or for enrolment"},
    "session": {"type": "apiKey", "in": "cookie", "name": "neuroflux_session", "description": "A browser's session"},
}


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document."""
    document: dict[str, Any] = get_openapi(
        title=TITLE, version=VERSION, description=_ABOUT, routes=app.routes, openapi_version="3.1.0"
    )
    components = document.setdefault("components", {}).setdefault("schemas", {})
    components.update(schemas_of(_KINDS))
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _keep_what_comes(path, operation)
            operation["summary"] = _first_sentence(operation.get("description", ""))
    document["tags"] = [{"name": name, "description": words} for name, words in _TAGS.items()]
    document["components"]["securitySchemes"] = _SECURITY
    document["security"] = [{"token": []}, {"session": []}, {}]
    return document


def _first_sentence(text: str) -> str:
    """What a list of operations says of one."""
    return re.split(r"(?<=[^.])\.(?:\s|$)", " ".join(text.split()), maxsplit=1)[0]


def _keep_what_comes(path: str, operation: dict[str, Any]) -> None:
    """Remove what FastAPI adds to an operation and never comes: a usual answer, and JSON beside another type."""
    answers: dict[str, Any] = operation["responses"]
    if answers.get("200", {}).get("description") == "Successful Response":
        del answers["200"]
    for answer in answers.values():
        content = answer.get("content", {})
        if len(content) > 1 and content.get("application/json", {}).get("schema") == {}:
            del content["application/json"]
    if path in _WITHOUT_TOKEN:
        operation["security"] = []
        for status in ("401", "403", "422", *(("503",) if path == "/healthz" else ())):
            answers.pop(status, None)


_WITHOUT_TOKEN = ("/healthz", "/readyz")


def schemas_of(kinds: tuple[type, ...]) -> dict[str, Any]:
    """JSON Schemas of dataclasses and their parts, by name."""
    found: dict[str, Any] = {}
    for kind in kinds:
        own: TypeAdapter[Any] = adapter(kind)
        schema = own.json_schema(ref_template="#/components/schemas/{model}")
        found.update(schema.pop("$defs", {}))
        if "$ref" not in schema:
            found[kind.__name__] = schema
    return found
