"""What cannot run is refused before anything is made; what is refused leaves a folder as it was."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import save_file
from torch import ones

from planner.cli.main import main
from planner.cli.progress import Silent
from planner.errors import InfeasibleError, InputError, PlannerError
from planner.runner.protocol.job import TrainingJob
from planner.runner.storage.sealed import write_sealed
from planner.runner.supervise.begin import agree, clear_run, is_taken
from planner.runner.supervise.supervisor import RunOptions, run_plan
from planner.sample import __file__ as sample
from planner.schema.codec import content_id, to_json
from planner.schema.plan import Plan
from planner.schema.run_folder import RunFolder
from tests.fault.support import small_plan
from tests.unit.runner.contexts import planned_run


def _small_images(folder: Path) -> str:
    """IDX files of 2×2 images, whose labels are damaged within the compressed stream."""
    folder.mkdir()
    images = (2051).to_bytes(4, "big") + b"".join(n.to_bytes(4, "big") for n in (20, 2, 2)) + bytes(80)
    labels = (2049).to_bytes(4, "big") + (20).to_bytes(4, "big") + bytes(i % 10 for i in range(20))
    for name, content in (("images-idx3", images), ("labels-idx1", labels)):
        packed = bytearray(gzip.compress(content))
        if name == "labels-idx1":
            packed[-6] ^= 1
        (folder / f"train-{name}-ubyte.gz").write_bytes(packed)
    return str(folder)


def _names(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*"))


REFUSED: dict[str, tuple[Callable[[Path], str], str]] = {
    "a typo": (lambda place: str(place / "no such data"), "cannot be opened"),
    "damaged data": (lambda place: _small_images(place / "small"), "is damaged"),
    "no data": (lambda place: str(Path(sample).parent / "__init__.py"), "in no layout"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("is_there", [False, True])
def test_data_that_cannot_be_read_leaves_nothing(tmp_path: Path, name: str, is_there: bool) -> None:
    data, said = REFUSED[name]
    place, out = data(tmp_path), tmp_path / "runs" / "first"
    if is_there:
        out.mkdir(parents=True)
        (out / "notes.txt").write_text("mine")
    before = _names(tmp_path)
    with pytest.raises(InputError, match=said):
        run_plan(small_plan(), place, out, RunOptions(), Silent())
    assert _names(tmp_path) == before


def test_after_a_typo_the_corrected_command_runs(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(to_json(small_plan()))
    command = ["run", str(tmp_path / "plan.json"), "--out", str(tmp_path / "out"), "--max-steps", "1", "--quiet"]
    assert main([*command, "--data", "smaple"]) == 2
    assert not (tmp_path / "out").exists()
    assert main([*command, "--data", "sample"]) == 0


def test_what_only_the_child_can_see_leaves_nothing_either(tmp_path: Path) -> None:
    save_file({"units.0.0.weight": ones(1, 2, 3)}, tmp_path / "w")
    out = tmp_path / "out"
    with pytest.raises(InputError, match="no tensor of it fits"):
        run_plan(small_plan(), "sample", out, RunOptions(max_steps=1, init=tmp_path / "w"), Silent())
    assert _names(tmp_path) == ["w"]
    (tmp_path / "w").write_text("no weights")
    with pytest.raises(InputError, match="not a safetensors file"):
        run_plan(small_plan(), "sample", out, RunOptions(max_steps=1, init=tmp_path / "w"), Silent())
    assert _names(tmp_path) == ["w"]


def _of_another_device(**changes: int) -> Plan:
    plan = small_plan()
    plan = replace(plan, device=replace(plan.device, fingerprint="0" * 64, name="Other Board", torch="1.2.3"))
    return replace(plan, id=content_id(plan))


def test_a_plan_of_another_device_is_refused_in_words(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError) as caught:
        run_plan(_of_another_device(), "sample", out, RunOptions(), Silent())
    for words in ("the device was Other Board, here it is", "torch was 1.2.3", "neuroflux plan", "--any-device"):
        assert words in str(caught.value)
    assert not out.exists()


def test_a_plan_of_another_device_runs_where_that_is_allowed_and_says_so(tmp_path: Path) -> None:
    options = RunOptions(max_steps=1, any_device=True)
    report = run_plan(_of_another_device(), "sample", tmp_path / "out", options, Silent())
    told, started = report.deviations
    assert told.startswith("run with the plan of another device: the device was Other Board")
    assert started.startswith("another device's plan: starting took ") and "the plan counts 1 B" in started


def test_a_plan_of_another_device_that_has_no_room_beside_torch_is_infeasible_here(tmp_path: Path) -> None:
    plan = _of_another_device()
    plan = replace(plan, budget=replace(plan.budget, bytes=100 * 2**20))
    plan = replace(plan, id=content_id(plan))
    with pytest.raises(InfeasibleError, match="does not fit here: starting took") as caught:
        run_plan(plan, "sample", tmp_path / "out", RunOptions(max_steps=1, any_device=True), Silent())
    assert 100 * 2**20 < caught.value.minimum_bytes < 2000 * 2**20
    assert not (tmp_path / "out").exists()


LEFT = ["plan.json", "known.json", "init.safetensors", "memory.jsonl", "child.log", "weights/frozen.safetensors"]
LEFT.append("cache/block-000-train")


@pytest.mark.parametrize("name", LEFT)
def test_a_run_that_came_to_nothing_claims_no_folder(tmp_path: Path, name: str) -> None:
    write_sealed(RunFolder(tmp_path).job, TrainingJob(str(tmp_path), "sample", plan_id="0" * 64))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    assert not is_taken(RunFolder(tmp_path))
    assert agree(planned_run(small_plan(), tmp_path), RunOptions()).is_new
    clear_run(RunFolder(tmp_path))
    assert _names(tmp_path) == []


@pytest.mark.parametrize("name", [*LEFT, "job.json", "model.json", "exit.safetensors"])
def test_files_of_somebody_else_are_neither_overwritten_nor_removed(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    with pytest.raises(InputError, match="which the run would overwrite; choose another folder with --out"):
        run_plan(small_plan(), "sample", tmp_path, RunOptions(), Silent())
    assert (tmp_path / name).read_text() == ""


def test_in_a_folder_with_other_things_only_the_runs_own_go_again(tmp_path: Path) -> None:
    """The plan itself, and folders that are called as a run's are."""
    RunFolder(tmp_path).plan.write_text(to_json(small_plan()))
    for name in ("weights/mine.pt", "cache/pip.json", "data/images.npz"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("mine")
    before = _names(tmp_path)
    save_file({"units.0.0.weight": ones(1, 2, 3)}, tmp_path / "w")
    with pytest.raises(InputError, match="no tensor of it fits"):
        run_plan(small_plan(), "sample", tmp_path, RunOptions(max_steps=1, init=tmp_path / "w"), Silent())
    (tmp_path / "w").unlink()
    assert _names(tmp_path) == before


@pytest.mark.parametrize(
    "name",
    [
        "report.json",
        "weights/checkpoint.safetensors",
        "weights/block-000.safetensors",
        "weights/block-000.json",
        "memory.jsonl",
    ],
)
def test_a_run_that_came_to_something_does(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match="holds a run already"):
        agree(planned_run(small_plan(), tmp_path), RunOptions())


def test_the_run_of_another_plan_is_never_gone_on_with(tmp_path: Path) -> None:
    plan = small_plan()
    RunFolder(tmp_path).report.write_text("{}")
    resumed = RunOptions(resume=True)

    def refusal() -> str:
        with pytest.raises(PlannerError) as caught:
            agree(planned_run(plan, tmp_path), resumed)
        assert caught.value.exit_code == 2
        return str(caught.value)

    assert "nothing else says of which plan" in refusal()
    write_sealed(RunFolder(tmp_path).job, TrainingJob(str(tmp_path), "sample", plan_id="0" * 64))
    assert "holds a run of another plan" in refusal()
    write_sealed(RunFolder(tmp_path).job, TrainingJob(str(tmp_path), "sample", seed=5, plan_id=plan.id))
    begun = agree(planned_run(plan, tmp_path), resumed)
    assert (begun.options.seed, begun.is_new) == (5, False)
    assert begun.mended == ("plan.json was damaged or lost, and is written anew",)
    RunFolder(tmp_path).plan.write_text(to_json(plan))
    RunFolder(tmp_path).job.write_text("{")
    assert "is damaged or lost, and so is its copy in known.json" in refusal()
