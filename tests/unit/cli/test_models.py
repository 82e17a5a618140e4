"""`neuroflux models` lists the zoo, with what profiles say of the least memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from planner.cli.main import main
from planner.cli.models import Entry, table
from planner.model.shapes import model_sizes
from planner.model.zoo import ZOO, from_zoo
from planner.profiler.library.shipped import find_shipped
from planner.schema.request import Budget, Request
from planner.schema.terms import TrainingTerms
from planner.solver.plan import least_memory


@pytest.fixture(autouse=True)
def nothing_measured_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, Any]]:
    assert main(["models", "--json", *arguments]) == 0
    return {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)["networks"]}


def test_every_network_is_listed_with_its_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    found = listed(capsys, "--input", "3x33x64", "--classes", "7")
    assert list(found) == list(ZOO)
    for name, entry in found.items():
        assert (entry["input"], entry["classes"]) == ([3, 33, 64], 7)
        if name in ("vit-tiny", "deit-tiny", "mlp-mixer-s", "gpt-nano"):
            reason = "cuts images into patches of 4×4; 33×64 is no multiple of that"
            tokens = "needs one number, how many tokens a sample has, not 3×33×64"
            assert entry["problem"] == f"{name}: {tokens if name == 'gpt-nano' else reason}"
            assert entry["units"] is entry["parameters"] is None
            continue
        model = from_zoo(name, (3, 33, 64), 7)
        assert entry["units"] == len(model.units)
        assert entry["parameters"] == sum(sizes.parameters for sizes in model_sizes(model))
        assert entry["least_bytes"] is None
    assert found["resnet18"]["form"].endswith("made of layers below 64×64")


def test_least_memory_is_that_of_the_shipped_profile(capsys: pytest.CaptureFixture[str]) -> None:
    found = listed(capsys)
    assert {name for name, entry in found.items() if entry["least_bytes"]} == {
        name for name in ZOO if from_zoo(name).schema == "model/1"
    }
    training = TrainingTerms().training()
    profile = find_shipped(from_zoo("cnn6"), training.optimizer, training.batch)
    for strategy in ("auto", "backprop"):
        request = Request(Budget(2**40, "process"), training, strategy=strategy)
        assert found["cnn6"]["least_bytes"][strategy] == least_memory(profile, request)
    assert found["cnn6"]["multiply_adds"] == sum(unit.flops or 0 for unit in profile.units)
    assert found["cnn6"]["measured_on"] in (None, profile.device.name)
    assert (found["dscnn-kws"]["input"], found["dscnn-kws"]["classes"]) == ([1, 49, 10], 12)


def test_a_table_has_a_line_for_each() -> None:
    least: dict[str, int | None] = dict.fromkeys(("auto", "backprop", "checkpoint", "neuroflux"), 3 * 2**20)
    lines = table(
        [
            Entry("one", "a form", (3, 8, 8), 10, 2, 12_345, 6_000_000, least, "another device"),
            Entry("two", "a form", (3, 8, 8), 10, problem="does not fit"),
        ]
    ).splitlines()
    assert lines[-2].split() == ["one", "3x8x8", "10", "2", "12,345", "6.0", *["3*"] * 3, "-", "3*", "a", "form"]
    assert lines[-1].split() == ["two", "3x8x8", "10", *["-"] * 8, "does", "not", "fit"]
