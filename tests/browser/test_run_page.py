"""The page of a run: afterwards, live, cut off and back, zoomed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from planner.units import MIB
from tests.browser.conftest import Followed, Open
from tests.browser.proxy import Wire
from tests.browser.served import CLASSES, Served
from tests.browser.test_fleet_page import enrol
from tests.integration.api.processes import until
from tests.unit.api.service import bearer


@pytest.fixture
def wire(served: Served) -> Iterator[Wire]:
    """A network that can be cut."""
    found = Wire(urlsplit(served.url).port or 0)
    yield found
    found.close()


def place(page: Page, name: str) -> Locator:
    """Where the value beside a name stands, among the figures."""
    return page.locator(f"dl.figures div:has(dt:text-is('{name}')) dd").first


def figure(page: Page, name: str) -> str:
    """The value beside a name."""
    return place(page, name).inner_text()


def shown_range(page: Page) -> tuple[float, float] | None:
    """What the address says is looked at."""
    found = re.search(r"from=([\d.]+)&to=([\d.]+)", page.url)
    return None if found is None else (float(found[1]), float(found[2]))


def pressed(page: Page, name: str) -> tuple[float, float] | None:
    """What is looked at once a button has been pressed that changes it."""
    before = page.url
    page.get_by_role("button", name=name).click()
    expect(page).not_to_have_url(before)
    return shown_range(page)


def hover(page: Page, share: float) -> None:
    """Move the mouse over the memory chart, so far from its left edge."""
    box = page.locator(".chart .u-over").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + share * box["width"] + 1, box["y"] + box["height"] / 2)


def _shown(size: int) -> str:
    """Bytes as a browser rounds them: halves away from zero, where Python's formats round to even."""
    return f"{(Decimal(size) / MIB).quantize(Decimal('0.1'), ROUND_HALF_UP)} MiB"


def test_a_finished_run_shows_what_its_report_says(open_page: Open, served: Served, finished_run: str) -> None:
    page = open_page(f"/#/runs/{finished_run}")
    report = served.get(f"/v1/runs/{finished_run}")["report"]
    expect(page.locator(".heading .badge").first).to_have_text("finished")
    assert _shown(report["peak_bytes"]) in figure(page, "Peak and budget")
    assert figure(page, "Accuracy") == f"{100 * report['accuracy']:.1f} %"
    rows = page.locator("section:has(h2:text-is('Blocks')) tbody tr")
    expect(rows).to_have_count(len(served.plan["blocks"]))
    for row, block in zip(rows.all(), report["blocks"], strict=True):
        text = row.inner_text()
        assert _shown(block["predicted_peak_bytes"]) in text
        assert _shown(block["measured_peak_bytes"]) in text
        assert f"{block['micro_batch']} × {block['accumulate']}" in text
    exits = page.locator("section:has(h2:text-is('Exits')) tbody tr")
    expect(exits).to_have_count(len(report["exits"]))
    expect(page.locator(".chart canvas")).to_have_count(2)
    data = page.locator("section:has(h2:text-is('Data')) tbody tr")
    expect(data.locator("td:nth-child(2)")).to_have_text(list(CLASSES))
    counts = [part["class_samples"] for part in report["data"]["description"]["parts"]]
    for label, row in enumerate(data.all()):
        assert row.locator("td").all_inner_texts()[2:] == [str(each[label]) for each in counts]


