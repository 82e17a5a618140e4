"""Runs: samples once each, thinned with their peaks, as events, and a report that ends them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from tests.unit.api.service import ADMIN, MACHINE, PLAN, bearer, sample, with_plan, with_run


def _post(client: TestClient, run: str, samples: list[dict[str, Any]]) -> Any:
    return client.post(f"/v1/runs/{run}/samples", json={"samples": samples})


def _report(plan: dict[str, Any], **others: Any) -> dict[str, Any]:
    counts = {"peak_bytes": 1, "child_peak_bytes": 1, "supervisor_peak_bytes": 1, "baseline_bytes": 1}
    end = {"chosen_exit": 1, "accuracy": 0.5, "seconds": 1.0, "deviations": [], "blocks": [], "exits": []}
    cache = {"bytes_written": 0, "stall_seconds": 0.0}
    head = {"schema": "report/1", "plan_id": plan["id"], "budget_bytes": 9, "scope": "process", "within_budget": True}
    return {**head, **counts, **end, "cache": cache, **others}


def test_a_sample_counts_once_however_often_it_is_sent(client: TestClient) -> None:
    run, _ = with_run(client)
    first = _post(client, run, [sample(0), sample(1)])
    again = _post(client, run, [sample(1, peak_bytes=999), sample(2)])
    assert (first.status_code, again.json()["last_sequence"]) == (200, 2)
    chart = client.get(f"/v1/runs/{run}/samples").json()
    assert chart["count"] == 3
    assert chart["samples"] == [sample(0), sample(1), sample(2)]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(peaks=st.lists(st.integers(0, 10**12), min_size=1, max_size=60), points=st.integers(2, 20), data=st.data())
def test_thinning_keeps_the_highest_peak_of_every_block(
    local: TestClient, peaks: list[int], points: int, data: st.DataObject
) -> None:
    known = local.post("/v1/plans", json=PLAN)
    plan = known.json() if known.is_success else with_plan(local)
    run = local.post("/v1/runs", json={"plan_id": plan["id"]}).json()["id"]
    blocks = len(plan["blocks"])
    borders = sorted(data.draw(st.lists(st.integers(0, len(peaks)), min_size=blocks - 1, max_size=blocks - 1)))
    of = [sum(index >= border for border in borders) for index in range(len(peaks))]
    _post(local, run, [sample(index, block=of[index], peak_bytes=peak) for index, peak in enumerate(peaks)])
    chart = local.get(f"/v1/runs/{run}/samples", params={"points": points}).json()
    assert len(chart["samples"]) <= max(points, len(set(of)))
    assert (chart["count"], chart["last_sequence"]) == (len(peaks), len(peaks) - 1)
    for block in set(of):
        highest = max(peak for peak, at in zip(peaks, of, strict=True) if at == block)
        assert max(one["peak_bytes"] for one in chart["samples"] if one["block"] == block) == highest


def test_events_go_on_where_they_were_left_and_end_with_the_report(client: TestClient) -> None:
    run, plan = with_run(client)
    _post(client, run, [sample(0), sample(1), sample(2)])
    assert client.post(f"/v1/runs/{run}/report", json=_report(plan)).status_code == 201
    events = client.get(f"/v1/runs/{run}/events", headers={"Last-Event-ID": "0"})
    assert events.headers["content-type"].startswith("text/event-stream")
    parts = [dict(line.split(": ", 1) for line in part.splitlines()) for part in events.text.strip().split("\n\n")]
    found = [(part.get("event"), part.get("id")) for part in parts[1:]]
    assert found == [("state", None), ("samples", "2"), ("report", "finished")]
    assert json.loads(parts[1]["data"]) == {"state": "finished", "reason": None}
    assert [one["sequence"] for one in json.loads(parts[2]["data"])["samples"]] == [1, 2]
    assert client.get(f"/v1/runs/{run}/events", headers={"Last-Event-ID": "finished"}).status_code == 204


def test_a_report_ends_a_run_once(client: TestClient) -> None:
    run, plan = with_run(client)
    path = f"/v1/runs/{run}/report"
    assert client.get(f"/v1/runs/{run}").json()["state"] == "queued"
    answers = [client.post(path, json=_report(plan, seconds=seconds)).status_code for seconds in (1.0, 1.0, 2.0)]
    assert answers == [201, 200, 409]
    found = client.get(f"/v1/runs/{run}").json()
    assert (found["state"], found["report"]["seconds"]) == ("finished", 1.0)
    assert client.post(path, json=_report(plan, plan_id="0" * 64)).json()["field"] == "$.plan_id"


def test_a_report_has_the_last_word(client: TestClient) -> None:
    """Its peak is the run's, it says whether the budget was kept, and nothing is added behind it."""
    run, plan = with_run(client)
    assert _post(client, run, [sample(0)]).status_code == 200
    report = _report(plan, peak_bytes=10, within_budget=False)
    assert client.post(f"/v1/runs/{run}/report", json=report).status_code == 201
    (listed,) = client.get("/v1/runs").json()["items"]
    assert (listed["state"], listed["peak_bytes"]) == ("over-budget", 10)
    late = _post(client, run, [sample(1)])
    assert (late.status_code, late.json()["type"]) == (409, "urn:neuroflux:problem:run-finished")
    assert client.put(f"/v1/runs/{run}/state", json={"state": "failed"}).status_code == 409
    assert client.get(f"/v1/runs/{run}/samples").json()["count"] == 1


