"""What `pip install neuroflux-planner` alone brings, and torch, is enough for the whole path."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.system.support import REPOSITORY

pytestmark = pytest.mark.long

_EXTRAS = ("fvcore", "matplotlib", "httpx", "PIL", "onnx", "fastapi", "sqlalchemy", "psycopg", "safetensors")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands of an environment with the base installation. Skips where no package is to be had."""
    folder = tmp_path_factory.mktemp("base")
    locked = dict(re.findall(r"^([a-z]+)==(\S+)", (REPOSITORY / "requirements.lock").read_text(), re.MULTILINE))
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    commands: Path = folder / "venv/bin"
    pip: list[str | Path] = [commands / "python", "-m", "pip", "install", "--quiet"]
    wanted = [f"{name}=={locked[name]}" for name in ("torch", "numpy", "tqdm", "setuptools")]
    fetched = subprocess.run([*pip, *wanted], capture_output=True, text=True)
    if fetched.returncode:
        pytest.skip(f"needs packages from an index: {(fetched.stderr.strip().splitlines() or ['no reason'])[-1]}")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    for name in ("planner", "api", "profiles"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([*pip, "--no-index", "--no-build-isolation", source], check=True)
    return commands


@pytest.fixture
def neuroflux(installed: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    environment = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    environment["XDG_DATA_HOME"] = str(tmp_path / "store")

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [str(installed / "neuroflux"), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr
        return done

    return call


def test_the_whole_path_needs_no_extra(
    installed: Path, neuroflux: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    found = "from importlib.util import find_spec; import sys; print([n for n in sys.argv[1:] if find_spec(n)])"
    there = subprocess.run([installed / "python", "-c", found, *_EXTRAS], capture_output=True, text=True, check=True)
    assert there.stdout == "[]\n"

    neuroflux("doctor")
    network = ("--model", "cnn6", "--data", "sample", "--batch", 4)
    measured = neuroflux("profile", *network, "-o", "profile.json")
    assert "profile.svg will not be drawn" in measured.stderr
    assert "not counted" not in measured.stdout
    neuroflux("plan", *network, "--epochs", 1, "--profile", "profile.json", "--budget", "2GiB", "-o", "plan.json")
    neuroflux("run", "plan.json", "--data", "sample", "--out", "out", "--max-steps", 2, "--quiet")
    reported = neuroflux("report", "out")
    assert "memory.svg was not drawn: drawing needs matplotlib" in reported.stderr
    assert "stayed under" in reported.stdout
    assert "drawing needs matplotlib" in (tmp_path / "out/report.html").read_text()
    assert "accuracy" in neuroflux("evaluate", "out", "--data", "sample").stdout
