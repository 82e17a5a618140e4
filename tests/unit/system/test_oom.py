"""A process marked as the first to be killed: by the kernel's own word, and by what it does in a full group."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from planner.system.oom import kill_first
from tests.memory_group import MemoryGroup, can_create
from tests.unit.system.support import MIB, python


def test_a_marked_process_and_what_it_starts_come_first() -> None:
    code = """
        import subprocess, sys
        sys.stdin.readline()
        print(open("/proc/self/oom_score_adj").read().strip(), flush=True)
        subprocess.run(["cat", "/proc/self/oom_score_adj"])
    """
    with subprocess.Popen(python(code), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        kill_first(process.pid)
        assert process.communicate("go\n")[0].split() == ["1000", "1000"]
    assert Path("/proc/self/oom_score_adj").read_text().strip() != "1000"


def test_a_process_that_has_ended_is_let_be() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    kill_first(process.pid)


@pytest.mark.kernel
def test_the_kernel_kills_it_and_spares_a_larger_neighbour() -> None:
    reason = can_create()
    if reason is not None:
        pytest.skip(reason)
    hold = """
        import sys
        held = b"x" * (int(sys.argv[1]) * 2**20)
        print("held", flush=True)
        sys.stdin.readline()
        more = b"x" * (int(sys.argv[2]) * 2**20)
        print("more", flush=True)
        sys.stdin.readline()
    """
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with MemoryGroup(160 * MIB) as group:
        with (
            subprocess.Popen(python(hold, "80", "0"), preexec_fn=group.enter, **pipes) as large,  # type: ignore[call-overload]  # the dict
            subprocess.Popen(python(hold, "1", "200"), preexec_fn=group.enter, **pipes) as marked,  # type: ignore[call-overload]  # the dict
        ):
            assert large.stdout.readline() == marked.stdout.readline() == "held\n"
            kill_first(marked.pid)
            marked.stdin.write("\n")
            marked.stdin.flush()
            assert marked.wait() == -signal.SIGKILL
            assert group.oom_kills() == 1
            assert large.poll() is None
            large.communicate("\n\n")
        assert large.returncode == 0
