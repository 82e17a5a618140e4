"""What a library prints in our processes reaches nobody's protocol: profile, run, evaluate and the Python interface."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from planner.schema.codec import read_document
from planner.schema.plan import Plan
from planner.schema.report import Report
from planner.schema.run_folder import RunFolder
from tests.unit.system.support import REPOSITORY

Command = Callable[..., subprocess.CompletedProcess[bytes]]

_CHATTER = """
import atexit, os
os.write(1, b"\\xff\\xfe chatter without an end of line")
print("chatter as text")
atexit.register(os.write, 1, b"\\x80 last chatter")
"""


@pytest.fixture
def python(tmp_path: Path) -> Command:
    """Run Python where every process says something on standard output, oneDNN most."""
    (tmp_path / "chatty").mkdir()
    (tmp_path / "chatty" / "sitecustomize.py").write_text(_CHATTER)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(tmp_path / "chatty"), str(REPOSITORY))),
        "ONEDNN_VERBOSE": "1",
        "XDG_DATA_HOME": str(tmp_path / "store"),
    }

    def call(*arguments: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, *map(str, arguments)], capture_output=True, cwd=tmp_path, env=environment, check=False
        )

    return call


def test_the_whole_path_among_chatter(python: Command, tmp_path: Path) -> None:
    def neuroflux(*arguments: object) -> None:
        done = python("-m", "planner.cli.main", *arguments)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        assert b"\xff\xfe chatter" in done.stdout, "nobody chattered"

    plan, out = tmp_path / "plan.json", tmp_path / "out"
    neuroflux("profile", "--model", "cnn6", "--data", "sample", "--batch", 4, "-o", tmp_path / "profile.json")
    neuroflux(
        "plan", "--model", "cnn6", "--data", "sample", "--batch", 4, "--epochs", 1,
        "--profile", tmp_path / "profile.json", "--budget", "2GiB", "-o", plan,
    )  # fmt: skip
    neuroflux("run", plan, "--data", "sample", "--out", out, "--max-steps", 2, "--quiet")
    log = RunFolder(out).log.read_bytes()
    assert b"\xff\xfe chatter" in log and b"onednn_verbose" in log, "what was printed belongs into the log"
    neuroflux("evaluate", out, "--data", "sample")

    called = python(
        "-c",
        "import planner; from planner.schema.codec import read_document; from planner.schema.plan import Plan\n"
        "plan = read_document('plan.json', Plan)\n"
        "report = planner.run(plan, 'sample', out='again', max_steps=2, quiet=False)\n"
        "assert report.plan_id == plan.id",
    )
    assert called.returncode == 0, called.stderr.decode(errors="replace")
    assert b"onednn_verbose" not in called.stdout
    reports = [read_document(RunFolder(tmp_path / folder).report, Report) for folder in ("out", "again")]
    assert {report.plan_id for report in reports} == {read_document(plan, Plan).id}
