"""Measuring never hurts the device: under the kernel's own limit, out of time, and with children killed at work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from planner.errors import InfeasibleError, InputError
from planner.model.zoo import from_zoo
from planner.profiler.bounded import Bounds
from planner.profiler.job import Job
from planner.profiler.profile import measure_start, micro_batches_for
from planner.profiler.schedule import ComponentMeasurements, MeasurementRun, MeasuringChild, OnProgress
from planner.schema.codec import read_document, to_json
from planner.schema.profile import ComponentProfile, Profile
from planner.schema.request import Budget, Request, Training
from planner.solver.plan import make_plan
from planner.units import MIB
from tests.heads import conv_heads
from tests.integration.conftest import OPTIMIZER
from tests.memory_group import MemoryGroup, can_create

ROOM_BYTES = 140 * MIB
"""What a group leaves above torch's start; too little for a batch of 256."""

BATCH = 256


def _components(profile: Profile | ComponentMeasurements) -> list[ComponentProfile]:
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


def _measured(
    folder: Path,
    name: str,
    batch: int,
    tell: OnProgress,
    max_bytes: int | None = None,
    max_seconds: float | None = None,
) -> ComponentMeasurements:
    """Every component of a zoo network, by real children; what whole steps take is left out."""
    bounds, path = Bounds.begin(max_bytes, max_seconds), folder / "job.json"
    sizes, model = micro_batches_for(batch), from_zoo(name, (3, 32, 32), 10)
    job = Job(model, OPTIMIZER, sizes, conv_heads(16), "cpu", 2, "tight", bounds.max_bytes)
    path.write_text(to_json(job))
    return MeasurementRun(job, bounds, lambda: MeasuringChild(bounds, path, os.getpid()), tell).run()


def _silent(done: int, total: int, name: str) -> None:
    pass


def test_a_limit_below_what_a_layer_takes_is_an_error_with_an_exit_code_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(InfeasibleError, match=r"does not fit in 270\.0 MiB") as caught:
        _measured(tmp_path, "vgg16", 8, _silent, max_bytes=270 * MIB)
    assert caught.value.minimum_bytes >= 270 * MIB
    assert caught.value.exit_code == 3


def test_little_time_gives_less_or_says_how_much_would_do(tmp_path: Path) -> None:
    try:
        found = _measured(tmp_path, "vgg16", 512, _silent, max_seconds=10.0)
    except InputError as error:
        assert "--max-seconds" in str(error)
        assert int(str(error).rpartition("allow ")[2].split()[0]) >= 20
        return
    assert "out of time" in {left.reason for left in found.left_out}
    assert all(component.costs for component in _components(found))


def _measuring_children() -> list[int]:
    """Children of this process that measure."""
    found = []
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in children.read_text().split():
            if b"planner.profiler.child.measure" in (Path("/proc") / pid / "cmdline").read_bytes():
                found.append(int(pid))
    return found


@pytest.mark.parametrize("killed_at", ["conv1_2, micro-batch 8", "conv2_1, micro-batch 1"])
def test_a_child_killed_while_it_measures_is_replaced_and_the_profile_completed(killed_at: str, tmp_path: Path) -> None:
    killed: list[int] = []

    def tell(done: int, total: int, name: str) -> None:
        if name == killed_at and not killed:
            killed.extend(_measuring_children())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    found = _measured(tmp_path, "cnn6", 8, tell)
    assert len(killed) == 1
    unit, _, size = killed_at.partition(", micro-batch ")
    units = from_zoo("cnn6", (3, 32, 32), 10).units
    tables = {unit.name: [c.micro_batch for c in cost.costs] for unit, cost in zip(units, found.units, strict=True)}
    if size == "1":  # the smallest has a second chance, for without it there is no profile
        assert found.left_out == ()
        assert set(map(tuple, tables.values())) == {(1, 2, 8)}
        return
    assert [(left.piece, left.micro_batch, left.reason) for left in found.left_out] == [(unit, 8, "does not fit")]
    assert tables.pop(unit) == [1, 2, 4]
    assert set(map(tuple, tables.values())) == {(1, 2, 8)}
