"""Fine-tuning through the command line: frozen units end as they were given, within the budget, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from planner.model.build import build_unit
from planner.model.shapes import model_sizes
from planner.model.zoo import from_zoo
from planner.schema.codec import decode, parse_json, read_document
from planner.schema.plan import Plan
from planner.schema.report import Report
from planner.schema.run_folder import RunFolder
from planner.units import MIB

Command = Callable[..., subprocess.CompletedProcess[str]]

BATCH = 32
FROZEN = 2
STEPS = ("--max-steps", 4, "--exit-tolerance", "none")
# One strategy always caches; where hardly more than the data may be stored, frozen units run in every epoch.
WAYS = {"cache": ("--strategy", "neuroflux"), "recompute": ("--storage", "4MiB")}


@pytest.fixture
def plan_file(neuroflux: Command, profile_of: Callable[[str, int], Path], tmp_path: Path) -> Callable[..., Path]:
    """Plan cnn6 with the smallest budget that these options need, and a little more."""

    def make(*options: object) -> Path:
        path = tmp_path / f"plan-{len(list(tmp_path.glob('plan-*')))}.json"
        words = ("--model", "cnn6", "--data", "sample", "--batch", BATCH, "--epochs", 1, *options)
        words = ("plan", *words, "--profile", profile_of("cnn6", BATCH), "-o", path, "--json")
        done = neuroflux(*words, "--budget", 2**31)
        assert done.returncode == 0, done.stderr
        least = decode(Plan, parse_json(done.stdout)).minimum_budget_bytes
        done = neuroflux(*words, "--budget", least + 2 * MIB)
        assert done.returncode == 0, done.stderr
        return path

    return make


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights as a run that freezes nothing leaves them, statistics of its batch normalisations included."""
    model, chance, tensors = from_zoo("cnn6", (1, 28, 28), 10), torch.Generator().manual_seed(1), {}
    shapes = [model.input, *(sizes.output for sizes in model_sizes(model))]
    for index, (unit, shape) in enumerate(zip(model.units, shapes, strict=False)):
        for name, tensor in build_unit(unit, shape, chance).state_dict().items():
            given = tensor + torch.rand(tensor.shape, generator=chance) / 64 if tensor.is_floating_point() else tensor
            tensors[f"units.{index}.{name}"] = given
    file = tmp_path_factory.mktemp("pretrained") / "model.safetensors"
    save_file(tensors, file)
    return file


@pytest.mark.parametrize("way", WAYS)
def test_frozen_units_stay_as_given_and_the_others_are_trained_within_the_budget(
    neuroflux: Command, plan_file: Callable[..., Path], pretrained: Path, tmp_path: Path, way: str
) -> None:
    file, out = plan_file("--freeze", FROZEN, *WAYS[way]), tmp_path / "out"
    plan = read_document(file, Plan)
    assert (plan.training.freeze, plan.blocks[0].units[0], plan.blocks[0].input.kind) == (FROZEN, FROZEN, way)
    done = neuroflux("run", file, "--data", "sample", "--out", out, "--init", pretrained, *STEPS, "--json")
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    report = decode(Report, parse_json(done.stdout))
    assert report.within_budget and report.peak_bytes <= plan.budget.bytes
    assert report.deviations == ()
    assert report.init is not None and not any(name.startswith("units.") for name in report.init.left)
    _stayed(out, pretrained)
    again = neuroflux("evaluate", out, "--data", "sample")
    assert again.returncode == 0, again.stderr

    # Killed once the first block is trained, by no wish of its own: it ends in the same weights.
    hurt = tmp_path / "hurt"
    words = ("run", file, "--data", "sample", "--out", hurt, *STEPS)
    _kill_at("measuring its heads", tmp_path, *words, "--init", pretrained)
    assert not RunFolder(hurt).model.exists()
    done = neuroflux(*words, "--resume")
    assert done.returncode == 0, done.stderr
    assert RunFolder(hurt).model.read_bytes() == RunFolder(out).model.read_bytes()
    assert read_document(RunFolder(hurt).report, Report).within_budget


def _stayed(out: Path, given: Path) -> None:
    """Exactly the frozen units' tensors, statistics included, are those that were given, to the bit."""
    before, after = load_file(given), load_file(RunFolder(out).model)
    assert before.keys() == after.keys()
    frozen = {name for name in before if int(name.split(".")[1]) < FROZEN}
    assert any("running_mean" in name for name in frozen)
    assert {name for name in after if torch.equal(after[name], before[name])} == frozen


def _kill_at(words: str, folder: Path, *command: object) -> None:
    """Start a command and kill it when it says so; its child goes with it."""
    line = [sys.executable, "-m", "planner.cli.main", *map(str, command)]
    environment = {**os.environ, "XDG_DATA_HOME": str(folder / "store")}
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, cwd=folder, env=environment) as process:
        assert process.stderr is not None
        next(said for said in process.stderr if words in said)
        process.kill()
    assert process.returncode == -signal.SIGKILL
