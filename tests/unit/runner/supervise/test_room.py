"""Whether a plan has its memory: on machines that are laid out in a folder, and in a group that the kernel limits."""

from __future__ import annotations

import re
import signal
import subprocess
from dataclasses import replace
from mmap import PAGESIZE
from pathlib import Path

import pytest
import torch

from planner.errors import InfeasibleError, OverBudgetError
from planner.runner.supervise.room import CODE_BYTES, check_room, limit_problem
from planner.schema.codec import content_id, to_json
from planner.schema.plan import Plan
from planner.schema.request import Budget, Scope
from tests.fault.support import small_plan
from tests.memory_group import MemoryGroup, can_create
from tests.unit.runner.train.test_block import this_device
from tests.unit.system import trees
from tests.unit.system.support import MIB, environment, python
from tests.unit.system.test_memory import limits_v1, limits_v2


def plan_of(peak: int, least: int, scope: Scope = "process", baseline: int = 100 * MIB) -> Plan:
    """A plan whose first block takes so many bytes, and so many on its smallest rung."""
    plan = small_plan()
    first = plan.blocks[0]
    high, low = (replace(first.predicted, peak_bytes=size) for size in (peak, least))
    first = replace(first, predicted=high, ladder=tuple(replace(fallback, predicted=low) for fallback in first.ladder))
    plan = replace(plan, blocks=(first, *plan.blocks[1:]), budget=replace(plan.budget, scope=scope))
    plan = replace(plan, baseline_bytes=baseline, minimum_budget_bytes=7)
    return replace(plan, id=content_id(plan))


