"""Runs and plans as tables: searched, filtered, sorted, paged, compared and taken along."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from planner.units import MIB
from tests.browser.conftest import Open
from tests.browser.served import Served

_MANY = 53
_PAGE = 50


@pytest.fixture(scope="module")
def many(served: Served) -> list[str]:
    """Ids of runs that only these tests look for: `listed 00` and so on, each with a higher peak than the last."""
    found = []
    for number in range(_MANY):
        run = served.begin_run(f"listed {number:02}")
        served.send_steps(run, 0, 1, peak_bytes=served.plan["budget"]["bytes"] - (_MANY - number) * MIB // 10)
        found.append(run)
    return found


def _names(page: Page) -> Locator:
    return page.get_by_role("region", name="Runs").locator("tbody td:nth-child(2)")


def test_runs_are_searched_sorted_and_paged_and_the_address_keeps_it(open_page: Open, many: list[str]) -> None:
    page = open_page("/#/runs")
    page.get_by_label("Search").fill("LISTED")
    counted = page.locator(".pager [role=status]")
    expect(counted).to_have_text(f"1 to {_PAGE} of {_MANY}")
    page.get_by_role("button", name="Peak").click()
    expect(page.get_by_role("columnheader", name="Peak")).to_have_attribute("aria-sort", "descending")
    expect(_names(page)).to_have_text([f"listed {number:02}" for number in range(_MANY - 1, _MANY - 1 - _PAGE, -1)])
    page.get_by_role("button", name="Next").click()
    expect(_names(page)).to_have_text([f"listed {number:02}" for number in range(_MANY - _PAGE - 1, -1, -1)])
    expect(counted).to_have_text(f"{_PAGE + 1} to {_MANY} of {_MANY}")
    expect(page.get_by_role("button", name="Next")).to_be_disabled()
    page.reload()
    expect(_names(page)).to_have_text([f"listed {number:02}" for number in range(_MANY - _PAGE - 1, -1, -1)])
    page.get_by_role("button", name="First").click()
    expect(_names(page).first).to_have_text(f"listed {_MANY - 1:02}")
    page.get_by_role("button", name="Peak").click()
    expect(page.get_by_role("columnheader", name="Peak")).to_have_attribute("aria-sort", "ascending")
    expect(_names(page).first).to_have_text("listed 00")
    page.get_by_label("Search").fill("listed 07")
    expect(_names(page)).to_have_text(["listed 07"])
    page.get_by_label("Search").fill("listed nowhere")
    expect(page.get_by_text("Nothing fits what is asked for.")).to_be_visible()


def test_runs_are_filtered_by_state_network_and_numbers(open_page: Open, served: Served, many: list[str]) -> None:
    page = open_page("/#/runs?search=listed")
    page.get_by_label("State").select_option("finished")
    expect(page.get_by_text("Nothing fits what is asked for.")).to_be_visible()
    page.get_by_label("State").select_option("running")
    page.get_by_label("Network").select_option("cnn6")
    expect(page.locator(".pager [role=status]")).to_have_text(f"1 to {_PAGE} of {_MANY}")
    page.get_by_text("From … to").click()
    least = (served.plan["budget"]["bytes"] - 2.5 * MIB / 10) / MIB
    page.get_by_label("Peak in MiB, from").fill(f"{least:.3f}")
    expect(_names(page)).to_have_text(["listed 52", "listed 51"])
    page.reload()
    expect(_names(page)).to_have_text(["listed 52", "listed 51"])
    expect(page.get_by_label("Peak in MiB, from")).to_have_value(f"{float(f'{least:.3f}'):g}")


def test_what_is_listed_is_taken_along(open_page: Open, many: list[str], tmp_path: Path) -> None:
    page = open_page("/#/runs?search=listed&sort=name")
    for kind in ("CSV", "JSON"):
        with page.expect_download() as taken:
            page.get_by_role("button", name=f"Save as {kind}").click()
        assert taken.value.suggested_filename == f"runs.{kind.lower()}"
        taken.value.save_as(tmp_path / kind)
    with (tmp_path / "CSV").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == many  # all pages
    assert [row["name"] for row in rows] == [f"listed {number:02}" for number in range(_MANY)]
    parsed = json.loads((tmp_path / "JSON").read_text())
    assert [str(row["peak_bytes"]) for row in parsed] == [row["peak_bytes"] for row in rows]


def test_two_to_four_runs_are_compared(open_page: Open, served: Served, many: list[str]) -> None:
    page = open_page("/#/runs?search=listed&sort=name")
    compare = page.get_by_role("link", name="Compare")
    assert compare.get_attribute("href") is None
    for number in range(4):
        page.get_by_label(f"Compare listed {number:02}").check()
    page.get_by_label("Compare listed 04").click()
    expect(page.get_by_label("Compare listed 04")).not_to_be_checked()
    expect(page.locator("#said")).to_have_text("At most 4 runs are compared.")
    page.get_by_label("Compare listed 03").uncheck()
    compare.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare")
    expect(page.locator(".chart canvas")).to_have_count(2)
    heads = page.get_by_role("region", name="Runs compared").locator("thead th a")
    expect(heads).to_have_text([f"listed {number:02}" for number in range(3)])
    rows = page.get_by_role("region", name="Runs compared").locator("tbody tr")
    peaks = rows.filter(has=page.locator("th:text-is('Measured peak')")).locator("td")
    budget = served.plan["budget"]["bytes"]
    expect(peaks).to_have_text([f"{(budget - (_MANY - number) * MIB // 10) / MIB:.1f} MiB" for number in range(3)])
    expect(rows.filter(has_text="Network")).to_have_count(0)  # they do not differ in it
    page.get_by_label("only differences").uncheck()
    expect(rows.filter(has_text="Network").locator("td")).to_have_text(["cnn6"] * 3)
    with page.expect_download() as taken:
        page.get_by_role("button", name=re.compile("^Save as PNG: Peaks")).click()
    assert Path(taken.value.path()).read_bytes().startswith(b"\x89PNG")


def test_too_few_and_too_many_runs_to_compare_are_said(open_page: Open, many: list[str]) -> None:
    page = open_page(f"/#/compare?runs={many[0]}")
    expect(page.get_by_text("Two runs or more are needed")).to_be_visible()
    page.goto("about:blank")
    page = open_page(f"/#/compare?runs={','.join(many[:5])}")
    expect(page.get_by_role("alert")).to_contain_text("At most 4 runs are compared; these are 5.")


def test_plans_are_a_table_too(open_page: Open, served: Served) -> None:
    page = open_page("/#/plans")
    page.get_by_label("Search").fill("cnn6 auto")
    plans = page.get_by_role("region", name="Plans").locator("tbody tr")
    expect(plans.first).to_contain_text(served.plan["device"]["name"])
    page.get_by_role("button", name="Predicted peak").click()
    expect(page.get_by_role("columnheader", name="Predicted peak")).to_have_attribute("aria-sort", "descending")
    link = page.locator(f"a[href='#/plans/{served.plan['id']}']")
    expect(link).to_be_visible()
    link.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("cnn6 in")