def test_a_finished_run_names_its_best_exit(open_page: Open, served: Served) -> None:
    names = [unit["name"] for unit in served.plan["model"]["units"]]
    run = served.begin_run("its exit is better")
    served.send_steps(run, 0, 20)
    report = _report(served, [], [])
    exits = [
        {"unit": unit, "parameters": unit, "accuracy": accuracy, "samples_per_second": 1.0}
        for unit, accuracy in ((1, 0.7), (3, 0.8), (len(names), 0.6))
    ]
    better = {"exits": exits, "chosen_exit": 1, "best_exit": 3, "exit_tolerance": 15.0, "accuracy": 0.8}
    served.post(f"/v1/runs/{run}/report", report | better)
    page = open_page(f"/#/runs/{run}")
    assert figure(page, "Accuracy") == "80.0 %"
    expect(page.get_by_text(f"of the best exit, behind {names[2]}")).to_have_count(1)
    rows = page.locator("section:has(h2:text-is('Exits')) tbody tr")
    ends = [f"{names[0]} (good enough)", f"{names[2]} (best)", names[-1]]
    expect(rows.locator("td:first-child, th:first-child")).to_have_text(ends)
    assert [row.get_attribute("aria-current") for row in rows.all()] == [None, "true", None]


def test_a_run_says_what_its_polish_did_and_what_backpropagation_reached(open_page: Open, served: Served) -> None:
    run = served.begin_run("polished")
    served.send_steps(run, 0, 20)
    report = _report(served, [], [])
    (full,) = report["exits"]
    polish = {"block": report["blocks"][0] | {"epochs": 3}, "before": full | {"accuracy": 0.25}}
    comparison = {"problem": None, "accuracy": 0.75, "points_behind": 25.0, "peak_bytes": 300 * MIB}
    served.post(f"/v1/runs/{run}/report", report | {"polish": polish, "comparison": comparison})
    page = open_page(f"/#/runs/{run}")
    assert figure(page, "Backpropagation") == "75.0 %"
    expect(page.get_by_text("peak 300.0 MiB; this run is 25.00 points behind")).to_have_count(1)
    section = page.locator("section:has(h2:text-is('Polish'))")
    expect(section.locator("dt")).to_have_text(["Epochs", "Accuracy before", "Accuracy behind it"])
    assert [text.partition("\n")[0] for text in section.locator("dd").all_inner_texts()][:1] == ["3"]
    expect(section).to_contain_text("25.0 %")
    expect(section).to_contain_text("50.0 %")


def test_a_comparison_that_was_not_made_says_why(open_page: Open, served: Served) -> None:
    run = served.begin_run("not compared")
    served.send_steps(run, 0, 2)
    comparison = {"problem": "it takes more memory than there is"}
    served.post(f"/v1/runs/{run}/report", _report(served, [], []) | {"comparison": comparison})
    page = open_page(f"/#/runs/{run}")
    assert figure(page, "Backpropagation") == "–"
    expect(page.get_by_text("not compared: it takes more memory than there is")).to_have_count(1)


def test_hovering_says_step_block_and_bytes(open_page: Open, served: Served, finished_run: str) -> None:
    page = open_page(f"/#/runs/{finished_run}")
    last = served.get(f"/v1/runs/{finished_run}/samples")["samples"][0]["seconds"]
    hover(page, last / served.get(f"/v1/runs/{finished_run}")["report"]["seconds"])
    tip = page.locator(".tip").first
    expect(tip).to_be_visible()
    assert re.search(r"block \d+: .*\nstep \d+, epoch \d+, .*\npeak [\d.]+ MiB, resident [\d.]+ MiB", tip.inner_text())


def test_dragging_zooms_and_the_address_keeps_it(open_page: Open, served: Served) -> None:
    run = served.begin_run("zoomed")
    served.send_steps(run, 0, 999)
    page = open_page(f"/#/runs/{run}")
    expect(place(page, "Step")).to_have_text("999")  # everything is in its place
    over = page.locator(".chart .u-over").first
    box = over.bounding_box()
    assert box is not None
    left, middle = box["x"] + box["width"] / 4, box["y"] + box["height"] / 2
    page.mouse.move(left, middle)
    page.mouse.down()
    for part in range(1, 6):
        page.mouse.move(left + box["width"] / 2 * part / 5, middle)
        page.evaluate("new Promise(requestAnimationFrame)")  # a chart follows the mouse once a frame, as a hand does
    page.mouse.up()
    expect(page).to_have_url(re.compile("from="))
    found = shown_range(page)
    assert found is not None and found == pytest.approx((25.0, 75.0), abs=1.0)  # of 99.9 s
    page.reload()
    page.wait_for_selector(".chart canvas")
    assert shown_range(page) == found
    closer = pressed(page, "Zoom in")
    assert closer is not None and closer[1] - closer[0] == pytest.approx((found[1] - found[0]) / 2, rel=0.01)
    later = pressed(page, "Later")
    assert later is not None and later[0] > closer[0]
    assert pressed(page, "Show all") is None


