"""What the service bears on this machine: `python -m benchmarks.service` (needs wrk: apt-get install wrk).

One process of the API, SQLite with every commit flushed, load by wrk, which is no Python and shares the machine's
cores with what it measures. A bare route of the same application is measured in the same run.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from planner.profiler.library.shipped import FOLDER
from planner.system.proc import read_memory
from planner.units import MIB
from tests.integration.api.processes import Server, serving
from tests.unit.api.test_limits import HUGE

PROFILE = FOLDER / "models" / "vgg16-3x32x32-10-sgd.json"
JSON = {"Content-Type": "application/json"}
SECONDS = 10
REFUSALS = 20
DEVICES = 1000
DEVICE_SECONDS = 120

_POST = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = {body}
"""

# A thread drives its connections in turn; every connection is a device that sends its next sample a second later.
_DEVICES = """
local runs = {runs}
local threads, sent = {{}}, {{}}
function setup(thread) table.insert(threads, thread); thread:set("first", #threads - 1) end
function init() turn = 0; count = {{}}; acknowledged = 0; refused = 0 end
function delay() return {delay} end
function request()
  local index = (turn * {threads} + first) % #runs + 1
  turn = turn + 1
  local sequence = count[index] or 0
  count[index] = sequence + 1
  local body = string.format('{{"samples":[{{"sequence":%d,"seconds":%d,"block":0,"epoch":0,"step":%d,' ..
    '"resident_bytes":100,"peak_bytes":200,"loss":1.0}}]}}', sequence, sequence, sequence)
  return wrk.format("POST", "/v1/runs/" .. runs[index] .. "/samples", {{["Content-Type"] = "application/json"}}, body)
end
function response(status) if status == 200 then acknowledged = acknowledged + 1 else refused = refused + 1 end end
function done(summary, latency)
  local good, bad = 0, 0
  for _, thread in ipairs(threads) do good = good + thread:get("acknowledged"); bad = bad + thread:get("refused") end
  print(string.format("acknowledged %d refused %d p99 %.3f ms", good, bad, latency:percentile(99) / 1000))
end
"""


def wrk(url: str, folder: Path, script: str | None, *options: str) -> str:
    """What wrk prints."""
    command = ["wrk", "--latency", *options]
    if script is not None:
        file = folder / "load.lua"
        file.write_text(script)
        command += ["-s", str(file)]
    return subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout


