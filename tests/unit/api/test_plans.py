"""From a model and a budget to a plan, over both databases."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from api.routes.models import EXAMPLE
from planner.heads.mlp import MlpHead
from planner.profiler.library.applies import read_profile
from planner.profiler.library.shipped import FOLDER
from planner.schema.codec import content_id, decode, to_json
from planner.schema.plan import Plan
from planner.schema.profile import Profile
from planner.schema.request import Budget, Request
from planner.schema.terms import TrainingTerms
from planner.solver.plan import make_plan
from planner.units import MIB
from tests.unit.api import service as support
from tests.unit.api.service import CNN6, PLAN, cnn6_fingerprint, name_server, send, with_plan, with_profile


def test_a_plan_is_what_the_solver_makes_and_the_same_request_gives_the_same(client: TestClient) -> None:
    with_profile(client)
    first = client.post("/v1/plans", json=PLAN)
    again = client.post("/v1/plans", json=PLAN)
    profile = read_profile(FOLDER / "models" / "cnn6-3x32x32-10-sgd.json")
    training = TrainingTerms(batch=128, epochs=10, samples=50_000).training()
    expected = make_plan(profile, Request(Budget(400 * MIB, "process"), training))
    plan = decode(Plan, first.json())
    assert plan == expected
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.content == again.content
    assert first.headers["location"] == f"/v1/plans/{content_id(plan)}"


def test_a_plan_that_is_known_is_not_sent_again(client: TestClient) -> None:
    plan = with_plan(client)
    found = client.get(f"/v1/plans/{plan['id']}")
    assert found.json() == plan
    same = client.get(f"/v1/plans/{plan['id']}", headers={"If-None-Match": found.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    assert client.get(f"/v1/plans/{plan['id']}/alternatives").json()["alternatives"] == plan["alternatives"]
    assert client.get("/v1/plans/" + "0" * 64).status_code == 404


def test_infeasible_names_the_smallest_budget_and_that_budget_is_feasible(local: TestClient) -> None:
    with_profile(local)
    problem = local.post("/v1/plans", json={**PLAN, "budget": {"bytes": MIB}})
    assert problem.status_code == 422
    assert problem.headers["content-type"] == "application/problem+json"
    said = problem.json()
    assert said["type"] == "urn:neuroflux:problem:infeasible"
    assert said["field"] == "$.budget.bytes"
    assert said["binding_term"]
    least = said["minimum_bytes"]
    assert local.post("/v1/plans", json={**PLAN, "budget": {"bytes": least}}).status_code == 201
    assert local.post("/v1/plans", json={**PLAN, "budget": {"bytes": least - 1}}).status_code == 422


def test_this_service_measures_what_it_lacks_and_asks_once(client: TestClient) -> None:
    name_server(client, "a" * 64)
    request = {"model": "cnn6", "budget": {"bytes": 400 * MIB}}
    first, second = client.post("/v1/plans", json=request), client.post("/v1/plans", json=request)
    assert (first.status_code, second.status_code) == (202, 202)
    assert int(first.headers["retry-after"]) > 0
    assert first.headers["location"] == second.headers["location"]
    job = client.get(first.headers["location"]).json()
    assert (job["state"], job["model"], job["batch"]) == ("queued", "cnn6", 128)


def test_a_device_that_has_a_profile_is_planned_for(client: TestClient) -> None:
    with_profile(client)
    name_server(client, cnn6_fingerprint())
    by_device = client.post("/v1/plans", json={"model": "cnn6", "budget": PLAN["budget"], "device": "server"})
    assert by_device.status_code == 201
    assert by_device.json()["profile_id"] == PLAN["profile"]
    larger = {"model": "cnn6", "budget": PLAN["budget"], "training": {"batch": 256}}
    assert client.post("/v1/plans", json=larger).status_code == 202  # measured up to 128 alone


def test_a_kind_of_head_is_measured_where_it_is_asked_for(client: TestClient) -> None:
    """A profile with the usual heads answers no request for another kind; one with it does."""
    with_profile(client)
    name_server(client, cnn6_fingerprint())
    request = {"model": "cnn6", "budget": PLAN["budget"], "strategy": "neuroflux"}
    queued = client.post("/v1/plans", json={**request, "head": "mlp"})
    assert queued.status_code == 202
    shipped = read_profile(FOLDER / "models" / "cnn6-3x32x32-10-sgd.json")
    heads = tuple(
        replace(head, filters=0, described=MlpHead("mlp", head.filters)) if head.filters else head
        for head in shipped.heads
    )
    both = replace(shipped, heads=(*heads[:-1], *shipped.heads))
    both = replace(both, id=content_id(both))
    assert send(client, "/v1/profiles", to_json(both).encode()).status_code == 201
    planned = client.post("/v1/plans", json={**request, "head": "mlp"})
    assert (planned.status_code, planned.json()["profile_id"]) == (201, both.id)
    assert planned.json()["blocks"][0]["segments"][0]["head"]["kind"] == "mlp"
    refused = client.post("/v1/plans", json={**request, "profile": PLAN["profile"], "head": "reconstruct"})
    assert (refused.status_code, refused.json()["detail"].partition(",")[0]) == (422, "head is reconstruct")


def test_another_devices_profile_is_asked_for_with_the_command(local: TestClient) -> None:
    device = local.post("/v1/devices", json={"name": "board", "machine": support.MACHINE, "threads": 4}).json()
    request = {"model": "cnn6", "budget": {"bytes": 400 * MIB}, "device": device["device"]["id"]}
    problem = local.post("/v1/plans", json={**request, "training": {"batch": 64, "optimizer": {"kind": "adam"}}})
    assert problem.status_code == 409
    command = "neuroflux profile --model cnn6 --input 3x32x32 --classes 10 --batch 64 --optimizer adam"
    assert problem.json()["command"] == f"{command} --report-to {str(local.base_url).rstrip('/')}"


def test_a_network_of_ones_own_is_not_taken_for_the_zoos_of_that_name(local: TestClient) -> None:
    device = local.post("/v1/devices", json={"name": "board", "machine": support.MACHINE, "threads": 4}).json()
    terms = {"budget": {"bytes": 400 * MIB}, "device": device["device"]["id"]}
    problem = local.post("/v1/plans", json={"model": {**EXAMPLE, "name": "cnn6"}, **terms}).json()
    assert problem["command"].startswith("neuroflux profile --model model.json ")
    assert "model.json holds the description" in problem["detail"]


def test_descriptions_are_read_by_another_process(local: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks after health does not wait for them."""

    def fail(*values: object) -> None:
        raise AssertionError("a description was read by the process that answers")

    for place in ("planner.model.load.model_sizes", "planner.schema.model.Model.__post_init__"):
        monkeypatch.setattr(place, fail)
    stored = send(local, "/v1/models", json.dumps(EXAMPLE).encode())
    assert stored.status_code == 201, stored.text
    for model in (EXAMPLE, stored.json()["schema"] and stored.headers["etag"].strip('"'), "cnn6"):
        job = local.post("/v1/jobs", json={"kind": "profile", "model": model, "batch": 2})
        assert job.status_code == 202, job.text
    assert {item["name"] for item in local.get("/v1/models").json()["items"]} >= {"tiny", "vgg16"}
    assert local.get("/v1/models/vgg16").json()["name"] == "vgg16"
    wrong = {**EXAMPLE, "units": []}
    assert local.post("/v1/plans", json={"model": wrong, "budget": {"bytes": 1}}).json()["field"].startswith("$.model")


