"""A service, seen from a device or a script. Not imported by a run's supervisor: httpx takes 20 MiB."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal

import httpx

from planner.client.credentials import service_address
from planner.errors import DocumentError, InfeasibleError, InputError, RunError
from planner.schema.codec import content_id, decode, encode, parse_json, to_json
from planner.schema.common import Machine
from planner.schema.plan import Plan
from planner.schema.profile import Profile
from planner.schema.report import Report

_TIMEOUT_SECONDS = 30.0
_MOST_WAIT_SECONDS = 30.0
_AGAIN = (429, 503)


RunState = Literal["running", "failed", "interrupted"]
"""How a run is that has no report."""


class UnreachableError(RunError):
    """The service does not answer, or is overloaded; the same may work later."""


class ServiceClient:
    """One service. Requests that it is too busy for are repeated when it says, for `patience_seconds` altogether.

    Every method raises InputError where the service refuses what was sent (with the service's words), UnreachableError
    where it does not answer.
    """

    def __init__(self, url: str, token: str | None = None, patience_seconds: float = 60.0) -> None:
        self.address = service_address(url)
        self._patience = patience_seconds
        headers = {"Accept": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        # No redirects: a token must not wander to another host.
        self._http = httpx.Client(base_url=self.address, headers=headers, timeout=_TIMEOUT_SECONDS)

    def __enter__(self) -> ServiceClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def enrol(self, name: str, machine: Machine, threads: int, earlier_token: str | None = None) -> tuple[str, str]:
        """Enrol a device with the token this client has; the device's id and its own token.

        With the token that it had there before, it is the same device again.
        """
        asked = {"name": name, "machine": encode(machine), "threads": threads}
        known = {} if earlier_token is None else {"earlier_token": earlier_token}
        answer = self._post("/v1/devices", {**asked, **known})
        return str(answer["device"]["id"]), str(answer["token"])

    def plan(self, plan_id: str) -> Plan:
        """A plan, its content checked against its id."""
        return checked_plan(self._request("GET", f"/v1/plans/{plan_id}").content, plan_id)

    def plan_at(self, url: str) -> Plan:
        """The plan at `URL/v1/plans/ID`."""
        path = url.removeprefix(self.address).rstrip("/")
        if not path.startswith("/v1/plans/"):
            raise InputError(f"{url[:200]}: is not the address of a plan, which ends in /v1/plans/ID")
        return self.plan(path.removeprefix("/v1/plans/"))

    def make_plan(self, request: Mapping[str, Any]) -> Plan | None:
        """POST a request for a plan (its fields: the service's /docs). None while the model is being measured.

        Raises InfeasibleError where nothing fits.
        """
        answer = self._request("POST", "/v1/plans", request)
        return None if answer.status_code == 202 else checked_plan(answer.content, None)

    def check(self) -> None:
        """Nothing, where the service answers and knows who asks."""
        self._request("GET", "/v1/profiles?limit=1")

    def store_profile(self, profile: Profile) -> str:
        """Upload a profile; its id."""
        return str(self._post("/v1/profiles", encode(profile))["id"])

    def create_run(self, plan_id: str, name: str, key: str) -> str:
        """Begin a run; its id. The same `key` gives the same run."""
        return str(self._post("/v1/runs", {"plan_id": plan_id, "name": name}, {"Idempotency-Key": key})["id"])

    def last_sequence(self, run_id: str) -> int:
        """The highest sequence number that the service has of a run; -1 where it has none."""
        last = self._request("GET", f"/v1/runs/{run_id}").json()["last_sample"]
        return -1 if last is None else int(last["sequence"])

    def post_samples(self, run_id: str, samples: list[dict[str, Any]]) -> None:
        """Send samples, which are on the service's storage when this returns."""
        self._post(f"/v1/runs/{run_id}/samples", {"samples": samples})

    def set_state(self, run_id: str, state: RunState, reason: str | None = None) -> None:
        """Say that a run goes on, or that it has ended without a report, and why."""
        self._request("PUT", f"/v1/runs/{run_id}/state", {"state": state, "reason": reason})

    def post_report(self, run_id: str, report: Report) -> None:
        """End a run."""
        self._post(f"/v1/runs/{run_id}/report", encode(report))

    def _post(self, path: str, value: Any, headers: Mapping[str, str] | None = None) -> Any:
        return self._request("POST", path, value, headers).json()

    def _request(
        self, method: str, path: str, value: Any = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        body = None if value is None else to_json(value, indent=None).encode()
        sent = dict(headers or {}) | ({} if body is None else {"Content-Type": "application/json"})
        deadline = time.monotonic() + self._patience
        while True:
            try:
                answer = self._http.request(method, path, content=body, headers=sent)
            except httpx.TransportError as error:
                reason, wait = f"does not answer ({error})", 1.0
            else:
                if answer.status_code not in _AGAIN:
                    return _accepted(answer)
                reason, wait = f"is too busy (status {answer.status_code})", _retry_after(answer)
            if time.monotonic() + wait > deadline:
                raise UnreachableError(f"{self.address} {reason}")
            time.sleep(wait)


def _retry_after(answer: httpx.Response) -> float:
    text = answer.headers.get("retry-after", "1")
    return min(float(text), _MOST_WAIT_SECONDS) if text.isdecimal() else 1.0


def _accepted(answer: httpx.Response) -> httpx.Response:
    """The answer, unless it is a problem: that is raised, in the service's words, as the error it is here."""
    if answer.is_success:
        return answer
    try:
        problem = parse_json(answer.content)
        detail, field = str(problem["detail"]), problem.get("field")
    except (DocumentError, LookupError, TypeError, AttributeError):
        raise UnreachableError(f"{answer.url}: answered with status {answer.status_code}") from None
    if "minimum_bytes" in problem:
        raise InfeasibleError(detail, int(problem["minimum_bytes"]), str(problem["binding_term"]))
    command = f"\n  {problem['command']}" if "command" in problem else ""
    message = f"{answer.url}: {f'{field}: ' if field else ''}{detail}{command}"
    if answer.status_code >= 500:
        raise UnreachableError(message)
    if answer.status_code == 401:
        message += " (`neuroflux enroll` gives this device one)"
    raise InputError(message)


def checked_plan(text: bytes, plan_id: str | None) -> Plan:
    """A plan as it arrived. Raises DocumentError, InputError where it is not what its id says."""
    plan = decode(Plan, parse_json(text))
    if content_id(plan) != plan.id or plan_id not in (None, plan.id):
        raise InputError(f"the plan that came is not {(plan_id or plan.id)[:12]}…: its content does not match its id")
    return plan
