from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from planner.errors import InputError, StorageError
from planner.limits import MAX_BYTES
from planner.report.profile_plot import draw_profile, make_profile_figure
from planner.schema.common import OptimizerConfig
from planner.schema.model import Activation, Model, Unit
from planner.schema.profile import Profile
from planner.schema.request import Budget, Request, Scope, Training
from planner.solver.explain.training_step import training_step
from planner.solver.memory_model import live_bytes
from planner.solver.problem import CLASSIFIER, BlockChoice, Problem
from tests.unit.solver.chains import zoo_profile
from tests.unit.solver.random_profiles import Case, cases
from tests.unit.solver.two_units import CLASSIFIER as LOSS
from tests.unit.solver.two_units import FIRST, SECOND, tiny_profile

MIB = 2**20
SVG = "{http://www.w3.org/2000/svg}"
ZOO = zoo_profile("vgg16", (1, 4))


def draw(profile: Profile, path: Path) -> None:
    draw_profile(profile, training_step(profile), path)


def figure_of(profile: Profile) -> Figure:
    return make_profile_figure(profile, training_step(profile))


def texts(path: Path) -> str:
    """Everything the picture says, as one string."""
    return "\n".join("".join(element.itertext()) for element in ElementTree.parse(path).iter() if element.text)


def solver_peaks(profile: Profile, scope: Scope = "process") -> tuple[int, int]:
    """Live and resident bytes that the solver predicts for training the whole network in one segment."""
    size = training_step(profile).micro_batch
    training = Training(batch=size, epochs=1, samples=size, optimizer=profile.optimizer, dtype=profile.dtype)
    problem = Problem(profile, Request(Budget(MAX_BYTES, scope), training))
    live = live_bytes(problem, BlockChoice(0, size, (problem.count,), (CLASSIFIER,))).train
    return live, problem.process.resident(live)


def levels(figure: Figure) -> list[float]:
    """The outline, in MiB."""
    (outline,) = [patch for patch in figure.axes[0].patches if isinstance(patch, StepPatch)]
    values, *_ = outline.get_data()
    return [float(value) for value in values]


def bands(figure: Figure) -> dict[str, tuple[float, float]]:
    """Lowest and highest level of every band, in MiB, from below."""
    found = {}
    for collection in figure.axes[0].collections:
        heights = [float(height) for path in collection.get_paths() for height in np.asarray(path.vertices)[:, 1]]
        found[str(collection.get_label())] = (min(heights), max(heights))
    return found


def renamed(*names: str) -> Profile:
    profile = tiny_profile()
    units = tuple(Unit(name, (Activation("relu"),)) for name in names)
    return replace(profile, model=replace(profile.model, units=units))


def chain(count: int) -> Profile:
    """The two units of the tiny profile, then the second over and over."""
    profile = tiny_profile()
    units = tuple(Unit(f"u{index}", (Activation("relu"),)) for index in range(count))
    model = Model("model/1", "long", profile.model.input, profile.model.classes, units)
    heads = (replace(profile.heads[-1], boundary=count),)
    return replace(profile, model=model, units=(FIRST, *[SECOND] * (count - 1)), heads=heads)


def test_moments_are_composed_as_worked_out_by_hand() -> None:
    """At micro-batch 2: first keeps 200 of 300, second 90 of 150, the loss 12 of 20; backward 350, 170, 25."""
    step = training_step(tiny_profile())
    found = [
        (point.phase, point.unit, point.activations_bytes, point.gradients_bytes, point.transient_bytes)
        for point in step.points
    ]
    assert found == [
        ("forward", 0, 200, 0, 300 - 200),
        ("forward", 1, 290, 0, 150 - 90),
        ("forward", None, 302, 0, 20 - 12),
        ("backward", None, 302, 0, 25 - 12),
        ("backward", 1, 290, 0, 170 - 90),
        ("backward", 0, 200, 50, 350 - 200),
        ("step", None, 0, 150, 7),
    ]


def test_what_stays_is_there_at_every_moment() -> None:
    """Data: two raw buffers of 2 × (35 + 8), labels 2 × 8, floats 4 × 2 × 35. Overhead: 5 and 1 % of 1178 live."""
    step = training_step(tiny_profile())
    assert (step.micro_batch, step.runtime_bytes, step.data_bytes) == (2, 1000, 172 + 16 + 280)
    assert (step.weights_bytes, step.optimizer_bytes) == (110 + 50, 150)
    assert step.overhead_bytes == 5 + 12
    assert step.level_bytes(step.points[step.peak]) == 1000 + 17 + 468 + 160 + 150 + 400
    assert step.points[step.peak] == step.points[5]


@pytest.mark.parametrize("profile", [tiny_profile(), ZOO, zoo_profile("resnet18", (2, 8)), chain(7)])
def test_the_peak_is_the_solvers(profile: Profile) -> None:
    step = training_step(profile)
    live, resident = solver_peaks(profile)
    peak = step.level_bytes(step.points[step.peak])
    assert peak - step.runtime_bytes - step.overhead_bytes == live
    assert peak == resident - profile.runtime.supervisor_bytes


@settings(max_examples=60)
@given(cases())
def test_the_peak_is_the_solvers_for_any_profile(case: Case) -> None:
    profile = case.profile
    step = training_step(profile)
    assert step.level_bytes(step.points[step.peak]) == solver_peaks(profile)[1] - profile.runtime.supervisor_bytes


