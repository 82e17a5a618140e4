"""What a person gets from `import planner`: profiles of their own modules, plans, and nothing that costs."""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import planner
from planner.cli import options
from planner.errors import InfeasibleError, InputError, ModelError
from planner.profiler.profile import ProfileRequest
from planner.python.facade import _measured
from planner.schema.codec import content_id
from planner.schema.common import OptimizerConfig, usual_optimizer
from planner.schema.profile import Profile
from planner.schema.request import Budget, Request, Training
from planner.solver.plan import make_plan
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
    assert {"describe", "plan", "profile", "run"} <= set(dir(planner))
    with pytest.raises(AttributeError, match="module 'planner' has no attribute 'train'"):
        planner.train  # noqa: B018


def test_a_module_is_profiled_as_the_chain_it_is() -> None:
    profile: Profile = planner.profile(MODULE, SAMPLE, batch=4)
    assert [unit.name for unit in profile.model.units] == ["layer 0", "layer 5"]
    assert (profile.model.input, profile.model.classes) == ((3, 8, 8), 10)
    # Four bytes for each weight: 4·3·9 + 4, scale and shift of 4 channels, 10·4 + 10.
    assert [unit.parameter_bytes for unit in profile.units] == [4 * (108 + 4 + 8), 4 * 50]
    assert profile.units[0].costs[-1].micro_batch == 4
    assert profile.optimizer == OptimizerConfig("sgd", 0.05, 0.9, True, 5e-4, "weights")
    assert profile.id == content_id(profile)
    # And it can be planned from.
    plan = planner.plan(profile, "2GiB", batch=4, epochs=1, samples=16)
    assert plan.profile_id == profile.id
    # It was taken as usual, and the usual rate follows the batch: 0.1 at 256.
    assert (plan.budget.bytes, plan.training.optimizer) == (2 * 2**30, replace(profile.optimizer, lr=0.1 / 64))
    own = OptimizerConfig("sgd", 0.05, 0.8)
    assert planner.plan(profile, "2GiB", batch=4, epochs=1, samples=16, optimizer=own).training.optimizer == own


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


class Bessel(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.special.i0(x)  # type: ignore[no-any-return]


def test_a_module_that_cannot_be_taken() -> None:
    bessel = nn.Sequential(nn.Flatten(), Bessel(), nn.Linear(192, 10))
    with pytest.raises(ModelError, match=r"'special_i0' is no operator that is known here \(in module '1'\)"):
        planner.profile(bessel, SAMPLE)
    with pytest.raises(ModelError, match=r"'special_i0' is no operator that is known here \(in module '1'\)"):
        planner.plan(bessel, SAMPLE, budget="2GiB")
    assert "'special_i0' is no operator" in str(planner.describe(bessel, SAMPLE))
    with pytest.raises(ModelError, match=r"^sample: a tensor is needed, not a str"):
        planner.plan(MODULE, "2GiB")
    with pytest.raises(ModelError, match=r"^classes is 100, but the output has 10"):
        planner.profile(MODULE, SAMPLE, classes=100)


class Detailed(nn.Module):
    """Returns more than scores."""

    def __init__(self) -> None:
        super().__init__()
        self.body = MODULE

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"input": x, "scores": self.body(x)}


def test_what_a_module_returns_is_picked_from(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("planner.python.facade.take_profile", lambda request, *rest: asked.append(request))
    found = planner.describe(Detailed(), SAMPLE, outputs=lambda out: out["scores"])
    assert [unit.name for unit in found.model.units] == ["body.0", "body.5"]
    planner.profile(Detailed(), SAMPLE, outputs=lambda out: out["scores"])
    assert asked[0].model == found.model


def test_measuring_shows_how_far_it_is_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def take(request: Any, on_progress: Any, folder: Any = None) -> None:
        on_progress(1, 4, "unit conv1")

    shown: list[str] = []
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr("planner.python.facade.take_profile", take)
        monkeypatch.setattr(sys, "stderr", stream)
        _measured(ProfileRequest(zoo_profile("cnn6", (1, 4)).model, usual_optimizer("sgd"), 4, 1))
        shown.append(stream.getvalue())
    assert "part/s" in shown[0]
    assert shown[1] == ""


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


def test_a_plan_computes_in_what_its_profile_measured() -> None:
    profile = replace(zoo_profile("cnn6", (1, 4, 16, 64)), dtype="bfloat16")
    for dtype in (None, "bfloat16"):
        plan = planner.plan(profile, "2GiB", batch=64, epochs=2, samples=1000, dtype=dtype)
        assert plan.training.dtype == "bfloat16"
        assert {block.input.dtype for block in plan.blocks} <= {"uint8", "bfloat16"}
