"""The description lists what comes, and nothing else."""

from __future__ import annotations

from starlette.testclient import TestClient


def test_no_answer_is_listed_that_never_comes(local: TestClient) -> None:
    paths = local.get("/openapi.json").json()["paths"]
    answers = {
        (method, path): operation["responses"]
        for path, operations in paths.items()
        for method, operation in operations.items()
    }
    assert not [place for place, found in answers.items() if "Successful Response" in str(found)]
    assert sorted(status for status in answers["post", "/v1/runs"] if status < "400") == ["201"]
    assert list(answers["get", "/metrics"]["200"]["content"]) == ["text/plain"]
    assert list(answers["get", "/v1/runs/{run_id}/events"]["200"]["content"]) == ["text/event-stream"]
    assert sorted(answers["get", "/healthz"]) == ["200"]
    assert sorted(answers["get", "/readyz"]) == ["200", "503"]


def test_every_operation_has_a_summary_and_a_group_that_is_described(local: TestClient) -> None:
    document = local.get("/openapi.json").json()
    groups = [tag["name"] for tag in document["tags"]]
    operations = [one for methods in document["paths"].values() for one in methods.values()]
    assert {tag for one in operations for tag in one["tags"]} <= set(groups) and all(
        tag["description"] for tag in document["tags"]
    )
    for one in operations:
        assert one["summary"] and one["description"].replace("\n", " ").startswith(one["summary"]), one["operationId"]
        assert len(one["summary"]) < 140, one["summary"]
