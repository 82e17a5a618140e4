"""Children that answer on a pipe of their own: real processes."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import pytest

from planner.errors import OverBudgetError, PlannerError, RunError
from planner.schema.profile import Storage
from planner.system.answers import VARIABLE
from planner.system.child import STANDARD_ERROR, Answer, ChildProcess, ask


def code(text: str) -> list[str]:
    return ["-c", "import os, sys\nfrom planner.system.answers import Answers\n" + textwrap.dedent(text)]


def test_what_a_child_prints_is_no_answer() -> None:
    found = ask(
        code("""
            os.write(1, b"\\xff\\xfe no text\\n")
            print("printed", flush=True)
            answers = Answers()
            answers.emit("one")
            os.write(1, b"onednn_verbose,v1\\n")
            answers.emit("é")
            sys.stderr.write("last\\n")
        """)
    )
    assert found == Answer(0, "one\né\n".encode(), "\ufffd\ufffd no text\nprinted\nonednn_verbose,v1\nlast")
    assert found.last_words == "last"


def test_lines_are_told_as_they_come_and_what_is_taken_is_no_answer(tmp_path: Path) -> None:
    """The child waits after each line until we have made a file that it names: told later, it would wait for ever."""
    told: list[bytes] = []

    def take(line: bytes) -> bool:
        told.append(line)
        (tmp_path / line.decode()).touch()
        return line.startswith(b"step")

    found = ask(
        [
            *code("""
                from pathlib import Path
                answers = Answers()
                for name in ("step1", "answer", "step2"):
                    answers.emit(name)
                    while not Path(sys.argv[1], name).exists():
                        os.sched_yield()
                answers.stream.write(b"no end")
            """),
            str(tmp_path),
        ],
        on_line=take,
    )
    assert told == [b"step1", b"answer", b"step2"]
    assert (found.code, found.text) == (0, b"answer\nno end")


def test_a_child_that_says_much_on_both_ways_does_not_wait_for_us() -> None:
    found = ask(
        code("""
            answers = Answers()
            for part in range(64):
                print("x" * 2**16, flush=True)
                answers.emit("y" * 2**16)
            print("z" * 1000)
        """)
    )
    assert found.text == (b"y" * 2**16 + b"\n") * 64
    assert found.printed_text.endswith("z" * 1000)
    assert len(found.printed_text) <= 2**14
    assert found.last_words == "z" * 300


def test_a_child_that_is_killed_or_silent_is_told_by_its_code() -> None:
    found = ask(code("os.kill(os.getpid(), 9)"))
    assert (found.code, found.text, found.last_words) == (-signal.SIGKILL, b"", "it said nothing")
    assert ask(code("sys.exit(3)")).code == 3


def test_an_answer_is_decoded_as_the_document_that_it_is() -> None:
    found = ask(code("""Answers().emit('{"write_bytes_per_second": 3, "read_bytes_per_second": 4}')"""))
    assert found.decoded(Storage, "the process", "wait") == Storage(3, 4)


@pytest.mark.parametrize(
    ("ends", "error", "message"),
    [
        ("os.kill(os.getpid(), 9)", OverBudgetError, r"lack of memory: last words; where that was memory, free some$"),
        ("os.abort()", OverBudgetError, r"ended \(SIGABRT\) .*: last words; where that was memory, free some$"),
        ("os._exit(3)", RunError, r"^the process was ended \(exit 3\), unexpectedly: last words$"),
        ("os._exit(0)", RunError, r"^the process was ended \(exit 0\), unexpectedly: last words$"),
    ],
)
def test_a_child_that_ends_within_its_answer_is_an_error_that_says_how(
    ends: str, error: type[PlannerError], message: str
) -> None:
    within = f"""
        print("last words", flush=True)
        os.write(int(os.environ["{VARIABLE}"].split()[0]), b'{{"write_bytes')
        {ends}
    """
    with pytest.raises(error, match=message):
        ask(code(within)).decoded(Storage, "the process", "free some")


def test_patience_ends_and_the_child_with_it(tmp_path: Path) -> None:
    place = tmp_path / "pid"
    with pytest.raises(TimeoutError):
        ask(code(f"open({str(place)!r}, 'w').write(str(os.getpid()))\nimport time; time.sleep(600)"), 5.0)
    assert not place.exists() or not Path(f"/proc/{place.read_text()}").exists()


def test_answers_end_with_the_child_though_what_it_started_lives_on() -> None:
    started = code("""
        import subprocess
        answers = Answers()
        other = subprocess.Popen(["sleep", "600"], close_fds=False)
        answers.emit(str(other.pid))
        answers.emit(str(sys.argv))
        answers.emit(str(os.environ.get("NEUROFLUX_ANSWERS")))
    """)
    with ChildProcess([*started, "a b"], subprocess.DEVNULL) as child:
        pid, words, variable, *more = child.answers.read().decode().splitlines()
        grandchild = os.pidfd_open(int(pid))
        assert not select.select([grandchild], [], [], 0)[0], "it has ended, so that nothing was shown"
    assert (words, variable, more) == ("['-c', 'a b']", "None", [])
    assert select.select([grandchild], [], [], 30)[0], "it still runs"
    os.close(grandchild)


def test_who_answers_ends_with_its_parent_however_that_ends() -> None:
    """As a measurement's children do when the process between them and the service is killed."""
    child = "from planner.system.answers import Answers; Answers().emit('here'); import signal; signal.pause()"
    parent = code(f"""
        from planner.system.child import STANDARD_ERROR, ChildProcess
        answers = Answers()
        with ChildProcess(["-c", {child!r}], STANDARD_ERROR) as child:
            child.answers.readline()
            answers.emit(str(child.process.pid))
            child.process.wait()
    """)
    with ChildProcess(parent, STANDARD_ERROR) as started:
        grandchild = os.pidfd_open(int(started.answers.readline()))
        assert not select.select([grandchild], [], [], 0)[0], "it has ended, so that nothing was shown"
        started.process.kill()
        assert select.select([grandchild], [], [], 30)[0], "it still runs"
    os.close(grandchild)


