"""The page of a plan, and the one where a new plan is made."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from planner.units import MIB
from tests.browser.conftest import Open
from tests.browser.served import Served
from tests.unit.api.service import CNN6
from tests.unit.every_term import EVERY_TERM


def shown_plan(page: Page, served: Served) -> Any:
    """The plan that the address names."""
    found = re.search(r"#/plans/([0-9a-f]{64})", page.url)
    assert found is not None, page.url
    return served.get(f"/v1/plans/{found[1]}")


def test_the_network_is_drawn_with_its_blocks_cuts_and_heads(open_page: Open, served: Served) -> None:
    page = open_page(f"/#/plans/{served.plan['id']}")
    plan = served.plan
    drawing = page.get_by_role("region", name="The network, unit by unit").locator("svg")
    expect(drawing).to_be_visible()
    titles = drawing.locator("title").all_text_contents()
    for index, block in enumerate(plan["blocks"]):
        first, last = block["units"]
        assert any(text.startswith(f"block {index}: units {first} to {last - 1}") for text in titles)
    for unit in plan["model"]["units"]:
        assert any(text.startswith(f"{unit['name']}: ") and "activations" in text for text in titles)
    heads = [segment["head"] for block in plan["blocks"] for segment in block["segments"]]
    assert len([text for text in titles if text.startswith("head, ")]) == len([head for head in heads if head])
    units = served.get(f"/v1/plans/{plan['id']}/units")["units"]
    expect(page.locator("section:has(h2:text-is('The network')) tbody tr")).to_have_count(len(units))


def test_recomputed_units_are_drawn_so_and_said(open_page: Open, served: Served) -> None:
    request = {"model": "cnn6", "profile": served.plan["profile_id"], "strategy": "checkpoint"}
    refused = served.server.client.post("/v1/plans", json={**request, "budget": {"bytes": 1}}).json()
    plan = served.post("/v1/plans", {**request, "budget": {"bytes": refused["minimum_bytes"]}})
    spans = [span for block in plan["blocks"] for segment in block["segments"] for span in segment["recompute"]]
    again = [plan["model"]["units"][unit]["name"] for first, last in spans for unit in range(first, last)]
    assert 0 < len(again) < len(plan["model"]["units"])
    page = open_page(f"/#/plans/{plan['id']}")
    network = page.locator("section:has(h2:text-is('The network'))")
    expect(network.locator(".legend")).to_contain_text("↻recomputed in backward")
    signed = network.locator("svg g:has(> text:text-is('↻')) > title")
    expect(signed).to_have_count(len(again))
    assert [text.partition(":")[0] for text in signed.all_text_contents()] == again
    assert all(text.endswith("recomputed") for text in signed.all_text_contents())
    expect(network.locator("svg")).to_have_attribute("aria-label", re.compile(f" {len(again)} units recomputed;"))
    network.get_by_text("As a table").click()
    said = network.locator("tbody tr:has(td:last-child:text-is('yes')) td:first-child")
    expect(said).to_have_text(again)


def test_without_recomputation_nothing_says_so(open_page: Open, served: Served) -> None:
    page = open_page(f"/#/plans/{served.plan['id']}")
    network = page.locator("section:has(h2:text-is('The network'))")
    expect(network.locator("svg")).to_be_visible()
    expect(network.get_by_text("↻")).to_have_count(0)


def test_frozen_units_are_drawn_without_gradients_and_stay_so_at_another_budget(
    open_page: Open, served: Served
) -> None:
    request = {"model": "cnn6", "profile": served.plan["profile_id"], "budget": {"bytes": 400 * MIB}}
    plan = served.post("/v1/plans", {**request, "training": {"freeze": 2}})
    names = [unit["name"] for unit in plan["model"]["units"]]
    page = open_page(f"/#/plans/{plan['id']}")
    expect(page.locator("p.sub")).to_contain_text("the first 2 units frozen")
    network = page.locator("section:has(h2:text-is('The network'))")
    expect(network.locator("svg")).to_have_attribute("aria-label", re.compile("^6 units, the first 2 frozen, "))
    titles = network.locator("svg title").all_text_contents()
    assert [text.partition(":")[0] for text in titles if text.endswith("frozen: not trained")] == names[:2]
    network.get_by_text("As a table").click()
    expect(network.locator("tbody tr:has(td:last-child:text-is('frozen')) td:first-child")).to_have_text(names[:2])
    field = page.get_by_label("Budget in MiB")
    field.fill("380")
    field.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("cnn6 in 380.0 MiB")
    assert shown_plan(page, served)["training"]["freeze"] == 2


def test_more_frozen_units_than_there_are_is_said_at_the_field(open_page: Open, served: Served) -> None:
    page = open_page(f"/#/new?profile={served.plan['profile_id']}&budget={400 * MIB}")
    field = page.get_by_label("Frozen units")
    field.fill("6")
    page.get_by_role("button", name="Make the plan").click()
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_text("freeze is 6; it must lie between 0 and 5")).to_be_visible()
    field.fill("2")
    page.get_by_role("button", name="Make the plan").click()
    expect(page.locator("p.sub")).to_contain_text("the first 2 units frozen")


def test_augmentation_is_asked_for_and_stays_so_at_another_budget(open_page: Open, served: Served) -> None:
    page = open_page(f"/#/new?profile={served.plan['profile_id']}&budget={400 * MIB}")
    page.get_by_label("Augmentation").select_option("crop-flip")
    field = page.get_by_label("Cached views")
    field.fill("11")
    page.get_by_role("button", name="Make the plan").click()
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_text("views is 11; it must lie between 1 and the epochs, 10")).to_be_visible()
    field.fill("3")
    page.get_by_label("Caches hold").select_option("uint8")
    page.get_by_role("button", name="Make the plan").click()
    expect(page.locator("p.sub")).to_contain_text("augmented by crop-flip")
    field = page.get_by_label("Budget in MiB")
    field.fill("380")
    field.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("cnn6 in 380.0 MiB")
    training = shown_plan(page, served)["training"]
    assert (training["augment"], training["views"], training["dtype"]) == ("crop-flip", 3, "float32")


def test_arithmetic_that_was_not_measured_is_said_at_the_field(open_page: Open, served: Served) -> None:
    page = open_page(f"/#/new?profile={served.plan['profile_id']}&budget={400 * MIB}")
    field = page.get_by_label("Arithmetic")
    field.select_option("bfloat16")
    page.get_by_role("button", name="Make the plan").click()
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_text("dtype is bfloat16, but the profile measured float32")).to_be_visible()


def test_a_budget_that_is_being_typed_is_left_alone_by_the_plan_that_arrives(open_page: Open, served: Served) -> None:
    page = open_page(f"/#/plans/{served.plan['id']}")
    field = page.get_by_label("Budget in MiB")
    held = hold(page, "**/v1/plans")
    field.fill("400")
    with page.expect_request("**/v1/plans"):
        field.press("Enter")
    field.fill("45")
    held.pop().continue_()
    expect(page.get_by_role("heading", level=1)).to_have_text("cnn6 in 400.0 MiB")
    expect(field).to_have_value("45")


def test_a_changed_budget_shows_another_plan(open_page: Open, served: Served) -> None:
    page = open_page(f"/#/plans/{served.plan['id']}")
    field = page.get_by_label("Budget in MiB")
    expect(field).to_have_value(re.compile(r"^\d+(\.\d+)?$"))
    field.fill("400")
    field.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("cnn6 in 400.0 MiB")
    plan = shown_plan(page, served)
    assert plan["id"] != served.plan["id"] and plan["budget"]["bytes"] == 400 * MIB
    assert plan["training"] == served.plan["training"]
    expect(page.locator("dl.figures")).to_contain_text(f"{plan['predicted']['peak_bytes'] / MIB:.1f} MiB of 400.0 MiB")
    expect(field).to_be_focused()
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("cnn6 in 400.0 MiB")


def test_the_slider_moves_by_keyboard(open_page: Open, served: Served) -> None:
    page = open_page(f"/#/plans/{served.plan['id']}")
    slider = page.get_by_role("slider", name="Budget")
    expect(page.locator(".ends")).to_contain_text(
        f"smallest that fits: {served.plan['minimum_budget_bytes'] / MIB:.1f} MiB"
    )
    slider.focus()
    page.keyboard.press("PageUp")
    expect(page).not_to_have_url(re.compile(served.plan["id"]))
    assert shown_plan(page, served)["budget"]["bytes"] > served.plan["budget"]["bytes"]


def test_something_else_begins_with_what_this_plan_was_asked_for(open_page: Open, served: Served) -> None:
    optimizer = {"kind": "sgd", "lr": 0.002, "momentum": 0.8, "nesterov": True, "weight_decay": 0.125}
    training = {**EVERY_TERM["training"], "dtype": "float32", "optimizer": optimizer}
    budget = {"bytes": 700 * MIB + 1, "scope": "training"}
    asked = {**EVERY_TERM, "training": training, "budget": budget, "reserve_bytes": MIB + 1}
    plan = served.post("/v1/plans", {"model": "cnn6", "profile": served.plan["profile_id"], **asked})
    assert plan["request"] == asked
    page = open_page(f"/#/plans/{plan['id']}")
    page.get_by_role("link", name="Plan something else").click()
    expect(page.get_by_label("Seed")).to_have_value("7")
    page.get_by_role("button", name="Make the plan").click()
    expect(page).to_have_url(re.compile("#/plans/"))
    assert shown_plan(page, served) == plan
    page.get_by_role("link", name="Plan something else").click()
    page.get_by_label("Learning rate").fill("0.004")
    page.get_by_role("button", name="Make the plan").click()
    expect(page).not_to_have_url(re.compile(f"#/new|{plan['id']}"))
    changed = {**asked, "training": {**training, "optimizer": {**optimizer, "lr": 0.004}}}
    assert shown_plan(page, served)["request"] == changed


def test_a_form_left_alone_asks_for_what_the_service_takes_where_nothing_is_said(
    open_page: Open, served: Served
) -> None:
    page = open_page(f"/#/new?profile={served.plan['profile_id']}&budget={400 * MIB}")
    page.get_by_role("button", name="Make the plan").click()
    expect(page).to_have_url(re.compile("#/plans/"))
    question = {"model": "cnn6", "profile": served.plan["profile_id"], "budget": {"bytes": 400 * MIB}}
    assert shown_plan(page, served) == served.post("/v1/plans", question)


def test_an_error_at_a_folded_term_unfolds_it(open_page: Open, served: Served) -> None:
    page = open_page(f"/#/new?profile={served.plan['profile_id']}&budget={400 * MIB}")
    field = page.get_by_label("Most cuts")
    expect(field).to_be_hidden()
    page.get_by_text("More terms").click()
    field.fill("-1")
    page.get_by_text("More terms").click()
    expect(field).to_be_hidden()
    page.get_by_role("button", name="Make the plan").click()
    expect(page.get_by_text("max_cuts is -1; it must lie between 0 and")).to_be_visible()
    expect(field).to_be_focused()


def test_another_optimizer_is_asked_for_with_its_own_usual_values(open_page: Open, served: Served) -> None:
    page = open_page(f"/#/new?profile={served.plan['profile_id']}&lr=0.05&momentum=0.9&weight_decay=0.0005")
    page.get_by_label("Optimizer").select_option("adam")
    for label in ("Learning rate", "Momentum", "Weight decay"):
        expect(page.get_by_label(label, exact=True)).to_have_value("")


def test_too_small_a_budget_names_the_smallest_and_takes_it(open_page: Open, served: Served) -> None:
    page = open_page(f"/#/plans/{served.plan['id']}")
    field = page.get_by_label("Budget in MiB")
    field.fill("2")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_role("button", name=re.compile("^Take [0-9.]+ MiB$")).click()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page).not_to_have_url(re.compile(served.plan["id"]))
    assert shown_plan(page, served)["budget"]["bytes"] == served.plan["minimum_budget_bytes"]


def test_the_frontier_has_this_plan_on_it_and_its_points_can_be_taken(open_page: Open, served: Served) -> None:
    page = open_page(f"/#/plans/{served.plan['id']}")
    points = served.get(f"/v1/plans/{served.plan['id']}/frontier")["frontier"]
    section = page.locator("section:has(h2:text-is('What a budget buys'))")
    expect(section.locator("svg [role=button]")).to_have_count(len(points))
    expect(section.locator("svg")).to_contain_text("this plan:")
    section.locator("svg [role=button]").last.focus()
    page.keyboard.press("Enter")
    expect(page).not_to_have_url(re.compile(served.plan["id"]))
    assert shown_plan(page, served)["budget"]["bytes"] == points[-1]["budget_bytes"]


def test_strategies_are_compared_and_what_does_not_fit_says_what_it_needs(open_page: Open, served: Served) -> None:
    page = open_page(f"/#/plans/{served.plan['id']}")
    rows = page.locator("section:has(h2:text-is('Strategies')) tbody tr")
    expect(rows.first).to_contain_text("auto (this plan)")
    text = "\n".join(rows.all_inner_texts())
    for strategy in ("backprop", "checkpoint", "classic-local", "neuroflux"):
        assert strategy in text
    assert re.search(r"classic-local\s+needs [0-9.]+ MiB", text)


def test_the_line_and_the_document_are_what_a_device_takes(open_page: Open, served: Served) -> None:
    page = open_page(f"/#/plans/{served.plan['id']}")
    page.get_by_label("Data", exact=True).fill("my images")
    line = page.get_by_role("group", name="The command that runs this plan")
    wanted = f"neuroflux run {served.url}/v1/plans/{served.plan['id']} --data 'my images' --report-to {served.url}"
    expect(line).to_have_text(wanted)
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == wanted
    with page.expect_download() as download:
        page.get_by_role("link", name="Download as JSON").click()
    with open(download.value.path(), encoding="utf-8") as file:  # noqa: PTH123 - a path of Playwright's
        assert json.load(file) == served.plan


def test_a_new_plan_is_made_from_a_form_and_the_address_holds_it(open_page: Open, served: Served) -> None:
    page = open_page("/#/new?model=cnn6&device=server&samples=1000")
    page.get_by_label("Device", exact=True).select_option(f"profile:{json.loads(CNN6)['id']}")
    expect(page.locator(".ends")).to_contain_text("smallest that fits: ")
    page.get_by_label("Epochs").fill("3")
    page.get_by_label("Epochs").blur()
    field = page.get_by_label("Budget in MiB")
    field.fill("500")
    field.blur()
    page.reload()
    expect(page.get_by_label("Epochs")).to_have_value("3")
    expect(field).to_have_value("500")
    page.get_by_role("button", name="Make the plan").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("cnn6 in 500.0 MiB")
    plan = shown_plan(page, served)
    assert (plan["training"]["epochs"], plan["training"]["samples"]) == (3, 1000)


def test_a_budget_that_is_being_typed_is_left_alone_by_the_answer_about_the_smallest(open_page: Open) -> None:
    page = open_page("/#/runs")
    held = hold(page, "**/v1/plans/compare")
    with page.expect_request("**/v1/plans/compare"):
        page.evaluate(f"location.hash = '#/new?model=cnn6&device=profile:{json.loads(CNN6)['id']}'")
    field = page.get_by_label("Budget in MiB")
    field.fill("51")
    held.pop().continue_()
    expect(page.locator(".ends")).to_contain_text("smallest that fits: ")
    expect(field).to_have_value("51")
    expect(field).to_be_focused()
    field.press("End")
    field.press("2")
    field.press("Tab")
    expect(page).to_have_url(re.compile(f"budget={512 * MIB}(&|$)"))
    expect(field).to_have_value("512")


def test_an_untouched_budget_is_suggested_above_the_smallest(open_page: Open) -> None:
    page = open_page(f"/#/new?model=cnn6&device=profile:{json.loads(CNN6)['id']}")
    smallest = smallest_shown(page)
    expect(page.get_by_label("Budget in MiB")).to_have_value(re.compile(r"^\d+$"))
    assert smallest < float(page.get_by_label("Budget in MiB").input_value()) < 1.3 * smallest


def test_an_answer_that_comes_late_is_not_taken_for_the_newest(open_page: Open) -> None:
    page = open_page(f"/#/new?model=cnn6&device=profile:{json.loads(CNN6)['id']}")
    of_process = smallest_shown(page)
    held = hold(page, "**/v1/plans/compare")
    with page.expect_request("**/v1/plans/compare"):
        page.get_by_label("Epochs").fill("3")
        page.get_by_label("Epochs").blur()
    # Without this the first one's answer would still be awaited, and shown whenever it comes.
    with (
        page.expect_event("requestfailed", lambda asked: asked == held[0].request, timeout=30_000),
        page.expect_request("**/v1/plans/compare"),
    ):
        page.get_by_label("Budget counts").select_option("training")
    expect(page.locator(".ends")).to_contain_text("not known yet")
    held[1].continue_()
    assert smallest_shown(page) < of_process


def hold(page: Page, pattern: str) -> list[Route]:
    """Requests, held until the test lets them go on."""
    held: list[Route] = []
    page.route(pattern, lambda route: held.append(route))  # Playwright takes no builtin
    return held


def smallest_shown(page: Page) -> float:
    """The smallest budget that fits, once it is there, in MiB."""
    ends = page.locator(".ends")
    expect(ends).to_contain_text("smallest that fits: ")
    found = re.search(r"fits: ([\d.]+) MiB", ends.inner_text())
    assert found is not None
    return float(found[1])


@pytest.mark.parametrize(
    ("label", "value", "said"),
    [
        ("Batch", "0", "must lie between"),
        ("Epochs", "", "a number is needed"),
        ("Learning rate", "-1", "lr is -1"),
        ("Input", "three", "three whole numbers"),
        ("Budget in MiB", "5", "the smallest"),
        ("Budget in MiB", "", "1 or more"),
    ],
)
def test_errors_stand_at_the_field_they_belong_to(open_page: Open, label: str, value: str, said: str) -> None:
    page = open_page(f"/#/new?model=cnn6&device=profile:{json.loads(CNN6)['id']}&budget={500 * MIB}")
    expect(page.locator(".ends")).to_contain_text("smallest that fits: ")
    field = page.get_by_label(label, exact=True)
    field.fill(value)
    page.get_by_role("button", name="Make the plan").click()
    error = page.locator(".field:has([aria-invalid=true]) .error")
    expect(error).to_be_visible()
    expect(error).to_contain_text(said)
    expect(field).to_be_focused()
    assert field.get_attribute("aria-invalid") == "true"
    assert field.get_attribute("aria-errormessage") == error.get_attribute("id")


def test_a_pasted_description_is_checked_stored_and_chosen(open_page: Open, served: Served) -> None:
    page = open_page("/#/new")
    page.get_by_text("Another network").click()
    text = page.get_by_label("Description (model/1)")
    text.fill('{"schema": "model/1", "name": "mine"}')
    page.get_by_role("button", name="Check and store").click()
    error = page.locator("section details .error")
    expect(error).to_contain_text("$.input")
    model = {**served.plan["model"], "name": "pasted here"}
    text.fill(json.dumps(model))
    page.get_by_role("button", name="Check and store").click()
    expect(page.get_by_label("Model", exact=True).locator("option:checked")).to_contain_text("pasted here")
    names = [item["name"] for item in served.get("/v1/models")["items"]]
    assert "pasted here" in names


def test_a_device_that_has_not_measured_is_told_how(open_page: Open, served: Served) -> None:
    machine = json.loads(CNN6)["machine"]
    token = served.post("/v1/enrolments", {})["token"]
    answer = served.server.client.post(
        "/v1/devices",
        json={"name": "bench-9", "machine": machine, "threads": 1},
        headers={"Authorization": f"Bearer {token}"},
    )
    device = answer.json()["device"]["id"]
    page = open_page(f"/#/new?model=vgg11&device={device}")
    line = page.get_by_role("group", name="The command that measures the model")
    expect(line).to_contain_text("neuroflux profile --model vgg11")
    expect(line).to_contain_text(f"--report-to {served.url}")
    page.set_viewport_size({"width": 360, "height": 640})
    page.wait_for_function("() => innerWidth === 360 && document.documentElement.scrollWidth <= 360")
