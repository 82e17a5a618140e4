"""Children in which the tests of planner/system do what cannot be done to the test process itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[3]
MIB = 2**20


def environment(*first_on_path: Path, **variables: str) -> dict[str, str]:
    """This process's environment, one thread for torch, and `first_on_path` before the project on Python's path."""
    path = os.pathsep.join(str(folder) for folder in (*first_on_path, REPOSITORY))
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **variables}


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), *arguments]


def run_child(
    code: str,
    *arguments: str,
    env: dict[str, str] | None = None,
    wrapper: tuple[str, ...] = (),
    preexec_fn: Callable[[], None] | None = None,
    patience_seconds: float = 120,
) -> Any:
    """Run `code` in a fresh interpreter and return the JSON value it prints last."""
    done = subprocess.run(
        [*wrapper, *python(code, *arguments)],
        env=env or environment(),
        capture_output=True,
        text=True,
        timeout=patience_seconds,
        preexec_fn=preexec_fn,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def mounting(folder: Path, *options: str) -> tuple[str, ...]:
    """A wrapper for `run_child`: the child sees a file system of its own on `folder`. Skips where that is forbidden."""
    unshare = ("unshare", "--mount") if os.geteuid() == 0 else ("unshare", "--mount", "--map-root-user")
    script = 'mount -t tmpfs -o "$1" tmpfs "$2" && shift 2 && exec "$@"'
    wrapper = (*unshare, "sh", "-c", script, "sh", ",".join(options), str(folder))
    try:
        tried = subprocess.run([*wrapper, "true"], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("needs the command unshare (util-linux)")
    if tried.returncode != 0:
        pytest.skip(f"needs a mount namespace of its own: {tried.stderr.strip()}")
    return wrapper


def with_read_only_proc() -> tuple[str, ...]:
    """A wrapper for `run_child`: the child sees /proc as some containers do. Skips where that is forbidden."""
    unshare = ("unshare", "--mount") if os.geteuid() == 0 else ("unshare", "--mount", "--map-root-user")
    wrapper = (*unshare, "sh", "-c", 'mount -o remount,bind,ro /proc && exec "$@"', "sh")
    try:
        tried = subprocess.run([*wrapper, "true"], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("needs the command unshare (util-linux)")
    if tried.returncode != 0:
        pytest.skip(f"needs a mount namespace of its own: {tried.stderr.strip()}")
    return wrapper


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


BECOME_NOBODY = """
    import os
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
"""
"""What a child runs, after its imports, to give up root."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody with fewer rights")