def test_plans_are_compared_side_by_side_and_kept(local: TestClient) -> None:
    with_profile(local)
    request = {**PLAN, "budgets_bytes": [MIB, 400 * MIB], "strategies": ["auto", "backprop"]}
    rows = local.post("/v1/plans/compare", json=request).json()["rows"]
    assert [(row["budget"]["bytes"], row["strategy"]) for row in rows] == [
        (MIB, "auto"),
        (MIB, "backprop"),
        (400 * MIB, "auto"),
        (400 * MIB, "backprop"),
    ]
    assert all(row["plan_id"] is None and row["minimum_bytes"] > MIB for row in rows[:2])
    for row in rows[2:]:
        plan = local.get(f"/v1/plans/{row['plan_id']}").json()
        assert (plan["strategy"], plan["predicted"]["peak_bytes"]) == (row["strategy"], row["peak_bytes"])
    assert rows[3]["cuts"] == 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"budget": {"bytes": 0}}, "$.budget"),
        ({"budget": {"bytes": 1.5}}, "$.budget.bytes"),
        ({"budget": {"bytes": 1, "scope": "all"}}, "$.budget.scope"),
        ({"max_cuts": -1}, "$.max_cuts"),
        ({"storage_bytes": -1}, "$.storage_bytes"),
        ({"device": "server"}, "$"),
        ({"profile": "0" * 64}, "$.profile"),
        ({"model": "resnet18"}, "$.profile"),
        ({"model": "no such"}, "$.model"),
        ({"model": {"schema": "model/1", "zoo": "cnn6", "classes": 1}}, "$.model"),
        ({"surprise": 1}, "$.surprise"),
        ({"training": {"batch": 0}}, "$.training"),
        ({"training": {"freeze": -1}}, "$.training"),
        ({"training": {"freeze": 6}}, "$.training.freeze"),
        ({"training": {"freeze": 2.5}}, "$.training.freeze"),
        ({"training": {"augment": "blur"}}, "$.training.augment"),
        ({"training": {"views": 2}}, "$.training"),
        ({"training": {"optimizer": {"lr": 0}}}, "$.training.optimizer"),
    ],
)
def test_what_is_wrong_is_named(local: TestClient, change: dict[str, object], field: str) -> None:
    with_profile(local)
    problem = local.post("/v1/plans", json={**PLAN, **change})
    assert problem.status_code == 422
    assert problem.json()["field"] == field