def test_a_run_says_how_it_ended_and_why(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = with_run(client)

    def found() -> tuple[str, str | None]:
        (item,) = client.get("/v1/runs").json()["items"]
        assert client.get(f"/v1/runs/{run}").json()["state"] == item["state"]
        return item["state"], item["reason"]

    def say(**state: Any) -> int:
        return int(client.put(f"/v1/runs/{run}/state", json=state).status_code)

    assert found() == ("queued", None)
    assert say(state="failed", reason="the loss is NaN") == 200
    assert found() == ("failed", "the loss is NaN")
    _post(client, run, [sample(0)])  # it was resumed
    assert found() == ("running", None)
    assert say(state="interrupted", reason="SIGTERM") == 200
    assert found() == ("interrupted", "SIGTERM")
    assert say(state="running") == 200
    monkeypatch.setattr("api.store.runs.SILENCE_SECONDS", -1.0)
    state, reason = found()
    assert (state, "nothing has been heard of it since" in str(reason)) == ("lost", True)
    assert [say(state="finished"), say(state="failed", reason="x" * 2001)] == [422, 422]


def test_a_revoked_devices_runs_are_interrupted(guarded: TestClient) -> None:
    guarded.headers.update(bearer(ADMIN))
    plan = with_plan(guarded)
    enrolment = guarded.post("/v1/enrolments", json={}).json()["token"]
    body = {"name": "board", "machine": MACHINE, "threads": 4}
    device = guarded.post("/v1/devices", json=body, headers=bearer(enrolment)).json()
    guarded.post("/v1/runs", json={"plan_id": plan["id"]}, headers=bearer(device["token"]))
    assert guarded.delete(f"/v1/devices/{device['device']['id']}").status_code == 204
    (run,) = guarded.get("/v1/runs").json()["items"]
    assert (run["state"], run["reason"]) == ("interrupted", "the device's tokens were revoked")


def test_a_key_creates_one_run(client: TestClient) -> None:
    plan = with_plan(client)
    keyed = {"Idempotency-Key": "once"}
    ids = [client.post("/v1/runs", json={"plan_id": plan["id"]}, headers=keyed).json()["id"] for _ in range(3)]
    assert len(set(ids)) == 1
    other = client.post("/v1/runs", json={"plan_id": plan["id"], "name": "x"}, headers=keyed)
    assert (other.status_code, other.json()["field"]) == (422, "header.Idempotency-Key")
    assert client.post("/v1/runs", json={"plan_id": plan["id"]}).json()["id"] not in ids


def test_pages_follow_each_other_and_show_everything_once(client: TestClient) -> None:
    plan = with_plan(client)
    made = [client.post("/v1/runs", json={"plan_id": plan["id"]}).json()["id"] for _ in range(5)]
    seen: list[str] = []
    cursor = None
    while True:
        page = client.get("/v1/runs", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made[::-1]
    assert client.get("/v1/runs", params={"cursor": "?"}).json()["field"] == "query.cursor"
    assert client.get("/v1/runs", params={"limit": 201}).json()["limit"] == 200


def test_a_sample_of_a_block_that_the_plan_lacks_is_refused(local: TestClient) -> None:
    run, plan = with_run(local)
    blocks = len(plan["blocks"])
    assert _post(local, run, [sample(0, block=blocks)]).json()["limit"] == blocks - 1
    assert _post(local, "0" * 32, [sample(0)]).status_code == 404
    assert _post(local, run, [sample(index) for index in range(1001)]).status_code == 422


def test_a_report_is_there_by_itself_and_as_a_page(local: TestClient) -> None:
    run, plan = with_run(local)
    assert [local.get(f"/v1/runs/{run}/{what}").status_code for what in ("report", "page")] == [404, 404]
    figures = {
        "predicted_seconds_per_epoch": 1.0,
        "measured_seconds_per_epoch": 1.0,
        "epochs": 1,
        "steps": 1,
        "loss": 1.0,
    }
    peaks = {"predicted_peak_bytes": 5, "measured_peak_bytes": 5, **figures}
    names = ("units", "micro_batch", "accumulate")
    blocks = [{**{name: block[name] for name in names}, **peaks} for block in plan["blocks"]]
    exits = [{"unit": 6, "parameters": 1, "accuracy": 0.5, "samples_per_second": 1.0}]
    report = _report(plan, blocks=blocks, exits=exits, chosen_exit=6, deviations=["<script>alert(1)</script>"])
    assert local.post(f"/v1/runs/{run}/report", json=report).status_code == 201
    found = local.get(f"/v1/runs/{run}/report").json()
    assert {name: found[name] for name in report if name not in ("blocks", "exits")} == {
        name: value for name, value in report.items() if name not in ("blocks", "exits")
    }
    page = local.get(f"/v1/runs/{run}/page")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert "<h1>" in page.text and "<script" not in page.text and "&lt;script&gt;" in page.text


def test_a_report_of_other_blocks_has_no_page(local: TestClient) -> None:
    run, plan = with_run(local)
    assert local.post(f"/v1/runs/{run}/report", json=_report(plan)).status_code == 201
    answer = local.get(f"/v1/runs/{run}/page")
    assert (answer.status_code, answer.json()["type"].split(":")[-1]) == (409, "report-of-another-plan")
