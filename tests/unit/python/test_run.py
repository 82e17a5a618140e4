"""Runs from Python, on data sets of the program's own."""

from __future__ import annotations

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
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

import planner
from planner.errors import ExceededError, InfeasibleError, InputError
from planner.python import run
from planner.python.datasets import look
from planner.runner.supervise.evaluate import evaluate
from planner.schema.codec import content_id, read_document, to_json
from planner.schema.common import OptimizerConfig
from planner.schema.model import Model
from planner.schema.plan import Plan, with_class_names
from planner.schema.preprocessing import USUAL, Normalisation
from planner.schema.report import Report
from planner.schema.run_folder import RunFolder
from planner.system.locks import lock_folder
from tests.fault.support import small_plan
from tests.unit.profiler import profiles
from tests.unit.solver.chains import zoo_profile


class Colours(Dataset[tuple[Tensor, int]]):
    """Images of one colour each, which is their class; floats from 0 to 1, as torchvision gives them."""

    def __init__(self, count: int, side: int = 8) -> None:
        self._count = count
        self.side = side

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index >= self._count:
            raise IndexError(index)
        image = torch.zeros(3, self.side, self.side)
        image[index % 3] = 0.5 + index % 7 / 20
        return image, index % 3


def colour_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )


@pytest.fixture(scope="module")
def colour_plan() -> Plan:
    """A plan for a small module, made from the module itself; `test_facade` has one that is really measured."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("planner.python.facade.take_profile", profiles.answer)
        plan: Plan = planner.plan(
            colour_net(),
            torch.zeros(4, 3, 8, 8),
            budget="2GiB",
            optimizer=OptimizerConfig("adam", 0.001),
            batch=10,
            epochs=20,
            samples=60,
        )
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
    with pytest.raises(InputError, match=r"^test: its classes are not those .*: it lacks 'blue' and has 'azure'"):
        planner.run(colour_plan, NamedColours(40), test=unlike, out=tmp_path / "third", quiet=True)
    with pytest.raises(InputError, match="it lacks 'azure' and has 'blue'"):
        planner.run(
            with_class_names(colour_plan, unlike.classes), NamedColours(40), out=tmp_path / "fourth", quiet=True
        )


def test_a_plan_has_the_samples_and_the_names_of_its_data(tmp_path: Path) -> None:
    profile = zoo_profile("cnn6", (1, 4, 16))
    named = NamedColours(600, 32)
    plan = planner.plan(profile, "2GiB", batch=16, data=named)
    assert (plan.class_names, plan.training.samples, plan.id) == (named.classes, 600, content_id(plan))
    assert planner.plan(profile, "2GiB", batch=16, data=named, samples=50).training.samples == 50
    assert planner.plan(profile, "2GiB", batch=16).training.samples == 50_000
    images = np.zeros((100, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "set.npz", images=images, labels=np.arange(100) % 3, class_names=np.array(named.classes))
    plan = planner.plan(profile, "2GiB", batch=16, data=tmp_path / "set.npz")
    # A tenth of all is held out to test on: of every class its share.
    assert (plan.class_names, plan.training.samples) == (named.classes, 90)
    stored = look(tmp_path / "set.npz", profile.model, 0, False).stored_bytes
    found = planner.plan(profile, "2GiB", batch=16, data=tmp_path / "set.npz", storage="1MiB")
    assert found.storage_bytes == 2**20 - stored
    with pytest.raises(InfeasibleError, match="does not hold the data") as told:
        planner.plan(profile, "2GiB", batch=16, data=tmp_path / "set.npz", storage=stored - 1)
    assert told.value.minimum_bytes == stored
    np.savez(tmp_path / "set.npz", images=images[:, :8, :8], labels=np.arange(100) % 3)
    with pytest.raises(InputError, match="its images are 3×8×8, but the model takes 3×32×32"):
        planner.plan(profile, "2GiB", batch=16, data=str(tmp_path / "set.npz"))


def test_a_module_is_planned_at_once(colour_plan: Plan) -> None:
    assert colour_plan.training.optimizer == OptimizerConfig("adam", 0.001)
    assert (colour_plan.model.input, colour_plan.model.classes) == ((3, 8, 8), 3)
    assert colour_plan.budget.bytes == 2 * 2**30


def test_a_run_on_a_data_set_of_ones_own(colour_plan: Plan, tmp_path: Path) -> None:
    report: Report = planner.run(colour_plan, Colours(60), test=Colours(21), out=tmp_path / "out", quiet=True)
    assert to_json(report) == to_json(read_document(RunFolder(tmp_path / "out").report, Report))
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


def test_a_modules_own_weights_go_in_and_come_back(colour_plan: Plan, tmp_path: Path) -> None:
    """Nothing moves them at a learning rate of 0: what comes back is what went in, to the bit."""
    training = replace(colour_plan.training, optimizer=OptimizerConfig("adam", 1e-30))
    still = replace(colour_plan, training=training, request=None, schema="plan/1", id="")
    still = replace(still, id=content_id(still))
    given = colour_net()
    report = planner.run(still, Colours(20), out=tmp_path / "out", init=given, max_steps=1, quiet=True)
    assert report.init is not None and report.init.taken == 4 and not report.init.unused
    fresh = colour_net()
    report.load_into(fresh)
    assert all(torch.equal(tensor, fresh.state_dict()[name]) for name, tensor in given.state_dict().items())
    with pytest.raises(InputError, match=r"the module has no '0\.bias', which 'Sequential' has: it is another network"):
        report.load_into(nn.Linear(3, 3))
    with pytest.raises(InputError, match=r"0\.weight is "):
        report.load_into(nn.Sequential(nn.Conv2d(3, 4, 1), *list(colour_net())[1:]))


class Tinted(Dataset[tuple[Image.Image, int]]):
    """Noise of a size that no network here takes, a little more of it in the channel that is its class."""

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._seed = seed

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        if index >= self._count:
            raise IndexError(index)
        noise = np.random.default_rng((self._seed, index)).integers(0, 200, (11, 6, 3), np.uint8)
        noise[..., index % 3] += 40
        return Image.fromarray(noise), index % 3


def _right(net: nn.Module, test: Tinted, normalisation: Normalisation) -> int:
    """How many a module gets right that is fed as torchvision would: resized by Pillow, `ToTensor`, `Normalize`."""
    mean, std = (torch.tensor(numbers).view(-1, 1, 1) for numbers in (normalisation.mean, normalisation.std))
    right = 0
    for image, label in (test[index] for index in range(len(test))):
        pixels = np.asarray(image.resize((8, 8), Image.Resampling.BILINEAR))
        tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous().to(torch.float32).div(255)
        with torch.no_grad():
            right += int(net(tensor.sub_(mean).div_(std)[None]).argmax()) == label
    return right


def test_the_trained_network_answers_elsewhere_as_in_the_run(colour_plan: Plan, tmp_path: Path) -> None:
    """In the module it was made of, and as a file: what its images were made of is said by all that comes out."""
    by = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.05))
    training = replace(colour_plan.training, normalisation=by, resize="bilinear")
    plan = replace(colour_plan, training=training, request=None, schema="plan/1", id="")
    plan = replace(plan, id=content_id(plan))
    torch.manual_seed(1)
    net, test, out = colour_net(), Tinted(150, 1), tmp_path / "out"
    torch.save({"state_dict": net.state_dict()}, tmp_path / "w.pt")
    report = planner.run(
        plan, Tinted(60, 0), test=test, out=out, init=tmp_path / "w.pt", exit_tolerance=None, quiet=True
    )
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    report.load_into(net)
    assert not any(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())

    assert (report.normalisation, report.resize) == (by, "bilinear")
    assert report.data is not None and "all images are" not in " ".join(report.data.description.notes)
    full = report.exits[-1].accuracy
    assert _right(net, test, report.normalisation) / 150 == pytest.approx(full)
    assert _right(net, test, USUAL) / 150 < full - 0.1  # so that this test can tell

    model = read_document(RunFolder(out).description, Model)
    assert (model.normalisation, model.resize) == (by, "bilinear")
    images, labels = zip(*(test[index] for index in range(len(test))), strict=True)
    stacked = np.stack([np.asarray(image) for image in images])
    np.savez(tmp_path / "new.npz", images=stacked, labels=labels, test_images=stacked, test_labels=labels)
    found = evaluate(out, str(tmp_path / "new.npz"))
    assert (found.accuracy, found.normalisation, found.resize) == (report.accuracy, by, "bilinear")
    assert "all images are 11×6: resized to 8×8" in found.notes


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ({}, "init: holds no tensors; give a module, or its state_dict"),
        ({"epoch": 3}, "init: holds no tensors"),
        (7, "init: a module, a state dict or a path is needed, not a int"),
        ({"other.weight": torch.zeros(3)}, "--init: no tensor of it fits this network"),
    ],
)
def test_weights_that_are_none(colour_plan: Plan, init: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        planner.run(colour_plan, Colours(20), out=tmp_path / "out", init=init, quiet=True)
    assert not (tmp_path / "out").exists()


def test_a_file_that_runs_code_is_not_run(colour_plan: Plan, tmp_path: Path) -> None:
    torch.save(colour_net(), tmp_path / "whole.pt")
    with pytest.raises(InputError, match=r"holds no plain state dict .* save module.state_dict"):
        planner.run(colour_plan, Colours(20), out=tmp_path / "out", init=tmp_path / "whole.pt", quiet=True)


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
    with pytest.raises(InputError, match=r"^test: data that is named has parts of its own"):
        planner.run(colour_plan, "sample", test=Colours(3), out=tmp_path, quiet=True)
    with pytest.raises(InputError, match="its images are 1×28×28"):
        planner.run(colour_plan, "sample", out=tmp_path, quiet=True)


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
    monkeypatch.setattr(run, "_COMMAND", judged + run._COMMAND)
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
