from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy
import pytest

from planner.cli import doctor
from planner.cli.main import main
from planner.data.dataset import open_data
from planner.data.statistics import measure
from planner.model.zoo import ZOO, from_zoo
from planner.profiler.library import shipped
from planner.profiler.library.shipped import profile_path
from planner.profiler.library.store import ProfileStore
from planner.schema.codec import content_id, decode, read_document, to_json
from planner.schema.common import DeviceKind, Machine
from planner.schema.disturbance import Disturbance, Samples
from planner.schema.observed import Observed, PolicyFactor
from planner.schema.plan import Plan
from planner.schema.preprocessing import Normalisation
from planner.schema.profile import Profile
from planner.schema.run_folder import RunFolder
from planner.system import machine
from planner.system.machine import fingerprint, probe
from planner.system.storage import memory_kind
from planner.units import GIB
from tests.memory_group import MemoryGroup, can_create
from tests.unit.cli.test_doctor import DOCUMENT
from tests.unit.profiler import profiles
from tests.unit.profiler.profiles import FOREIGN, request
from tests.unit.system.support import environment, run_child

MODEL = ("plan", "--model", "cnn6", "--budget", "2GiB")


@dataclass(frozen=True)
class Done:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def plan(self) -> Plan:
        return decode(Plan, json.loads(self.out))


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command with a store and a folder of shipped profiles of its own, and no way to measure."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "shipped")

    def measure(*arguments: object) -> Profile:
        raise AssertionError("measured, although nothing should be")

    monkeypatch.setattr("planner.profiler.profile.take_profile", measure)

    def call(*arguments: object) -> Done:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return call


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Profile], Path]:
    def to_file(profile: Profile) -> Path:
        path = tmp_path / "profile.json"
        path.write_text(to_json(profile))
        return path

    return to_file


def _ship(tmp_path: Path, profile: Profile) -> Profile:
    path = profile_path(profile.model, profile.optimizer, tmp_path / "shipped")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_json(profile))
    return profile


def _own(kind: DeviceKind = "cpu") -> Profile:
    """A profile of this very device, as it would find itself, torch installed or not."""
    found = probe()
    cores = found.cores
    profile = profiles.here(threads=cores, kind=kind)
    device = replace(profile.device, fingerprint=fingerprint(found, found.torch_version, cores, kind))
    profile = replace(profile, device=device)
    return replace(profile, id=content_id(profile))


def test_a_plan_says_whose_network_a_name_is(run: Run, write: Callable[[Profile], Path]) -> None:
    assert ZOO["cnn6"].form in run(*MODEL, "--profile", write(_own())).err


def test_a_persons_own_network_may_be_called_as_one_of_the_zoo(
    run: Run, write: Callable[[Profile], Path], tmp_path: Path
) -> None:
    """Also one that the zoo has not at this size."""
    own = _own()
    renamed = replace(own, model=replace(own.model, name="vgg16-bn"))
    (tmp_path / "mine.json").write_text(to_json(renamed.model))
    profile = write(replace(renamed, id=content_id(renamed)))
    done = run("plan", "--model", tmp_path / "mine.json", "--budget", "2GiB", "--profile", profile)
    assert (done.code, done.err) == (0, "")


def test_a_profile_of_this_device_needs_no_permission(run: Run, write: Callable[[Profile], Path]) -> None:
    done = run(*MODEL, "--profile", write(_own()), "--json")
    assert (done.code, done.err) == (0, "")
    assert done.plan.device.fingerprint == _own().device.fingerprint


def test_why_a_policy_cannot_be_chosen_is_said_where_it_matters(run: Run, write: Callable[[Profile], Path]) -> None:
    noted = replace(_own(), notes=("fast: no whole step could be measured (why)",))
    file = write(replace(noted, id=content_id(noted)))
    done = run(*MODEL, "--profile", file)
    assert done.code == 0
    assert "the profile notes: fast: no whole step could be measured (why)" in done.err
    assert "the profile notes" not in run(*MODEL, "--profile", file, "--allocator", "tight").err


