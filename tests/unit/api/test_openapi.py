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
