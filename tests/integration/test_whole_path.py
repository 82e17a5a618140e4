"""profile → plan → run → report through the commands, on real images, with their exit codes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from planner.model.build import build_unit
from planner.model.shapes import model_sizes
from planner.schema.codec import content_id, decode, parse_json, read_document, to_json
from planner.schema.common import OptimizerConfig
from planner.schema.plan import Plan
from planner.schema.report import Report
from planner.schema.run_folder import RunFolder
from planner.tasks.base import class_of
from tests.fault.support import small_plan as written
from tests.integration.conftest import command_in
from tests.prepared import open_prepared

Command = Callable[..., subprocess.CompletedProcess[str]]
ProfileOf = Callable[[str, int], Path]

BATCH = 32


def _plan(neuroflux: Command, profile: Path, tmp_path: Path, budget: str, *more: object) -> Path:
    plan = tmp_path / "plan.json"
    done = neuroflux(
        "plan", "--model", "cnn6", "--data", "sample", "--batch", BATCH, "--epochs", 2,
        "--profile", profile, "--budget", budget, "-o", plan, *more,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return plan


@pytest.fixture
def profile(profile_of: ProfileOf) -> Path:
    return profile_of("cnn6", BATCH)


@pytest.fixture(scope="module")
def made(profile_of: ProfileOf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan of several blocks, at the smallest budget there is for tensors alone (whatever torch's build takes)."""
    profile, folder = profile_of("cnn6", BATCH), tmp_path_factory.mktemp("made")
    neuroflux = command_in(folder)
    least = neuroflux(
        "plan", "--model", "cnn6", "--data", "sample", "--batch", BATCH, "--profile", profile,
        "--budget", "1KiB", "--scope", "training", "--json",
    )  # fmt: skip
    assert least.returncode == 3
    minimum = json.loads(least.stdout)["minimum_bytes"]
    return _plan(neuroflux, profile, folder, str(minimum), "--scope", "training", "--prefer", "speed")


