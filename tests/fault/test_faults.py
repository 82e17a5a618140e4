"""A fault in any write, sync or rename: a clear error, nothing lost, nothing half-written, and --resume goes on."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planner.cli.progress import Silent
from planner.errors import StorageError
from planner.runner.supervise.supervisor import RunOptions, run_plan
from planner.runner.train import session as session_module
from planner.schema.plan import Plan
from planner.schema.run_folder import RunFolder
from tests.fault.support import failing, partials, session, small_plan, weights

CALLS = ("write", "fsync", "fdatasync", "replace")
ERRORS = {errno.ENOSPC: "storage is full|No space left on device", errno.EIO: "Input/output error"}

Expected = tuple[Plan, dict[str, bytes], dict[str, int]]


@pytest.fixture(autouse=True)
def _no_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The calibration kernel takes longer than all of this run's steps."""
    monkeypatch.setattr(session_module, "calibration_seconds", lambda device: 1.0)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Expected:
    """The plan, what it ends in, and how often each call is made."""
    plan, out, counted = small_plan(), tmp_path_factory.mktemp("whole") / "out", {}
    for name in CALLS:
        with failing(name, 0, _raise(errno.EIO), out.with_name(name)) as calls:
            session(plan, out.with_name(name))
        counted[name] = len(calls)
    return plan, weights(out.with_name("write"), plan), counted


def _raise(number: int) -> Callable[..., Any]:
    def fail(real: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


def _write_half(real: Callable[..., Any], file: int, data: memoryview) -> Any:
    return real(file, data[: max(1, len(data) // 2)])


def _hurt(expected: Expected, name: str, number: int, error: int, out: Path) -> None:
    plan, whole, _ = expected
    with failing(name, number, _raise(error), out), pytest.raises(StorageError, match=ERRORS[error]) as raised:
        session(plan, out)
    assert str(out) in str(raised.value)
    assert partials(out) == []
    session(plan, out)
    assert weights(out, plan) == whole


def test_a_fault_somewhere(expected: Expected, tmp_path: Path) -> None:
    source = random.Random(4)
    for name in CALLS:
        numbers = range(1, expected[2][name] + 1)
        for number in source.sample(numbers, min(4, len(numbers))):
            _hurt(expected, name, number, source.choice(list(ERRORS)), tmp_path / f"{name}-{number}")


@pytest.mark.long
@pytest.mark.parametrize("name", CALLS)
def test_a_fault_in_every_call(expected: Expected, tmp_path: Path, name: str) -> None:
    assert expected[2][name] > 0 or name == "fdatasync"
    for number in range(1, expected[2][name] + 1):
        for error in ERRORS:
            _hurt(expected, name, number, error, tmp_path / f"{number}-{error}")


def test_a_write_cut_short_is_gone_on_with(expected: Expected, tmp_path: Path) -> None:
    plan, whole, counted = expected
    for number in random.Random(5).sample(range(1, counted["write"] + 1), 5):
        with failing("write", number, _write_half, tmp_path):
            session(plan, tmp_path / str(number))
        assert weights(tmp_path / str(number), plan) == whole


def _supervise(plan: Plan, out: Path) -> None:
    run_plan(plan, "sample", out, RunOptions(max_steps=2, resume=RunFolder(out).plan.exists()), Silent())


@pytest.mark.parametrize(
    "name", ["replace", *(pytest.param(name, marks=pytest.mark.long) for name in ("write", "fsync"))]
)
def test_a_fault_in_the_supervisors_own_files(tmp_path: Path, name: str) -> None:
    plan = small_plan(blocks_at=((0, 3), (3, 6)))
    with failing(name, 0, _raise(errno.EIO), tmp_path) as calls:
        _supervise(plan, tmp_path / "whole")
    for number in range(1, len(calls) + 1):
        out = tmp_path / str(number)
        full = pytest.raises(StorageError, match=ERRORS[errno.ENOSPC])
        with failing(name, number, _raise(errno.ENOSPC), out), full:
            _supervise(plan, out)
        assert partials(out) == []
        _supervise(plan, out)
        assert RunFolder(out).model.read_bytes() == RunFolder(tmp_path / "whole").model.read_bytes()
        assert RunFolder(out).report.exists()
