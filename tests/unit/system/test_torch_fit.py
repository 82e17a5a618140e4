from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from planner.schema.common import Allocator
from planner.system.machine import has_atomics
from planner.system.torch_fit import torch_fit
from tests.unit.profiler.profiles import FOREIGN
from tests.unit.system import trees
from tests.unit.system.test_machine import CORTEX

ARM = replace(FOREIGN, architecture="aarch64", allocator="glibc", torch_version="2.9.1")


def test_processors_of_other_kinds_run_every_build() -> None:
    assert torch_fit(replace(ARM, architecture="x86_64"), atomics=False) is None


@pytest.mark.parametrize("version", ["2.9.1", "2.10.0", None])
def test_with_atomics_every_build_fits(version: str | None) -> None:
    fit = torch_fit(replace(ARM, torch_version=version, allocator="mimalloc"), atomics=True)
    assert fit is not None and fit.fits
    assert "newest without CUDA is 2.10.0" in fit.text


@pytest.mark.parametrize(
    ("version", "allocator", "fits"),
    [
        ("2.9.1", "glibc", True),
        ("2.9.1", "mimalloc", True),  # preloaded by the person
        ("2.10.0", "mimalloc", False),
        ("2.11.0a0+vendor", "mimalloc", False),
        ("2.13.0", "glibc", True),  # somebody's own build, without mimalloc
        (None, "glibc", True),
    ],
)
def test_without_atomics_builds_with_mimalloc_do_not_fit(version: str | None, allocator: Allocator, fits: bool) -> None:
    fit = torch_fit(replace(ARM, torch_version=version, allocator=allocator), atomics=False)
    assert fit is not None
    assert fit.fits is fits
    assert ("SIGILL" in fit.text) is not fits
    assert "pip install torch==2.9.1" in fit.text


def test_atomics_count_where_every_core_has_them(tmp_path: Path) -> None:
    new = CORTEX.format(core=1, part="0xd0b", extra="")
    old = CORTEX.format(core=0, part="0xd08", extra="").replace(" atomics", "")
    for folder, cores, found in (("old", old, False), ("new", new, True), ("mixed", old + new, False)):
        assert has_atomics(trees.write(tmp_path / folder, {"proc/cpuinfo": cores})) is found