def test_the_keyboard_moves_through_the_steps_and_they_are_spoken(open_page: Open, served: Served) -> None:
    run = served.begin_run("by keyboard")
    served.send_steps(run, 0, 40)
    page = open_page(f"/#/runs/{run}")
    chart = page.get_by_role("application")
    chart.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#said")).to_contain_text("step 0,")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#said")).to_contain_text("step 1,")
    page.keyboard.press("+")
    expect(page).to_have_url(re.compile("from="))
    page.keyboard.press("Home")
    expect(page).not_to_have_url(re.compile("from="))


def test_the_keyboard_passes_from_block_to_block_and_out_of_what_is_looked_at(open_page: Open, served: Served) -> None:
    run = served.begin_run("from block to block")
    served.send_steps(run, 0, 4)
    served.send_steps(run, 5, 9, block=1)
    page = open_page(f"/#/runs/{run}?from=0&to=0.55")
    expect(place(page, "Step")).to_have_text("9")
    chart = page.get_by_role("application")
    chart.focus()
    said = page.locator("#said")
    for step in range(10):
        page.keyboard.press("ArrowRight")
        expect(said).to_contain_text(re.compile(rf"^block {step // 5}: .* step {step},"))
        expect(page.locator(".tip")).to_contain_text(f"step {step},")
    shown = shown_range(page)
    assert shown is not None and shown[0] < 0.9 <= shown[1]  # where the last one is
    for step in (8, 7, 6, 5, 4, 3):
        page.keyboard.press("ArrowLeft")
        expect(said).to_contain_text(f" step {step},")


def test_a_highest_peak_among_many_steps_is_kept(open_page: Open, served: Served) -> None:
    run = served.begin_run("many")
    budget = served.plan["budget"]["bytes"]
    for first in range(0, 9000, 1000):
        served.send_steps(run, first, first + 999)
    served.send_steps(run, 9000, 9000, peak_bytes=budget + 5 * MIB)
    for first in range(9001, 12001, 1000):
        served.send_steps(run, first, first + 999)
    page = open_page(f"/#/runs/{run}")
    expect(page.locator(".badge.bad")).to_have_text("over budget by 5.0 MiB")
    assert f"{(budget + 5 * MIB) / MIB:.1f} MiB" in figure(page, "Peak and budget")


def test_zooming_in_on_many_steps_fetches_them_all(open_page: Open, served: Served) -> None:
    run = served.begin_run("fine")
    for first in range(0, 10000, 1000):
        served.send_steps(run, first, first + 999)
    page = open_page(f"/#/runs/{run}")
    with page.expect_response(re.compile(r"samples\?points=\d+&after=\d+&before=\d+")) as answer:
        page.evaluate("location.hash += '?from=500&to=510'")
    steps = [sample["step"] for sample in answer.value.json()["samples"]]
    assert set(range(5001, 5100)) <= set(steps)  # ten steps a second, each by itself
    chart = page.get_by_role("application")
    chart.focus()
    page.locator(".chart .u-over").first.hover()
    expect(page.locator(".tip")).to_contain_text(re.compile(r"step 5,0\d\d"))


def test_a_live_run_is_followed_to_its_end(served: Served, followed: Followed) -> None:
    assert "running" in followed.early and "finished" not in followed.early and "Exits" not in followed.early
    page = followed.page
    expect(page.locator(".heading .badge").first).to_have_text("finished")
    expect(page.locator("section:has(h2:text-is('Exits'))")).to_have_count(1)
    run = served.get(f"/v1/runs/{followed.run}")
    expect(place(page, "Accuracy")).to_have_text(f"{100 * run['report']['accuracy']:.1f} %")
    expect(place(page, "Step")).to_have_text(str(run["last_sample"]["step"]))


