"""The page of the service's operations, from its OpenAPI document."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from api.app import create_app
from api.openapi import describe
from api.settings import ServiceSettings
from docs.generate import markdown

_ABOUT = """
`neuroflux serve` shows the same at `/docs`, with every field of every body, and the OpenAPI document itself at
`/openapi.json`. A service that other machines can reach wants `Authorization: Bearer TOKEN` with every request but
those for health. [A fleet](../how-to/fleet.md) shows a session from the first command on.
"""

PROBLEMS: Mapping[str, str] = {
    "body-too-slow": "Send the whole body within the time that the sentence names.",
    "disconnected": "Nobody sees this one: the client had gone.",
    "failed": "The solver failed; the sentence says how. Ask again, then look into the service's log.",
    "forbidden": "This token may not do that. Ask with the admin's, or with the device's own.",
    "foreign-origin": "A page of another site asked. Open the dashboard under the service's own address.",
    "headers-too-large": "Send fewer or shorter headers.",
    "idempotency-key-reused": "This `Idempotency-Key` belongs to another request; take a new one.",
    "infeasible": "Ask with `minimum_bytes`, which is enough, or for less: a smaller batch or network.",
    "internal-error": "A fault of the service; its log has the details.",
    "invalid-request": "Correct `field`, as the sentence says.",
    "job-ended": "The job has ended already; nothing is left to cancel.",
    "method-not-allowed": "The address exists, with another method.",
    "not-found": "Correct the id; lists show those that exist.",
    "overloaded": "Ask again after `Retry-After` seconds.",
    "path-too-long": "Shorten the address.",
    "plan-in-use": "Runs execute this plan: delete them first, or ask with `with_runs=true`.",
    "profile-missing": "Run `command` on the device: it measures there and stores the profile here. Then ask again.",
    "report-exists": "The run has a report already; make another run.",
    "report-of-another-plan": "The report tells of other blocks than its run's plan has; read it as JSON.",
    "run-finished": "The run has ended and takes nothing more; make another run.",
    "storage-full": "Make room on the service's disk.",
    "refused": "The request is no valid HTTP; the sentence says why.",
    "too-long": "Send less; `limit` says how much is taken.",
    "too-many-requests": "Ask again after `Retry-After` seconds.",
    "unauthorized": "Send a token that is valid; `neuroflux enroll` gets one for a device.",
    "unknown-host": "Address the service by a name it knows; `serve --host-name` adds one.",
    "unsupported-media-type": "Send the `Content-Type` that the sentence names.",
}
"""What to do about each type of problem."""


def document() -> dict[str, Any]:
    """The service's OpenAPI document."""
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(ServiceSettings(Path(folder), f"sqlite:///{folder}/none.sqlite3", solver_workers=1))
        return describe(app)


def render() -> str:
    """The page."""
    paths = document()["paths"]
    usual = _usual(paths)
    operations = [part for path, each in paths.items() for part in _path(path, each, usual)]
    problems = (
        "Every error is `application/problem+json` (RFC 9457). Its `type` is `urn:neuroflux:problem:` and one of these "
        "names; `detail` is a sentence; where they apply, `field`, `limit`, `minimum_bytes`, `binding_term` and "
        "`command` stand beside it."
    )
    rows = ([markdown.code(kind), markdown.cell(what)] for kind, what in PROBLEMS.items())
    return markdown.page(
        "REST",
        _ABOUT,
        "Besides what is listed, every operation may answer:",
        markdown.table(("status", "means"), sorted(usual)),
        *operations,
        "## Problems",
        problems,
        markdown.table(("type", "what to do"), rows),
    )


def _usual(paths: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """The errors, by status and text, that more than half of all operations list."""
    answers = [operation["responses"] for each in paths.values() for operation in each.values()]
    counted = Counter(
        (status, _words(status, answer)) for found in answers for status, answer in found.items() if status >= "400"
    )
    return frozenset(each for each, times in counted.items() if 2 * times > len(answers))


def _path(path: str, operations: Mapping[str, Any], usual: frozenset[tuple[str, str]]) -> Iterator[str]:
    for method, operation in operations.items():
        yield f"## {method.upper()} {path}"
        if operation.get("description"):
            yield markdown.paragraphs(operation["description"])
        elif operation.get("summary"):
            yield markdown.paragraphs(operation["summary"] + ".")
        parameters = operation.get("parameters", ())
        if parameters:
            described = (
                (
                    markdown.code(each["name"]),
                    each["in"] + (", required" if each.get("required") else ""),
                    markdown.cell(each.get("description", each["schema"].get("description", ""))),
                )
                for each in parameters
            )
            yield markdown.table(("parameter", "in", "what it says"), described)
        body = operation.get("requestBody", {}).get("content", {})
        if body:
            yield f"Body: {', '.join(_content(*each) for each in body.items())}."
        rows = (
            (status, _words(status, answer), ", ".join(_content(*each) for each in answer.get("content", {}).items()))
            for status, answer in operation["responses"].items()
            if (status, _words(status, answer)) not in usual
        )
        yield markdown.table(("status", "means", "body"), rows)


def _words(status: str, answer: Mapping[str, Any]) -> str:
    return markdown.cell(str(answer.get("description", "")) or HTTPStatus(int(status)).phrase)


def _content(media: str, content: Mapping[str, Any]) -> str:
    schema = content.get("schema", {})
    name = schema.get("$ref", "").rpartition("/")[2] or schema.get("title", "")
    return f"{markdown.code(name)} ({markdown.code(media)})" if name else markdown.code(media)
