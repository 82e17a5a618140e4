"""Whoever listens may go away, stand still or never have been there: a run goes on, and exits as its work did."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from planner.schema.codec import to_json
from planner.schema.run_folder import RunFolder
from planner.units import MIB
from tests.fault.support import small_plan
from tests.unit.system.support import environment, mounting

_STEPS = "2"


def _words(plan: Path, out: Path) -> list[str]:
    command = [sys.executable, "-m", "planner.cli.main", "run", str(plan), "--data", "sample", "--out", str(out)]
    return [*command, "--max-steps", _STEPS]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("telling") / "plan.json"
    file.write_text(to_json(small_plan()))
    return file


@pytest.fixture(scope="module")
def trained(plan: Path) -> bytes:
    """What a run that everybody listens to comes to."""
    out = plan.with_name("reference")
    done = subprocess.run(_words(plan, out), env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "block 1/3" in done.stderr and "stayed under" in done.stdout  # it tells enough for readers to be missed
    return RunFolder(out).model.read_bytes()


def _check(out: Path, trained: bytes) -> None:
    assert RunFolder(out).model.read_bytes() == trained
    assert RunFolder(out).report.exists()
    for line in RunFolder(out).memory.read_bytes().splitlines():
        json.loads(line)  # nothing but its lines: no message has found its way into a file with a low number


@pytest.mark.parametrize(
    "redirection",
    [
        "2>&1 | head -n 1",
        "2>&1 | true",
        ">/dev/full 2>/dev/full",
        "2>&-",
        "<&- >&- 2>&-",
    ],
)
def test_a_run_goes_on_whoever_listens(redirection: str, plan: Path, trained: bytes, tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = f'"$@" {redirection}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", script, "bash", *_words(plan, out)], env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    _check(out, trained)


def test_a_log_on_a_full_disk(plan: Path, trained: bytes, tmp_path: Path) -> None:
    disk, out = tmp_path / "disk", tmp_path / "out"
    disk.mkdir()
    script = (
        'head -c 1M /dev/zero >"$0/ballast" 2>/dev/null; "$@" >"$0/log" 2>&1; code=$?; stat -c %s "$0/log"; exit $code'
    )
    wrapper = mounting(disk, "size=64k")
    done = subprocess.run(
        [*wrapper, "bash", "-c", script, str(disk), *_words(plan, out)],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0\n", "the log found room after all"
    _check(out, trained)


def test_a_reader_that_stands_still_is_not_waited_for(plan: Path, trained: bytes, tmp_path: Path) -> None:
    """Both pipes are full before it begins, and nobody ever reads them."""
    out = tmp_path / "out"
    source, target = os.pipe()
    size = fcntl.fcntl(target, fcntl.F_GETPIPE_SZ)
    os.write(target, bytes(size))
    done = subprocess.run(_words(plan, out), env=environment(), stdout=subprocess.PIPE, stderr=target)
    os.close(target)
    held = b"".join(iter(lambda: os.read(source, MIB), b""))
    os.close(source)
    assert done.returncode == 0
    assert held == bytes(size)
    _check(out, trained)


def _failing(plan: Path, out: Path) -> list[str]:
    """A command that is refused."""
    return [*_words(plan, out), "--init", str(plan.with_name("missing"))]


def _nothing(plan: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "planner.cli.main", "report", str(out)]


@pytest.mark.parametrize(("words", "code"), [(_failing, 2), (_nothing, 2)])
def test_what_failed_exits_as_ever(
    words: Callable[[Path, Path], list[str]], code: int, plan: Path, tmp_path: Path
) -> None:
    command = ["bash", "-c", '"$@" 2>&1 | true; exit ${PIPESTATUS[0]}', "bash", *words(plan, tmp_path / "out")]
    assert subprocess.run(command, env=environment()).returncode == code


def test_what_was_stopped_goes_on_by_the_command_that_is_printed(plan: Path, tmp_path: Path) -> None:
    out, here = tmp_path / "it's my run", tmp_path / "here"
    here.mkdir()
    shutil.copy(plan, here / "my plan.json")
    command = [sys.executable, "-m", "planner.cli.main", "run", "my plan.json", "--data", "sample", "--out", str(out)]
    search = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    with subprocess.Popen(
        [*command, "--max-steps", "60"], env=environment(PATH=search), cwd=here, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "block 1/3" in line and ": done" in line:
                process.send_signal(signal.SIGINT)
                break
        last = process.stderr.read().splitlines()[-2:]
        assert process.wait() == 130
    assert last[0] == "go on with:"
    done = subprocess.run(last[1], shell=True, env=environment(PATH=search), cwd=here, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "stayed under" in done.stdout
    shown = done.stderr.splitlines()[-1].removeprefix("more: ")
    assert shlex.split(shown) == ["neuroflux", "report", str(out)]
