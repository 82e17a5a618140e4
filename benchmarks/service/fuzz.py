"""Mutated bodies against a real service: `python -m benchmarks.service.fuzz [COUNT]` (10,000 unless asked otherwise).

Every route with a body gets documents that were right and are damaged: numbers that JSON does not know, integers beyond
64 bits, lone surrogates, nesting, duplicate keys, bytes flipped, cut off, repeated. What must not happen: a 5xx other
than a documented 503, a restart, more than 64 MiB of growth.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from planner.system.proc import read_memory
from planner.units import MIB
from tests.integration.api.processes import Server, serving
from tests.unit.api.service import CNN6, PLAN

SEED = 7
_WORST = (b"NaN", b"Infinity", b"1e400", b"-1e400", b"9223372036854775808", b"1" * 5000, b'"\\ud800"', b'"\\u0000"')
_WORST += (b"null", b"true", b"[]", b"{}", b'""', b"-1", b"0", b"0.5", b"1e-400", b"\xff", b'"' + b"a" * 9000 + b'"')


def bodies_of(server: Server) -> list[tuple[str, str, bytes]]:
    """Every route with a body that the service describes, with its own example, and those of a run and a plan with ones
    that exist."""
    server.client.post("/v1/profiles", content=CNN6, headers={"Content-Type": "application/json"})
    plan = server.client.post("/v1/plans", json=PLAN).json()["id"]
    run = server.client.post("/v1/runs", json={"plan_id": plan}).json()["id"]
    ids = {"/v1/plans/{identity}": plan, "/v1/runs/{identity}": run}
    found = []
    for path, operations in server.client.get("/openapi.json").json()["paths"].items():
        for method in ("post", "put", "patch"):
            content = operations.get(method, {}).get("requestBody", {}).get("content", {}).get("application/json")
            if content is not None:
                body = CNN6 if path == "/v1/profiles" else json.dumps(content["example"], ensure_ascii=False).encode()
                known = path.replace("{run_id}", run).replace("{identity}", ids.get(path, plan))
                found.append((method, known, body.replace("5f0c…".encode(), plan.encode())))
    return found


def mutated(dice: random.Random, body: bytes) -> bytes:
    """A body with one to three wounds."""
    for _ in range(dice.randint(1, 3)):
        body = dice.choice((_value, _flip, _cut, _twice, _deep, _insert))(dice, body)
    return body


def _value(dice: random.Random, body: bytes) -> bytes:
    colons = [index for index, byte in enumerate(body[:50_000]) if byte == ord(":")]
    if not colons:
        return dice.choice(_WORST)
    start = dice.choice(colons) + 1
    ends = [index for index in (body.find(b",", start), body.find(b"}", start)) if index >= 0]
    return body[:start] + dice.choice(_WORST) + body[min(ends, default=len(body)) :]


def _flip(dice: random.Random, body: bytes) -> bytes:
    place = dice.randrange(len(body) or 1)
    return body[:place] + bytes([dice.randrange(256)]) + body[place + 1 :]


def _cut(dice: random.Random, body: bytes) -> bytes:
    return body[: dice.randrange(len(body) or 1)]


def _twice(dice: random.Random, body: bytes) -> bytes:
    inner = body.strip()[1:-1]
    return b"{" + inner[:20_000] + b"," + inner[:20_000] + b"}"


def _deep(dice: random.Random, body: bytes) -> bytes:
    depth = dice.choice((33, 1000, 10_000))
    return dice.choice((b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth))


def _insert(dice: random.Random, body: bytes) -> bytes:
    place = dice.randrange(len(body) or 1)
    return body[:place] + dice.choice(_WORST) + body[place:]


def main() -> int:
    """Send them, and say what came back."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    dice, statuses, bad = random.Random(SEED), Counter[int](), list[str]()
    with tempfile.TemporaryDirectory() as name, serving(Path(name), "--only", "api") as server:
        chosen = bodies_of(server)
        for method, path, body in chosen:
            _send(server, method, path, body)
        before = read_memory(server.process.pid).resident_bytes
        for _ in range(count):
            method, path, body = dice.choice(chosen)
            answer = _send(server, method, path, mutated(dice, body))
            statuses[answer.status_code] += 1
            if answer.status_code >= 500 and answer.status_code != 503:
                bad.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        grown = read_memory(server.process.pid).resident_bytes - before
        alive = server.process.poll() is None
    sys.stdout.write(
        f"{count} bodies to {len(chosen)} routes: {dict(sorted(statuses.items()))}; undocumented 5xx: {len(bad)}; "
        f"still the same process: {alive}; growth {grown / MIB:.1f} MiB\n" + "".join(f"{line}\n" for line in bad[:20])
    )
    return int(bool(bad) or not alive or grown > 64 * MIB)


def _send(server: Server, method: str, path: str, body: bytes) -> Any:
    return server.client.request(method, path, content=body, headers={"Content-Type": "application/json"})


if __name__ == "__main__":
    sys.exit(main())
