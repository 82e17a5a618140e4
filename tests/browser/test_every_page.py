"""What holds for every page: names shown as text, no help from elsewhere, for every eye, size, key and language."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import SCREENSHOTS, Open, pages
from tests.browser.served import Served
from tests.browser.test_fleet_page import enrol
from tests.integration.api.processes import Server, serving, until

PAGES = ["runs", "run", "compare", "plans", "plan", "new", "fleet", "docs"]
NAUGHTY = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
_CHART_FITS = """() => {
    const {width, height} = document.querySelector('.chart canvas').getBoundingClientRect();
    return width > 0.8 * Math.min(innerWidth, 2400) - 80 && width <= innerWidth && height < innerHeight;
}"""
_AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text()


def path_of(name: str, served: Served, run: str) -> str:
    """A page's path."""
    places = {"run": f"/#/runs/{run}", "plan": f"/#/plans/{served.plan['id']}", "docs": "/docs"}
    if name == "compare":
        other = next((found["id"] for found in served.get("/v1/runs")["items"] if found["id"] != run), None)
        return f"/#/compare?runs={run},{other or served.begin_run('to compare with')}"
    return places.get(name, f"/#/{name}")


def settled(page: Page) -> None:
    """Once nothing is asked for any more (a run's stream is open for good, so not while one goes on)."""
    page.wait_for_load_state("networkidle")
    for words in ("Computing …", "Reading samples …"):
        expect(page.get_by_text(words)).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious_and_a_picture_is_kept(
    open_page: Open, served: Served, finished_run: str, name: str, theme: str
) -> None:
    page = open_page(path_of(name, served, finished_run), theme)
    settled(page)
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}-{theme}.png", full_page=True)
    for details in page.locator("main details").all()[:4]:
        details.evaluate("one => one.open = true")
    page.evaluate(_AXE)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [
        (one["id"], one["impact"], [node["html"][:200] for node in one["nodes"][:3]])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_wider_than_the_window(open_page: Open, served: Served, finished_run: str, name: str) -> None:
    page = open_page(path_of(name, served, finished_run), "light", 3840, 2160)
    settled(page)
    for width, height in ((3840, 2160), (1920, 1080), (768, 1024), (360, 640)):
        page.set_viewport_size({"width": width, "height": height})
        # What is drawn for a width is drawn anew a frame later.
        page.wait_for_function(
            "width => innerWidth === width && document.documentElement.scrollWidth <= width", arg=width
        )
        if name == "run":
            page.wait_for_function(_CHART_FITS)


@pytest.fixture
def naughty(served: Served) -> dict[str, Any]:
    """A stored model, a plan, a run and a device with names that are markup."""
    model = {**served.plan["model"], "name": NAUGHTY}
    model["units"] = [{**unit, "name": f"{NAUGHTY}{index}"} for index, unit in enumerate(model["units"])]
    served.post("/v1/models", model)
    run = served.post("/v1/runs", {"plan_id": served.plan["id"], "name": NAUGHTY})["id"]
    served.send_steps(run, 0, 2)
    return {"run": run, "model": model}


def test_names_with_markup_are_shown_as_text(open_page: Open, served: Served, naughty: dict[str, Any]) -> None:
    enrol(served, NAUGHTY)
    page = open_page("/#/runs")
    expect(page.get_by_role("link", name=NAUGHTY).first).to_be_visible()
    page.evaluate(f"location.hash = '#/runs/{naughty['run']}'")
    expect(page.get_by_role("heading", level=1)).to_have_text(NAUGHTY)
    page.evaluate("location.hash = '#/fleet'")
    expect(page.get_by_role("heading", level=2, name=NAUGHTY).first).to_be_visible()
    page.evaluate("location.hash = '#/new'")
    expect(page.locator("option", has_text=NAUGHTY).first).to_be_attached()
    assert page.locator("main script, main img[src=x]").count() == 0
    # that nothing ran is seen at the end of the test: a dialog is a complaint


@pytest.mark.parametrize(
    "path", [f"/#/{NAUGHTY}", f"/#/runs/{NAUGHTY}", "/#/runs/%E0%A4%A", "/#/constructor", f"/#/new?model={NAUGHTY}"]
)
def test_an_address_with_markup_is_shown_as_text(open_page: Open, path: str) -> None:
    page = open_page(path)
    assert page.locator("main script, main img[src=x]").count() == 0


def test_a_page_takes_less_than_300_kb_and_comes_from_here(open_page: Open, served: Served, finished_run: str) -> None:
    page = open_page("/#/fleet")
    sizes: dict[str, int] = {}
    page.on(
        "response", lambda answer: sizes.update({answer.url: len(answer.body())}) if "/v1/" not in answer.url else None
    )
    for name in ("run", "plan", "new"):
        page.goto("about:blank")
        page.goto(served.url + path_of(name, served, finished_run))
        settled(page)
    assert 50_000 < sum(sizes.values()) < 300_000  # every view's modules together, uPlot among them
    assert all(url.startswith(served.url) for url in sizes)


def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere(served: Served) -> None:
    for path in ("/", "/docs"):
        policy = served.server.client.get(path).headers["content-security-policy"]
        assert "unsafe" not in policy and "http" not in policy and "*" not in policy
        assert policy.startswith(("default-src 'self'", "default-src 'none'"))


def test_every_page_is_reached_by_keyboard(open_page: Open) -> None:
    page = open_page("/#/runs")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    for name, heading in (("Plans", "Plans"), ("New plan", "New plan"), ("Fleet", "Fleet"), ("Runs", "Runs")):
        page.get_by_role("navigation").get_by_role("link", name=name, exact=True).focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text(heading)
        expect(page.get_by_role("heading", level=1)).to_be_focused()
        expect(page).to_have_title(f"{heading} – neuroflux")
        current = page.locator("[aria-current=page]")
        expect(current).to_have_text(name)


def test_a_page_is_told_though_the_first_was_left_before_it_was_there(open_page: Open, served: Served) -> None:
    page = open_page("/docs")
    page.route("**/v1/runs?*", lambda route: None)  # the first page's list never comes
    page.goto(f"{served.url}/#/runs")
    page.evaluate("location.hash = '#/plans'")
    expect(page.get_by_role("heading", level=1)).to_be_focused()


def test_numbers_are_in_the_browsers_language(browser: Browser, served: Served, finished_run: str) -> None:
    context = browser.new_context(locale="de-DE")
    page = context.new_page()
    page.goto(f"{served.url}/#/runs/{finished_run}")
    peak = served.get(f"/v1/runs/{finished_run}")["report"]["peak_bytes"] / 2**20
    expect(page.locator("dl.figures").first).to_contain_text(f"{peak:.1f} MiB".replace(".", ","))
    context.close()


def test_the_theme_changes_while_a_page_is_open(open_page: Open, finished_run: str) -> None:
    page = open_page(f"/#/runs/{finished_run}", "light")
    settled(page)
    chart = page.locator(".chart").first
    light = chart.screenshot()
    page.emulate_media(color_scheme="dark")
    until(lambda: chart.screenshot() != light, "a chart in dark colours")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 22, 28)"


