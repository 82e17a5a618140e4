"""Profiles measured once for all integration tests, on this very machine: by one of pytest's processes for both."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from planner.model.zoo import from_zoo
from planner.profiler.library.applies import read_profile
from planner.profiler.profile import ProfileRequest, take_profile
from planner.schema.codec import to_json
from planner.schema.common import OptimizerConfig
from planner.schema.profile import Profile
from tests.heads import conv_heads

OPTIMIZER = OptimizerConfig("sgd", 0.05, 0.9, weight_decay=5e-4)


@pytest.fixture(scope="session")
def profile_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """The file of a zoo network's profile at 1×28×28 and 10 classes, up to a batch."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # its own folder lies within that of all
        folder = folder.parent

    @cache
    def measure(name: str, batch: int) -> Path:
        request = ProfileRequest(from_zoo(name, (1, 28, 28), 10), OPTIMIZER, batch, threads=2, heads=conv_heads(32))
        path = folder / f"{name}-{batch}.json"
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                path.write_text(to_json(take_profile(request, lambda done, total, name: None)))
        return path

    return measure


@pytest.fixture(scope="session")
def read(profile_of: Callable[[str, int], Path]) -> Callable[[str, int], Profile]:
    """The profile itself."""
    return lambda name, batch: read_profile(profile_of(name, batch))


@pytest.fixture
def neuroflux(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command as a person would, in a folder and with a store of its own."""
    return command_in(tmp_path)


def command_in(folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The same in a folder that tests share."""
    environment = {**os.environ, "XDG_DATA_HOME": str(folder / "store")}

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "planner.cli.main", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)

    return call
