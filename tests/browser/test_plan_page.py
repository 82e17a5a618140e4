"""The page of a plan."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import pytest
from playwright.sync_api import expect

from planner.units import MIB
from tests.browser.conftest import Open
from tests.browser.plans import hold, open_experts, shown_plan
from tests.browser.served import Served
from tests.unit.every_term import EVERY_TERM


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
    open_experts(page)
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
    open_experts(page)
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
    open_experts(page)
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
    optimizer["weight_decay_on"] = "all"
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
    open_experts(page)
    page.get_by_label("Learning rate", exact=True).fill("0.004")
    page.get_by_role("button", name="Make the plan").click()
    expect(page).not_to_have_url(re.compile(f"#/new|{plan['id']}"))
    changed = {**asked, "training": {**training, "optimizer": {**optimizer, "lr": 0.004}}}
    assert shown_plan(page, served)["request"] == changed


def test_what_cuts_cost_and_the_polish_are_said_and_what_is_left_open_is_settled(
    open_page: Open, served: Served
) -> None:
    page = open_page(f"/#/new?profile={served.plan['profile_id']}&budget={210 * MIB}&prefer=fidelity")
    page.get_by_text("More terms").click()
    page.get_by_label("Heads at cuts").select_option("auto")
    page.get_by_label("Overlap").select_option("auto")
    page.get_by_label("Polish", exact=True).fill("2")
    page.get_by_role("button", name="Make the plan").click()
    expect(page).to_have_url(re.compile("#/plans/"))
    plan = shown_plan(page, served)
    request, cuts = plan["request"], sum(len(block["segments"]) for block in plan["blocks"]) - 1
    assert (request["head"], request["overlap"], request["training"]["polish"]) == ("auto", "auto", 2)
    lost = plan["predicted"]["accuracy_loss_points"]
    said = page.locator("dl.figures div:has(dt:text-is('Accuracy lost to backpropagation'))")
    expect(said.locator("dd").first).to_contain_text(f"{lost['expected']:.1f}")
    range_said = f"nine of ten between {lost['low']:.1f} and {lost['high']:.1f}" if cuts else "nothing is cut"
    expect(said).to_contain_text(range_said)
    polish = page.locator("dl.figures div:has(dt:text-is('Polish'))")
    expect(polish).to_contain_text(f"2 epochs end to end at learning rate {plan['polish']['lr']}")
    compared = page.locator("section:has(h2:text-is('Strategies'))").get_by_role("columnheader", name="Points lost")
    expect(compared).to_have_count(1)


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


def test_the_peak_is_told_layer_by_layer_and_adds_up(open_page: Open, served: Served) -> None:
    page = open_page(f"/#/plans/{served.plan['id']}")
    stacks = page.locator("section:has(h2:text-is('What the peak is made of')) .stack")
    expect(stacks.locator("details")).to_have_count(len(served.plan["blocks"]))
    moments = served.get(f"/v1/plans/{served.plan['id']}/peak")["peak"]
    for stack, block, moment in zip(stacks.all(), served.plan["blocks"], moments, strict=True):
        stack.locator("summary").click()
        sum_row = stack.locator("tbody tr").last
        whole = sum(block["predicted"]["breakdown"].values())
        expect(sum_row).to_contain_text(f"{whole / MIB:.1f} MiB")
        if moment["unit"] is not None:
            name = served.plan["model"]["units"][moment["unit"]]["name"]
            expect(stack.locator("tr[aria-current]")).to_contain_text(name)
            expect(stack.locator("summary")).to_contain_text(name)
    network = page.locator("section:has(h2:text-is('The network'))")
    expect(network.get_by_role("button", name="At its block's peak")).to_have_attribute("aria-pressed", "true")
    at_peak = network.locator("svg").inner_html()
    network.get_by_role("button", name="Each alone").click()
    expect(network.get_by_role("button", name="Each alone")).to_have_attribute("aria-pressed", "true")
    assert network.locator("svg").inner_html() != at_peak


@pytest.mark.parametrize("width", [360, 1280, 3840])
def test_the_frontiers_ticks_do_not_overlap(open_page: Open, served: Served, width: int) -> None:
    page = open_page(f"/#/plans/{served.plan['id']}", width=width)
    ticks = page.locator("section:has(h2:text-is('What a budget buys')) svg text:has-text('MiB').faint")
    expect(ticks.first).to_be_visible()
    boxes = [box for tick in ticks.all() if (box := tick.bounding_box())]
    assert all(one["x"] + one["width"] < other["x"] for one, other in pairwise(boxes))


def test_the_slider_ends_where_more_buys_nothing(open_page: Open, served: Served) -> None:
    page = open_page(f"/#/plans/{served.plan['id']}")
    last = served.get(f"/v1/plans/{served.plan['id']}/frontier")["frontier"][-1]["budget_bytes"]
    expect(page.locator(".ends")).to_contain_text(f"from {last / MIB:.1f} MiB on more buys no time")
    slider = page.get_by_role("slider", name="Budget")
    slider.focus()
    page.keyboard.press("End")
    field = float(page.get_by_label("Budget in MiB").input_value())
    assert last / MIB <= field <= 1.03 * last / MIB
