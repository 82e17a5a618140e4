"""docker/: what its files install is in the lock, and a judge of Dockerfiles has nothing to say."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


@pytest.mark.parametrize("extras", [("api", "postgres"), ("client",)])
def test_everything_that_an_image_installs_is_pinned(extras: tuple[str, ...]) -> None:
    command = [sys.executable, str(ROOT / "docker" / "wanted.py"), str(ROOT / "pyproject.toml"), *extras]
    wanted = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    lock = (ROOT / "requirements.lock").read_text().splitlines()
    pinned = {line.partition("==")[0].lower() for line in lock if "==" in line}
    names = {re.split(r"[\[>=<]", line)[0].lower() for line in wanted}
    assert {"numpy", "setuptools"} < names <= pinned
    assert ("fastapi" in names) == ("api" in extras)


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(file: Path) -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint is not installed (it comes with the extra `dev`)")
    done = subprocess.run([hadolint, str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
