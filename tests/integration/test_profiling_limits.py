"""Measuring never hurts the device: under the kernel's own limit, out of time, and with children killed at work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from planner.errors import InputError
from planner.model.zoo import from_zoo
from planner.profiler.profile import ProfileRequest, measure_start, take_profile
from planner.schema.codec import parse_json, read_document
from planner.schema.profile import ComponentProfile, Profile
from planner.schema.request import Budget, Request, Training
from planner.solver.plan import make_plan
from planner.units import MIB
from tests.heads import conv_heads
from tests.integration.conftest import OPTIMIZER
from tests.memory_group import MemoryGroup, can_create

ROOM_BYTES = 140 * MIB
"""What a group leaves above torch's start; too little for a batch of 1024."""

BATCH = 1024


def _components(profile: Profile) -> list[ComponentProfile]:
    return [*profile.units, *(head.cost for head in profile.heads)]


@pytest.mark.kernel
@pytest.mark.skipif(can_create() is not None, reason=f"no memory group can be made here: {can_create()}")
def test_a_batch_too_large_for_a_memory_group_is_measured_smaller_and_nothing_is_killed(tmp_path: Path) -> None:
    output = tmp_path / "profile.json"
    command = [sys.executable, "-m", "planner.cli.main", "profile", "--model", "cnn6", "--batch", str(BATCH)]
    # A fifth of a group's limit is left to others.
    start = measure_start("tight", threads=2)
    limit = (start.start_peak_bytes + ROOM_BYTES) * 10 // 8 // MIB * MIB
    with MemoryGroup(limit) as group:
        done = subprocess.run(
            [*command, "-o", str(output)],
            preexec_fn=group.enter,
            capture_output=True,
            text=True,
            env={**os.environ, "XDG_DATA_HOME": str(tmp_path)},
        )
        kills = group.oom_kills()
    assert done.returncode == 0, done.stderr
    assert kills == 0
    profile = read_document(output, Profile)
    assert profile.limits is not None
    # The group's limit counts, not the machine's memory.
    assert profile.limits.max_bytes <= limit * 8 // 10
    assert profile.machine is not None and profile.machine.limit_bytes == limit
    left_out = profile.limits.left_out
    assert {left.reason for left in left_out} == {"does not fit"}
    assert BATCH in {left.micro_batch for left in left_out}
    assert f"{len(left_out)} micro-batches were left out ({len(left_out)} do not fit in " in done.stderr
    # Complete: every piece has a table, and a plan for the batch that did not fit can be made from it.
    largest = min(component.costs[-1].micro_batch for component in _components(profile))
    assert 8 <= largest < BATCH
    training = Training(BATCH, 1, 4 * BATCH, profile.optimizer)
    assert make_plan(profile, Request(Budget(2**32, "process"), training)).blocks


def test_a_limit_below_what_a_layer_takes_is_an_error_with_an_exit_code_of_its_own(
    neuroflux: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = neuroflux("profile", "--model", "vgg16", "--batch", 8, "--max-bytes", "270MiB", "--json")
    assert done.returncode == 3, done.stderr
    error = parse_json(done.stdout)
    assert "270.0 MiB" in error["error"]
    assert error["minimum_bytes"] >= 270 * MIB


def _request(name: str, batch: int, max_seconds: float | None = None) -> ProfileRequest:
    model = from_zoo(name, (3, 32, 32), 10)
    return ProfileRequest(model, OPTIMIZER, batch, threads=2, heads=conv_heads(16), max_seconds=max_seconds)


def test_little_time_gives_a_smaller_profile_or_says_how_much_would_do() -> None:
    try:
        profile = take_profile(_request("vgg16", 512, max_seconds=20.0), lambda done, total, name: None)
    except InputError as error:
        assert "--max-seconds" in str(error)
        assert int(str(error).rpartition("allow ")[2].split()[0]) >= 40
        return
    assert profile.limits is not None
    assert "out of time" in {left.reason for left in profile.limits.left_out}
    assert all(component.costs for component in _components(profile))


def _measuring_children() -> list[int]:
    """Children of this process that measure."""
    found = []
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in children.read_text().split():
            if b"planner.profiler.child.measure" in (Path("/proc") / pid / "cmdline").read_bytes():
                found.append(int(pid))
    return found


@pytest.mark.parametrize(
    "killed_at", [pytest.param("conv1_2, micro-batch 8", marks=pytest.mark.long), "conv2_1, micro-batch 1"]
)
def test_a_child_killed_while_it_measures_is_replaced_and_the_profile_completed(killed_at: str) -> None:
    killed: list[int] = []

    def tell(done: int, total: int, name: str) -> None:
        if name == killed_at and not killed:
            killed.extend(_measuring_children())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    profile = take_profile(_request("cnn6", 8), tell)
    assert len(killed) == 1
    assert profile.limits is not None
    unit, _, size = killed_at.partition(", micro-batch ")
    tables = {
        unit.name: [c.micro_batch for c in cost.costs]
        for unit, cost in zip(profile.model.units, profile.units, strict=True)
    }
    if size == "1":  # the smallest has a second chance, for without it there is no profile
        assert profile.limits.left_out == ()
        assert set(map(tuple, tables.values())) == {(1, 2, 8)}
        return
    assert [(left.piece, left.micro_batch, left.reason) for left in profile.limits.left_out] == [
        (unit, 8, "does not fit")
    ]
    assert tables.pop(unit) == [1, 2, 4]
    assert set(map(tuple, tables.values())) == {(1, 2, 8)}
