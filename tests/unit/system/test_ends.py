"""What the ends of real children are told as."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from planner.system.ends import End


def _end(code: str) -> End:
    quiet = "import os, resource, signal, sys; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); "
    return End(subprocess.run([sys.executable, "-c", quiet + code], stderr=subprocess.DEVNULL).returncode)


@pytest.mark.parametrize(
    ("number", "words", "meaning", "may_be_memory"),
    [
        (signal.SIGKILL, "killed (SIGKILL)", "lack of memory", True),
        (signal.SIGABRT, "ended (SIGABRT)", "perhaps for lack of memory", True),
        (signal.SIGSEGV, "ended (SIGSEGV)", "a fault in a library", True),
        (signal.SIGBUS, "ended (SIGBUS)", "failing storage", False),
        (signal.SIGILL, "ended (SIGILL)", "an instruction that this processor lacks", False),
        (signal.SIGTERM, "ended (SIGTERM)", "", False),
        (40, "ended (signal 40)", "", False),
    ],
)
def test_a_signal_is_named_explained_and_passed_on(number: int, words: str, meaning: str, may_be_memory: bool) -> None:
    end = _end(f"os.kill(os.getpid(), {number:d})")
    assert end.signal == number
    assert (end.words, end.may_be_memory) == (words, may_be_memory)
    assert end.explained.startswith(words) and meaning in end.explained
    assert bool(meaning) == (end.explained != end.words)
    parents = _end(f"sys.exit({end.passed_on()})")
    assert (parents.signal, parents.explained) == (number, end.explained)


@pytest.mark.parametrize("code", [0, 1, 2, 4, 255])
def test_an_exit_is_no_signal(code: int) -> None:
    end = _end(f"os._exit({code})")
    assert (end.signal, end.may_be_memory, end.words) == (0, False, f"ended (exit {code})")
    assert end.explained == end.words
    assert end.passed_on() == code


def test_words_in_what_a_child_said_are_no_signal() -> None:
    """A last line that only speaks of SIGKILL says nothing of how the child ended."""
    assert _end("sys.exit('was it SIGKILL?')").signal == 0
