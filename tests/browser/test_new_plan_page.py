"""The page where a new plan is made."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Page, expect

from planner.units import MIB
from tests.browser.conftest import Open
from tests.browser.plans import hold, open_experts, shown_plan
from tests.browser.served import Served
from tests.unit.api.service import CNN6


def test_a_new_plan_is_made_from_a_form_and_the_address_holds_it(open_page: Open, served: Served) -> None:
    page = open_page("/#/new?model=cnn6&device=server&samples=1000")
    page.get_by_label("Device", exact=True).select_option(f"profile:{json.loads(CNN6)['id']}")
    expect(page.locator(".ends")).to_contain_text("smallest that fits: ")
    page.get_by_label("Epochs", exact=True).fill("3")
    page.get_by_label("Epochs", exact=True).blur()
    field = page.get_by_label("Budget in MiB")
    field.fill("500")
    field.blur()
    page.reload()
    expect(page.get_by_label("Epochs", exact=True)).to_have_value("3")
    expect(field).to_have_value("500")
    page.get_by_role("button", name="Make the plan").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("cnn6 in 500.0 MiB")
    plan = shown_plan(page, served)
    assert (plan["training"]["epochs"], plan["training"]["samples"]) == (3, 1000)


def test_a_network_of_the_zoo_brings_the_input_that_it_is_made_for(open_page: Open) -> None:
    page = open_page("/#/new?model=cnn6&device=server")
    model, shape, classes = (page.get_by_label(name, exact=True) for name in ("Model", "Input", "Classes"))
    model.select_option("dscnn-kws")
    expect(shape).to_have_value("1x49x10")
    expect(classes).to_have_value("12")
    shape.fill("3x64x64")
    model.select_option("resnet18")
    expect(classes).to_have_value("10")
    expect(shape).to_have_value("3x64x64")  # typed in, so it stays


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
        page.get_by_label("Epochs", exact=True).fill("3")
        page.get_by_label("Epochs", exact=True).blur()
    # Without this the first one's answer would still be awaited, and shown whenever it comes.
    with (
        page.expect_event("requestfailed", lambda asked: asked == held[0].request, timeout=30_000),
        page.expect_request("**/v1/plans/compare"),
    ):
        open_experts(page)
        page.get_by_label("Budget counts").select_option("training")
    expect(page.locator(".ends")).to_contain_text("not known yet")
    held[1].continue_()
    assert smallest_shown(page) < of_process


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
        ("Input", "three", "1 to 4 whole numbers are needed"),
        ("Budget in MiB", "5", "the smallest"),
        ("Budget in MiB", "", "1 or more"),
    ],
)
def test_errors_stand_at_the_field_they_belong_to(open_page: Open, label: str, value: str, said: str) -> None:
    page = open_page(f"/#/new?model=cnn6&device=profile:{json.loads(CNN6)['id']}&budget={500 * MIB}")
    expect(page.locator(".ends")).to_contain_text("smallest that fits: ")
    open_experts(page)
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


def test_a_budget_that_is_too_small_is_answered_with_the_smallest_that_fits(open_page: Open, served: Served) -> None:
    page = open_page(f"/#/new?model=cnn6&device=profile:{json.loads(CNN6)['id']}&budget={5 * MIB}")
    least = smallest_shown(page)
    page.get_by_role("button", name="Make the plan").click()
    page.get_by_role("button", name=f"Take {least} MiB").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"cnn6 in {least} MiB")
    plan = shown_plan(page, served)
    assert plan["budget"]["bytes"] == plan["minimum_budget_bytes"]
