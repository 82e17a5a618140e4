from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from planner.errors import RunError
from planner.system.hierarchy import find_hierarchy
from tests.memory_group import MemoryGroup, can_create
from tests.unit.system.support import BECOME_NOBODY, MIB, environment, needs_root, python, run_child

# Allocates anonymous bytes, says so, waits for its input to end.
HOLD = """
    import sys
    held = bytearray(b"x") * int(sys.argv[1])
    print("holds", flush=True)
    sys.stdin.read()
"""


def test_a_group_can_be_made_where_this_process_owns_its_own() -> None:
    """Otherwise a fault of ours would only skip the tests below."""
    hierarchy = find_hierarchy("memory")
    if hierarchy is None or hierarchy.version != 1 or not os.access(hierarchy.group, os.W_OK):
        pytest.skip("needs write access to this process's own memory group (version 1)")
    assert can_create() is None


@pytest.fixture
def group() -> Iterator[MemoryGroup]:
    reason = can_create()
    if reason is not None:
        pytest.skip(reason)
    with MemoryGroup(64 * MIB) as made:
        yield made


def hold(size_bytes: int, group: MemoryGroup) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        python(HOLD, str(size_bytes)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(),
        preexec_fn=group.enter,
    )


@pytest.mark.kernel
def test_a_child_above_the_limit_is_killed_by_the_kernel(group: MemoryGroup) -> None:
    done = hold(int(1.3 * group.limit_bytes), group)
    assert done.returncode == -signal.SIGKILL
    assert done.stdout == b""
    assert group.oom_kills() == 1


@pytest.mark.kernel
def test_a_child_below_the_limit_lives(group: MemoryGroup) -> None:
    done = hold(int(0.6 * group.limit_bytes), group)
    assert (done.returncode, done.stdout) == (0, b"holds\n")
    assert group.oom_kills() == 0
    peak = group.peak_bytes()
    if peak is not None:
        assert 0.6 * group.limit_bytes < peak <= group.limit_bytes


@pytest.mark.kernel
def test_swap_is_no_way_out(group: MemoryGroup) -> None:
    """Read back, and not provoked: most machines that run this have no swap."""
    with_swap, swap = group.path / "memory.memsw.limit_in_bytes", group.path / "memory.swap.max"
    if with_swap.exists():
        assert int(with_swap.read_text()) == group.limit_bytes
    elif swap.exists():
        assert int(swap.read_text()) == 0
    else:
        pytest.skip("this kernel does not account for swap")


@pytest.mark.kernel
def test_the_limit_is_for_all_processes_together(group: MemoryGroup) -> None:
    with subprocess.Popen(
        python(HOLD, str(int(0.6 * group.limit_bytes))),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
        preexec_fn=group.enter,
    ) as first:
        assert first.stdout is not None
        assert first.stdin is not None
        assert first.stdout.readline() == b"holds\n"
        second = hold(int(0.6 * group.limit_bytes), group)
        first.stdin.close()
    assert group.oom_kills() == 1
    assert sorted([first.returncode, second.returncode]) == [-signal.SIGKILL, 0]


@pytest.mark.kernel
def test_a_running_process_enters_by_its_pid_and_is_killed_when_the_group_closes() -> None:
    reason = can_create()
    if reason is not None:
        pytest.skip(reason)
    group = MemoryGroup(64 * MIB)
    with subprocess.Popen(python(HOLD, "1"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()) as child:
        assert child.stdout is not None
        child.stdout.readline()
        group.enter(child.pid)
        assert (group.path / "cgroup.procs").read_text().split() == [str(child.pid)]
        group.close()
        assert not group.path.exists()
        assert child.wait() == -signal.SIGKILL
    group.close()


@pytest.mark.kernel
def test_a_limit_the_kernel_refuses_leaves_no_group_behind() -> None:
    reason = can_create()
    if reason is not None:
        pytest.skip(reason)
    with MemoryGroup(64 * MIB) as group:
        siblings = group.path.parent
    before = sorted(siblings.iterdir())
    with pytest.raises(RunError, match="limit of -5 bytes cannot be set"):
        MemoryGroup(-5)
    assert sorted(siblings.iterdir()) == before


@needs_root
def test_without_the_rights_the_reason_is_told() -> None:
    code = """
    import json
    from planner.errors import RunError
    from tests.memory_group import MemoryGroup, can_create
    """
    code += BECOME_NOBODY
    code += """
    try:
        MemoryGroup(64 * 2**20)
        raised = None
    except RunError as error:
        raised = str(error)
    print(json.dumps([can_create(), raised]))
    """
    reason, raised = run_child(code)
    assert reason.startswith("no memory group can be made: ")
    assert raised.startswith("no memory group can be made: ")