def test_segments_of_linear_layers_are_planned_where_that_is_asked_for(local: TestClient) -> None:
    with_profile(local)
    request = {**PLAN, "strategy": "classic-local"}
    usual, alone = (local.post("/v1/plans", json=request | terms).json() for terms in ({}, {"linear_segments": True}))
    assert (usual["linear_segments"], alone["linear_segments"]) == (False, True)
    cuts = [sum(len(block["segments"]) for block in plan["blocks"]) - 1 for plan in (usual, alone)]
    assert cuts[1] == cuts[0] + 1


def test_augmentation_is_planned_for(local: TestClient) -> None:
    with_profile(local)
    for terms, views in (({"augment": "crop"}, 4), ({"augment": "crop", "epochs": 2}, 2), ({"views": 1}, 1)):
        answer = local.post("/v1/plans", json={**PLAN, "training": terms})
        assert answer.status_code in (200, 201)
        training = decode(Plan, answer.json()).training
        assert (training.augment, training.views) == (terms.get("augment", "none"), views)


def test_a_profile_in_float32_answers_no_request_for_bfloat16(local: TestClient) -> None:
    with_profile(local)
    half = {**PLAN, "training": {"dtype": "bfloat16"}}
    refused = local.post("/v1/plans", json=half)
    assert refused.status_code == 422
    assert "dtype is bfloat16, but the profile measured float32" in refused.json()["detail"]
    profile = replace(decode(Profile, json.loads(CNN6)), dtype="bfloat16")
    profile = replace(profile, id=content_id(profile))
    assert send(local, "/v1/profiles", to_json(profile).encode()).status_code == 201
    answer = local.post("/v1/plans", json={**half, "profile": profile.id})
    assert answer.status_code == 201, answer.text
    assert answer.json()["training"]["dtype"] == "bfloat16"
    listed = local.get("/v1/profiles").json()["items"]
    assert [(item["id"], item["dtype"]) for item in listed] == [(profile.id, "bfloat16"), (PLAN["profile"], "float32")]


def test_frozen_units_are_planned_for_and_listed(local: TestClient) -> None:
    with_profile(local)
    answer = local.post("/v1/plans", json={**PLAN, "training": {"freeze": 2}})
    assert answer.status_code == 201
    plan = decode(Plan, answer.json())
    assert (plan.training.freeze, plan.blocks[0].units[0]) == (2, 2)
    units = local.get(f"/v1/plans/{content_id(plan)}/units").json()["units"]
    assert [unit["frozen"] for unit in units if unit["kind"] == "unit"] == [True] * 2 + [False] * 4
    refused = local.post("/v1/plans/compare", json={**PLAN, "training": {"freeze": 6}, "budgets_bytes": [400 * MIB]})
    assert refused.status_code == 422
    assert "freeze is 6; it must lie between 0 and 5" in refused.json()["detail"]


def test_a_profile_that_was_changed_is_refused(local: TestClient) -> None:
    changed = json.loads(support.CNN6)
    changed["units"][0]["step_seconds"] = 1.0
    problem = local.post("/v1/profiles", json=changed)
    assert (problem.status_code, problem.json()["field"]) == (422, "$.id")