def machine(tmp_path: Path, total: int, available: int, swap: int = 0) -> Path:
    return trees.write(tmp_path, trees.meminfo(total // 1024, available // 1024, swap // 1024))


def test_what_there_is_room_for_is_not_spoken_of(tmp_path: Path) -> None:
    root = machine(tmp_path, 1024 * MIB, 300 * MIB - CODE_BYTES)
    assert check_room(plan_of(300 * MIB, 200 * MIB), 0, root) is None
    assert check_room(plan_of(320 * MIB, 200 * MIB), 20 * MIB, root) is None  # what is the run's own counts
    assert check_room(plan_of(321 * MIB, 200 * MIB), 20 * MIB, root) is not None


def test_what_the_machine_never_has_is_infeasible(tmp_path: Path) -> None:
    root = machine(tmp_path, 512 * MIB, 500 * MIB, swap=1024 * MIB)
    with pytest.raises(InfeasibleError, match=r"up to 600\.0 MiB, but this machine has 512\.0 MiB") as caught:
        check_room(plan_of(600 * MIB, 100 * MIB), 0, root)
    assert caught.value.minimum_bytes == 7


@pytest.mark.parametrize("version", [1, 2])
def test_a_limit_above_this_group_counts(tmp_path: Path, version: int) -> None:
    place, limits = (trees.v1, limits_v1) if version == 1 else (trees.v2, limits_v2)
    root = machine(tmp_path, 4096 * MIB, 4000 * MIB)
    for files in (place("/a/b"), limits("/a/b", None, 0, 0), limits("/a", 256 * MIB, 0, 0)):
        trees.write(root, files)
    with pytest.raises(InfeasibleError, match=r"the limit here is 256\.0 MiB.*raise the container's limit"):
        check_room(plan_of(300 * MIB, 100 * MIB), 0, root)


@pytest.mark.parametrize(("version", "name"), [(1, "memory.limit_in_bytes"), (2, "memory.max"), (2, "memory.high")])
def test_a_limit_below_the_budget_is_refused_unless_that_is_asked_for(tmp_path: Path, version: int, name: str) -> None:
    """The predicted peak is within both; what the budget leaves above the limit is what the kernel kills for."""
    place, limits, base = (trees.v1, limits_v1, "memory") if version == 1 else (trees.v2, limits_v2, "")
    root = machine(tmp_path, 4096 * MIB, 4000 * MIB)
    limit = {f"sys/fs/cgroup/{base}/a/{name}": str(240 * MIB)}
    for files in (place("/a/b"), limits("/a/b", None, 0, 0), limit):
        trees.write(root, files)
    plan = plan_of(230 * MIB, 100 * MIB)
    plan = replace(plan, budget=replace(plan.budget, bytes=300 * MIB))
    said = rf"budget of 300\.0 MiB is above the limit of 240\.0 MiB that holds here \(.*/a/{name}\)"
    with pytest.raises(InfeasibleError, match=rf"{said}.*at most 240\.0 MiB.*--ignore-limit"):
        check_room(plan, 0, root)
    warning = check_room(plan, 0, root, ignore_limit=True)
    assert warning is not None and re.search(said, warning)
    assert limit_problem(plan, root) == warning
    equal = replace(plan, budget=replace(plan.budget, bytes=240 * MIB))
    assert check_room(equal, 0, root) is None
    # The kernel rounds a limit down to whole pages, and of the last one a run could use nothing.
    within = replace(plan, budget=replace(plan.budget, bytes=240 * MIB + PAGESIZE - 1))
    assert check_room(within, 0, root) is None
    assert limit_problem(replace(plan, budget=replace(plan.budget, bytes=240 * MIB + PAGESIZE)), root) is not None
    # Where the budget counts tensors alone, the limit has to hold torch as well.
    tensors = replace(equal, budget=Budget(140 * MIB, "training"), baseline_bytes=100 * MIB)
    assert limit_problem(tensors, root) is None
    above = limit_problem(replace(tensors, baseline_bytes=101 * MIB), root)
    assert above is not None and "140.0 MiB and the 101.0 MiB that torch takes is above the limit of 240.0 MiB" in above


def test_too_little_for_now_is_a_warning_until_nothing_of_it_fits(tmp_path: Path) -> None:
    root = machine(tmp_path, 1024 * MIB, 150 * MIB)
    least = 150 * MIB + CODE_BYTES
    said = check_room(plan_of(200 * MIB, least), 0, root)
    assert said is not None and "200.0 MiB, but 150.0 MiB of memory are available now" in said
    with pytest.raises(OverBudgetError, match=r"150\.0 MiB of memory are available.*175\.0 MiB even") as caught:
        check_room(plan_of(200 * MIB, least + MIB), 0, root)
    assert caught.value.exit_code == 4
    with_swap = machine(tmp_path / "swap", 1024 * MIB, 150 * MIB, swap=MIB)
    assert check_room(plan_of(200 * MIB, least + MIB), 0, with_swap) is not None


def test_where_the_budget_counts_tensors_alone_the_runtime_comes_on_top(tmp_path: Path) -> None:
    root = machine(tmp_path, 1024 * MIB, 150 * MIB)
    assert check_room(plan_of(75 * MIB, 10 * MIB), 0, root) is None
    assert check_room(plan_of(75 * MIB, 10 * MIB, "training"), 0, root) is not None
    assert check_room(plan_of(74 * MIB, 10 * MIB, "training"), 0, root) is None


def test_a_gpus_memory_is_not_this_memory(tmp_path: Path) -> None:
    plan = replace(plan_of(600 * MIB, 600 * MIB), device=this_device("cuda"))
    assert check_room(plan, 0, machine(tmp_path, 512 * MIB, 100 * MIB)) is None


needs_groups = pytest.mark.skipif(bool(can_create()), reason=f"needs a memory group: {can_create()}")


def _run(plan: Plan, tmp_path: Path, group: MemoryGroup, *options: str) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "plan.json"
    file.write_text(to_json(plan))
    code = "import sys; from planner.cli.main import main; sys.exit(main(sys.argv[1:]))"
    words = ["run", str(file), "--data", "sample", "--out", str(tmp_path / "out"), "--max-steps", "2", "--quiet"]
    words += options
    return subprocess.run(
        python(code, *words), preexec_fn=group.enter, env=environment(), capture_output=True, text=True
    )


@pytest.mark.kernel
@needs_groups
def test_a_plan_above_the_containers_limit_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with MemoryGroup(300 * MIB) as group:
        done = _run(plan_of(400 * MIB, 50 * MIB), tmp_path, group)
        assert group.oom_kills() == 0
    assert done.returncode == 3, done.stderr
    assert "up to 400.0 MiB, but the limit here is 300.0 MiB" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.kernel
@needs_groups
@pytest.mark.skipif(torch.version.cuda is not None, reason="a CUDA build of torch alone takes more than the limit")
def test_a_budget_above_the_containers_limit_is_refused_and_warned_of(tmp_path: Path) -> None:
    plan = plan_of(230 * MIB, 50 * MIB)
    plan = replace(plan, budget=replace(plan.budget, bytes=300 * MIB))
    plan = replace(plan, id=content_id(plan))
    with MemoryGroup(240 * MIB) as group:
        done = _run(plan, tmp_path, group)
        allowed = _run(plan, tmp_path, group, "--ignore-limit")
        assert group.oom_kills() == 0
    assert done.returncode == 3, done.stderr
    assert f"is above the limit of 240.0 MiB that holds here ({group.path}" in done.stderr
    assert allowed.returncode == 0, allowed.stderr
    assert "warning: the budget of 300.0 MiB is above the limit of 240.0 MiB" in allowed.stderr


@pytest.mark.kernel
@needs_groups
def test_a_bystander_survives_a_run_that_is_too_large(tmp_path: Path) -> None:
    """Of both, it holds more: left to itself the kernel would choose it."""
    hold = """
        import sys
        held = b"x" * (400 * 2**20)
        print("held", flush=True)
        sys.stdin.readline()
    """
    with MemoryGroup(512 * MIB) as group:
        bystander = subprocess.Popen(
            python(hold), preexec_fn=group.enter, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        with bystander:
            assert bystander.stdout is not None
            assert bystander.stdout.readline() == "held\n"
            done = _run(plan_of(200 * MIB, MIB), tmp_path, group, "--ignore-limit")
            assert group.oom_kills() >= 1
            assert bystander.poll() is None
            bystander.communicate("\n")
        assert bystander.returncode == 0
    assert done.returncode == 4, done.stderr
    assert "warning: the plan takes up to 200.0 MiB" in done.stderr
    assert f"killed ({signal.SIGKILL.name})" in done.stderr
