"""What holds for all tests."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from planner.system.resident import split_torch_libraries

# How long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

_BROWSER = "tests/browser/"

# Before any test module imports torch into this process: afterwards the large folios that a fresh installation leaves
# could not be split, and every process that a test measures would be 150 MiB larger.
split_torch_libraries()

# As in the processes that train: what OpenMP's threads spin by default takes the processor from the tests beside.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

pytest_plugins = ["tests.unit.api.databases"]


class _Scopes(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """A module's tests go to one process; so do all tests in a browser, which share it, a service and a training."""

    def _split_scope(self, nodeid: str) -> str:
        return _BROWSER if nodeid.startswith(_BROWSER) else str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    """In place of xdist's own `--dist loadscope`."""
    return _Scopes(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.fixture(scope="session", autouse=True)
def _light_process() -> Iterator[None]:
    """What is shown within pytest's own process, which is far larger than one that trains, takes no longer for that.

    The collector passes over all that was there before the first test. Torch computes in one thread. Pages of libraries
    are not dropped around every layer, which takes longer than the layer does here, and nobody measures it: children,
    in which memory is measured, drop theirs.
    """
    gc.freeze()
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        if "planner.training.runtime" in sys.modules:
            patch.setattr("planner.training.runtime.trim_clean_pages", lambda: 0)
        yield
