"""`examples/`: each program does what it says. Profiles are computed here; everything else is real."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.profiler import profiles

FOLDER = Path(__file__).parents[3] / "examples"


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if started in the folder of examples, but for what is written."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("planner.python.facade.take_profile", profiles.answer)
    importlib.import_module("torch._dynamo")  # here once, and not again in every copy that looks at a module
    yield


def _example(name: str) -> ModuleType:
    return importlib.import_module(name)


def test_every_example_is_tested() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.py")) == ["budgets", "fine_tune", "network", "own_module"]


def test_own_module(capsys: pytest.CaptureFixture[str]) -> None:
    _example("own_module").main(epochs=1)
    said = capsys.readouterr().out
    assert "comes in: 1×16×16 in, 2 classes" in said
    assert "the first image is lying, and taken for " in said
    assert Path("runs/stripes/model.safetensors").is_file()


def test_budgets(capsys: pytest.CaptureFixture[str]) -> None:
    _example("budgets").main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["budget", "64MiB", "200MiB", "1GiB"]
    assert "too small: " in lines[1]
    assert "MiB" in lines[3] and "too small" not in lines[3]


def test_fine_tune(capsys: pytest.CaptureFixture[str]) -> None:
    _example("fine_tune").main(epochs=1)
    assert "frozen weights are as they were: True" in capsys.readouterr().out