def test_how_times_were_taken_is_said_where_they_may_be_off(run: Run, write: Callable[[Profile], Path]) -> None:
    busy = replace(_own(), disturbance=Disturbance(Samples(10, 60, 9), 700, 0, 3))
    done = run(*MODEL, "--profile", write(replace(busy, id=content_id(busy))))
    assert done.code == 0
    assert (
        "warning: the profile was taken on a busy device: processes waited for a processor 70% of the time" in done.err
    )
    seen = replace(busy, observed=Observed(busy.id, 2, (PolicyFactor("tight", 0.5),)))
    said = run(*MODEL, "--profile", write(replace(seen, id=content_id(seen)))).err
    assert "the profile's times are those of 2 runs on this device: tight × 0.50 of what was measured" in said
    assert "warning" not in said
    quiet = replace(busy, disturbance=Disturbance(Samples(10, 60, 1), 700, 0, 3))
    assert "busy" not in run(*MODEL, "--profile", write(replace(quiet, id=content_id(quiet)))).err


def test_a_foreign_profile_is_refused_in_words(run: Run, write: Callable[[Profile], Path]) -> None:
    file = write(profiles.of(FOREIGN))
    done = run(*MODEL, "--profile", file)
    assert (done.code, done.out) == (2, "")
    for words in (
        str(file),
        f"the device was Other Board, here it is {probe().name}",
        f"the number of cores was 77, here it is {probe().cores}",
        "torch was 1.2.3",
        "the allocator was musl",
        "--any-device",
    ):
        assert words in done.err


def test_a_foreign_profile_is_taken_with_a_warning_where_that_is_asked_for(
    run: Run, write: Callable[[Profile], Path]
) -> None:
    profile = profiles.of(FOREIGN)
    done = run(*MODEL, "--profile", write(profile), "--any-device", "--json")
    assert done.code == 0
    assert done.err.startswith("warning: ")
    assert "the device was Other Board" in done.err
    assert (done.plan.device, done.plan.profile_id) == (profile.device, profile.id)


def test_a_profile_from_before_an_update_of_torch_is_stale(run: Run, write: Callable[[Profile], Path]) -> None:
    stale = profiles.of(replace(probe(), torch_version="0.4"))
    done = run(*MODEL, "--profile", write(stale))
    assert done.code == 2
    assert "torch was 0.4" in done.err
    assert "the device was" not in done.err


def test_the_profile_of_another_kind_of_device_is_refused(run: Run, write: Callable[[Profile], Path]) -> None:
    done = run(*MODEL, "--profile", write(_own()), "--device", "cuda")
    assert (done.code, done.out) == (2, "")
    assert "was measured on cpu, but --device is cuda" in done.err


def test_for_a_gpu_nothing_is_shipped_but_what_was_measured_is_found(run: Run, tmp_path: Path) -> None:
    _ship(tmp_path, profiles.of(FOREIGN))
    asked = (*MODEL, "--no-measure", "--device", "cuda", "--json")
    done = run(*asked)
    assert done.code == 2
    assert "no profile of a GPU is shipped" in json.loads(done.out)["error"]
    own = _own("cuda")
    ProfileStore(tmp_path / "data/neuroflux/profiles").keep(request(threads=own.device.threads, device="cuda"), own)
    done = run(*asked)
    assert done.code == 0, done.err
    assert done.plan.profile_id == own.id


@pytest.mark.parametrize(
    ("option", "value"),
    [("--momentum", 2), ("--lr", 0), ("--weight-decay", 5), ("--warmup", 20), ("--polish-lr", 0.5)],
)
def test_a_setting_out_of_range_is_refused_by_its_own_option(run: Run, option: str, value: float) -> None:
    done = run(*MODEL, "--profile", "never.read", option, value)
    assert (done.code, done.out) == (2, "")
    assert f"{option}: {option[2:].replace('-', '_')} is " in done.err


def test_any_device_without_a_file_is_refused(run: Run) -> None:
    done = run(*MODEL, "--any-device")
    assert done.code == 2
    assert "--profile" in done.err


