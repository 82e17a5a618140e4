"""What the dashboard costs in a real browser: `python -m benchmarks.dashboard`, which writes results/dashboard.md.

Bytes of its pages as they are sent, time to the first picture, from a changed budget to the changed plan, a run of a
million samples (its chart, zooming into it, the longest frame while the cursor moves over it), a table of ten
thousand runs (when its rows are there, from a changed search to the rows that fit, sorting, the next page), and what
axe-core finds on every page, in three widths and both themes.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planner.profiler.library.shipped import FOLDER
from planner.units import MIB
from tests.browser.conftest import FLAGS
from tests.integration.api.processes import Server, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SAMPLES = 1_000_000
RUNS = 10_000
WIDTHS = {"360": (360, 640), "1280": (1280, 800), "3840": (3840, 2160)}
MODELS = ("cnn6", "vgg11", "vgg16")
BUDGETS_MIB = (280, 290, 300, 310, 320)
REPEATS = 5
RESULT = Path(__file__).parent / "results" / "dashboard.md"

_AXE = Path(__file__).parents[1] / "tests" / "browser" / "axe" / "axe.min.js"
_WORDS = ("sweep", "night", "baseline", "retry", "ablation")
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
    rows += _table_of_runs(server, folder, browser, list(plans.values()))
    rows += _axe(server, browser, run, plans["vgg11"])
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
    return sum(_sent(server, url) for url in asked)


def _sent(server: Server, url: str) -> int:
    """Bytes of an answer as a browser gets it, compressed."""
    with server.client.stream("GET", url, headers={"Accept-Encoding": "gzip"}) as answer:
        return sum(len(part) for part in answer.iter_raw())


def _first_paint(server: Server, browser: Browser, path: str, awaited: str | None = None) -> float:
    """Milliseconds to the first picture, or to the frame in which `awaited` is there."""
    times: list[float] = []
    for _ in range(REPEATS):
        page = browser.new_page()
        page.goto(server.url + path)
        page.wait_for_selector(awaited or "h1")
        page.evaluate("new Promise(requestAnimationFrame)")
        times.append(float(page.evaluate("performance.now()" if awaited else _FIRST_PAINT)))
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


def _many_runs(folder: Path, plans: list[Any]) -> None:
    """Finished, failed and running runs, written straight into the store; each with a report as long as a real one."""
    report = b"{" + b" " * 6000 + b"}"
    with sqlite3.connect(folder / "service.sqlite3") as store:
        store.execute("DELETE FROM samples")
        store.execute("DELETE FROM runs")
        for number in range(RUNS):
            plan, word = plans[number % len(plans)], _WORDS[number % len(_WORDS)]
            budget = plan["budget"]["bytes"]
            state = ("finished", "finished", "over-budget", "failed", "running")[number % 5]
            ended = state in ("finished", "over-budget")
            words = f"{word}-{number:05} {plan['model']['name']} {plan['strategy']} {plan['device']['name']}".casefold()
            row = {
                "number": number + 1,
                "id": f"{number:032x}",
                "plan_id": plan["id"],
                "name": f"{word}-{number:05}".encode(),
                "report": report if ended else None,
                "report_id": "r" if ended else None,
                "state": state,
                "peak_bytes": budget - number * 1000 if ended else None,
                "created_ms": 1_700_000_000_000 + number * 60_000,
                "heard_ms": time.time_ns() // 1_000_000,
                "words": words,
                "model": plan["model"]["name"],
                "budget_bytes": budget,
                "accuracy": 0.5 + number % 400 / 1000 if ended else None,
                "seconds": 60.0 + number % 997 if ended else None,
            }
            names = ", ".join(row)
            store.execute(f"INSERT INTO runs ({names}) VALUES ({', '.join('?' * len(row))})", list(row.values()))
            if not ended:
                sample = (number + 1, 0, 9.5, 0, 0, 0, budget // 2, budget - number * 1000, 1.0)
                store.execute("INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", sample)


def _table_of_runs(server: Server, folder: Path, browser: Browser, plans: list[Any]) -> list[tuple[str, str]]:
    _many_runs(folder, plans)
    painted = _first_paint(server, browser, "/#/runs", "table tbody tr:nth-child(50)")
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(f"{server.url}/#/runs")
    page.wait_for_selector("table tbody tr:nth-child(50)")
    searched = [_acted(page, _type(word)) for word in (*_WORDS, "vgg16 night", "00042", "nothing like it")]
    page.locator("input[type=search]").fill("")
    page.wait_for_timeout(500)
    chosen = [_acted(page, _choose("State", state)) for state in ("failed", "running", "over-budget", "")]
    sorted_by = [_acted(page, _sort(name)) for name in ("Name", "Peak", "Accuracy", "Time", "Began")]
    turned = [_acted(page, "[...document.querySelectorAll('.pager button')].at(-1).click()") for _ in range(5)]
    page.close()
    return [
        (f"table of {RUNS:,} runs: rows are there", f"{painted:.0f} ms"),
        *(
            (f"table of {RUNS:,} runs: {what}", f"{statistics.median(times):.0f} ms (most {max(times):.0f})")
            for what, times in (
                ("from a changed search to its rows", searched),
                ("from a chosen state to its rows", chosen),
                ("from a sorted column to its rows", sorted_by),
                ("from Next to its rows", turned),
            )
        ),
    ]


def _type(text: str) -> str:
    return (
        "const field = document.querySelector('input[type=search]'); "
        f"field.value = '{text}'; field.dispatchEvent(new Event('input', {{bubbles: true}}))"
    )


def _sort(name: str) -> str:
    heads = "[...document.querySelectorAll('button.sort')]"
    return f"{heads}.find((one) => one.textContent.startsWith('{name}')).click()"


def _choose(label: str, value: str) -> str:
    return (
        f"const field = document.getElementById([...document.querySelectorAll('label')]"
        f".find((one) => one.textContent === '{label}').htmlFor); "
        f"field.value = '{value}'; field.dispatchEvent(new Event('change', {{bubbles: true}}))"
    )


def _acted(page: Page, act: str) -> float:
    """Milliseconds from an act to the frame that shows the rows that fit."""
    milliseconds: float = page.evaluate(
        f"""() => new Promise((done) => {{
          const begun = performance.now();
          new MutationObserver((_, observer) => {{
            observer.disconnect();
            requestAnimationFrame(() => done(performance.now() - begun));
          }}).observe(document.querySelector("table tbody"), {{childList: true}});
          {act};
        }})"""
    )
    return milliseconds


def _axe(server: Server, browser: Browser, run: str, plan: Any) -> list[tuple[str, str]]:
    """What axe-core finds, of any weight, on every page."""
    first, other = (one["id"] for one in server.client.get("/v1/runs?limit=2").json()["items"])
    run = first
    paths = {
        "runs": "/#/runs", "run": f"/#/runs/{run}", "compare": f"/#/compare?runs={first},{other}", "plans": "/#/plans",
        "plan": f"/#/plans/{plan['id']}", "new": "/#/new", "fleet": "/#/fleet", "docs": "/docs",
    }  # fmt: skip
    found: dict[str, set[str]] = {}
    script = _AXE.read_text()
    for theme in ("light", "dark"):
        for width, height in WIDTHS.values():
            for name, path in paths.items():
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)  # type: ignore[arg-type]  # "light" or "dark"
                page.goto(server.url + path)
                page.wait_for_selector("h1")
                page.wait_for_function("!document.body.innerText.includes('Computing …')")
                page.evaluate("document.querySelectorAll('main details').forEach((one) => (one.open = true))")
                page.evaluate(script)
                violations = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
                for one in violations:
                    found.setdefault(f"{one['id']} ({one['impact']})", set()).add(f"{name} {width} {theme}")
                page.close()
    for what, places in found.items():
        print(f"axe-core: {what}: {', '.join(sorted(places))}")
    count = len(paths) * len(WIDTHS) * 2
    words = "none" if not found else f"{len(found)}: {', '.join(sorted(found))}"
    return [(f"axe-core's findings on {count} pages ({', '.join(WIDTHS)} pixels wide, light and dark)", words)]


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