def _cpu_seconds(server: Server) -> float:
    """Processor time that the API process has taken (user and system; proc(5))."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _measured(name: str, server: Server, path: str, folder: Path, script: str | None) -> str:
    """A row: what wrk says, and what a request took of the processor, which other processes disturb less."""
    before = _cpu_seconds(server)
    said = wrk(server.url + path, folder, script, "-t1", "-c8", f"-d{SECONDS}s")
    count = re.search(r"(\d+) requests in", said)
    assert count is not None, said
    return f"{_row(name, said)} {(_cpu_seconds(server) - before) / int(count[1]) * 1000:.2f} |"


def _row(name: str, said: str) -> str:
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    last = re.search(r"99%\s+([\d.]+)(us|ms|s)", said)
    assert rate is not None and last is not None, said
    factor = {"us": 0.001, "ms": 1.0, "s": 1000.0}[last[2]]
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    return f"| {name} | {float(rate[1]):.0f} | {float(last[1]) * factor:.1f} | {bad[1] if bad else 0} |"


def start_seconds(folder: Path) -> list[float]:
    """From the command to its first answer, with a database that exists."""
    found = []
    for _ in range(6):
        began = time.perf_counter()
        with serving(folder, "--only", "api") as server:
            assert server.client.get("/healthz").status_code == 200
            found.append(time.perf_counter() - began)
    return found[1:]  # the first one makes the database


def rates(server: Server, folder: Path, plan: dict[str, Any], request: dict[str, Any]) -> list[str]:
    """Requests per second and the 99th percentile of a bare route, a plan, and a repeated request for it."""
    post = _POST.format(body=json.dumps(json.dumps(request)))
    return [
        _measured("bare route (`GET /healthz`)", server, "/healthz", folder, None),
        _measured("`GET /v1/plans/{id}`", server, f"/v1/plans/{plan['id']}", folder, None),
        _measured("repeated `POST /v1/plans`", server, "/v1/plans", folder, post),
    ]


def first_plans(server: Server) -> list[float]:
    """Seconds of requests that were never asked before, vgg16 with a stored profile."""
    found = []
    for step in range(20):
        request = _request((300 + 5 * step) * MIB)
        began = time.perf_counter()
        answer = server.client.post("/v1/plans", json=request)
        found.append(time.perf_counter() - began)
        assert answer.status_code in (200, 201), answer.text
    return found


def _request(budget: int) -> dict[str, Any]:
    return {"model": "vgg16", "budget": {"bytes": budget}, "profile": json.loads(PROFILE.read_bytes())["id"]}


def devices(server: Server, folder: Path, plan: dict[str, Any]) -> str:
    """Samples of many devices, one a second each; what was acknowledged is counted afterwards."""
    made = [server.client.post("/v1/runs", json={"plan_id": plan["id"]}).json()["id"] for _ in range(DEVICES)]
    names = "{" + ",".join(f'"{name}"' for name in made) + "}"
    script = _DEVICES.format(runs=names, delay=1000, threads=2)
    said = wrk(server.url, folder, script, "-t2", f"-c{DEVICES}", f"-d{DEVICE_SECONDS}s")
    found = re.search(r"acknowledged (\d+) refused (\d+) p99 ([\d.]+) ms", said)
    assert found is not None, said
    kept = sum(server.client.get(f"/v1/runs/{name}/samples").json()["count"] for name in made)
    return (
        f"{DEVICES} devices, a sample a second for {DEVICE_SECONDS} s: {found[1]} acknowledged, {found[2]} refused, "
        f"{kept} on storage, p99 {float(found[3]):.0f} ms"
    )


def huge(server: Server) -> list[str]:
    """Rows: what a model beyond every limit takes, from the first byte sent until 422 has come, and of memory."""
    return [_refusal(server, name, body) for name, body in HUGE.items()]


def _refusal(server: Server, name: str, body: bytes) -> str:
    seconds, grown = [], 0
    pid = server.process.pid
    for _ in range(REFUSALS):
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew; proc(5)
        before = read_memory(pid).resident_bytes
        began = time.perf_counter()
        answer = server.client.post("/v1/models", content=body, headers=JSON)
        seconds.append(time.perf_counter() - began)
        assert answer.status_code == 422, answer.text
        grown = max(grown, read_memory(pid).peak_bytes - before)
    median, largest = statistics.median(seconds) * 1000, max(seconds) * 1000
    return f"| {name} | {len(body) / MIB:.2f} | {median:.0f} | {largest:.0f} | {grown / MIB:.1f} |"


def main() -> None:
    """Measure and print a page."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        starts = start_seconds(folder / "start")
        with serving(folder / "data", "--only", "api") as server:
            stored = server.client.post("/v1/profiles", content=PROFILE.read_bytes(), headers=JSON)
            assert stored.status_code == 201, stored.text
            request = _request(290 * MIB)
            plan = server.client.post("/v1/plans", json=request).json()
            solved = first_plans(server)
            table = rates(server, folder, plan, request)
            samples = devices(server, folder, plan)
            refusals = huge(server)
            memory = read_memory(server.process.pid)
    lines = [
        "# The service, measured",
        "",
        "`python -m benchmarks.service`: one API process, SQLite, load by wrk on the same 2 cores.",
        "",
        "| route | requests/s | p99 ms | not answered 2xx | CPU ms a request |",
        "| --- | ---: | ---: | ---: | ---: |",
        *table,
        "",
        f"Models that no machine holds, {REFUSALS} times each to `POST /v1/models`, all refused with 422:",
        "",
        "| model | MiB sent | median ms | largest ms | MiB grown at most |",
        "| --- | ---: | ---: | ---: | ---: |",
        *refusals,
        "",
        f"- {samples}",
        f"- a first `POST /v1/plans` for vgg16: median {statistics.median(solved) * 1000:.0f} ms, "
        f"largest {max(solved) * 1000:.0f} ms of {len(solved)}",
        f"- start to first answer: median {statistics.median(starts):.2f} s, largest {max(starts):.2f} s "
        f"of {len(starts)}",
        f"- API process after all this: {memory.resident_bytes / MIB:.0f} MiB resident, "
        f"peak since the last refusal {memory.peak_bytes / MIB:.0f} MiB",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
