"""The product on emulated arm64 boards, base install only. Bytes and exit codes are asserted, never seconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from planner.schema.codec import decode, parse_json
from planner.schema.device import DeviceDocument
from planner.schema.report import Evaluation, Report
from planner.units import MIB
from tests.board import workload
from tests.board.board import Board, Result, boot
from tests.board.image import UnavailableError
from tests.board.jobs import guard, promise

pytestmark = pytest.mark.board

OLD = Board("Armv8.0, torch 2.9.1", "cortex-a72", "2.9.1")
NEW = Board("Armv8.2, torch 2.10.0", "cortex-a76", "2.10.0")
LARGE_PAGES = Board("16K pages", "cortex-a76", "2.10.0", memory_mib=1024, page_bytes=16384, huge_pages="always")
MISFIT = Board("Armv8.0, torch 2.10.0", "cortex-a72", "2.10.0")

BASELINE_BYTES = 176 * MIB
"""A training child before training takes 165 to 169 MiB on these boards, if huge pages do not make it larger."""

Booted = Callable[..., Result]


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Booted:
    """A board that has run a job; each pair once. A profile that was measured on it can be given."""

    @cache
    def run(board: Board, job: str, profile: Path | None = None) -> Result:
        work = tmp_path_factory.mktemp("board")
        inputs = workload.write(work) | ({"profile.json": profile} if profile else {})
        try:
            result = boot(board, job, work / "boot", inputs)
        except UnavailableError as error:
            pytest.skip(f"no emulated board can be had here: {error}")
        print(f"\n{board}\n{result.console}")
        return result

    return run


@pytest.fixture(params=[OLD, NEW], ids=lambda board: board.name)
def path(request: pytest.FixtureRequest, booted: Booted) -> Result:
    """The whole way, gone on a board with 512 MB."""
    return booted(request.param, "path.sh")


def test_nothing_is_killed_for_want_of_memory(path: Result) -> None:
    assert "Killed process" not in path.read("dmesg.log")


@pytest.mark.parametrize("step", ["doctor", "profile", "plan", "run", "report", "evaluate", "resumed"])
def test_every_command_works_with_the_base_install(path: Result, step: str) -> None:
    assert path.steps[step].code == 0, path.steps[step].errors


def test_the_doctor_describes_the_board(path: Result) -> None:
    found = _device(path)
    assert found.machine.architecture == "aarch64"
    assert 400 * MIB < found.machine.total_bytes < 512 * MIB
    assert found.machine.allocator == ("mimalloc" if found.machine.torch_version == "2.10.0" else "glibc")
    assert found.torch_fit is not None and "SIGILL" not in found.torch_fit
    assert found.runtime is not None and found.runtime.baseline_bytes < BASELINE_BYTES


def test_a_budget_that_is_too_small_is_refused_with_the_least_one(path: Result) -> None:
    assert path.steps["refused"].code == 3
    least = json.loads(path.steps["refused"].output)["minimum_bytes"]
    assert json.loads(path.read("plan.json"))["predicted"]["peak_bytes"] <= least


@pytest.mark.parametrize("step", ["run", "resumed", "ample"])
def test_a_run_stays_under_the_least_budget(path: Result, step: str) -> None:
    assert path.steps[step].code == 0, path.steps[step].errors
    report = _report(path, step)
    went_on = [said for said in report.deviations if said.startswith("resumed at ")]
    assert report.deviations == tuple(went_on) and len(went_on) == (step == "resumed")
    assert report.peak_bytes <= report.budget_bytes
    for block in report.blocks:
        assert block.measured_peak_bytes <= block.predicted_peak_bytes * 1.001


def test_evaluating_gives_the_accuracy_of_the_run(path: Result) -> None:
    found = decode(Evaluation, parse_json(path.steps["evaluate"].output))
    assert found.samples == workload.TEST_SAMPLES
    assert found.accuracy == _report(path, "run").accuracy


def test_a_run_that_is_killed_goes_on_to_the_same_weights(path: Result) -> None:
    assert path.read("stopped.code").strip() == "137"
    assert "report.json" not in path.read("stopped.files")
    assert path.steps["same"].code == 0, path.steps["same"].errors


def test_a_neighbour_survives_a_run_that_has_room(path: Result) -> None:
    assert path.steps["ample-neighbour"].code == 0


def test_a_neighbour_survives_a_run_that_has_none(path: Result) -> None:
    assert path.steps["scarce-neighbour"].code == 0
    assert path.steps["scarce"].code in (2, 4), path.steps["scarce"].errors


@pytest.mark.parametrize("board", [OLD, NEW], ids=lambda board: board.name)
def test_runs_live_under_limits_that_are_their_budgets(booted: Booted, board: Board) -> None:
    profile = booted(board, "path.sh").folder / "profile.json"
    step = booted(board, "promise.sh", profile).steps["promise"]
    assert step.code == 0, step.errors
    runs = [json.loads(line) for line in step.output.splitlines()]
    assert len(runs) == len(promise.CASES)
    for found in runs:
        assert (found["code"], found["kills"], found.get("deviations")) == (0, 0, []), found
        assert found["peak_bytes"] <= found["budget_bytes"], found


def test_the_guard_refuses_near_its_limit(path: Result) -> None:
    _check_guard(path, "tight")


@pytest.mark.parametrize("policy", ["tight", "fast"])
def test_the_guard_refuses_near_its_limit_with_large_pages(booted: Booted, policy: str) -> None:
    _check_guard(booted(LARGE_PAGES, "start.sh"), policy)


def test_large_and_huge_pages_do_not_make_the_start_larger(booted: Booted) -> None:
    result = booted(LARGE_PAGES, "start.sh")
    assert "[always]" in result.console
    found = _device(result)
    assert found.runtime is not None and found.runtime.baseline_bytes < BASELINE_BYTES
    assert json.loads(result.steps["guard-tight"].output)["page_bytes"] == LARGE_PAGES.page_bytes


def test_a_torch_that_the_processor_cannot_run_is_named(booted: Booted) -> None:
    result = booted(MISFIT, "misfit.sh")
    assert result.steps["doctor"].code == 0, result.steps["doctor"].errors
    found = _device(result)
    assert found.runtime is None
    assert found.torch_fit is not None and "needs Armv8.1 atomics" in found.torch_fit
    assert result.steps["profile"].code == 4
    assert "SIGILL" in result.steps["profile"].errors


def _check_guard(result: Result, policy: str) -> None:
    step = result.steps[f"guard-{policy}"]
    assert step.code == 0, step.errors
    found = json.loads(step.output)
    assert found["resets_peak"]
    assert found["baseline_bytes"] < BASELINE_BYTES
    for refused in found["refused"]:
        assert refused["error"] is not None and refused["is_recognised"], refused
        assert refused["had_bytes"] <= (guard.LIMIT_MIB + 16) * MIB, refused
        assert refused["peak_bytes"] <= (guard.LIMIT_MIB + 24) * MIB, refused
    if policy == "tight":
        for held in found["held"]:
            assert held["held_bytes"] <= held["asked_bytes"] + 6 * MIB, held
            assert held["released_bytes"] <= 6 * MIB, held


def _device(result: Result) -> DeviceDocument:
    return decode(DeviceDocument, parse_json(result.steps["doctor"].output))


def _report(result: Result, step: str) -> Report:
    found: Any = parse_json(result.steps[step].output)
    return decode(Report, found)