@pytest.fixture
def small_plan(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed at will."""
    return Path(shutil.copy(made, tmp_path))


@pytest.fixture
def written_plan(tmp_path: Path) -> Path:
    """A plan that nobody had to search for; its runs are short."""
    file = tmp_path / "written.json"
    file.write_text(to_json(written()))
    return file


def test_a_plan_of_several_blocks_trains_validates_and_reports(
    neuroflux: Command, small_plan: Path, tmp_path: Path
) -> None:
    plan = read_document(small_plan, Plan)
    assert len(plan.blocks) > 1
    done = neuroflux("run", small_plan, "--data", "sample", "--out", tmp_path / "out", "--max-steps", 8, "--json")
    assert done.returncode == 0, done.stderr
    report = decode(Report, parse_json(done.stdout))
    assert report == read_document(RunFolder(tmp_path / "out").report, Report)
    assert report.within_budget
    assert report.plan_id == plan.id
    assert [block.steps for block in report.blocks] == [8] * len(plan.blocks)
    assert [exit.unit for exit in report.exits] == [exit.unit for exit in plan.exits]
    assert all(exit.validation_accuracy is not None for exit in report.exits)
    best = max(report.exits, key=lambda exit: (exit.validation_accuracy, exit.unit))
    assert (report.exit_tolerance, report.best_exit, report.accuracy) == (0.5, best.unit, best.accuracy)
    # 8 steps of 32 samples are what the caches had to hold, and no cache is left.
    assert list((tmp_path / "out" / "cache").iterdir()) == []
    lines = [json.loads(line) for line in RunFolder(tmp_path / "out").memory.read_text().splitlines()]
    assert [(line["block"], line["step"]) for line in lines] == [
        (b, s) for b in range(len(plan.blocks)) for s in range(8)
    ]
    assert max(line["peak_bytes"] for line in lines) <= report.peak_bytes

    shown = neuroflux("report", tmp_path / "out")
    assert shown.returncode == 0, shown.stderr
    assert "memory.svg" in shown.stderr
    assert (tmp_path / "out" / "memory.svg").read_text().startswith("<?xml")


def test_the_exported_weights_are_the_network_that_was_measured(
    neuroflux: Command, profile: Path, tmp_path: Path
) -> None:
    plan_file = _plan(neuroflux, profile, tmp_path, "2GiB", "--prefer", "fidelity")
    done = neuroflux("run", plan_file, "--data", "sample", "--out", tmp_path / "out", "--max-steps", 60, "--json")
    assert done.returncode == 0, done.stderr
    report = decode(Report, parse_json(done.stdout))
    plan = read_document(plan_file, Plan)
    # With room to spare the plan with the fewest cuts is plain backpropagation, however long steps were measured to be.
    assert [len(block.segments) for block in plan.blocks] == [1]
    assert report.accuracy > 0.5

    weights = load_file(RunFolder(tmp_path / "out").model)
    shapes = [plan.model.input, *(sizes.output for sizes in model_sizes(plan.model))]
    units = []
    for index, (unit, shape) in enumerate(zip(plan.model.units, shapes, strict=False)):
        module = build_unit(unit, shape).eval()
        prefix = f"units.{index}."
        module.load_state_dict({name.removeprefix(prefix): t for name, t in weights.items() if name.startswith(prefix)})
        units.append(module)
    with open_prepared("sample", tmp_path / "again") as data, torch.no_grad():
        images, labels = bytearray(28 * 28 * data.test.samples), []
        for index in range(data.test.samples):
            labels.append(class_of(data.test.read_into(index, memoryview(images)[index * 784 : (index + 1) * 784])))
    pixels = torch.frombuffer(images, dtype=torch.uint8).view(-1, 1, 28, 28)
    x = (pixels.float() / 255 - 0.5) / 0.25
    for module in units:
        x = module(x)
    accuracy = (x.argmax(1) == torch.tensor(labels)).float().mean().item()
    assert accuracy == pytest.approx(report.accuracy, abs=2 / data.test.samples)


def test_equal_seeds_give_equal_weights_and_other_seeds_others(
    neuroflux: Command, written_plan: Path, tmp_path: Path
) -> None:
    found = []
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        done = neuroflux(
            "run",
            written_plan,
            "--data",
            "sample",
            "--out",
            tmp_path / out,
            "--max-steps",
            1,
            "--seed",
            seed,
            "--quiet",
        )
        assert done.returncode == 0, done.stderr
        found.append(RunFolder(tmp_path / out).model.read_bytes())
    assert found[0] == found[1] != found[2]


def test_training_that_diverges_ends_with_4_and_says_where(neuroflux: Command, tmp_path: Path) -> None:
    """At this learning rate and weight decay a step multiplies weights by -999: a few, and no number is finite."""
    plan = written()
    optimizer = OptimizerConfig("sgd", 1000, weight_decay=1.0)
    plan = replace(plan, training=replace(plan.training, optimizer=optimizer, schedule="constant"))
    file, out = tmp_path / "plan.json", tmp_path / "out"
    file.write_text(to_json(replace(plan, id=content_id(plan))))
    done = neuroflux("run", file, "--data", "sample", "--out", out, "--max-steps", 60, "--quiet")
    assert done.returncode == 4
    said = r"block 0: training has diverged: .* is (nan|inf) at step \d+, with a learning rate of 1000; it had no check"
    assert re.search(said, " ".join(done.stderr.split())), done.stderr
    shown = neuroflux("report", out)
    assert shown.returncode == 0
    assert re.search(said, " ".join(shown.stdout.split())), shown.stdout


def test_a_killed_run_is_resumed_at_its_unfinished_block_and_ends_alike(
    neuroflux: Command, written_plan: Path, tmp_path: Path
) -> None:
    options = ["--data", "sample", "--max-steps", "8", "--quiet"]
    whole = neuroflux("run", written_plan, "--out", tmp_path / "whole", *options)
    assert whole.returncode == 0, whole.stderr

    out = tmp_path / "killed"
    command = [sys.executable, "-m", "planner.cli.main", "run", str(written_plan), "--out", str(out), *options]
    victim = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    _wait_for(RunFolder(out).block_result(0), victim)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()

    refused = neuroflux("run", written_plan, "--out", out, *options)
    assert refused.returncode in (2, 4)  # 4 for the moment in which the orphaned child still dies and holds the lock
    resumed = neuroflux("run", written_plan, "--out", out, "--resume", *options)
    assert resumed.returncode == 0, resumed.stderr
    assert RunFolder(out).model.read_bytes() == RunFolder(tmp_path / "whole").model.read_bytes()
    assert "resumed at block" in " ".join(read_document(RunFolder(out).report, Report).deviations)


def _wait_for(file: Path, process: subprocess.Popen[bytes]) -> None:
    while not file.exists():
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)  # polling for an event in another process, bounded by that process's life


def test_ctrl_c_ends_with_130_and_no_child(written_plan: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "planner.cli.main",
        "run",
        str(written_plan),
        "--data",
        "sample",
        "--out",
        str(out),
    ]
    victim = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not RunFolder(out).memory.exists() or not RunFolder(out).memory.stat().st_size:
        assert victim.poll() is None
        time.sleep(0.01)  # polling for an event in another process, bounded by that process's life
    children = Path(f"/proc/{victim.pid}/task/{victim.pid}/children").read_text().split()
    assert len(children) == 1
    victim.send_signal(signal.SIGINT)
    _, said = victim.communicate()
    assert victim.returncode == 130
    assert "--resume" in said
    assert not Path(f"/proc/{children[0]}").exists()


def test_what_is_infeasible_exits_with_3_and_the_smallest_budget_is_feasible(neuroflux: Command, profile: Path) -> None:
    options = ("plan", "--model", "cnn6", "--data", "sample", "--batch", BATCH, "--profile", profile, "--json")
    small = neuroflux(*options, "--budget", "100MiB")
    assert small.returncode == 3
    answer = json.loads(small.stdout)
    assert "the runtime" in answer["error"]
    assert neuroflux(*options, "--budget", answer["minimum_bytes"]).returncode == 0
    assert neuroflux(*options, "--budget", answer["minimum_bytes"] - 1).returncode == 3


def test_unpacked_data_counts_as_storage(neuroflux: Command, profile: Path) -> None:
    options = (
        "plan",
        "--model",
        "cnn6",
        "--data",
        "sample",
        "--batch",
        BATCH,
        "--profile",
        profile,
        "--budget",
        "1GiB",
    )
    # The bundled images: 5,000 records of 784 bytes, a label and a checksum of 4 each, behind a header.
    refused = neuroflux(*options, "--storage", 5000 * 792, "--json")
    assert refused.returncode == 3
    needed = json.loads(refused.stdout)["minimum_bytes"]
    assert 5000 * 792 < needed <= 5000 * 792 + 4096
    assert neuroflux(*options, "--storage", needed).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan", "--model", "cnn6", "--budget", "0"], "not above zero"),
        (["plan", "--model", "cnn6", "--budget", "12 parsecs"], "is not a size"),
        (["plan", "--model", "cnn6", "--budget", "300MiB", "--batch", "0"], "between 1 and"),
        (["plan", "--model", "nothing", "--budget", "300MiB"], "neuroflux models"),
        (["plan", "--model", "cnn6", "--budget", "300MiB", "--input", "3x32"], "needs channels, rows and columns"),
        (["plan", "--model", "vgg11", "--budget", "300MiB", "--input", "3x16x16"], "at least 28×28"),
        (["plan", "--model", "cnn6", "--budget", "300MiB", "--data", "no/such/place"], "no/such/place"),
        (["plan", "--model", "cnn6", "--budget", "300MiB", "--profile", "gone.json"], "gone.json"),
        (["plan", "--model", "cnn6", "--budget", "300MiB", "--lr", "-1"], "lr is -1"),
        (["plan", "--model", "cnn6", "--data", "sample", "--input", "3x9x9", "--budget", "1GiB"], "images are 1×28×28"),
        (["run", "gone.json", "--data", "sample"], "gone.json"),
        (["run", "p", "--data", "sample", "--exit-tolerance", "much"], "neither points of accuracy from 0 to 100 nor"),
        (["run", "p", "--data", "sample", "--exit-tolerance", "nan"], "neither points of accuracy from 0 to 100 nor"),
        (["report", "nowhere"], "nowhere"),
        (["frobnicate"], "invalid choice"),
    ],
)  # fmt: skip
def test_bad_input_is_named_with_exit_2_and_no_traceback(neuroflux: Command, arguments: list[str], said: str) -> None:
    done = neuroflux(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("place", "name", "said"),
    [("predicted", "peak_bytes", "does not match its id"), ("budget", "bytes", "differs from the plan in budget")],
)
def test_a_changed_plan_is_refused(
    neuroflux: Command, small_plan: Path, tmp_path: Path, place: str, name: str, said: str
) -> None:
    plan = json.loads(small_plan.read_text())
    plan[place][name] += 1
    small_plan.write_text(json.dumps(plan))
    done = neuroflux("run", small_plan, "--data", "sample", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


def test_data_that_does_not_fit_the_plan_is_refused(neuroflux: Command, small_plan: Path, tmp_path: Path) -> None:
    import numpy as np

    np.savez(tmp_path / "other.npz", images=np.zeros((40, 8, 8), np.uint8), labels=np.arange(40) % 4)
    done = neuroflux("run", small_plan, "--data", tmp_path / "other.npz", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "1×8×8" in done.stderr and "1×28×28" in done.stderr


@pytest.mark.parametrize("command", ["doctor", "profile", "plan", "run", "report", "evaluate", "export", "demo"])
def test_help_says_what_a_command_does(neuroflux: Command, command: str) -> None:
    overview, own = neuroflux("--help"), neuroflux(command, "--help")
    assert (overview.returncode, own.returncode) == (0, 0)
    assert command in overview.stdout
    assert own.stdout.startswith(f"usage: neuroflux {command}")


def test_doctor_tells_what_the_device_is(neuroflux: Command) -> None:
    done = neuroflux("doctor", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    machine = found["machine"]
    assert machine["torch_version"] == version("torch")
    assert 0 < machine["available_bytes"] <= machine["total_bytes"]
    assert found["runtime"]["baseline_bytes"] > 100 * 2**20
    assert found["storage"]["write_bytes_per_second"] > 0
