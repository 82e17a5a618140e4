"""Copies of this process: what they tell, how they end, and that nothing of theirs is left here."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from planner.system.child import Answer
from planner.system.fork import StandstillError, ask_copy

Send = Callable[[str], None]
PATIENCE = 600.0


def test_a_copy_has_what_this_process_has_and_tells_lines() -> None:
    ours = {"value": 1}

    def work(send: Send) -> None:
        ours["value"] += 1
        print("printed")
        os.write(2, b"by a library\n")
        send(f"value {ours['value']}")
        send("é")

    assert ask_copy(work, PATIENCE) == Answer(0, "value 2\né\n".encode(), "printed\nby a library")
    assert ours == {"value": 1}


def test_what_is_in_buffers_here_is_written_once(capfd: pytest.CaptureFixture[str]) -> None:
    sys.stdout.write("ours, ")
    ask_copy(lambda send: print("not ours"), PATIENCE)
    sys.stdout.write("once")
    sys.stdout.flush()
    assert capfd.readouterr().out == "ours, once"


def test_exit_handlers_are_this_processs_own(tmp_path: Path) -> None:
    atexit.register((tmp_path / "left").touch)
    try:
        ask_copy(lambda send: sys.exit(0), PATIENCE)
    finally:
        atexit.unregister((tmp_path / "left").touch)
    assert not (tmp_path / "left").exists()


def _raises(send: Send) -> None:
    raise ValueError("why not")


@pytest.mark.parametrize(
    ("work", "code", "words"),
    [
        (_raises, 1, "ValueError: why not"),
        (lambda send: os._exit(3), 3, "it said nothing"),
        (lambda send: os.kill(os.getpid(), signal.SIGSEGV), -signal.SIGSEGV, "it said nothing"),
    ],
)
def test_a_copy_that_ends_otherwise(work: Callable[[Send], None], code: int, words: str) -> None:
    done = ask_copy(work, PATIENCE)
    assert (done.code, done.text, done.last_words) == (code, b"", words)


def test_a_copy_that_waits_for_a_lock_of_another_thread_is_given_up() -> None:
    """The lock is held in the copy by a thread that is not there: it waits for ever, without processor time."""
    lock = threading.Lock()
    pids: list[int] = []
    with lock:
        reading, writing = os.pipe()

        def work(send: Send) -> None:
            os.write(writing, str(os.getpid()).encode())
            lock.acquire()

        with pytest.raises(StandstillError):
            ask_copy(work, 0.5)
    pids.append(int(os.read(reading, 20)))
    for end in (reading, writing):
        os.close(end)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_a_copy_that_computes_is_waited_for() -> None:
    """It uses six times the processor time for which it may use none."""

    def work(send: Send) -> None:
        import time

        while time.process_time() < 0.6:
            pass
        send("done")

    assert ask_copy(work, 30.0).text == b"done\n"


def _children() -> set[str]:
    """Children of this process, ended ones that nobody has waited for included."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            behind_name = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended since it was listed
        if behind_name[1] == str(os.getpid()):
            found.add(folder.name)
    return found


def test_nobody_is_left_and_no_descriptor() -> None:
    def held() -> tuple[int, set[str]]:
        return len(list(Path("/proc/self/fd").iterdir())), _children()

    before = held()
    ask_copy(lambda send: send("x"), PATIENCE)
    assert held() == before
