from __future__ import annotations

import os
import resource
import select
import signal
import subprocess

import pytest

from planner.system.proc import read_memory
from planner.system.rlimit import limit_data
from tests.unit.system.support import MIB, environment, python, run_child


def test_an_overrun_is_an_error_that_can_be_caught() -> None:
    code = """
        import json
        from planner.system.rlimit import limit_data
        def fits(size):
            try:
                bytearray(size)
            except MemoryError:
                return False
            return True
        with limit_data(32 * 2**20):
            inside = fits(31 * 2**20), fits(33 * 2**20)
        print(json.dumps([*inside, fits(33 * 2**20)]))
    """
    assert run_child(code) == [True, False, True]


def test_a_thread_that_does_not_fit_cannot_start() -> None:
    code = """
        import json, threading
        from planner.system.rlimit import limit_data
        threading.stack_size(16 * 2**20)
        limit = limit_data(8 * 2**20)
        try:
            threading.Thread(target=int).start()
            print(json.dumps("started"))
        except RuntimeError as error:
            print(json.dumps(str(error)))
    """
    assert "can't start new thread" in run_child(code)


def test_the_limit_is_what_is_mapped_now_and_the_extra() -> None:
    code = """
        import json, resource
        from planner.system.proc import read_memory
        from planner.system.rlimit import limit_data
        before = resource.getrlimit(resource.RLIMIT_DATA)
        mapped = read_memory().data_bytes
        limit = limit_data(64 * 2**20)
        during = resource.getrlimit(resource.RLIMIT_DATA)
        limit.lift()
        limit.lift()
        after = resource.getrlimit(resource.RLIMIT_DATA)
        print(json.dumps([mapped, limit.limit_bytes, before, during, after]))
    """
    mapped, limit_bytes, before, during, after = run_child(code)
    assert limit_bytes - mapped == pytest.approx(64 * MIB, abs=MIB)
    assert during == [limit_bytes, before[1]]
    assert after == before


def test_a_higher_hard_limit_changes_nothing() -> None:
    code = """
        import json, resource
        from planner.system.proc import read_memory
        from planner.system.rlimit import limit_data
        mapped = read_memory().data_bytes
        hard = mapped + 256 * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
        limit = limit_data(64 * 2**20).limit_bytes
        print(json.dumps([mapped, hard, limit, *resource.getrlimit(resource.RLIMIT_DATA)]))
    """
    mapped, hard, limit, *now = run_child(code)
    assert limit - mapped == pytest.approx(64 * MIB, abs=MIB)
    assert now == [limit, hard]


def test_a_lower_hard_limit_stays_the_ceiling() -> None:
    code = """
        import json, resource
        from planner.system.proc import read_memory
        from planner.system.rlimit import limit_data
        hard = read_memory().data_bytes + 16 * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
        print(json.dumps([hard, limit_data(64 * 2**20).limit_bytes, *resource.getrlimit(resource.RLIMIT_DATA)]))
    """
    hard, *rest = run_child(code)
    assert rest == [hard, hard, hard]


def test_a_block_that_fails_lifts_its_limit() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(ZeroDivisionError), limit_data(2**40):
        assert resource.getrlimit(resource.RLIMIT_DATA) != before
        raise ZeroDivisionError
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


CHILD = """
    import os, signal, sys
    if sys.argv[1] == "tied":
        from planner.system.rlimit import die_with_parent
        die_with_parent(int(sys.argv[2]))
    print(os.getpid(), flush=True)
    signal.pause()
"""

PARENT = """
    import os, subprocess, sys, textwrap
    subprocess.run([sys.executable, "-c", textwrap.dedent(sys.argv[2]), sys.argv[1], str(os.getpid())])
"""


@pytest.mark.parametrize("tied", [True, False])
def test_a_child_dies_with_its_parent(tied: bool) -> None:
    """The child holds the write end of the pipe: the pipe ends when the child has ended."""
    with subprocess.Popen(
        python(PARENT, "tied" if tied else "free", CHILD), stdout=subprocess.PIPE, env=environment()
    ) as parent:
        assert parent.stdout is not None
        child_pid = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        if tied:
            ended, _, _ = select.select([parent.stdout], [], [], 60)
            assert ended
        else:
            assert read_memory(child_pid).resident_bytes > 0  # the control: untied, it outlives its parent
            os.kill(child_pid, signal.SIGKILL)
        assert parent.stdout.read() == b""


def test_a_child_whose_parent_is_gone_already_ends_at_once() -> None:
    code = "from planner.system.rlimit import die_with_parent; die_with_parent(2**22 + 1); print('still here')"
    done = subprocess.run(python(code), capture_output=True, env=environment())
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"")
