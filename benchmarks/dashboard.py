"""What the dashboard costs in a real browser: `python -m benchmarks.dashboard`, which writes results/dashboard.md.

Bytes of its pages, time to the first picture, from a changed budget to the changed plan, and a run of a million
samples: its chart, zooming into it, and the longest frame while the cursor moves over it.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sqlite3
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planner.profiler.library.shipped import FOLDER
from planner.units import MIB
from tests.browser.conftest import FLAGS
from tests.integration.api.processes import Server, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SAMPLES = 1_000_000
MODELS = ("cnn6", "vgg11", "vgg16")
BUDGETS_MIB = (280, 290, 300, 310, 320)
REPEATS = 5
RESULT = Path(__file__).parent / "results" / "dashboard.md"

_FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.parse_args()
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium")
    if program is None:
        raise SystemExit("Chromium is not installed (Debian: apt-get install chromium)")
    with (
        tempfile.TemporaryDirectory() as name,
        serving(Path(name), "--only", "api") as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        rows = measure(server, Path(name), browser)
        version = browser.version
        browser.close()
    text = _table(rows, version)
    RESULT.write_text(text)
    print(text)


def measure(server: Server, folder: Path, browser: Browser) -> list[tuple[str, str]]:
    """Every figure and what it is of."""
    plans = {name: _plan(server, name, 300) for name in MODELS}
    run = _long_run(server, folder, plans["vgg11"])
    rows = [("files of all pages together", f"{_weight(server, browser, run, plans['vgg11']) / 1000:.0f} kB")]
    paints = {path: _first_paint(server, browser, path) for path in ("/", f"/#/plans/{plans['vgg11']['id']}")}
    rows += [
        (f"first picture, {'runs' if path == '/' else 'a plan'}", f"{time:.0f} ms") for path, time in paints.items()
    ]
    for name in MODELS:
        times = [_changed(server, browser, plans[name], mib) for mib in BUDGETS_MIB]
        rows.append(
            (f"changed budget to changed plan, {name}", f"{statistics.median(times):.0f} ms (most {max(times):.0f})")
        )
    rows += _long(server, browser, run)
    return rows


def _plan(server: Server, model: str, mib: int) -> Any:
    profile = (FOLDER / "models" / f"{model}-3x32x32-10-sgd.json").read_bytes()
    server.client.post("/v1/profiles", content=profile, headers={"Content-Type": "application/json"})
    asked = {"model": model, "profile": json.loads(profile)["id"], "budget": {"bytes": mib * MIB}}
    answer = server.client.post("/v1/plans", json=asked)
    answer.raise_for_status()
    return answer.json()


def _long_run(server: Server, folder: Path, plan: Any) -> str:
    """A run with a million samples, written straight into the store: sending them is not what is measured here."""
    run = str(server.client.post("/v1/runs", json={"plan_id": plan["id"], "name": "long"}).json()["id"])
    blocks, budget = len(plan["blocks"]), plan["budget"]["bytes"]
    with sqlite3.connect(folder / "service.sqlite3") as store:
        (number,) = store.execute("SELECT number FROM runs WHERE id = ?", (run,)).fetchone()
        rows = (
            (number, each, each / 20, each * blocks // SAMPLES, 0, each, budget // 2, _peak(each, budget), 1.0)
            for each in range(SAMPLES)
        )
        store.executemany("INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    return run


def _peak(step: int, budget: int) -> int:
    """A wave, and in the midst of it one step above the budget."""
    return budget + MIB if step == SAMPLES // 2 + 7 else int(budget * (0.8 + 0.1 * math.sin(step / 1e4)))


def _weight(server: Server, browser: Browser, run: str, plan: Any) -> int:
    page = browser.new_page()
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(request.url.partition("#")[0]) if "/v1/" not in request.url else None)
    for path in ("runs", f"runs/{run}", "plans", f"plans/{plan['id']}", "new", "fleet"):
        page.goto(f"{server.url}/#/{path}")
        page.reload()
        page.wait_for_selector("h1")
        page.wait_for_load_state("load")
    page.close()
    return sum(len(server.client.get(url).content) for url in asked)


def _first_paint(server: Server, browser: Browser, path: str) -> float:
    times: list[float] = []
    for _ in range(REPEATS):
        page = browser.new_page()
        page.goto(server.url + path)
        page.wait_for_selector("h1")
        page.evaluate("new Promise(requestAnimationFrame)")
        times.append(float(page.evaluate(_FIRST_PAINT)))
        page.close()
    return statistics.median(times)


def _changed(server: Server, browser: Browser, plan: Any, mib: int) -> float:
    """From Enter in the field to the frame that shows the plan for a budget that nobody asked for before."""
    page = browser.new_page()
    page.goto(f"{server.url}/#/plans/{plan['id']}")
    page.wait_for_selector("section:has(h2:text-is('Strategies')) table", timeout=120_000)
    page.wait_for_selector("section:has(h2:text-is('What a budget buys')) svg", timeout=120_000)
    field = page.get_by_label("Budget in MiB")
    field.fill(str(mib + 0.5))
    milliseconds: float = field.evaluate(
        """field => new Promise((done) => {
          const heading = document.querySelector("h1");
          const begun = performance.now();
          new MutationObserver(() => requestAnimationFrame(() => done(performance.now() - begun)))
            .observe(heading, {childList: true});
          field.dispatchEvent(new Event("change", {bubbles: true}));
        })"""
    )
    page.close()
    return milliseconds


def _long(server: Server, browser: Browser, run: str) -> list[tuple[str, str]]:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(f"{server.url}/#/fleet")
    page.wait_for_selector("h1")
    charted = _until(page, f"location.hash = '#/runs/{run}'", "document.querySelectorAll('.chart canvas').length === 2")
    shown = page.locator("dl.figures .meter").first.inner_text()
    kept = "kept" if "(100 %)" in shown and page.locator(".badge.bad").count() else f"LOST: {shown}"
    with page.expect_request_finished(lambda asked: "before=" in asked.url) as finished:
        page.get_by_role("button", name="Zoom in").click()
    finer = finished.value.timing["responseEnd"]
    return [
        (f"chart of a run of {SAMPLES:,} samples", f"{charted:.0f} ms"),
        ("its one step above the budget", kept),
        ("finer samples after zooming", f"{finer:.0f} ms"),
        ("longest frame while the cursor crosses it", f"{_longest_frame(page):.0f} ms"),
    ]


def _until(page: Page, act: str, condition: str) -> float:
    """Milliseconds from an act to the frame in which a condition holds."""
    milliseconds: float = page.evaluate(
        f"""() => new Promise((done) => {{
          const begun = performance.now();
          const look = () => ({condition}) ? done(performance.now() - begun) : requestAnimationFrame(look);
          {act};
          look();
        }})"""
    )
    return milliseconds


def _longest_frame(page: Page) -> float:
    page.evaluate(
        """() => {
          window.longest = 0;
          let last = performance.now();
          const look = (now) => {
            window.longest = Math.max(window.longest, now - last);
            last = now;
            requestAnimationFrame(look);
          };
          requestAnimationFrame((now) => { last = now; requestAnimationFrame(look); });
        }"""
    )
    box = page.locator(".chart .u-over").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"], box["y"] + box["height"] / 2)
    page.mouse.move(box["x"] + box["width"], box["y"] + box["height"] / 2, steps=100)
    longest: float = page.evaluate("window.longest")
    return longest


def _table(rows: list[tuple[str, str]], version: str) -> str:
    head = f"# The dashboard in Chromium {version}\n\n`python -m benchmarks.dashboard`\n\n| what | |\n| --- | ---: |\n"
    return head + "".join(f"| {what} | {figure} |\n" for what, figure in rows)


if __name__ == "__main__":
    main()
