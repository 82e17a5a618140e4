"""The page of the devices."""

from __future__ import annotations

import json
import re
from typing import Any

from playwright.sync_api import expect

from tests.browser.conftest import Open
from tests.browser.served import Served
from tests.unit.api.service import CNN6, bearer


def enrol(served: Served, name: str) -> Any:
    """A device and its token."""
    token = served.post("/v1/enrolments", {})["token"]
    asked = {"name": name, "machine": json.loads(CNN6)["machine"], "threads": 1}
    answer = served.server.client.post("/v1/devices", json=asked, headers=bearer(token))
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_a_device_shows_its_memory_when_it_was_seen_and_what_it_runs(open_page: Open, served: Served) -> None:
    device = enrol(served, "bench-1")
    run = served.server.client.post(
        "/v1/runs", json={"plan_id": served.plan["id"], "name": "night shift"}, headers=bearer(device["token"])
    ).json()
    served.send_steps(run["id"], 0, 3)
    page = open_page("/#/fleet")
    card = page.locator("li:has(h2:text-is('bench-1'))")
    memory = device["device"]["machine"]["total_bytes"] / 2**30
    expect(card).to_contain_text(f"{memory:.1f} GiB memory")
    expect(card).to_contain_text(re.compile("last seen .*(now|second|minute)"))
    expect(card.locator(".badge")).to_have_text(re.compile("running"))
    budget = served.plan["budget"]["bytes"]
    expect(card.locator(".meter")).to_contain_text(f"{budget * 9 // 10 / 2**20:.1f} MiB of {budget / 2**20:.1f} MiB")
    card.get_by_role("link", name="night shift").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("night shift")
    expect(page.get_by_role("heading", level=1)).to_be_focused()


def test_enrolling_shows_a_command_whose_token_is_good_once(open_page: Open, served: Served) -> None:
    page = open_page("/#/fleet")
    page.get_by_role("button", name="Enrol a device").click()
    line = page.get_by_role("group", name="The command that enrols the device")
    found = re.fullmatch(rf"neuroflux enroll {re.escape(served.url)} --token (\S+)", line.inner_text())
    assert found is not None
    asked = {"name": "by hand", "machine": json.loads(CNN6)["machine"], "threads": 1}
    for expected in (201, 401):
        answer = served.server.client.post("/v1/devices", json=asked, headers=bearer(found[1]))
        assert answer.status_code == expected
    page.get_by_role("button", name="Done").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator("li:has(h2:text-is('by hand'))")).to_be_visible()


def test_revoking_asks_first_and_then_shuts_the_device_out(open_page: Open, served: Served) -> None:
    device = enrol(served, "lost one")
    page = open_page("/#/fleet")
    card = page.locator("li:has(h2:text-is('lost one'))")
    card.get_by_role("button", name="Revoke").click()
    page.get_by_role("button", name="Keep it").click()
    assert served.server.client.get("/v1/plans", headers=bearer(device["token"])).status_code == 200
    card.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(card.locator(".badge")).to_have_text("revoked")
    expect(card.get_by_role("button", name="Revoke")).to_have_count(0)
    assert served.server.client.get("/v1/plans", headers=bearer(device["token"])).status_code == 401


def test_a_device_is_renamed_labelled_and_deleted_by_a_second_click(open_page: Open, served: Served) -> None:
    device = enrol(served, "bench-7")["device"]["id"]
    page = open_page("/#/fleet")
    page.locator("li:has(h2:text-is('bench-7'))").get_by_role("button", name="Edit").click()
    box = page.get_by_role("dialog", name="Edit this device")
    box.get_by_label("Name").fill("bench-8")
    box.get_by_label("Labels").fill("two  words")
    box.get_by_role("button", name="Save").click()
    card = page.locator("li:has(h2:text-is('bench-8'))")
    expect(card).to_be_visible()
    assert served.get(f"/v1/devices/{device}")["labels"] == ["two", "words"]
    card.get_by_role("button", name="Edit").click()
    page.get_by_role("button", name="Delete …").click()
    assert served.get(f"/v1/devices/{device}")["name"] == "bench-8"
    page.get_by_role("button", name="Delete this device for good").click()
    expect(card).to_have_count(0)
    assert served.server.client.get(f"/v1/devices/{device}").status_code == 404