@pytest.fixture(scope="module")
def empty(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that has nothing yet."""
    with serving(tmp_path_factory.mktemp("empty"), "--only", "api") as server:
        yield server


@pytest.mark.parametrize(
    ("path", "heading", "next_step"),
    [
        ("/", "No run yet", "Make a plan"),
        ("/#/plans", "No plan yet", "Make the first plan"),
        ("/#/fleet", "No device has enrolled yet", "Enrol a device"),
    ],
)
def test_where_there_is_nothing_it_says_what_to_do(
    browser: Browser, empty: Server, path: str, heading: str, next_step: str
) -> None:
    with pages(browser, empty.url) as open_page:
        page = open_page(path)
        expect(page.get_by_role("heading", level=2, name=heading)).to_be_visible()
        expect(page.get_by_text(next_step, exact=True).first).to_be_visible()


def test_what_is_not_there_is_said(open_page: Open) -> None:
    page = open_page("/#/runs/nothing")
    expect(page.get_by_role("alert")).to_contain_text("there is no run nothing")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()


def test_a_browser_signs_in_and_out(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "admin.token"
    with (
        serving(tmp_path / "data", "--only", "api", "--admin-token-file", str(file)) as server,
        pages(browser, server.url) as open_page,
    ):
        page = open_page("/#/plans")
        field = page.get_by_label("Token")
        field.fill("nfx_wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("not the token")
        field.fill(file.read_text().strip())
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Plans")
        assert page.evaluate("document.cookie") == ""
        page.goto(f"{server.url}/#/fleet")
        page.get_by_role("button", name="Enrol a device").click()
        expect(page.get_by_text("neuroflux enroll")).to_be_visible()
        page.get_by_role("button", name="Done").click()
        enrolments = page.locator("section:has(h2:text-is('Open enrolments'))")
        expect(enrolments.get_by_role("listitem")).to_have_count(1)
        enrolments.get_by_role("button").click()
        expect(enrolments).to_have_count(0)
        expect(page.locator("section:has(h2:text-is('Browsers that are signed in')) li")).to_contain_text("this one")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Token")).to_be_visible()


def test_vendored_files_are_what_their_sums_say() -> None:
    dashboard = Path(__file__).parents[2] / "api" / "dashboard"
    for sums in (dashboard / "vendor" / "SHA256SUMS", Path(__file__).parent / "axe" / "SHA256SUMS"):
        lines = [line.split() for line in sums.read_text().splitlines() if not line.startswith("#")]
        assert len(lines) > 1
        for wanted, name in lines:
            assert hashlib.sha256((sums.parent / name).read_bytes()).hexdigest() == wanted


def test_text_never_becomes_markup_in_our_modules() -> None:
    dashboard = Path(__file__).parents[2] / "api" / "dashboard"
    modules = [path for path in dashboard.rglob("*.js") if path.parent.name != "vendor"]
    assert len(modules) > 15
    for path in modules:
        text = path.read_text()
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
            "localStorage",
            "sessionStorage",
        ):
            assert word not in text, f"{path.name}: {word}"
