"""A plan for which the model has to be measured first: how far that is, its end, and what it ends in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from api.routes.models import EXAMPLE
from api.settings import DATABASE_FILE
from api.store import device_rows, job_rows
from api.store.database import Database
from api.store.job_rows import Claim
from planner.schema.codec import decode
from planner.schema.common import Machine
from planner.units import MIB
from tests.browser.conftest import Open, pages
from tests.browser.proxy import Wire
from tests.integration.api.processes import Server, serving, until
from tests.unit.api.service import CNN6

PROFILE = json.loads(CNN6)
FORM = f"/#/new?model=cnn6&device=server&budget={500 * MIB}&batch="
"""A batch that the profile was not made for has to be measured for, so each test takes another one."""


class Bench:
    """A service whose worker is this test: it measures what and when it likes."""

    def __init__(self, server: Server, database: Database) -> None:
        self.server = server
        self._database = database
        device_rows.set_server(database, "here", PROFILE["device"]["fingerprint"], decode(Machine, PROFILE["machine"]))

    def taken(self, job: str) -> Claim:
        """Begin with a job that waits."""
        found = job_rows.claim_next(self._database, "the test")
        assert found is not None and found.id == job
        return found

    def say(self, claim: Claim, phase: str, done: int, total: int) -> bool:
        """How far it is; whether it is still wanted."""
        return job_rows.renew(self._database, claim, phase, done, total)

    def finish(self, claim: Claim, error: str | None = None) -> None:
        """End it, with cnn6's profile unless there was an error."""
        if error is None:
            answer = self.server.client.post("/v1/profiles", content=CNN6, headers={"Content-Type": "application/json"})
            assert answer.is_success, answer.text
        job_rows.finish(self._database, claim, None if error else PROFILE["id"], error)


@pytest.fixture(scope="module")
def bench(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A service that has measured nothing yet. After the browser, so that nothing is started in vain."""
    folder = tmp_path_factory.mktemp("bench")
    with serving(folder, "--only", "api") as server:
        database = Database(f"sqlite:///{folder / DATABASE_FILE}")
        yield Bench(server, database)
        database.close()


@pytest.fixture
def open_page(browser: Browser, bench: Bench) -> Iterator[Open]:
    """Opens its pages."""
    with pages(browser, bench.server.url) as found:
        yield found


def begun(page: Page) -> str:
    """Ask for the plan; the job that has to be done before it."""
    page.get_by_role("button", name="Make the plan").click()
    expect(page).to_have_url(re.compile("job="))
    found = re.search(r"job=(\w+)", page.url)
    assert found is not None
    return found[1]


def progress(page: Page) -> Locator:
    """What is said of the job."""
    return page.locator(".note:has(h2:text-is('Measuring the model on this server'))")


def test_a_measurement_is_shown_as_it_goes_on_and_ends_in_the_plan(open_page: Open, bench: Bench) -> None:
    page = open_page(FORM + "128")
    expect(page.get_by_text("Not measured here yet")).to_be_visible()
    job = begun(page)
    expect(progress(page)).to_contain_text("cnn6: queued")
    claim = bench.taken(job)
    bench.say(claim, "units at micro-batch 8", 3, 20)
    expect(progress(page)).to_contain_text(re.compile(r"cnn6: running, units at micro-batch 8, 3 of 20, about .* left"))
    bar = page.get_by_role("progressbar")
    expect(bar).to_have_js_property("value", 3)
    expect(bar).to_have_js_property("max", 20)
    page.reload()  # the address holds the job
    expect(progress(page)).to_contain_text("3 of 20")
    bench.say(claim, "heads", 19, 20)
    expect(progress(page)).to_contain_text("heads, 19 of 20")
    bench.finish(claim)
    expect(page.get_by_role("heading", level=1)).to_have_text("cnn6 in 500.0 MiB")
    page.go_back()
    expect(page).to_have_url(re.compile("#/new"))
    expect(page).not_to_have_url(re.compile("job="))
    expect(page.get_by_text("Not measured here yet")).to_have_count(0)


def test_a_measurement_that_waits_or_runs_is_cancelled(open_page: Open, bench: Bench) -> None:
    page = open_page(FORM + "256")
    begun(page)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Measuring was cancelled.")).to_be_visible()
    claim = bench.taken(begun(page))
    expect(progress(page)).to_contain_text("running")
    page.get_by_role("button", name="Cancel").click()
    expect(progress(page)).to_contain_text("cancelling")
    assert not bench.say(claim, "heads", 1, 2)
    bench.finish(claim, "it was cancelled")
    expect(page.get_by_text("Measuring was cancelled.")).to_be_visible()
    expect(page.get_by_role("button", name="Make the plan")).to_be_enabled()


def test_why_a_measurement_failed_is_said(open_page: Open, bench: Bench) -> None:
    page = open_page(FORM + "257")
    claim = bench.taken(begun(page))
    bench.finish(claim, "<b>no</b> memory")
    expect(page.get_by_text("Measuring failed: <b>no</b> memory")).to_be_visible()


def test_a_measurement_is_followed_over_a_cut_of_the_network(browser: Browser, bench: Bench, open_page: Open) -> None:
    wire = Wire(int(bench.server.url.rpartition(":")[2]))
    page = open_page(FORM + "258", url=wire.url)
    job = begun(page)
    wire.cut()
    expect(progress(page)).to_contain_text("The service does not answer; trying again.")
    bench.say(bench.taken(job), "units", 1, 9)
    wire.mend()
    expect(progress(page)).to_contain_text("1 of 9")
    wire.cut_within_answers()
    expect(progress(page)).to_contain_text("The service does not answer; trying again.")
    wire.mend()
    expect(progress(page)).to_contain_text("1 of 9")
    wire.close()


def test_the_fleet_says_what_this_server_measures(open_page: Open, bench: Bench) -> None:
    page = open_page(FORM + "259")
    bench.say(bench.taken(begun(page)), "units", 4, 9)
    page.evaluate("location.hash = '#/fleet'")
    server = page.locator("li:has(.badge:text-is('this server'))")
    expect(server).to_contain_text("Measuring cnn6: units, 4 of 9")


@pytest.mark.long
def test_a_real_worker_measures_and_the_plan_is_shown(browser: Browser, tmp_path: Path) -> None:
    with serving(tmp_path) as server, pages(browser, server.url) as open_page:
        until(lambda: server.client.get("/v1/devices/server").is_success, "the worker's registration")
        answer = server.client.post("/v1/models", json=EXAMPLE)
        assert answer.is_success, answer.text
        model = answer.headers["etag"].strip('"')
        page = open_page(f"/#/new?model={model}&device=server&batch=2&budget={1024 * MIB}")
        begun(page)
        # Its steps may be over between two looks; that they are shown is tested above.
        expect(progress(page)).to_contain_text("tiny: running")
        expect(page.get_by_role("heading", level=1)).to_have_text("tiny in 1,024.0 MiB", timeout=600_000)
