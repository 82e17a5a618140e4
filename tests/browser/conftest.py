"""Debian's Chromium, a served instance, and pages that may not complain."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.served import Served, end, with_plan
from tests.integration.api.processes import serving

PATIENCE_MS = 120_000
"""How long something may take before it counts as not happening, on a machine that is busy with other things."""

expect.set_options(timeout=PATIENCE_MS)

Open = Callable[..., Page]
"""Open a path of the service: `theme`, `width`, `height`, `url` as keywords."""

SCREENSHOTS = Path(__file__).parent / "screenshots"

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
"""Chromium without a screen, and without what it does on its own account."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The browser. Skips where there is none."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield found
        found.close()


@pytest.fixture(scope="session")
def served(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`neuroflux serve` with a profile and a plan. After the browser, so that nothing is started in vain."""
    folder = tmp_path_factory.mktemp("served")
    with serving(folder / "data", "--only", "api") as server:
        yield with_plan(server, folder)


@contextmanager
def pages(browser: Browser, base: str) -> Iterator[Open]:
    """Opens pages; at the end none of them may have complained, or asked another host for anything."""
    complaints: list[str] = []
    contexts = []

    def open_page(path: str, theme: str = "light", width: int = 1280, height: int = 800, url: str = base) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)  # type: ignore[arg-type]  # "light" or "dark"
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text) if _is_complaint(said.type, said.text) else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on(
            "request",
            lambda asked: None if asked.url.startswith((url, "data:", "blob:")) else complaints.append(asked.url),
        )
        page.goto(url + path)
        page.wait_for_selector("h1")
        return page

    try:
        yield open_page
    finally:  # a page left open would keep its stream to the service
        for context in contexts:
            context.close()
    assert complaints == []


def _is_complaint(kind: str, text: str) -> bool:
    """A status or a lost connection that a test provokes is written to the console by the browser itself."""
    return kind in ("error", "warning") and "Failed to load resource" not in text


@dataclass(frozen=True)
class Followed:
    """A real run that is over, and a page that has shown it since it began."""

    run: str
    """Its id."""
    page: Page
    """Opened while it went on, and not touched since."""
    early: str
    """What the page said then."""


@pytest.fixture(scope="session")
def followed(browser: Browser, served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Followed]:
    """The one training of these tests."""
    process, run = served.start_training(tmp_path_factory.mktemp("run") / "first")
    try:
        with pages(browser, served.url) as open_page:
            process.send_signal(signal.SIGSTOP)  # it cannot end before the page is there
            page = open_page(f"/#/runs/{run}")
            early = page.locator("main").inner_text()
            process.send_signal(signal.SIGCONT)
            assert process.wait(timeout=900) == 0, process.stderr and process.stderr.read().decode()
            yield Followed(run, page, early)
    finally:
        end(process)


@pytest.fixture(scope="session")
def finished_run(followed: Followed) -> str:
    """The id of a real run that is over."""
    return followed.run


@pytest.fixture
def open_page(browser: Browser, served: Served) -> Iterator[Open]:
    """Opens pages of the served instance."""
    with pages(browser, served.url) as found:
        yield found
