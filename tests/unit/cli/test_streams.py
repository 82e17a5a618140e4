"""Standard streams that cannot stop the work, in processes whose streams are what they must not rely on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.unit.system.support import environment, python

_CODE = """
    import sys
    from planner.cli.main import main
    from planner.cli.output import print_note, print_result, print_stored_result
    from planner.cli.streams import lasting_streams
    from planner.errors import PlannerError
    with lasting_streams():
        print_note("\\xe9 \\xd7 note")
        try:
            {call}("result " * 10_000)
        except PlannerError as error:
            print_note(str(error))
            sys.exit(error.exit_code)
"""


def _run(call: str, redirection: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    words = python(_CODE.format(call=call))
    script = f'"$@" {redirection}; exit ${{PIPESTATUS[0]}}'
    return subprocess.run(["bash", "-c", script, "bash", *words], env=environment(**variables), capture_output=True)


@pytest.mark.parametrize("redirection", ["| true", ">&-", ">/dev/null 2>/dev/full", ">/dev/null 2>&-"])
@pytest.mark.parametrize("call", ["print_result", "print_stored_result"])
def test_nobody_to_tell_is_no_error(call: str, redirection: str) -> None:
    done = _run(call, redirection)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr and b"Exception" not in done.stderr


def test_a_result_that_is_wanted_and_cannot_be_written_is_an_error_where_it_lies_nowhere_else() -> None:
    done = _run("print_result", ">/dev/full")
    assert done.returncode == 4
    assert done.stderr.decode().splitlines()[-1] == (
        "standard output: the result cannot be written (No space left on device)"
    )
    done = _run("print_stored_result", ">/dev/full")
    assert done.returncode == 0
    assert done.stderr.decode().splitlines()[-1].startswith("warning: standard output: the result cannot be written")


def test_an_ascii_terminal_is_given_what_it_can_show() -> None:
    ascii_only = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = _run("print_stored_result", ">/dev/null", **ascii_only)
    assert (done.returncode, done.stderr) == (0, b"? ? note\n")
    code = "from planner.cli.main import main; main(['plan', '--help'])"
    help_text = subprocess.run(python(code), env=environment(**ascii_only), capture_output=True)
    assert help_text.returncode == 0, help_text.stderr


def test_a_file_does_not_become_a_standard_stream(tmp_path: Path) -> None:
    code = """
        import os, sys
        from pathlib import Path
        from planner.cli.streams import lasting_streams
        with lasting_streams():
            fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
            os.write(2, b"what a library says")
            os.system("echo what a child says >&2")
        sys.exit(fd <= 2)
    """
    file = tmp_path / "file"
    done = subprocess.run(["bash", "-c", '"$@" <&- >&- 2>&-', "bash", *python(code, str(file))], env=environment())
    assert done.returncode == 0
    assert file.read_bytes() == b""
