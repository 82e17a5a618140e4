"""Models: the zoo's, and descriptions that were stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api import bodies
from api.auth import needs
from api.limits import MAX_ONNX_BODY_BYTES
from api.problems import from_error
from api.routes.common import (
    BODY_PROBLEMS,
    DEFAULT_LIMIT,
    Archived,
    Cursor,
    Label,
    Limit,
    content_answer,
    from_cursor,
    gives,
    known,
    page_answer,
    reads,
    service_of,
    takes,
)
from api.schemas.responses import ModelPage
from api.store import content, document_lists, marks
from api.store.content import Page
from api.store.tables import models
from planner.errors import DocumentError
from planner.model.zoo import ZOO
from planner.schema.codec import decode, parse_json
from planner.schema.model import Model
from planner.tasks.kinds import CLASSIFICATION, AnyTask

router = APIRouter(prefix="/v1/models", tags=["models"])

EXAMPLE = {
    "schema": "model/1",
    "name": "tiny",
    "input": [1, 28, 28],
    "classes": 10,
    "units": [
        {
            "name": "conv",
            "layers": [
                {"op": "conv2d", "out_channels": 8, "kernel": 3, "padding": 1, "bias": False},
                {"op": "batchnorm2d"},
                {"op": "relu"},
                {"op": "max_pool2d", "kernel": 2, "stride": 2},
            ],
        },
        {
            "name": "classifier",
            "layers": [
                {"op": "adaptive_avg_pool2d", "height": 1, "width": 1},
                {"op": "flatten"},
                {"op": "linear", "out_features": 10},
            ],
        },
    ],
}


ONNX_TYPE = "application/onnx"
"""Media type of an ONNX file."""

_TASK_FIELD = "query.task"
_MOST_TASK_TEXT = 65_536


@dataclass(frozen=True)
class _Said:
    """What a query says."""

    task: AnyTask
    """What a network is for."""


_TAKEN = takes(Model, EXAMPLE)
_TAKEN["requestBody"]["content"][ONNX_TYPE] = {"schema": {"type": "string", "format": "binary"}}


@router.get("", **reads("list_models", "A page of models", ModelPage))
async def list_models(
    request: Request,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
    archived: Archived = False,
    label: Label = None,
) -> Response:
    """Stored models, newest first, and the zoo's behind them, which bear no label and are not archived."""
    service = service_of(request)
    shown = marks.are_shown(models, archived, label)
    found = await run_in_threadpool(document_lists.page, service.database, models, from_cursor(cursor), limit, shown)
    if found.next_number is None and not archived and label is None:
        stored = {item["id"] for item in found.items}
        zoo = tuple(item for item in await service.models.zoo() if item["id"] not in stored)
        found = Page((*found.items, *zoo), None)
    return page_answer(found)


@router.post(
    "",
    operation_id="store_model",
    openapi_extra=_TAKEN,
    responses=gives({201: ("Stored", Model), 200: ("It was there already", Model)}, BODY_PROBLEMS),
    dependencies=[Depends(needs("plan"))],
)
async def store_model(
    request: Request,
    task: Annotated[
        str | None,
        Query(
            description="What the network in an ONNX file is for: a kind of task (`segmentation`), or the task as "
            'descriptions have it (`{"kind": "regression", "loss": "huber"}`); `classification` where nothing is said. '
            "Other descriptions say it themselves.",
            max_length=_MOST_TASK_TEXT,
        ),
    ] = None,
) -> Response:
    """Check a description (`model/1`, `model/2`, or a zoo name with arguments) and store it under the hash of its
    content. Of an ONNX file (`application/onnx`) the network is stored as a description, and its weights are not; what
    is to be known of it stands in the header `Neuroflux-Notes`.
    """
    if bodies.media_type(request) == ONNX_TYPE:
        file = await bodies.receive(request, MAX_ONNX_BODY_BYTES, (ONNX_TYPE,))
        # By a solver's process: this one has no numpy, and what a file may take has a ceiling there.
        row, notes = await service_of(request).solvers.read_onnx(file, _task(task))
        response = await run_in_threadpool(_store, request, row)
        if notes:
            response.headers["Neuroflux-Notes"] = "; ".join(notes)
        return response
    if task is not None:
        raise from_error(
            DocumentError(_TASK_FIELD, f"is of ONNX files ({ONNX_TYPE}); a description says its task itself")
        )
    value = await run_in_threadpool(bodies.value_of, await bodies.receive(request))
    return await run_in_threadpool(_store, request, (await service_of(request).models.of(value, "$")).row)


def _task(text: str | None) -> AnyTask:
    """The task that a query names. Raises Problem (422)."""
    if text is None:
        return CLASSIFICATION
    try:
        value = parse_json(text) if text.lstrip().startswith("{") else {"kind": text}
        return decode(_Said, {"task": value}, "query").task
    except DocumentError as error:
        raise from_error(error, _TASK_FIELD) from None


def _store(request: Request, row: dict[str, Any]) -> Response:
    created = content.put(service_of(request).database, models, row)
    status = 201 if created else 200
    return content_answer(request, row["id"], row["body"].encode(), status, f"/v1/models/{row['id']}")


@router.get("/{name}", **reads("get_model", "The description", Model, 404, never_changes=True))
async def get_model(
    request: Request, name: Annotated[str, Path(description="A zoo name, or a model's id", max_length=64)]
) -> Response:
    """A description."""
    service = service_of(request)
    if name in ZOO:
        model = await service.models.of(name, "path.name")
        return content_answer(request, model.facts.id, model.body)
    body = await run_in_threadpool(content.body, service.database, models, name) if content.is_id(name) else None
    return content_answer(request, name, known(body, f"model {name}"))