def test_the_outline_is_every_moments_level_and_its_peak_is_marked() -> None:
    step = training_step(ZOO)
    figure = figure_of(ZOO)
    assert levels(figure) == [step.level_bytes(point) / MIB for point in step.points]
    peak = max(levels(figure))
    (mark,) = [line for line in figure.axes[0].get_lines() if line.get_marker() == "o"]
    assert np.asarray(mark.get_xydata()).tolist() == [[step.peak + 0.5, peak]]
    said = [text.get_text() for text in figure.axes[0].texts]
    assert f"peak {peak:.1f} MiB, backward of {ZOO.model.units[step.points[step.peak].unit or 0].name}" in said
    low, top = figure.axes[0].get_ylim()
    assert low == 0
    assert peak < top < peak * 1.2


def test_bands_lie_on_one_another_in_one_order() -> None:
    found = bands(figure_of(ZOO))
    assert list(found) == [
        "runtime at rest (Python, torch)",
        "what a step touches beyond tensors",
        "data",
        "parameters and buffers",
        "optimizer state",
        "gradients",
        "activations kept",
        "transient",
    ]
    step = training_step(ZOO)
    floor = 0
    for name, size in zip(
        found,
        (step.runtime_bytes, step.overhead_bytes, step.data_bytes, step.weights_bytes, step.optimizer_bytes),
        strict=False,
    ):
        assert found[name] == (floor / MIB, (floor + size) / MIB)
        floor += size
    gradients = sum(unit.parameter_bytes for unit in ZOO.units)
    assert found["gradients"] == (floor / MIB, (floor + gradients) / MIB)


def test_an_optimizer_without_state_has_no_band() -> None:
    units = tuple(replace(unit, optimizer_bytes=0) for unit in ZOO.units)
    plain = replace(ZOO, optimizer=OptimizerConfig("sgd", 0.1), units=units)
    assert "optimizer state" not in bands(figure_of(plain))


def test_every_unit_is_named_forward_and_backward() -> None:
    axes = figure_of(ZOO).axes[0]
    shown = [label.get_text() for label in axes.get_xticklabels()]
    units = [unit.name for unit in ZOO.model.units]
    assert shown == [*units, "loss", "loss", *reversed(units), "optimizer"]
    assert [float(place) for place in axes.get_xticks()] == [index + 0.5 for index in range(len(shown))]
    assert [text.get_text() for text in axes.texts][:3] == ["forward", "backward", "step"]


def test_a_long_chain_names_what_is_readable() -> None:
    """100 units make 203 moments: every third is named, and the last."""
    axes = figure_of(chain(100)).axes[0]
    places = [float(place) - 0.5 for place in axes.get_xticks()]
    assert places == [*range(0, 200, 3), 202]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert (labels[0], labels[1], labels[-1]) == ("u0", "u3", "optimizer")


def test_the_picture_says_model_device_micro_batch_and_peak(tmp_path: Path) -> None:
    profile = replace(tiny_profile(), runtime=replace(tiny_profile().runtime, baseline_bytes=100 * MIB))
    draw(profile, tmp_path / "profile.svg")
    title = "One training step of tiny on test, micro-batch 2: peak 100.0 MiB"
    assert title in texts(tmp_path / "profile.svg")
    root = ElementTree.parse(tmp_path / "profile.svg").getroot()
    assert [element.text for element in root.findall(f"{SVG}title")] == [title]


def test_one_unit_is_a_picture_as_well() -> None:
    profile = chain(1)
    assert len(levels(figure_of(profile))) == 5
    assert LOSS is profile.heads[0].cost


@pytest.mark.parametrize("name", ["<script>x</script>", "a&b", "$\\frac$", "日本", "]]>", "_hidden"])
def test_names_are_shown_as_text(tmp_path: Path, name: str) -> None:
    draw(renamed(name, "b"), tmp_path / "profile.svg")
    assert f"{name}\n" in texts(tmp_path / "profile.svg")
    tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(tmp_path / "profile.svg").iter()}
    assert "script" not in tags


def test_control_characters_of_names_do_not_reach_the_file(tmp_path: Path) -> None:
    profile = renamed("a\x1b[31m", "\x00\ufffe")
    profile = replace(profile, model=replace(profile.model, name="m\x07"), device=replace(profile.device, name="d\x1b"))
    draw(profile, tmp_path / "profile.svg")
    assert "a\ufffd[31m" in texts(tmp_path / "profile.svg")
    assert "step of m\ufffd on d\ufffd," in texts(tmp_path / "profile.svg")


def test_the_same_profile_gives_the_same_bytes_whatever_is_configured(tmp_path: Path) -> None:
    draw(ZOO, tmp_path / "one.svg")
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30, "svg.fonttype": "path"}):
        draw(ZOO, tmp_path / "two.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert b"<dc:date>" not in (tmp_path / "one.svg").read_bytes()


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="absent"):
        draw(ZOO, tmp_path / "absent" / "profile.svg")


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'neuroflux-planner\[report\]'"):
        draw(ZOO, tmp_path / "profile.svg")
    assert list(tmp_path.iterdir()) == []


def test_torch_and_pyplot_are_never_loaded_and_matplotlib_only_to_draw(tmp_path: Path) -> None:
    code = """
import json, sys
import planner.report.profile_plot, planner.report.profile_tables
before = sorted({name.partition(".")[0] for name in sys.modules} & {"matplotlib", "numpy", "torch"})
from planner.report.profile_plot import draw_profile
from tests.unit.solver.two_units import tiny_profile
from pathlib import Path
from planner.solver.explain.training_step import training_step
draw_profile(tiny_profile(), training_step(tiny_profile()), Path(sys.argv[1]))
print(json.dumps([before, sorted({"matplotlib.pyplot", "torch"} & set(sys.modules))]))
"""
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", code, str(tmp_path / "profile.svg")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[], []]
