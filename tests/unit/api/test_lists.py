"""Runs and plans as tables: searched, filtered, sorted, page by page."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from starlette.testclient import TestClient

from api.limits import SILENCE_SECONDS
from api.store.database import Database, now_ms
from api.store.run_list import RunSort
from api.store.tables import devices, plans, runs
from planner.units import MIB
from tests.unit.api.service import PLAN, sample, with_plan


def _value(run: dict[str, Any], field: str) -> Any:
    """What a run is sorted by. One without a device is shown as of the one that it was planned for, and comes last."""
    if field == "device" and run["device_id"] is None:
        return None
    value = run["budget"]["bytes"] if field == "budget" else run[field]
    return value.casefold() if field == "name" else value


def _database(client: TestClient) -> Database:
    found: Database = client.app.state.service.database  # type: ignore[attr-defined]  # Starlette's, behind an ASGI type
    return found


def _begin(client: TestClient, plan: Any, name: str, **columns: Any) -> str:
    run = str(client.post("/v1/runs", json={"plan_id": plan["id"], "name": name}).json()["id"])
    if columns:
        with _database(client).write() as connection:
            connection.execute(update(runs).where(runs.c.id == run).values(**columns))
    return run


@pytest.fixture
def plan(client: TestClient) -> Any:
    return with_plan(client)


def _names(client: TestClient, **asked: Any) -> list[str]:
    answer = client.get("/v1/runs", params=asked)
    assert answer.status_code == 200, answer.text
    return [run["name"] for run in answer.json()["items"]]


def test_runs_are_sorted_by_every_column_and_no_page_loses_or_repeats_one(client: TestClient, plan: Any) -> None:
    numbers = random.Random(1)
    with _database(client).write() as connection:
        for number in range(3):
            row = {"id": f"d{number}", "kind": "device", "name": f"board {2 - number}".encode(), "fingerprint": "f"}
            connection.execute(insert(devices).values(**row, created_ms=1, machine=b"{}"))
    for number in range(13):
        ended = {
            "peak_bytes": numbers.choice([5, 7, 9]),
            "accuracy": numbers.choice([0.25, 0.1]),
            "seconds": 0.1 * number,
        }
        device = numbers.choice(["d0", "d1", "d2", None])
        state = numbers.choice(["finished", "failed"])
        name = numbers.choice(["Ant", "bee", "CAT"])
        _begin(client, plan, name, device_id=device, state=state, **(ended if number % 3 else {}))
    begun = [run["id"] for run in client.get("/v1/runs", params={"limit": 200}).json()["items"]]
    for sort in RunSort.__args__:  # type: ignore[attr-defined]  # a Literal's
        found: list[dict[str, Any]] = []
        cursor = None
        for _ in range(10):
            asked = {"sort": sort, "limit": 5, "count": True, **({"cursor": cursor} if cursor else {})}
            page = client.get("/v1/runs", params=asked).json()
            assert page["total"] == 13
            found += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert sorted(run["id"] for run in found) == sorted(begun)
        field = sort.removeprefix("-")
        values = [_value(run, field) for run in found]
        told = [value for value in values if value is not None]
        assert values[: len(told)] == sorted(told, reverse=sort.startswith("-")), sort
        if field != "created_at":
            for _, equal in itertools.groupby(zip(values, found, strict=True), lambda pair: pair[0]):
                places = [begun.index(run["id"]) for _, run in equal]
                assert places == sorted(places)  # newest first


def test_runs_are_searched_by_words_of_name_network_and_device(client: TestClient, plan: Any) -> None:
    with _database(client).write() as connection:
        row = {"id": "d0", "kind": "device", "name": "Küche".encode(), "fingerprint": "f", "machine": b"{}"}
        connection.execute(insert(devices).values(**row, created_ms=1))
    _begin(client, plan, "First 100% try")
    _begin(client, plan, "second", device_id="d0")
    assert _names(client, search="100% FIRST") == ["First 100% try"]
    assert _names(client, search="1_0") == []
    assert _names(client, search="cnn6") == ["second", "First 100% try"]
    assert _names(client, search="KÜCHE second") == ["second"]
    assert _names(client, search=plan["device"]["name"].split()[0]) == ["second", "First 100% try"]


def test_runs_are_filtered(client: TestClient, plan: Any) -> None:
    silent = now_ms() - round(1000 * SILENCE_SECONDS) - 1000
    _begin(client, plan, "ended", state="finished", peak_bytes=100, accuracy=0.9, seconds=60.0)
    _begin(client, plan, "silent", state="running", heard_ms=silent)
    going = _begin(client, plan, "goes on", device_id="d0")
    steps = [sample(number, peak_bytes=peak) for number, peak in ((0, 150), (1, 120))]
    client.post(f"/v1/runs/{going}/samples", json={"samples": steps})
    assert _names(client, state="finished") == ["ended"]
    assert _names(client, state="running") == ["goes on"]
    assert _names(client, state="lost") == ["silent"]
    assert _names(client, device="d0") == ["goes on"]
    assert _names(client, model="cnn6", plan=plan["id"]) == ["goes on", "silent", "ended"]
    assert _names(client, model="vgg16") == []
    assert _names(client, peak_bytes="101..150") == ["goes on"]  # of its samples, until its report is there
    assert _names(client, peak_bytes="..100") == ["ended"]
    assert _names(client, accuracy="0.9..") == ["ended"]
    assert _names(client, seconds="0.5..1.5") == ["goes on"]
    assert _names(client, budget=f"{PLAN['budget']['bytes'] + 1}..") == []
    items = {run["name"]: run for run in client.get("/v1/runs").json()["items"]}
    assert (items["goes on"]["peak_bytes"], items["goes on"]["seconds"]) == (150, 1.0)
    assert (items["ended"]["accuracy"], items["ended"]["task"]) == (0.9, "classification")
    choices = client.get("/v1/runs/choices").json()
    assert choices == {"models": ["cnn6"], "devices": []}


def test_plans_are_searched_filtered_and_sorted(client: TestClient, plan: Any) -> None:
    made = [plan]
    for mib, strategy in ((500, "backprop"), (350, "auto")):
        made.append(
            client.post("/v1/plans", json={**PLAN, "budget": {"bytes": mib * MIB}, "strategy": strategy}).json()
        )

    def ids(**asked: Any) -> list[str]:
        return [one["id"] for one in client.get("/v1/plans", params=asked).json()["items"]]

    assert ids() == [one["id"] for one in reversed(made)]
    by_budget = [one["id"] for one in sorted(made, key=lambda one: one["budget"]["bytes"])]
    assert ids(sort="budget") == by_budget and ids(sort="-budget") == by_budget[::-1]
    assert ids(search="BACKPROP cnn6") == ids(strategy="backprop") == [made[1]["id"]]
    assert ids(budget=f"{400 * MIB}..{500 * MIB}", sort="budget") == by_budget[1:]
    by_time = sorted(made, key=lambda one: one["predicted"]["seconds_total"])
    assert {ids(sort="seconds", limit=1)[0]} <= {
        one["id"] for one in made if one["predicted"]["seconds_total"] == by_time[0]["predicted"]["seconds_total"]
    }
    names = client.get("/v1/plans/names").json()
    assert names == {"models": ["cnn6"], "devices": [plan["device"]["name"]], "strategies": ["auto", "backprop"]}


def test_what_no_list_knows_is_refused(local: TestClient) -> None:
    asked = {"sort": ["weight"], "state": ["asleep"], "peak_bytes": ["5", "5..x", "-5.."], "plan": ["é"]}
    asked |= {"model": ["\x01"], "search": ["\x01"], "cursor": ["bjE", "cw", "c1tdXQ"]}
    for name, values in asked.items():
        for value in values:
            answer = local.get("/v1/runs", params={name: value})
            assert answer.status_code == 422 and name in answer.json()["field"], (name, value, answer.text)


def test_a_cursor_is_good_in_its_own_order_alone(local: TestClient) -> None:
    client, plan = local, with_plan(local)
    for name in ("one", "two"):
        _begin(client, plan, name)
    cursor = client.get("/v1/runs", params={"limit": 1, "sort": "name"}).json()["next_cursor"]
    assert client.get("/v1/runs", params={"cursor": cursor, "sort": "name"}).status_code == 200
    assert client.get("/v1/runs", params={"cursor": cursor, "sort": "-budget"}).status_code == 422


def test_the_table_is_read_from_its_index(local: TestClient) -> None:
    """Rows lie before documents of any size, which SQLite would read over."""
    asked = {
        runs: (runs.c.words, runs.c.state, runs.c.peak_bytes, runs.c.accuracy, runs.c.seconds, runs.c.device_id),
        plans: (plans.c.words, plans.c.peak_bytes, plans.c.seconds, plans.c.cuts),
    }
    with _database(local).read() as connection:
        for table, columns in asked.items():
            text = str(select(*columns).compile(connection.engine))
            explained = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}").all()
            assert f"COVERING INDEX ix_{table.name}_listed" in explained[0][-1]
