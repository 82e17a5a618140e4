"""Children under limits: real processes, real limits."""

from __future__ import annotations

import os
import select
import signal
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from planner.profiler import bounded
from planner.profiler.bounded import Bounds, Child, EndedError, OutOfTimeError
from planner.units import MIB
from tests.unit.system.support import run_child

Write = Callable[[str], None]


def bounds(max_bytes: int = 2**40, seconds: float = 60.0) -> Bounds:
    return Bounds(max_bytes, seconds, time.monotonic() + seconds)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write the module `measured_module`, for children to run."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)

    def write(code: str) -> None:
        (tmp_path / "measured_module.py").write_text(textwrap.dedent(code))

    return write


def test_a_child_is_spoken_to_in_lines_and_marked_as_the_first_to_be_killed(module: Write) -> None:
    module("""
        import sys
        from planner.system.answers import Answers
        answers = Answers()
        for line in sys.stdin:
            words = [line.strip().upper(), open("/proc/self/oom_score_adj").read().strip(), *sys.argv[1:]]
            answers.emit(" ".join(words))
    """)
    with Child(bounds(), "measured_module", "given") as child:
        child.send("one")
        assert child.read() == "ONE 1000 given"
        child.send("two")
        child.send("three")
        assert [child.read(), child.read()] == ["TWO 1000 given", "THREE 1000 given"]


def test_a_child_goes_without_huge_pages_as_a_runs_does(module: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("planner.system.pages.huge_pages", lambda: "always")
    module("""
        from planner.system.answers import Answers
        found = [line for line in open("/proc/self/status") if line.startswith("THP_enabled")]
        Answers().emit(found[0].strip())
    """)
    with Child(bounds(), "measured_module") as child:
        assert child.read().split() == ["THP_enabled:", "0"]


def test_a_child_above_the_limit_is_killed(module: Write) -> None:
    module("""
        import time
        taken = b"x" * (128 * 2**20)
        time.sleep(60)
    """)
    with Child(bounds(100 * MIB), "measured_module") as child, pytest.raises(EndedError) as caught:
        child.read()
    assert caught.value.end.signal == signal.SIGKILL


def test_a_child_behind_the_deadline_is_given_up(module: Write) -> None:
    module("import time; time.sleep(60)")
    with Child(bounds(seconds=-2.0), "measured_module") as child, pytest.raises(OutOfTimeError):
        child.read()


def test_a_child_that_fails_has_last_words_and_no_signal(module: Write) -> None:
    module("raise RuntimeError('broken pipe organ')")
    with Child(bounds(), "measured_module") as child, pytest.raises(EndedError) as caught:
        child.read()
    assert caught.value.end.signal == 0
    assert caught.value.last_words == "RuntimeError: broken pipe organ"


def test_a_child_whose_own_child_was_killed_counts_as_killed(module: Write) -> None:
    module("""
        import subprocess
        import sys
        from planner.system.ends import End
        sys.exit(End(subprocess.run(["sh", "-c", "kill -KILL $$"]).returncode).passed_on())
    """)
    with Child(bounds(), "measured_module") as child, pytest.raises(EndedError) as caught:
        child.read()
    assert caught.value.end.signal == signal.SIGKILL


def test_a_child_that_only_speaks_of_a_signal_was_not_ended_by_it(module: Write) -> None:
    module("raise RuntimeError('died with <Signals.SIGKILL: 9>')")
    with Child(bounds(), "measured_module") as child, pytest.raises(EndedError) as caught:
        child.read()
    assert (caught.value.end.signal, caught.value.end.may_be_memory) == (0, False)


def test_a_child_that_has_ended_can_still_be_sent_a_line(module: Write) -> None:
    module("")
    with Child(bounds(), "measured_module") as child:
        child._process.wait()
        child.send("anybody there?")
        with pytest.raises(EndedError):
            child.read()


def test_what_a_child_started_ends_with_it(module: Write) -> None:
    module("""
        import subprocess
        from planner.system.answers import Answers
        answers = Answers()
        answers.emit(str(subprocess.Popen(["sleep", "600"]).pid))
        input()
    """)
    with Child(bounds(), "measured_module") as child:
        started = os.pidfd_open(int(child.read()))
        assert not select.select([started], [], [], 0)[0]
    assert select.select([started], [], [], 30)[0], "it still runs"
    os.close(started)


def test_defaults_leave_a_fifth_of_what_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "available_bytes", lambda: 1000)
    found = Bounds.begin()
    assert (found.max_bytes, found.max_seconds) == (800, 600.0)
    assert 0 < found.seconds_left <= 600.0


@pytest.mark.parametrize(("wanted", "given"), [(300, 300), (1000, 1000), (5000, 1000)])
def test_nobody_gets_more_than_is_available(monkeypatch: pytest.MonkeyPatch, wanted: int, given: int) -> None:
    monkeypatch.setattr(bounded, "available_bytes", lambda: 1000)
    assert Bounds.begin(wanted, 5.0).max_bytes == given


def test_the_childs_own_limit_refuses_what_would_pass_it_and_can_be_renewed() -> None:
    code = """
        import json
        from planner.profiler.bounded import OwnLimit
        from planner.system.proc import read_memory
        def fits(mebibytes):
            try:
                bytearray(mebibytes * 2**20)
            except MemoryError:
                return False
            return True
        own = read_memory()
        limit = OwnLimit(own.anonymous_bytes + 40 * 2**20 + 64 * 2**20)
        taken = limit.renew()
        room = (taken <= own.anonymous_bytes + 42 * 2**20), fits(60), fits(68)
        held = bytearray(32 * 2**20)
        grown = limit.renew() - taken
        later = fits(28), fits(36)
        del held
        limit.renew()
        print(json.dumps([*room, grown, *later, fits(60), fits(68)]))
    """
    enough, small, large, grown, less, more, again, never = run_child(code)
    assert (enough, small, large) == (True, True, False)
    assert grown == pytest.approx(32 * MIB, abs=2 * MIB)
    assert (less, more) == (True, False)
    assert (again, never) == (True, False)


def test_a_process_that_takes_more_already_is_told_so_and_not_limited() -> None:
    code = """
        import json
        from planner.profiler.bounded import OwnLimit
        taken = OwnLimit(2**20).renew()
        print(json.dumps([taken > 2**20, len(bytearray(64 * 2**20))]))
    """
    assert run_child(code) == [True, 64 * MIB]


def test_a_limit_of_a_gpu_is_none_of_what_a_child_takes_here(module: Write) -> None:
    module("""
        from planner.system.answers import Answers
        taken = b"x" * (128 * 2**20)
        Answers().emit(input() + str(len(taken)))
    """)
    limits = Bounds.begin(100 * MIB, 60.0, accelerator_bytes=2**40)
    with Child(limits, "measured_module") as child:
        child.send("has ")
        assert child.read() == f"has {128 * MIB}"
