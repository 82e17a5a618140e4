"""Commands that are printed can be pasted, and names that cannot be told are refused by name."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.cli.commands import command_line, run_command
from planner.cli.main import main
from tests.unit.system.support import environment


@given(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")), max_size=4))
def test_a_shell_takes_a_command_apart_as_it_was_put_together(words: list[str]) -> None:
    assert shlex.split(command_line(*words)) == ["neuroflux", *words]


def test_a_run_names_what_it_lacks() -> None:
    assert run_command("plan.json", None, None) == "neuroflux run plan.json --data D"
    said = run_command("my plan.json", "it's data", Path("a b"), "--resume")
    assert said == "neuroflux run 'my plan.json' --data 'it'\"'\"'s data' --out 'a b' --resume"


@pytest.mark.parametrize("words", [["run", "plan.json", "--data"], ["evaluate"], ["report"], ["plan", "--model"]])
def test_a_name_that_is_no_text_is_bad_input(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    more = {"evaluate": ["--data", "sample"], "plan": ["--budget", "1GiB"]}.get(words[0], [])
    assert main([*words, os.fsdecode(b"caf\xe9"), *more]) == 2
    assert "'caf\\xe9': is not UTF-8" in capsys.readouterr().err


def test_so_is_the_folder_that_it_is_in(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)  # noqa: PTH102  # a Path is made of text
    words = [sys.executable, "-m", "planner.cli.main", "report", "out"]
    done = subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 2
    assert "caf\\xe9': is not UTF-8" in done.stderr


def test_where_python_takes_names_for_ascii_the_locale_is_named(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "planner.cli.main", "report", "caf\u00e9"]
    ascii_only = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(words, cwd=tmp_path, env=environment(**ascii_only), capture_output=True, text=True)
    assert done.returncode == 2
    assert "PYTHONUTF8=1" in done.stderr
    # As most have it: without a locale Python takes names for UTF-8 by itself.
    done = subprocess.run(words, cwd=tmp_path, env=environment(LC_ALL="POSIX"), capture_output=True, text=True)
    assert done.returncode == 2
    assert "is not a folder" in done.stderr