def test_only_what_is_named_is_inherited(tmp_path: Path) -> None:
    with (tmp_path / "kept").open("wb") as kept, (tmp_path / "other").open("wb") as other:
        os.set_inheritable(other.fileno(), True)
        with ChildProcess(
            code("""
                answers = Answers()
                answers.emit(" ".join(os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
                             if os.path.exists(f"/proc/self/fd/{n}")))
            """),
            subprocess.DEVNULL,
            keep=[kept.fileno()],
        ) as child:
            found = child.answers.read().decode().split()
    assert str(tmp_path / "kept") in found
    assert str(tmp_path / "other") not in found


def test_a_child_that_cannot_be_started_leaves_no_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    before = {file.name for file in Path("/proc/self/fd").iterdir()}
    with pytest.raises(FileNotFoundError):
        ChildProcess([], subprocess.DEVNULL)
    with pytest.raises(FileNotFoundError):
        ask([])
    assert {file.name for file in Path("/proc/self/fd").iterdir()} == before


def test_run_by_hand_answers_are_standard_output() -> None:
    assert VARIABLE not in os.environ
    done = subprocess.run([sys.executable, *code("Answers().emit('here')")], capture_output=True, check=True)
    assert done.stdout == b"here\n"


def test_a_question_of_any_length_arrives_whole_and_one_that_is_not_read_is_no_error() -> None:
    question = os.urandom(2**20)
    reads = code("import zlib; Answers().emit(str(zlib.crc32(sys.stdin.buffer.read())))")
    assert ask(reads, question=question).text == f"{zlib.crc32(question)}\n".encode()
    assert ask(code("Answers().emit('done')"), question=question).text == b"done\n"


def test_children_are_the_first_to_be_killed() -> None:
    score = "Answers().emit(open('/proc/self/oom_score_adj').read().strip())"
    # It has been marked by the time that it is asked.
    assert ask(code(f"sys.stdin.read(); {score}"), question=b"?").text == b"1000\n"
    assert Path("/proc/self/oom_score_adj").read_text().strip() != "1000"
