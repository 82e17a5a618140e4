"""Data as people have it, through the commands, with real training where the right value is an accuracy.

What is wrong with a set, and where its test is:

- classes in turn, with and without a test part; a model of four classes tested on three; pictures on their side (EXIF);
  a shape in the alpha channel; one grey picture; an array with its channels first; labels from 1; a class renamed while
  the run is stopped; a picture that the budget cannot decode: here
- `valid/` beside `train/`, folders within classes: `unit/data/test_cases.py`; more than 30 others: `test_oddities.py`
- an output folder that is memory: `unit/runner/supervise/test_folder_bytes.py`, and in a memory group `test_promise.py`
- readers that go away, full disks, closed streams: `fault/test_telling.py`
- a model that can only be read: `unit/runner/supervise/test_evaluate.py`
- output inside the data: `unit/cli/test_run.py`; names that are not UTF-8: `unit/cli/test_commands.py`
- a container's limit below the budget: `unit/runner/supervise/test_room.py`, `unit/cli/test_plan.py`
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from planner.schema.codec import content_id, read_document, to_json
from planner.schema.model import Activation, BatchNorm2d, Conv2d, Flatten, Linear, Model, Pool2d, Unit
from planner.schema.plan import Plan
from planner.schema.report import Report
from planner.schema.run_folder import RunFolder
from planner.units import MIB
from tests.unit.data.discs import NAMES, coloured, disc, folder, save, see_through, upright_and_phone
from tests.unit.data.support import Bytes, Integers
from tests.unit.profiler import profiles
from tests.unit.system.support import environment

BATCH = 8
ENOUGH = 0.99
"""The share that a network gets right of a set which is read as it is meant."""


def _model() -> Model:
    """Two convolutions, and a classifier that sees where something lies; ten classes, as far as the data has them."""
    units = [
        Unit(
            f"conv{filters}",
            (
                Conv2d("conv2d", filters, 3, padding=1),
                BatchNorm2d("batchnorm2d"),
                Activation("relu"),
                Pool2d("max_pool2d", 2, 2),
            ),
        )
        for filters in (8, 16)
    ]
    return Model(
        "model/1", "small", (3, 32, 32), 10, (*units, Unit("classifier", (Flatten("flatten"), Linear("linear", 10))))
    )


class Commands:
    """`neuroflux`, with a network, what it costs here by formulas, and folders of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        (place / "model.json").write_text(to_json(_model()))
        (place / "profile.json").write_text(to_json(profiles.here(model=_model(), batch=BATCH)))

    def __call__(self, *words: object) -> subprocess.CompletedProcess[str]:
        """Run a command."""
        command = [sys.executable, "-m", "planner.cli.main", *map(str, words)]
        variables = environment(XDG_DATA_HOME=str(self.place / "store"))
        return subprocess.run(command, capture_output=True, text=True, cwd=self.place, env=variables)

    def plan(self, data: Path, epochs: int = 4) -> Path:
        """Plan for some data, by backpropagation."""
        file = self.place / f"{data.name}.plan.json"
        words = ["--model", self.place / "model.json", "--profile", self.place / "profile.json", "--data", data]
        words += ["--budget", "2GiB", "--batch", BATCH, "--epochs", epochs, "--max-cuts", 0, "--json", "-o", file]
        words += ["--lr", 0.05]  # for small batches the usual one is small, and these epochs are few
        done = self("plan", *words)
        assert done.returncode == 0, done.stderr
        return file

    def train(self, data: Path, epochs: int = 4) -> tuple[Report, str]:
        """Plan and run; the report, and what was said."""
        out = self.place / f"{data.name}.out"
        done = self("run", self.plan(data, epochs), "--data", data, "--out", out, "--json")
        assert done.returncode == 0, done.stderr
        return read_document(RunFolder(out).report, Report), done.stderr

    def evaluate(self, out: Path, data: Path) -> dict[str, object]:
        """What a trained model gets right."""
        done = self("evaluate", out, "--data", data, "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert isinstance(found, dict)
        return found


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    return Commands(tmp_path_factory.mktemp("cases"))


@pytest.fixture(scope="module")
def plain(commands: Commands) -> Path:
    """The output of a run on pictures that nothing is wrong with."""
    place = commands.place / "plain"
    folder(place / "train", count=30)
    folder(place / "test", count=10, seed=1)
    report, _ = commands.train(place)
    assert report.accuracy >= ENOUGH
    assert report.data is not None and report.data.description.class_names == tuple(NAMES)
    return commands.place / "plain.out"


def _stripes(labels: Integers) -> Bytes:
    """Images with a white field whose place is the label."""
    chance = np.random.default_rng(0)
    images = chance.integers(0, 40, (len(labels), 32, 32, 3)).astype(np.uint8)
    for number, label in enumerate(labels):
        images[number, label // 4 * 10 : label // 4 * 10 + 8, label % 4 * 8 : label % 4 * 8 + 7] = 255
    return images


@pytest.mark.parametrize("has_test", [True, False])
@pytest.mark.parametrize("shuffled", [True, False])
def test_classes_in_turn_are_all_trained_and_all_tested(commands: Commands, shuffled: bool, has_test: bool) -> None:
    labels, test = np.tile(np.arange(10), 20), np.tile(np.arange(10), 5)
    if shuffled:
        labels = labels[np.random.default_rng(1).permutation(len(labels))]
    arrays = {"images": _stripes(labels), "labels": labels}
    if has_test:
        arrays |= {"test_images": _stripes(test), "test_labels": test}
    data = commands.place / f"turn{shuffled}{has_test}.npz"
    np.savez(data, **arrays)  # type: ignore[arg-type]  # arrays by name
    report, _ = commands.train(data)
    assert report.data is not None
    for part in report.data.description.parts:
        assert len(part.class_samples) == 10 and min(part.class_samples) > 0, part.name
    assert report.accuracy >= ENOUGH
    assert report.samples == (50 if has_test else 20)


def test_a_model_of_four_classes_is_tested_on_three_by_their_names(commands: Commands, plain: Path) -> None:
    data = commands.place / "without-a"
    for seed, part in ((5, "train"), (6, "test")):
        folder(data / part, "bcd", seed=seed)
    found = commands.evaluate(plain, data)
    assert isinstance(found["accuracy"], float) and found["accuracy"] >= ENOUGH
    assert found["notes"] == ["not in the data: 'a'"]


def test_a_phones_pictures_are_known_as_their_upright_twins_are(commands: Commands, plain: Path) -> None:
    upright, phone = upright_and_phone(commands.place / "turned", count=20, seed=3, suffix="jpg")
    found = [commands.evaluate(plain, place) for place in (upright, phone)]
    assert found[0]["accuracy"] == found[1]["accuracy"] == 1.0
    notes = found[1]["notes"]
    assert isinstance(notes, list) and "80 of 80 images turned upright, as EXIF says" in notes


def _shapes(place: Path) -> Path:
    chance = np.random.default_rng(3)
    for part, count in (("train", 25), ("test", 10)):
        for corner, name in enumerate(NAMES):
            for number in range(count):
                save(place / part / name / f"{number}.png", see_through(corner, chance))
    return place


def _one_grey(place: Path) -> Path:
    coloured(place / "train", count=15, first_is_grey=True)
    coloured(place / "test", count=5, first_is_grey=False)
    return place


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_shapes, "140 of 140 images with transparency: laid on white"),
        (_one_grey, "1 of 80 images without colour: read as grey in three channels"),
    ],
)
def test_pictures_are_trained_on_as_people_see_them(
    commands: Commands, make: Callable[[Path], Path], said: str
) -> None:
    report, told = commands.train(make(commands.place / make.__name__), epochs=6)
    assert report.accuracy >= ENOUGH
    assert f"warning: {said}" in told
    assert report.data is not None and said in report.data.description.notes