def test_new_steps_appear_by_themselves(open_page: Open, served: Served) -> None:
    run = served.begin_run("growing")
    page = open_page(f"/#/runs/{run}")
    assert figure(page, "Step") == "–"
    for step in (3, 7, 20):
        served.send_steps(run, step, step)
        expect(place(page, "Step")).to_have_text(str(step))
    peaks = [served.plan["budget"]["bytes"] * share // 10 for share in (9, 8)]
    served.send_steps(run, 21, 21, block=1, peak_bytes=peaks[1])
    cells = page.locator("section:has(h2:text-is('Blocks')) tbody td:nth-child(6)")
    later = ["–"] * (len(served.plan["blocks"]) - 2)
    expect(cells).to_have_text([*(f"{peak / MIB:.1f} MiB" for peak in peaks), *later])


def test_a_stream_that_is_cut_is_taken_up_where_it_was(open_page: Open, served: Served, wire: Wire) -> None:
    run = served.begin_run("cut")
    served.send_steps(run, 0, 4)
    page = open_page(f"/#/runs/{run}", url=wire.url)
    expect(place(page, "Step")).to_have_text("4")
    served.send_steps(run, 5, 9)
    expect(place(page, "Step")).to_have_text("9")
    resumed: list[str | None] = []
    page.on(
        "request", lambda asked: resumed.append(asked.headers.get("last-event-id")) if "/events" in asked.url else None
    )
    wire.cut()
    state = page.locator(".heading .badge").first
    expect(state).to_have_text(re.compile("connection lost"))
    served.send_steps(run, 10, 14)
    wire.mend()
    expect(state).to_have_text(re.compile("running"))
    expect(place(page, "Step")).to_have_text("14")
    assert resumed and set(resumed) == {"9"}


def test_where_a_run_left_its_plan_is_marked_and_said(open_page: Open, served: Served) -> None:
    run = served.begin_run("left its plan")
    served.send_steps(run, 0, 20)
    said = ["block 0: does not fit with 32 × 1", "resumed at block 0; time and start-up peak are this session's"]
    served.post(f"/v1/runs/{run}/report", _report(served, said, [6, 16]))
    page = open_page(f"/#/runs/{run}")
    items = page.locator("section:has(h2:text-is('Where it left its plan')) li")
    expect(items).to_have_text([f"0.50 s: {said[0]}", f"1.50 s: {said[1]}"])  # ten steps a second
    until(lambda: len(marks_of(page)) == 2, "two marks")
    assert marks_of(page) == pytest.approx([0.5 / 3, 1.5 / 3], abs=0.005)  # it took 3 s
    chart = page.get_by_role("application")
    chart.focus()
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    expect(page.locator(".tip")).to_contain_text("step 5, epoch 0, 0.50 s")
    expect(page.locator(".tip")).to_contain_text(f"left its plan: {said[0]}")


def test_a_run_above_its_budget_says_by_how_much_and_when(open_page: Open, served: Served) -> None:
    run = served.begin_run("above")
    served.send_steps(run, 0, 20)
    report = _report(served, [], [])
    budget = served.plan["budget"]["bytes"]
    first, *others = report["blocks"]
    phases = [
        {"phase": "train", "predicted_peak_bytes": budget // 2, "measured_peak_bytes": budget // 4},
        {"phase": "repair", "predicted_peak_bytes": None, "measured_peak_bytes": budget + 3 * MIB},
    ]
    peak = {"phase": "repair", "block": 0, "steps": 20}
    above = {"peak_bytes": budget + 3 * MIB, "within_budget": False, "peak": peak}
    served.post(f"/v1/runs/{run}/report", {**report, **above, "blocks": [{**first, "phases": phases}, *others]})
    page = open_page(f"/#/runs/{run}")
    said = page.locator("div:has(> dt:text-is('Peak and budget'))")
    expect(said).to_contain_text("over budget by 3.0 MiB")
    expect(said).to_contain_text("at repair of block 0, behind 20 steps")
    rows = page.locator("section:has(h2:text-is('Phases')) tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("−50.0 %")
    expect(rows.nth(1)).to_contain_text("–")


def test_what_follows_training_is_charted_and_red_above_the_budget(open_page: Open, served: Served) -> None:
    run = served.begin_run("finishing")
    served.send_steps(run, 0, 20)
    budget = served.plan["budget"]["bytes"]
    report = _report(served, [], [])
    first, *others = report["blocks"]
    train = {"phase": "train", "predicted_peak_bytes": budget, "measured_peak_bytes": budget * 9 // 10, "seconds": 2.0}
    save = {"phase": "save", "predicted_peak_bytes": None, "measured_peak_bytes": budget // 2, "seconds": 0.2}
    cache = {"phase": "cache", "predicted_peak_bytes": None, "measured_peak_bytes": budget + MIB, "seconds": 0.8}
    above = {"peak_bytes": budget + MIB, "within_budget": False}
    phases = {"phases": [train, save, cache]}
    served.post(f"/v1/runs/{run}/report", {**report, **above, "blocks": [{**first, **phases}, *others]})
    page = open_page(f"/#/runs/{run}")
    expect(page.get_by_role("application")).to_have_attribute("aria-label", re.compile("highest peak"))
    # The last step was at 2.0 s of 3.0: saving is until 2.2 s, the cache is written until the end.
    for share, words in ((2.1 / 3, "saving, 2 s to 2.20 s"), (2.6 / 3, "writing the cache, 2.20 s to 3 s")):
        hover(page, share)
        expect(page.locator(".tip")).to_contain_text(words)
    expect(page.locator(".tip")).to_contain_text("1.0 MiB above the budget")
    found = page.evaluate(_RED)
    assert found == pytest.approx([2.2 / 3, 1.0], abs=0.01)


def test_the_axis_begins_where_something_happens_and_at_0_on_demand(open_page: Open, served: Served) -> None:
    run = served.begin_run("folded")
    budget = served.plan["budget"]["bytes"]
    for sequence in range(0, 40, 2):
        served.send_steps(run, sequence, sequence + 1, resident_bytes=budget // 2, peak_bytes=budget * 6 // 10)
    page = open_page(f"/#/runs/{run}")
    expect(place(page, "Step")).to_have_text("39")
    chart = page.get_by_role("application")
    folded = picture(page)
    page.get_by_role("button", name="Fold the runtime").click()
    expect(page.get_by_role("button", name="Fold the runtime")).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#said")).to_have_text("The axis begins at 0")
    until(lambda: picture(page) != folded, "another axis")
    chart.focus()
    page.keyboard.press("ArrowUp")
    expect(page.locator("#said")).to_contain_text(re.compile("^From .* MiB to .* MiB$"))
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Home")
    expect(page.locator("#said")).to_have_text("All of the run")


def picture(page: Page) -> str:
    """The chart of memory, as an image's address."""
    found: str = page.locator(".chart canvas").first.evaluate("canvas => canvas.toDataURL()")
    return found


def test_a_run_says_how_far_it_is_what_is_left_and_where(open_page: Open, served: Served) -> None:
    device = enrol(served, "bench of progress")
    body = {"plan_id": served.plan["id"], "name": "half done"}
    run = served.server.client.post("/v1/runs", json=body, headers=bearer(device["token"])).json()["id"]
    steps = [
        {"sequence": each, "seconds": each + 1.0, "block": 0, "epoch": 0, "step": each, "loss": 2.0}
        | {"resident_bytes": MIB, "peak_bytes": 2 * MIB}
        for each in range(2)
    ]
    served.post(f"/v1/runs/{run}/samples", {"samples": steps})
    page = open_page(f"/#/runs/{run}")
    blocks = [block["predicted"] for block in served.plan["blocks"]]
    whole = sum(block["seconds_per_epoch"] + block["finish_seconds"] for block in blocks)
    done = blocks[0]["seconds_per_epoch"] * 2 / 4  # of 64 samples in batches of 16
    expect(place(page, "Progress")).to_contain_text(f"{100 * done / whole:.0f} %")
    left = 2.0 * (whole - done) / done  # at the speed of these two steps
    expect(page.locator("div:has(> dt:text-is('Progress'))")).to_contain_text(f"about {_duration(left)} left")
    expect(page.locator("div:has(> dt:text-is('Block'))")).to_contain_text(f"of 0 to {len(blocks) - 1}")
    page.get_by_role("link", name="bench of progress").click()
    expect(page.locator("li[aria-current]")).to_contain_text("bench of progress")


def _duration(seconds: float) -> str:
    """As the page writes it."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60} s"


def test_a_runs_files_are_taken_along(open_page: Open, served: Served) -> None:
    run = served.begin_run("taken along")
    for first in range(0, 6000, 1000):
        served.send_steps(run, first, first + 999)
    report = _report(served, [], [])
    served.post(f"/v1/runs/{run}/report", report)
    page = open_page(f"/#/runs/{run}")
    files = page.locator("section:has(h2:text-is('Files'))")
    with page.expect_download() as taken:
        files.get_by_role("button", name="Save as CSV").click()
    lines = Path(taken.value.path()).read_text().splitlines()
    assert lines[0] == "sequence,seconds,block,epoch,step,resident_bytes,peak_bytes,loss"
    assert [int(line.partition(",")[0]) for line in lines[1:]] == list(range(6000))  # all, not those of the chart
    with page.expect_download() as taken:
        files.get_by_role("link", name="report.json").click()
    assert json.loads(Path(taken.value.path()).read_text())["plan_id"] == served.plan["id"]
    for chart in ("Memory against time", "Loss and accuracy"):
        with page.expect_download() as taken:
            page.get_by_role("button", name=re.compile(f"^Save as PNG: {chart}")).click()
        assert Path(taken.value.path()).read_bytes().startswith(b"\x89PNG")
    with page.expect_popup() as opened:
        files.get_by_role("link", name="Report page").click()
    expect(opened.value.get_by_role("heading", level=1)).to_contain_text("cnn6")


def test_a_resumption_is_marked_while_the_run_goes_on(open_page: Open, served: Served) -> None:
    run = served.begin_run("goes on")
    served.send_steps(run, 0, 9)
    for sequence in range(10, 20):
        served.send_steps(run, sequence, sequence, seconds=(sequence - 10) / 10)
    page = open_page(f"/#/runs/{run}")
    expect(place(page, "Step")).to_have_text("19")
    until(lambda: len(marks_of(page)) == 1, "a mark")
    assert marks_of(page) == pytest.approx([0.5], abs=0.005)  # at 0.9 of 1.8 s


def marks_of(page: Page) -> list[float]:
    """Where the memory chart has marks, as they are painted: shares of its width."""
    found: list[float] = page.evaluate(_MARKS)
    return found


_RED = """() => {
    const canvas = document.querySelector('.chart canvas');
    const over = document.querySelector('.chart .u-over');
    const ratio = canvas.width / canvas.clientWidth;
    const wanted = getComputedStyle(document.documentElement).getPropertyValue('--over').trim();
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', {willReadFrequently: true});
    copy.drawImage(canvas, 0, 0);
    const {data, width} = copy.getImageData(0, 0, canvas.width, canvas.height);
    const columns = [];
    for (let at = 0; at < data.length; at += 4) {
        const hex = '#' + [0, 1, 2].map((part) => data[at + part].toString(16).padStart(2, '0')).join('');
        if (hex === wanted) columns.push((at / 4) % width);
    }
    const share = (x) => (x / ratio - over.offsetLeft) / over.clientWidth;
    return columns.length ? [share(Math.min(...columns)), share(Math.max(...columns) + 1)] : [];
}"""

_MARKS = """() => {
    const canvas = document.querySelector('.chart canvas');
    const over = document.querySelector('.chart .u-over');
    const ratio = canvas.width / canvas.clientWidth;
    const floor = Math.round((over.offsetTop + over.clientHeight) * ratio);
    const wanted = getComputedStyle(document.documentElement).getPropertyValue('--mark').trim();
    // A mark is a triangle whose tip touches the axis: a little above it each is a few pixels wide.
    const copy = new OffscreenCanvas(canvas.width, 1).getContext('2d', {willReadFrequently: true});
    copy.drawImage(canvas, 0, 4 - floor);
    const {data} = copy.getImageData(0, 0, canvas.width, 1);
    const hex = (x) => '#' + [0, 1, 2].map((part) => data[4 * x + part].toString(16).padStart(2, '0')).join('');
    const groups = [];
    for (let x = 0; x < canvas.width; x += 1) {
        if (hex(x) !== wanted) continue;
        if (groups.length && x - groups.at(-1).at(-1) <= 2) groups.at(-1).push(x);
        else groups.push([x]);
    }
    const middle = (group) => (group[0] + group.at(-1) + 1) / 2;
    return groups.map((group) => (middle(group) / ratio - over.offsetLeft) / over.clientWidth);
}"""


def _report(served: Served, deviations: list[str], steps: list[int]) -> dict[str, Any]:
    plan = served.plan
    blocks = [
        {
            "units": block["units"],
            "micro_batch": block["micro_batch"],
            "accumulate": block["accumulate"],
            "predicted_peak_bytes": block["predicted"]["peak_bytes"],
            "measured_peak_bytes": block["predicted"]["peak_bytes"],
            "predicted_seconds_per_epoch": 1.0,
            "measured_seconds_per_epoch": 1.0,
            "epochs": 1,
            "steps": 20,
            "loss": 1.0,
        }
        for block in plan["blocks"]
    ]
    return {
        "schema": "report/1",
        "plan_id": plan["id"],
        "budget_bytes": plan["budget"]["bytes"],
        "scope": plan["budget"]["scope"],
        "peak_bytes": plan["predicted"]["peak_bytes"],
        "child_peak_bytes": 1,
        "supervisor_peak_bytes": 1,
        "baseline_bytes": 1,
        "within_budget": True,
        "blocks": blocks,
        "exits": [{"unit": 6, "parameters": 100, "accuracy": 0.5, "samples_per_second": 10.0}],
        "chosen_exit": 6,
        "accuracy": 0.5,
        "seconds": 3.0,
        "cache": {"bytes_written": 0, "stall_seconds": 0.0},
        "deviations": deviations,
        "deviation_steps": steps,
    }


def test_a_resumed_run_whose_clock_begins_anew_stays_in_order(open_page: Open, served: Served) -> None:
    run = served.begin_run("resumed")
    served.send_steps(run, 0, 100)
    for sequence in range(101, 111):
        served.send_steps(run, sequence, sequence, seconds=(sequence - 101) / 10)
    page = open_page(f"/#/runs/{run}")
    assert figure(page, "Time") == "11 s"  # 10.0 s before, and 0.9 s since


def test_two_runs_one_after_the_other_leave_no_stream_behind(open_page: Open, served: Served) -> None:
    one, other = served.begin_run("one"), served.begin_run("other")
    page = open_page(f"/#/runs/{one}")
    for _ in range(8):  # a browser has six connections to a host
        for run in (one, other):
            page.evaluate(f"location.hash = '#/runs/{run}'")
            expect(page).to_have_title(f"{'one' if run == one else 'other'} – neuroflux")
    until(
        lambda: "neuroflux_event_streams 1\n" in served.server.client.get("/metrics").text, "the end of other streams"
    )
