"""What a person gets from `import planner`: profiles of their own modules, plans, and nothing that costs."""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import planner
from planner.cli import options
from planner.errors import ExceededError, InfeasibleError, InputError, ModelError
from planner.python import facade
from planner.schema.codec import content_id, read_document, to_json
from planner.schema.common import OptimizerConfig
from planner.schema.model import Activation, BatchNorm2d, Conv2d, Linear
from planner.schema.plan import Plan, with_class_names
from planner.schema.profile import Profile
from planner.schema.report import Report
from planner.schema.request import Budget, Request, Training
from planner.schema.run_folder import RunFolder
from planner.solver.plan import make_plan
from planner.system.files import lock_folder
from tests.fault.support import small_plan
from tests.unit.solver.chains import zoo_profile

SAMPLE = torch.zeros(4, 3, 8, 8)
MODULE = nn.Sequential(
    nn.Conv2d(3, 4, 3, padding=1),
    nn.BatchNorm2d(4),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(4, 10),
)


def test_importing_it_brings_nothing_along() -> None:
    script = (
        "import sys, planner; print([m for m in sys.modules if m.startswith('planner.') or m in ('torch', 'numpy')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_planning_goes_without_torch() -> None:
    script = "import sys, planner; planner.plan; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_it_has_what_it_says_and_no_more() -> None:
    assert {"plan", "profile", "run"} <= set(dir(planner))
    with pytest.raises(AttributeError, match="module 'planner' has no attribute 'train'"):
        planner.train  # noqa: B018


def test_a_module_is_profiled_as_the_chain_it_is() -> None:
    profile: Profile = planner.profile(MODULE, SAMPLE, batch=4)
    assert [len(unit.layers) for unit in profile.model.units] == [3, 3]
    assert profile.model.units[0].layers == (
        Conv2d("conv2d", 4, 3, padding=1),
        BatchNorm2d("batchnorm2d"),
        Activation("relu"),
    )
    assert profile.model.units[1].layers[-1] == Linear("linear", 10)
    assert (profile.model.input, profile.model.classes) == ((3, 8, 8), 10)
    # Four bytes for each weight: 4·3·9 + 4, scale and shift of 4 channels, 10·4 + 10.
    assert [unit.parameter_bytes for unit in profile.units] == [4 * (108 + 4 + 8), 4 * 50]
    assert profile.units[0].costs[-1].micro_batch == 4
    assert profile.optimizer == OptimizerConfig("sgd", 0.05, 0.9, weight_decay=5e-4)
    assert profile.id == content_id(profile)
    # And it can be planned from.
    plan = planner.plan(profile, "2GiB", batch=4, epochs=1, samples=16)
    assert plan.profile_id == profile.id
    assert (plan.budget.bytes, plan.training.optimizer) == (2 * 2**30, profile.optimizer)


def test_segments_of_linear_layers_are_planned_where_that_is_asked_for() -> None:
    profile = zoo_profile("cnn6", (1, 4, 16, 64))
    plans = [
        planner.plan(profile, "1GiB", batch=64, strategy="classic-local", linear_segments=wanted)
        for wanted in (False, True)
    ]
    assert [(plan.linear_segments, plan.cuts) for plan in plans] == [(False, 4), (True, 5)]


@pytest.mark.parametrize("budget", ["400MiB", 400 * 2**20])
def test_a_plan_is_the_one_the_solver_makes(budget: int | str) -> None:
    profile = zoo_profile("cnn6", (1, 4, 16, 64))
    training = Training(64, 3, 1000, profile.optimizer, augment="flip", views=3, freeze=2)
    wanted = make_plan(profile, Request(Budget(400 * 2**20, "training"), training, 2**30, "backprop", "speed"))
    plan = planner.plan(
        profile,
        budget,
        scope="training",
        batch=64,
        epochs=3,
        samples=1000,
        freeze=2,
        augment="flip",
        storage="1GiB",
        strategy="backprop",
        prefer="speed",
    )
    assert plan == wanted


def test_a_budget_that_is_too_small() -> None:
    with pytest.raises(InfeasibleError) as raised:
        planner.plan(zoo_profile("cnn6", (1, 4)), "1MiB", batch=4)
    assert raised.value.minimum_bytes > 2**20


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_an_optimizer_by_name_is_the_command_lines(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("planner.python.facade.take_profile", lambda request, *rest: asked.append(request))
    planner.profile(MODULE, SAMPLE, optimizer=name, batch=8)
    parser = argparse.ArgumentParser()
    options.add_training(parser)
    assert asked[0].optimizer == options.optimizer_from(parser.parse_args(["--optimizer", name])).optimizer()
    assert (asked[0].batch, asked[0].dtype) == (8, "float32")
    planner.profile(MODULE, SAMPLE, dtype="bfloat16", device="cuda")
    assert (asked[1].dtype, asked[1].device) == ("bfloat16", "cuda")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 0}, "batch is 0; it must lie between 1 and 65536"),
        ({"dtype": "float64"}, "dtype is 'float64'; it is one of float32, bfloat16"),
        ({"device": "tpu"}, "device is 'tpu'; it is one of cpu, cuda"),
        ({"optimizer": "lbfgs"}, "optimizer is 'lbfgs'; it is sgd, adam, adamw, or an OptimizerConfig"),
    ],
)
def test_a_profile_of_nonsense(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        planner.profile(MODULE, SAMPLE, **arguments)


def test_a_module_that_is_no_chain() -> None:
    with pytest.raises(ModelError, match=r"^layer '1': Tanh is outside the list"):
        planner.profile(nn.Sequential(nn.Flatten(), nn.Tanh(), nn.Linear(192, 10)), SAMPLE)
    with pytest.raises(ModelError, match=r"^layer '1': Tanh is outside the list"):
        planner.plan(nn.Sequential(nn.Flatten(), nn.Tanh(), nn.Linear(192, 10)), SAMPLE, budget="2GiB")
    with pytest.raises(ModelError, match=r"^sample: a tensor is needed, not a str"):
        planner.plan(MODULE, "2GiB")
    with pytest.raises(ModelError, match=r"^classes is 100, but the output has 10"):
        planner.profile(MODULE, SAMPLE, classes=100)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "budget is missing; give bytes, or text like '300MiB'"),
        ({"budget": "2GiB", "optimizer": "adam"}, "optimizer: the profile was taken with Optimizer"),
        ({"budget": 0}, "bytes is 0; it must lie between"),
        ({"budget": "much"}, "budget: 'much' is not a size"),
        ({"budget": "2GiB", "epochs": 0}, "epochs is 0; it must lie between"),
        ({"budget": "2GiB", "freeze": -1}, "freeze is -1; it must lie between"),
        ({"budget": "2GiB", "freeze": 6}, "freeze is 6; it must lie between 0 and 5"),
        ({"budget": "2GiB", "augment": "blur"}, "augment is 'blur'; it is one of none, crop, flip, crop-flip"),
        ({"budget": "2GiB", "device": "gpu"}, "device is 'gpu'; it is one of cpu, cuda"),
        ({"budget": "2GiB", "device": "cuda"}, "device: the profile was taken on cpu; take another one for cuda"),
        ({"budget": "2GiB", "dtype": "float16"}, "dtype is 'float16'; it is one of float32, bfloat16"),
        ({"budget": "2GiB", "dtype": "bfloat16"}, "dtype: the profile was taken in float32; take another one for bf"),
        ({"budget": "2GiB", "views": 2}, "views is 2; it is 1 where augment is none"),
        ({"budget": "2GiB", "storage": "-1"}, "storage: '-1' is not a size"),
        ({"budget": "2GiB", "strategy": "fast"}, "strategy is 'fast'; it is one of auto, backprop"),
        ({"budget": "2GiB", "scope": "device"}, "scope is 'device'; it is one of process, training"),
        ({"budget": "2GiB", "prefer": "luck"}, "prefer is 'luck'; it is one of balanced, speed, fidelity"),
    ],
)
def test_a_plan_for_nonsense(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        planner.plan(zoo_profile("cnn6", (1, 4)), **arguments)


class Colours(Dataset[tuple[Tensor, int]]):
    """Images of one colour each, which is their class; floats from 0 to 1, as torchvision gives them."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index >= self._count:
            raise IndexError(index)
        image = torch.zeros(3, 8, 8)
        image[index % 3] = 0.5 + index % 7 / 20
        return image, index % 3


@pytest.fixture(scope="module")
def colour_plan() -> Plan:
    """A plan for a small module, made from the module itself."""
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    plan: Plan = planner.plan(module, SAMPLE, budget="2GiB", optimizer="adam", batch=10, epochs=20, samples=60)
    return plan


class NamedColours(Colours):
    """The same with what torchvision's data sets have."""

    classes = ("red", "green", "blue")


def test_names_of_classes_go_with_plan_model_and_report(colour_plan: Plan, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report: Report = planner.run(colour_plan, NamedColours(40), out=out, max_steps=1, quiet=True)
    assert report.data is not None and report.data.description.class_names == NamedColours.classes
    assert json.loads((out / "model.json").read_text())["class_names"] == list(NamedColours.classes)
    named = with_class_names(colour_plan, ("green", "red", "blue"))
    report = planner.run(named, NamedColours(40), out=tmp_path / "other", max_steps=1, quiet=True)
    assert report.data is not None  # labels follow the plan's names
    assert report.data.description.class_names == ("green", "red", "blue")
    unlike = NamedColours(20)
    unlike.classes = ("red", "green", "azure")
    with pytest.raises(InputError, match=r"^test: its classes are others: without 'blue', with 'azure'"):
        planner.run(colour_plan, NamedColours(40), test=unlike, out=tmp_path / "third", quiet=True)
    with pytest.raises(InputError, match="without 'azure', with 'blue'"):
        planner.run(
            with_class_names(colour_plan, unlike.classes), NamedColours(40), out=tmp_path / "fourth", quiet=True
        )


def test_a_plan_has_the_samples_and_the_names_of_its_data(tmp_path: Path) -> None:
    profile = zoo_profile("cnn6", (1, 4, 16))
    named = NamedColours(600)
    plan = planner.plan(profile, "2GiB", batch=16, data=named)
    assert (plan.class_names, plan.training.samples, plan.id) == (named.classes, 600, content_id(plan))
    assert planner.plan(profile, "2GiB", batch=16, data=named, samples=50).training.samples == 50
    assert planner.plan(profile, "2GiB", batch=16).training.samples == 50_000
    images = np.zeros((100, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "set.npz", images=images, labels=np.arange(100) % 3, class_names=np.array(named.classes))
    plan = planner.plan(profile, "2GiB", batch=16, data=tmp_path / "set.npz")
    # A tenth of all is held out to test on: of every class its share.
    assert (plan.class_names, plan.training.samples) == (named.classes, 90)
    np.savez(tmp_path / "set.npz", images=images[:, :8, :8], labels=np.arange(100) % 3)
    with pytest.raises(InputError, match="its images are 3×8×8, but the model takes 3×32×32"):
        planner.plan(profile, "2GiB", batch=16, data=str(tmp_path / "set.npz"))


def test_a_module_is_planned_at_once(colour_plan: Plan) -> None:
    assert colour_plan.training.optimizer == OptimizerConfig("adam", 0.001)
    assert (colour_plan.model.input, colour_plan.model.classes) == ((3, 8, 8), 3)
    assert colour_plan.budget.bytes == 2 * 2**30


def test_a_run_on_a_data_set_of_ones_own(colour_plan: Plan, tmp_path: Path) -> None:
    report: Report = planner.run(colour_plan, Colours(60), test=Colours(21), out=tmp_path / "out", quiet=True)
    assert report == read_document(RunFolder(tmp_path / "out").report, Report)
    assert report.plan_id == colour_plan.id
    assert sum(block.steps for block in report.blocks) == 6 * 20 * len(report.blocks)
    assert report.accuracy * 21 == pytest.approx(round(report.accuracy * 21))  # of the 21 that were given to test on
    assert not list((tmp_path / "out").glob("dataset-*"))
    with pytest.raises(InputError, match="holds a run already"):
        planner.run(colour_plan, Colours(60), out=tmp_path / "out", quiet=True)
    again: Report = planner.run(
        colour_plan, Colours(60), test=Colours(21), out=tmp_path / "out", resume=True, quiet=True
    )
    assert again.accuracy == report.accuracy


_RUNNING = """
import sys
from pathlib import Path
import planner
from planner.schema.codec import read_document
from planner.schema.plan import Plan
planner.run(read_document(sys.argv[1], Plan), "sample", out=sys.argv[2], epochs=1000, quiet=True)
"""


def test_a_run_ends_with_the_program_that_started_it(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(to_json(small_plan()))
    out = tmp_path / "out"
    command = [sys.executable, "-c", _RUNNING, str(tmp_path / "plan.json"), str(out)]
    with subprocess.Popen(command) as program:
        while not RunFolder(out).memory.exists() or not RunFolder(out).memory.stat().st_size:
            assert program.poll() is None
            time.sleep(0.01)  # polling for an event in another process, bounded by that process's life
        (run,) = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
        (child,) = Path(f"/proc/{run}/task/{run}/children").read_text().split()
        watched = [os.pidfd_open(int(pid)) for pid in (run, child)]
        program.kill()
        for process in watched:
            select.select([process], [], [])  # readable once it is gone
            os.close(process)
    with lock_folder(out):
        pass  # nobody writes there any more


def test_what_a_run_cannot_use_is_named(colour_plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^dataset\[0\]: its image is 1×8×8; the plan's model takes 3×8×8"):
        planner.run(colour_plan, [(torch.zeros(1, 8, 8), 0)] * 20, out=tmp_path, quiet=True)
    with pytest.raises(InputError, match=r"^test: data that is named has a test part of its own"):
        planner.run(colour_plan, "sample", test=Colours(3), out=tmp_path, quiet=True)
    with pytest.raises(InputError, match="its images are 1×28×28"):
        planner.run(colour_plan, "sample", out=tmp_path, quiet=True)


def test_a_plan_computes_in_what_its_profile_measured() -> None:
    profile = replace(zoo_profile("cnn6", (1, 4, 16, 64)), dtype="bfloat16")
    for dtype in (None, "bfloat16"):
        plan = planner.plan(profile, "2GiB", batch=64, epochs=2, samples=1000, dtype=dtype)
        assert plan.training.dtype == "bfloat16"
        assert {block.input.dtype for block in plan.blocks} <= {"uint8", "bfloat16"}


def test_a_run_that_ended_above_its_budget_raises_what_carries_its_report(
    colour_plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real run, judged by a budget below what torch takes: one that the guard was never told of."""
    judged = """
from dataclasses import replace
from planner.runner.supervise import supervisor
real = supervisor.make_report
supervisor.make_report = lambda plan, *others: real(
    replace(plan, schema="plan/1", request=None, budget=replace(plan.budget, bytes=50 * 2**20)), *others
)
"""
    monkeypatch.setattr(facade, "_COMMAND", judged + facade._COMMAND)
    out = tmp_path / "out"
    with pytest.raises(
        ExceededError, match=r"above its budget .*more than 50\.0 MiB; what it trained is kept"
    ) as raised:
        planner.run(colour_plan, Colours(40), out=out, max_steps=1, quiet=True)
    report = raised.value.report
    assert isinstance(report, Report)
    assert not report.within_budget and report.peak is not None
    assert raised.value.exit_code == 4
    assert {"model.safetensors", "model.json", "report.json"} <= {path.name for path in out.iterdir()}
