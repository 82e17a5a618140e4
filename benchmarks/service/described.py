"""Schemathesis against a real service: `python -m benchmarks.service.described [SECONDS]` (180 unless asked otherwise).

All its phases over every operation that the service describes: examples, coverage, fuzzing and stateful sequences. What
must not happen: a 5xx other than the documented 503, a status, a media type or a body that the description does not
have, a restart, more than 64 MiB of growth.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from planner.system.proc import read_memory
from planner.units import MIB
from tests.integration.api.processes import serving
from tests.unit.api.service import CNN6, PLAN

SEED = 7
_CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"

# 503: no worker has said what it measures on, or the service is overloaded. Both are described, with Retry-After.
_SETTINGS = """
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503]
"""


def command(settings: Path, url: str, seconds: int) -> list[str]:
    """What is run."""
    found = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings), "run", f"{url}/openapi.json"]
    found += ["--phases", "examples,coverage,fuzzing,stateful", "--checks", _CHECKS, "--seed", str(SEED)]
    found += ["--max-time", str(seconds), "--request-timeout", "20", "--generation-database", "none"]
    # An event stream of a run that goes on has no end.
    return [*found, "--exclude-operation-id", "get_events", "--warnings", "off", "--no-color", "--continue-on-failure"]


def main() -> int:
    """Run it, and say what came back."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 180
    with tempfile.TemporaryDirectory() as name, serving(Path(name) / "data", "--only", "api") as server:
        server.client.post("/v1/profiles", content=CNN6, headers={"Content-Type": "application/json"})
        server.client.post("/v1/plans", json=PLAN)
        server.client.get("/openapi.json")
        before = read_memory(server.process.pid).resident_bytes
        settings = Path(name) / "schemathesis.toml"
        settings.write_text(_SETTINGS)
        done = subprocess.run(command(settings, server.url, seconds), cwd=name, capture_output=True, text=True)
        grown = read_memory(server.process.pid).resident_bytes - before
        alive = server.process.poll() is None
    good = done.returncode == 0
    sys.stdout.write(done.stdout[done.stdout.find("API Operations") :] if good else done.stdout + done.stderr)
    sys.stdout.write(f"still the same process: {alive}; growth {grown / MIB:.1f} MiB\n")
    return int(not good or not alive or grown > 64 * MIB)


if __name__ == "__main__":
    sys.exit(main())