def test_without_measuring_the_store_comes_first(run: Run, tmp_path: Path) -> None:
    _ship(tmp_path, profiles.of(FOREIGN))
    own = _own()
    ProfileStore(tmp_path / "data/neuroflux/profiles").keep(request(threads=own.device.threads), own)
    done = run(*MODEL, "--no-measure", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.plan.profile_id == own.id


def test_without_measuring_a_shipped_profile_is_taken_and_called_foreign(run: Run, tmp_path: Path) -> None:
    profile = _ship(tmp_path, profiles.of(FOREIGN))
    done = run(*MODEL, "--no-measure", "--json")
    assert done.code == 0
    assert "memory and time were measured on Other Board, not here" in done.err
    assert done.plan.device == profile.device
    assert not (tmp_path / "data").exists()


def test_the_very_device_that_shipped_it_gets_no_warning(run: Run, tmp_path: Path) -> None:
    own = _ship(tmp_path, _own())
    done = run(*MODEL, "--no-measure", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.plan.profile_id == own.id


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--batch", 256), "a batch of 256"),
        (("--optimizer", "adam"), "adam"),
        (("--input", "1x28x28"), "1x28x28"),
    ],
)
def test_what_is_not_shipped_is_refused_with_what_is(
    run: Run, tmp_path: Path, arguments: tuple[Any, ...], said: str
) -> None:
    _ship(tmp_path, profiles.of(FOREIGN))
    done = run(*MODEL, "--no-measure", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "cnn6-3x32x32-10-sgd" in done.err


def test_where_torch_is_missing_nothing_is_measured(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "installed_torch_version", lambda: None)
    _ship(tmp_path, profiles.of(FOREIGN))
    done = run(*MODEL, "--json")
    assert done.code == 0
    assert "here it is none" in done.err


def test_a_python_with_numpy_alone_plans_from_a_shipped_profile(tmp_path: Path) -> None:
    profile = _ship(tmp_path, profiles.of(FOREIGN))
    packages = tmp_path / "packages"
    packages.mkdir()
    installed = Path(numpy.__file__).parent
    for folder in (installed, installed.with_name("numpy.libs")):
        if folder.exists():
            (packages / folder.name).symlink_to(folder)
    code = """
        import contextlib, io, json, sys
        from pathlib import Path
        sys.path = [*(entry for entry in sys.path if "site-packages" not in entry), sys.argv[2]]
        from planner.cli.main import main
        from planner.profiler.library import shipped
        shipped.FOLDER = Path(sys.argv[1])
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            code = main(["plan", "--model", "cnn6", "--budget", "2GiB", "--no-measure", "--json"])
        loaded = [name for name in ("torch", "tqdm") if name in sys.modules]
        print(json.dumps([code, json.loads(output.getvalue())["device"]["name"], loaded]))
    """
    assert run_child(code, str(tmp_path / "shipped"), str(packages)) == [0, profile.device.name, []]


def test_frozen_units_are_planned_around_and_named(run: Run, write: Callable[[Profile], Path], tmp_path: Path) -> None:
    file = write(_own())
    done = run(*MODEL, "--profile", file, "--freeze", 1, "-o", tmp_path / "plan.json", "--json")
    assert (done.code, done.err) == (0, "")
    assert (done.plan.training.freeze, done.plan.blocks[0].units[0]) == (1, 1)
    done = run(*MODEL, "--profile", file, "--freeze", 1, "-o", tmp_path / "plan.json")
    assert done.code == 0
    assert "the first unit frozen" in " ".join(done.out.split())
    assert "--data D --init WEIGHTS" in done.err


def test_segments_of_linear_layers_are_planned_where_that_is_asked_for(
    run: Run, write: Callable[[Profile], Path]
) -> None:
    words = (*MODEL, "--profile", write(_own()), "--strategy", "classic-local", "--json")
    usual, alone = run(*words).plan, run(*words, "--linear-segments").plan
    assert (usual.linear_segments, alone.linear_segments) == (False, True)
    assert alone.cuts == usual.cuts + 1


def test_augmentation_is_planned_for_and_said(run: Run, write: Callable[[Profile], Path]) -> None:
    file = write(_own())
    for words, views in ((("--views", 2), 2), ((), 3)):
        done = run(*MODEL, "--profile", file, "--augment", "crop-flip", "--epochs", 3, *words, "--json")
        assert (done.code, done.err) == (0, "")
        assert (done.plan.training.augment, done.plan.training.views) == ("crop-flip", views)
    done = run(*MODEL, "--profile", file, "--augment", "crop-flip")
    assert "augmented by crop-flip" in " ".join(done.out.split())
    for views, augment, said in (
        (2, "none", "--views: views is 2; it is 1 where augment is none"),
        (4, "flip", "--views: views is 4; it must lie between 1 and the epochs"),
    ):
        done = run(*MODEL, "--profile", file, "--views", views, "--augment", augment, "--epochs", 3)
        assert (done.code, done.out) == (2, "")
        assert said in done.err


def test_a_polish_below_the_floor_of_checkpoint_is_refused_with_the_least_that_would_do(
    run: Run, write: Callable[[Profile], Path]
) -> None:
    # Nothing in reserve: a smaller one would be advised before anything that changes what is trained.
    asked = ("plan", "--model", "cnn6", "--profile", write(_own()), "--scope", "training", "--reserve", 0, "--json")
    words = (*asked, "--budget")
    least = [run(*words, "1KiB", "--strategy", name) for name in ("auto", "checkpoint")]
    assert [done.code for done in least] == [3, 3]
    plain, floor = (json.loads(done.out)["minimum_bytes"] for done in least)
    assert plain < floor
    done = run(*words, floor - 1, "--polish", 1)
    assert done.code == 3
    refused = json.loads(done.out)
    assert refused["minimum_bytes"] == floor
    assert refused["error"].startswith("no plan that ends with 1 epoch of polish fits a budget of")
    assert "no polish at the end (no --polish)" in refused["error"]
    done = run(*words, floor, "--polish", 1)
    assert done.code == 0
    assert done.plan.polish is not None and done.plan.minimum_budget_bytes == floor
    done = run(*words, floor, "--polish-lr", 0.1)
    assert (done.code, json.loads(done.out)["error"].partition(":")[0]) == (2, "--polish-lr")


def test_more_units_than_can_be_frozen_are_refused_before_anything_is_measured(run: Run) -> None:
    done = run(*MODEL, "--freeze", 6)
    assert (done.code, done.out) == (2, "")
    assert "freeze is 6; it must lie between 0 and 5: the network has 6 units, and the last one" in done.err
    for value in ("-1", "1.5", "many", "1024"):
        with pytest.raises(SystemExit) as caught:
            run(*MODEL, f"--freeze={value}")
        assert caught.value.code == 2


def test_what_torch_alone_knows_makes_no_profile_stale(run: Run, write: Callable[[Profile], Path]) -> None:
    own = _own()
    found: Machine = replace(probe(), torch_threads=1, gpu_total_bytes=1, gpu_context_bytes=1)
    whole = replace(own, machine=found)
    done = run(*MODEL, "--profile", write(replace(whole, id=content_id(whole))))
    assert (done.code, done.err) == (0, f"cnn6: {ZOO['cnn6'].form}\n")


def test_a_picture_that_cannot_be_drawn_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    plan = tmp_path / "plan.json"
    assert main([*MODEL, "--no-measure", "--svg", str(tmp_path / "f.svg"), "-o", str(plan)]) == 2
    assert "pip install 'neuroflux-planner[report]'" in capsys.readouterr().err
    assert not plan.exists()


@pytest.mark.parametrize("option", ["-o", "--svg"])
def test_a_file_that_could_not_be_written_is_refused_before_anything_is_read(
    run: Run, tmp_path: Path, option: str
) -> None:
    missing = tmp_path / "no such folder" / "plan"
    done = run(*MODEL, "--profile", tmp_path / "no such profile", option, missing)
    assert (done.code, done.err) == (4, f"neuroflux: {missing}: the folder does not exist; create it first\n")
    done = run(*MODEL, "--profile", tmp_path / "no such profile", option, tmp_path)
    assert (done.code, str(tmp_path) in done.err) == (4, True)


def test_the_next_command_is_the_one_that_fits_and_can_be_pasted(
    run: Run, write: Callable[[Profile], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my work").mkdir()
    monkeypatch.chdir(tmp_path / "my work")
    file, profile = Path("my plan.json"), write(_own())

    def command() -> list[str]:
        done = run(*MODEL, "--profile", profile, "-o", file)
        assert done.code == 0, done.err
        return shlex.split(done.err.splitlines()[-1])

    assert command() == ["neuroflux", "run", "my plan.json", "--data", "D"]
    out = Path("runs") / read_document(file, Plan).id[:12]
    out.mkdir(parents=True)
    RunFolder(out).memory.write_text("{}\n")
    assert command() == ["neuroflux", "run", "my plan.json", "--data", "D", "--resume"]
    RunFolder(out).report.write_text("{}\n")
    assert command() == ["neuroflux", "run", "my plan.json", "--data", "D", "--out", f"{out}-again"]


@pytest.mark.kernel
def test_a_budget_above_the_containers_limit_is_warned_of(run: Run, write: Callable[[Profile], Path]) -> None:
    reason = can_create()
    if reason is not None:
        pytest.skip(reason)
    file = write(_own())
    words = [*MODEL, "--profile", str(file), "--json"]
    command = [sys.executable, "-m", "planner.cli.main", *words]
    with MemoryGroup(GIB) as group:
        done = subprocess.run(command, preexec_fn=group.enter, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "warning: the budget of 2.00 GiB is above the limit of 1.00 GiB that holds here" in done.stderr
    foreign = write(profiles.of(FOREIGN))
    with MemoryGroup(GIB) as group:
        elsewhere = [*command[:-2], str(foreign), "--any-device", "--json"]
        done = subprocess.run(elsewhere, preexec_fn=group.enter, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "is above the limit" not in done.stderr


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A folder that is memory."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or memory_kind(shared) is None:
        pytest.skip("/dev/shm is no memory here")
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)


def test_where_runs_would_lie_in_memory_that_is_said(
    run: Run, write: Callable[[Profile], Path], in_memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(_own())
    assert "is memory" not in run(*MODEL, "--profile", file).err
    monkeypatch.chdir(in_memory)
    said = run(*MODEL, "--profile", file).err
    assert f"warning: {in_memory}/runs is memory (tmpfs): what a run keeps there counts in its budget, about" in said
    foreign = write(profiles.of(FOREIGN))
    assert "is memory" not in run(*MODEL, "--profile", foreign, "--any-device").err
    monkeypatch.setattr(doctor, "examine", lambda folder, seconds: DOCUMENT)
    assert "warning: runs is memory (tmpfs)" in run("doctor").err
    assert "is memory" not in run("doctor", "--folder", file.parent, "--json").err


SHIPPED = ("--profile", str(shipped.FOLDER / "models" / "cnn6-3x32x32-10-sgd.json"), "--any-device", "--json")


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """Ten classes of images of another size than the shipped profile's."""
    images = numpy.random.default_rng(0).integers(0, 256, (100, 11, 6, 3), numpy.uint8)
    images[..., 2] //= 4
    numpy.savez(tmp_path / "set.npz", images=images, labels=numpy.arange(100) % 10)
    return tmp_path / "set.npz"


def test_images_are_normalised_by_what_is_measured_of_them_as_they_are_trained_on(run: Run, arrays: Path) -> None:
    words = (*MODEL, *SHIPPED, "--data", arrays, "--resize", "32")
    plan = run(*words, "--normalise", "measured").plan
    assert (plan.resize, plan.training.samples) == ("bilinear", 90)
    with open_data(str(arrays), arrays.parent, resize=(32, 32)) as data:
        assert plan.training.normalisation == plan.normalisation == measure(data, 0)
    mean = plan.normalisation.mean
    assert mean[2] < 0.2 < 0.4 < mean[0] < 0.6
    assert run(*words, "--normalise", "measured", "--seed", "5").plan.normalisation != plan.normalisation
    assert run(*words).plan.training.normalisation is None


def test_what_cannot_be_said_of_images_is_refused_before_anything_is_measured(run: Run, arrays: Path) -> None:
    data = ("--data", arrays, "--resize", "32")
    refused = {
        ("--mean", "0.5"): "--mean, --std: std is missing: mean and std are given together",
        ("--mean", "0.5", "--std", "0"): "std is 0.0; it must lie between",
        ("--mean", "0.5,0.5", "--std", "1"): "mean has 2 numbers; the input has 3 channels",
        ("--normalise", "measured"): "--normalise measured reads the training samples; name them with --data",
        (*data, "--normalise", "measured", "--mean", "0", "--std", "1"): "leave out --mean and --std",
        ("--input", "3x32x32", "--resize", "16"): "--resize is 16x16, but the model takes 32x32",
        ("--input", "3x32x32", "--data", arrays): "but the model takes 3×32×32 (--resize brings images to it)",
    }
    for words, said in refused.items():
        done = run(*MODEL, *SHIPPED, *words)
        assert (done.code, said in done.err) == (2, True), (words, done.err)


def test_a_trained_networks_description_says_how_its_images_go_in(run: Run, arrays: Path, tmp_path: Path) -> None:
    by = Normalisation((0.1, 0.2, 0.3), (0.4,))
    model = replace(from_zoo("cnn6", (3, 32, 32), 10), normalisation=by, resize="bilinear", class_names=("a", "b"))
    (tmp_path / "model.json").write_text(to_json(model))
    words = ("plan", "--model", tmp_path / "model.json", "--budget", "2GiB", *SHIPPED)
    plan = run(*words, "--data", arrays).plan
    assert (plan.training.normalisation, plan.training.resize) == (by, "bilinear")
    assert (plan.model.normalisation, plan.model.resize) == (None, None)  # a profile's model says nothing of it
    assert run(*words, "--mean", "0.5", "--std", "1").plan.normalisation == Normalisation((0.5,), (1.0,))
