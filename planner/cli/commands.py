"""Commands as a person types them into a shell: what is printed can be pasted, whatever the paths are called."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

RUNS = Path("runs")
"""Default folder of output folders."""


def command_line(*words: str | Path) -> str:
    """`neuroflux WORDS`, each quoted where a shell wants it."""
    return shlex.join(["neuroflux", *map(str, words)])


def run_command(plan: str | Path, data: str | None, out: Path | None, *options: str) -> str:
    """The command that runs a plan, with `D` in place of data that is not known."""
    folder: Sequence[str | Path] = () if out is None else ("--out", out)
    return command_line("run", plan, "--data", data or "D", *folder, *options)


def default_folder(plan_id: str) -> Path:
    """A run's output folder where `--out` is not given."""
    return RUNS / plan_id[:12]
