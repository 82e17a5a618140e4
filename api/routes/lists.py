"""Runs and plans as tables: searched, filtered, sorted, page by page."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.problems import invalid
from api.routes.common import DEFAULT_LIMIT, Archived, Label, Limit, json_answer, reads, service_of
from api.schemas.plan_responses import PlanNames, PlanPage
from api.schemas.responses import RunChoices, RunPage, RunState
from api.store import plan_list, run_list
from api.store.content import Page
from api.store.listing import Position, Range
from api.store.plan_list import PlanFilter, PlanSort
from api.store.run_list import RunFilter, RunSort
from api.store.words import column_text
from planner.schema.codec import encode
from planner.schema.request import Strategy

router = APIRouter(prefix="/v1")

_MAX_CURSOR = 2400
Cursor = Annotated[
    str | None, Query(description="`next_cursor` of the page before, in the same order", max_length=_MAX_CURSOR)
]
Search = Annotated[
    str | None, Query(description="Words that all have to be there, in upper or lower case", max_length=200)
]
Count = Annotated[bool, Query(description="Count all that there are, on every page")]
_ID: dict[str, Any] = {"max_length": 64, "pattern": "^[0-9A-Za-z_-]*$"}
_NUMBER = r"[0-9]{1,18}(\.[0-9]{1,18})?"
_RANGE: dict[str, Any] = {"max_length": 80, "pattern": rf"^({_NUMBER})?\.\.({_NUMBER})?$"}
"""`100..200`, `100..`, `..200`."""


@router.get("/runs", tags=["runs"], **reads("list_runs", "A page of runs", RunPage))
def list_runs(
    request: Request,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
    search: Search = None,
    state: Annotated[RunState | None, Query(description="Only runs that are so far")] = None,
    model: Annotated[str | None, Query(description="Only runs of networks of this name", max_length=200)] = None,
    device: Annotated[str | None, Query(description="Only runs of the device with this id", **_ID)] = None,
    plan: Annotated[str | None, Query(description="Only runs of the plan with this id", **_ID)] = None,
    newest: Annotated[bool, Query(description="Only the newest run of each device")] = False,
    budget: Annotated[str | None, Query(description="Only budgets within these bytes: `LOW..HIGH`", **_RANGE)] = None,
    peak_bytes: Annotated[str | None, Query(description="Only peaks within these bytes: `LOW..HIGH`", **_RANGE)] = None,
    accuracy: Annotated[str | None, Query(description="Only accuracies within these: `0.9..`", **_RANGE)] = None,
    seconds: Annotated[str | None, Query(description="Only times within these seconds: `..3600`", **_RANGE)] = None,
    archived: Archived = False,
    label: Label = None,
    sort: Annotated[RunSort, Query(description="In which order; a minus: the highest first")] = "-created_at",
    count: Count = False,
) -> Response:
    """Runs that fit everything that is asked, newest first where no other order is. Rows without a value come last."""
    ranges = _ranges({"budget": budget, "peak_bytes": peak_bytes, "accuracy": accuracy, "seconds": seconds})
    wanted = RunFilter(_words(search), state, _name("model", model), device, plan, newest, ranges, archived, label)
    database, behind = service_of(request).database, _position(sort, cursor)
    return _answer(sort, run_list.listed(database, wanted, sort, behind, limit, count))


@router.get(
    "/runs/choices",
    tags=["runs"],
    **reads("get_run_choices", "Networks and devices of runs", RunChoices),
)
def get_run_choices(request: Request) -> Response:
    """What runs can be filtered by, for who offers it to people."""
    return json_answer(encode(run_list.choices(service_of(request).database)))


@router.get("/plans", tags=["plans"], **reads("list_plans", "A page of plans", PlanPage))
def list_plans(
    request: Request,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
    search: Search = None,
    model: Annotated[str | None, Query(description="Only plans for networks of this name", max_length=200)] = None,
    device: Annotated[str | None, Query(description="Only plans for devices of this name", max_length=200)] = None,
    strategy: Annotated[Strategy | None, Query(description="Only plans that this rule chose")] = None,
    budget: Annotated[str | None, Query(description="Only budgets within these bytes: `LOW..HIGH`", **_RANGE)] = None,
    peak_bytes: Annotated[
        str | None, Query(description="Only predicted peaks within these bytes: `LOW..HIGH`", **_RANGE)
    ] = None,
    seconds: Annotated[
        str | None, Query(description="Only predicted times within these seconds: `..3600`", **_RANGE)
    ] = None,
    archived: Archived = False,
    label: Label = None,
    sort: Annotated[PlanSort, Query(description="In which order; a minus: the highest first")] = "-created_at",
    count: Count = False,
) -> Response:
    """Plans that fit everything that is asked, newest first where no other order is."""
    ranges = _ranges({"budget": budget, "peak_bytes": peak_bytes, "seconds": seconds})
    named = {"model": _name("model", model), "device": _name("device", device), "strategy": strategy}
    equal = {name: value for name, value in named.items() if value is not None}
    database, behind = service_of(request).database, _position(sort, cursor)
    wanted = PlanFilter(_words(search), equal, ranges, archived, label)
    return _answer(sort, plan_list.listed(database, wanted, sort, behind, limit, count))


@router.get(
    "/plans/names", tags=["plans"], **reads("get_plan_names", "Networks, devices and strategies of plans", PlanNames)
)
def get_plan_names(request: Request) -> Response:
    """What plans can be filtered by, for who offers it to people."""
    return json_answer(encode(plan_list.names(service_of(request).database)))


def _cursor(sort: str, end: Position | None) -> str | None:
    """The position behind a page of a sorted list."""
    if end is None:
        return None
    text = json.dumps([sort, end.value, end.number], ensure_ascii=False)
    return base64.urlsafe_b64encode(b"s" + text.encode()).decode().rstrip("=")


def _position(sort: str, text: str | None) -> Position | None:
    """The position that a cursor of a sorted list stands for. Raises Problem (422)."""
    if text is None:
        return None
    try:
        found = json.loads(base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4)).removeprefix(b"s"))
        of, value, number = found
    except (binascii.Error, ValueError, TypeError, RecursionError):
        of, value, number = None, None, None
    is_known = value is None or _is_value(sort.removeprefix("-"), value)
    if of != sort or type(number) is not int or not 0 <= number < 10**18 or not is_known:
        raise invalid("query.cursor", "is no cursor of this list in this order; take next_cursor of the page before")
    return Position(value, number)


_TEXTS = frozenset({"name", "state", "model", "device", "strategy"})
"""By what lists are sorted that is no number."""


def _is_value(name: str, value: Any) -> bool:
    if name in _TEXTS:
        return isinstance(value, str) and value.isprintable()
    return type(value) in (int, float) and abs(value) < 2**63 - 1


def _answer(sort: str, page: Page) -> Response:
    """A page of a sorted list."""
    answer = {"items": page.items, "next_cursor": _cursor(sort, page.end), "total": page.total}
    return json_answer(answer)


def _words(text: str | None) -> tuple[str, ...]:
    """The words that are searched for. Raises Problem (422)."""
    if text is not None and not text.isprintable():
        raise invalid("query.search", "only printable characters are allowed")
    return tuple((text or "").casefold().split())


def _name(name: str, text: str | None) -> str | None:
    """A name that a list is filtered by, as columns hold it. Raises Problem (422)."""
    if text is not None and not text.isprintable():
        raise invalid(f"query.{name}", "only printable characters are allowed")
    return None if text is None else column_text(text)


def _ranges(texts: Mapping[str, str | None]) -> dict[str, Range]:
    """The bounds that were asked for."""
    found: dict[str, Range] = {}
    for name, text in texts.items():
        if text is not None:
            low, _, high = text.partition("..")
            found[name] = Range(float(low) if low else None, float(high) if high else None)
    return found
