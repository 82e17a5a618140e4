"""What the dashboard asks for beside the documents."""

from __future__ import annotations

from starlette.testclient import TestClient

from planner.units import MIB
from tests.unit.api.service import ADMIN, MACHINE, PLAN, bearer, sample, with_plan, with_run


def test_units_of_a_plan_add_up_to_its_blocks(client: TestClient) -> None:
    plan = with_plan(client)
    found = client.get(f"/v1/plans/{plan['id']}/units").json()
    assert found["plan_id"] == plan["id"]
    units = found["units"]
    bodies = [unit["name"] for unit in units if unit["kind"] == "unit"]
    assert bodies == [unit["name"] for unit in plan["model"]["units"]]
    for block in plan["blocks"]:
        first, last = block["units"]
        own = [unit for unit in units if first <= unit["unit"] < last]
        assert sum(unit["parameters_bytes"] for unit in own) == block["predicted"]["breakdown"]["parameters"]
        assert sum(unit["optimizer_bytes"] for unit in own) == block["predicted"]["breakdown"]["optimizer"]
    assert client.get(f"/v1/plans/{plan['id']}/units").json() == found  # remembered


def test_the_frontier_rises_in_budget_and_falls_in_time(local: TestClient) -> None:
    plan = with_plan(local)
    points = local.get(f"/v1/plans/{plan['id']}/frontier").json()["frontier"]
    budgets = [point["budget_bytes"] for point in points]
    times = [point["seconds_total"] for point in points]
    assert len(points) > 1
    assert budgets == sorted(set(budgets)) and times == sorted(set(times), reverse=True)
    assert budgets[0] == plan["minimum_budget_bytes"]
    least = local.post("/v1/plans", json={**PLAN, "prefer": "speed", "budget": {"bytes": budgets[0]}}).json()
    assert least["predicted"]["seconds_total"] == times[0]


def test_views_of_a_plan_that_is_not_there(local: TestClient) -> None:
    for view in ("units", "frontier"):
        assert local.get(f"/v1/plans/{'0' * 64}/{view}").status_code == 404


def test_samples_between_two_sequence_numbers(client: TestClient) -> None:
    run, _ = with_run(client)
    client.post(f"/v1/runs/{run}/samples", json={"samples": [sample(number) for number in range(10)]})
    chart = client.get(f"/v1/runs/{run}/samples", params={"after": 2, "before": 6}).json()
    assert [one["sequence"] for one in chart["samples"]] == [3, 4, 5]
    assert (chart["count"], chart["last_sequence"]) == (3, 5)


def test_a_run_knows_its_highest_peak(client: TestClient) -> None:
    run, _ = with_run(client)
    assert client.get(f"/v1/runs/{run}").json()["peak_bytes"] is None
    peaks = [7 * MIB, 9 * MIB, 8 * MIB]
    steps = [sample(number, peak_bytes=peak) for number, peak in enumerate(peaks)]
    client.post(f"/v1/runs/{run}/samples", json={"samples": steps})
    assert client.get(f"/v1/runs/{run}").json()["peak_bytes"] == max(peaks)
    assert client.get("/v1/runs").json()["items"][0]["peak_bytes"] == max(peaks)


def test_a_device_is_seen_when_it_asks(guarded: TestClient) -> None:
    admin = bearer(ADMIN)
    token = guarded.post("/v1/enrolments", json={}, headers=admin).json()["token"]
    asked = {"name": "bench", "machine": MACHINE, "threads": 4}
    device = guarded.post("/v1/devices", json=asked, headers=bearer(token)).json()
    assert guarded.get("/v1/devices", headers=admin).json()["items"][0]["last_seen_at"] is None
    guarded.get("/v1/plans", headers=bearer(device["token"]))
    seen = guarded.get("/v1/devices", headers=admin).json()["items"][0]
    assert seen["last_seen_at"] >= seen["created_at"]


def test_a_profile_says_how_much_memory_its_device_has(local: TestClient) -> None:
    plan = with_plan(local)
    assert local.get("/v1/profiles").json()["items"][0]["device"]["total_bytes"] == plan["device"]["total_bytes"]


def test_a_browser_learns_whether_there_is_a_session_to_end(local: TestClient, guarded: TestClient) -> None:
    here = {"authentication": False, "kind": "admin", "role": "admin", "name": "this machine"}
    assert local.get("/v1/session").json() == here
    answer = guarded.post("/v1/session", headers=bearer(ADMIN))
    assert answer.status_code == 204
    assert guarded.get("/v1/session").json() == {"authentication": True, "kind": "session", "role": "admin", "name": ""}


def test_the_page_for_signing_in_has_its_style_before_that(guarded: TestClient) -> None:
    page = guarded.get("/", headers={"Accept": "text/html"})
    assert page.status_code == 401 and '"/pages/sign_in.css"' in page.text
    assert guarded.get("/pages/sign_in.css").status_code == 200
    assert guarded.get("/pages/docs.css").status_code == 401
