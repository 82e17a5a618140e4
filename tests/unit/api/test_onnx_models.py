"""An ONNX file sent to the service is stored as the description of its network."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper
from starlette.testclient import TestClient

from api import limits
from planner.model.importers.onnx.chain import import_onnx_bytes
from planner.schema.codec import content_id, decode
from planner.schema.model import Model
from planner.tasks.segmentation import Segmentation
from tests.unit.api.service import send
from tests.unit.model.importers.onnx.files import graph, one

HEADERS = {"Content-Type": "application/onnx"}


def network() -> bytes:
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["g"]),
        helper.make_node("Softmax", ["g"], ["y"]),
    ]
    content: bytes = graph(nodes, weights={"w": np.ones((192, 3), np.float32)}).SerializeToString()
    return content


def test_a_file_is_stored_as_a_description(local: TestClient) -> None:
    content = network()
    answer = local.post("/v1/models", content=content, headers=HEADERS)
    assert answer.status_code == 201, answer.text
    model = import_onnx_bytes(content).model
    assert decode(Model, answer.json()) == model
    assert answer.headers["Location"] == f"/v1/models/{content_id(model)}"
    assert answer.headers["Neuroflux-Notes"].startswith("the softmax at its end is left out")
    assert local.post("/v1/models", content=content, headers=HEADERS).status_code == 200


def test_a_file_that_cannot_be_taken_is_a_problem_that_names_the_place(local: TestClient) -> None:
    for content, problem in (
        (b"{}", "the file: is broken at byte 0"),
        (b"", "is empty; an ONNX file is needed"),
        (graph(one("NonMaxSuppression")).SerializeToString(), "node 0 (NonMaxSuppression)"),
        (network()[:-40], "is broken at byte"),
    ):
        answer = local.post("/v1/models", content=content, headers=HEADERS)
        assert answer.status_code == 422
        assert problem in answer.json()["detail"]
        assert answer.json()["field"] == "$"


def test_a_file_that_is_too_long_names_the_limit(local: TestClient) -> None:
    answer = local.post("/v1/models", content=bytes(limits.MAX_ONNX_BODY_BYTES + 1), headers=HEADERS)
    assert (answer.status_code, answer.json()["limit"]) == (422, limits.MAX_ONNX_BODY_BYTES)
    assert local.post("/v1/plans", content=network(), headers=HEADERS).status_code == 415
    assert send(local, "/v1/models", network()).status_code == 422


def test_the_query_says_what_the_network_is_for(local: TestClient) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    content = graph(nodes, weights={"w": np.ones((3, 4, 1, 1), np.float32)}).SerializeToString()

    def post(task: str) -> Any:
        return local.post("/v1/models", params={"task": task}, content=content, headers=HEADERS)

    for text, task in (
        ("segmentation", Segmentation("segmentation")),
        ('{"kind": "segmentation", "ignore_index": null}', Segmentation("segmentation", None)),
    ):
        answer = post(text)
        assert answer.status_code == 201, answer.text
        assert decode(Model, answer.json()) == import_onnx_bytes(content, task).model
    assert [each["task"] for each in local.get("/v1/models").json()["items"][:3]] == ["segmentation"] * 2 + [
        "classification"
    ]
    for text, problem in (
        ("painting", '"painting" is unknown'),
        ('{"kind": "segmentation", "ignore_index": 300}', "ignore_index is 300"),
        ('{"kind":', "not JSON"),
        ("classification", "gives 3×6×8 per sample; classification needs one row of numbers"),
    ):
        answer = post(text)
        assert (answer.status_code, problem in answer.json()["detail"]) == (422, True), answer.text
    answer = local.post("/v1/models", params={"task": "segmentation"}, json={"schema": "model/1", "zoo": "cnn6"})
    assert (answer.status_code, answer.json()["field"]) == (422, "query.task")
