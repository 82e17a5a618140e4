"""What `docs/how-to/fleet.md` tells to type."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from api.store import device_rows
from api.store.database import Database
from planner.schema.common import Machine
from tests.integration.api.processes import Server, serving
from tests.unit.api.service import MACHINE

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "fleet.md"


def _curls() -> list[str]:
    """Every curl command, with the lines that it goes on in."""
    return re.findall(r"^curl (?:.*\\\n)*.*", PAGE.read_text(), re.MULTILINE)


def _typed(command: str, server: Server, folder: Path) -> str:
    """The status that a command gets; only the address is another one."""
    port = server.url.rpartition(":")[2]
    found = subprocess.run(
        [
            "bash",
            "-c",
            "curl() { command curl -s -o answer.json -w '%{http_code}' \"$@\"; }\n" + command.replace("8000", port),
        ],
        cwd=folder,
        env={**os.environ, "HOST": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout


def test_the_curl_commands_work(tmp_path: Path) -> None:
    plan, enrolment = _curls()
    with serving(tmp_path / "a", "--only", "api") as server:
        database = Database(f"sqlite:///{tmp_path / 'a' / 'service.sqlite3'}")
        device_rows.set_server(database, "here", "a" * 64, Machine(**{**MACHINE, "isa": ("neon",)}))  # type: ignore[arg-type]
        database.close()
        assert _typed(plan, server, tmp_path) == "202"
    with serving(tmp_path / "b", "--only", "api", "--admin-token-file", str(tmp_path / "admin.token")) as server:
        assert _typed(enrolment, server, tmp_path) == "201"
        assert "nfx_" in (tmp_path / "answer.json").read_text()