def test_an_array_with_its_channels_first_is_refused_and_read_where_it_is_said(commands: Commands) -> None:
    labels = [number % 4 for number in range(40)]
    images = np.stack([disc(label, np.random.default_rng(label)) for label in labels]).transpose(0, 3, 1, 2)
    data = commands.place / "nchw.npz"
    np.savez(data, images=images, labels=labels)
    words = ["plan", "--model", "cnn6", "--data", data, "--budget", "2GiB", "--no-measure", "--json"]
    refused = commands(*words)
    assert refused.returncode == 2
    assert "--layout nchw" in refused.stderr and "transpose(images, (0, 2, 3, 1))" in refused.stderr
    assert refused.stdout == "" or "error" in json.loads(refused.stdout)
    plan = read_document(commands.plan(data), Plan)  # what the network takes settles it
    assert plan.model.input == (3, 32, 32)


def test_labels_that_begin_at_1_are_told(commands: Commands) -> None:
    corners = [number % 4 for number in range(40)]
    images = np.stack([disc(corner, np.random.default_rng(corner)) for corner in corners])
    data = commands.place / "from-one.npz"
    np.savez(data, images=images, labels=np.array(corners) + 1)
    done = commands("check-data", data, "--json")
    assert done.returncode == 0, done.stderr
    (note,) = json.loads(done.stdout)["notes"]
    assert note.startswith("no sample has the label 0: labels run from 1 to 4") and "1 is empty" in note


def test_a_run_is_not_resumed_with_a_class_renamed(commands: Commands, plain: Path) -> None:
    data, out = commands.place / "plain", commands.place / "stopped"
    plan = commands.place / "plain.plan.json"
    begun = commands("run", plan, "--data", data, "--out", out, "--max-steps", 2, "--quiet")
    assert begun.returncode == 0, begun.stderr
    try:
        for part in ("train", "test"):
            (data / part / "a").rename(data / part / "e")
        refused = commands("run", plan, "--data", data, "--out", out, "--resume", "--quiet")
    finally:
        for part in ("train", "test"):
            (data / part / "e").rename(data / part / "a")
    assert refused.returncode == 2
    assert "it lacks 'a' and has 'e'" in refused.stderr
    again = commands("run", plan, "--data", data, "--out", out, "--resume", "--quiet")
    assert again.returncode == 0, again.stderr


def test_a_picture_that_the_budget_cannot_decode_is_named_before_training(commands: Commands, plain: Path) -> None:
    """Twelve million pixels, 48 MB decoded; what a 60 MiB budget leaves is less. Beside torch there is room for it."""
    data = commands.place / "big"
    large = Image.fromarray(disc(0, np.random.default_rng(0))).resize((4000, 3000), Image.Resampling.NEAREST)
    save(data / "a" / "0.png", large, compress_level=1)
    for name in NAMES:
        (data / name).mkdir(exist_ok=True)
        for number in range(1, 5):
            (data / name / f"{number}.png").hardlink_to(data / "a" / "0.png")
    plan = read_document(commands.place / "plain.plan.json", Plan)
    assert plan.request is not None
    budget = replace(plan.budget, bytes=60 * MIB)
    plan = replace(plan, budget=budget, request=replace(plan.request, budget=budget))
    small, out = commands.place / "small.plan.json", commands.place / "big.out"
    small.write_text(to_json(replace(plan, id=content_id(plan))))
    refused = commands("run", small, "--data", data, "--out", out, "--quiet")
    assert refused.returncode == 2
    assert "decoding it takes about 47." in refused.stderr and ".png" in refused.stderr
    assert not out.exists()
