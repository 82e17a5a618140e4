"""Weights to begin with: what fits is taken, the rest is named, and a resumed run begins its blocks alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from planner.cli.progress import Silent
from planner.errors import InputError
from planner.model.zoo import from_zoo
from planner.operators.unit_graph import GraphTensor, UnitGraph
from planner.runner.protocol.events import BlockStarted, Event, Initialised
from planner.runner.supervise.initial import input_difference, keep_initial
from planner.runner.supervise.preflight import PreflightQuestion, look
from planner.runner.supervise.supervisor import RunOptions, run_plan
from planner.runner.train import session as session_module
from planner.runner.train.block import compare_init
from planner.runner.train.frozen import check_beginning
from planner.schema.codec import decode, parse_json, read_document, to_json
from planner.schema.model import Model, Unit
from planner.schema.preprocessing import Normalisation
from planner.schema.report import Report
from planner.schema.report_parts import InitReport
from planner.schema.run_folder import RunFolder
from tests.fault.support import session, small_plan, weights
from tests.unit.runner.contexts import loaded_block, run_context
from tests.unit.runner.test_methods import state_of
from tests.unit.runner.train.test_block import make_plan
from tests.unit.system.support import run_child


def _given(seed: int = 9) -> dict[str, torch.Tensor]:
    """All weights of a network without heads, as an exported model holds them."""
    return {
        name: tensor.contiguous()
        for name, tensor in state_of(loaded_block(make_plan((0, 6)), 0, seed)).items()
        if name.startswith("units.")
    }


def test_weights_that_are_used_to_other_images_are_warned_of(tmp_path: Path) -> None:
    plan, by = small_plan(), Normalisation((0.1,), (0.3,))
    save_file(_given(), tmp_path / "w.safetensors")
    given = (tmp_path / "w.safetensors", tmp_path)
    assert [input_difference(path, plan) for path in given] == [None, None]  # nothing says what they are used to
    for name in ("w.json", "model.json"):
        (tmp_path / name).write_text(to_json(replace(plan.model, normalisation=by)))
    words = plan.normalisation.words(plan.model.input_dtype)
    said = f"went in as (value / 255 - 0.1) / 0.3; the plan has them go in as {words}"
    assert all(said in (input_difference(path, plan) or "") for path in given)
    alike = replace(plan, training=replace(plan.training, normalisation=by), request=None, schema="plan/1")
    assert [input_difference(path, alike) for path in given] == [None, None]
    question = PreflightQuestion(plan, any_device=True, trains=False, in_memory=False, init=str(given[0]))
    assert [said in text for text in look(question).warnings] == [True]


def test_what_fits_is_taken_and_the_rest_is_named(tmp_path: Path) -> None:
    given = _given()
    given["units.0.0.weight"] = torch.zeros(1, 2, 3)
    given["classifier.weight"] = torch.zeros(4)
    del given["units.3.0.weight"]
    save_file(given, tmp_path / "w")
    keep_initial(tmp_path / "w", tmp_path / "init", small_plan().model)
    plan = make_plan((0, 2, 4), (4, 6))
    found = compare_init(run_context(plan), tmp_path / "init")
    heads = [name for name in state_of(loaded_block(plan, 0, 0)) if name.startswith("heads.")]
    assert set(found.left) == {"units.0.0.weight", "units.3.0.weight", *heads}
    assert set(found.unused) == {"units.0.0.weight", "classifier.weight"}
    assert found.taken == len(given) - 2

    block, fresh = loaded_block(plan, 0, 3), loaded_block(plan, 0, 3)
    block.begin_with(tmp_path / "init")
    for name, tensor in state_of(block).items():
        expected = state_of(fresh)[name] if name in found.left else given[name]
        assert torch.equal(tensor, expected), name


def test_a_run_tells_what_it_began_with_and_exports_it_where_nothing_moved_it(tmp_path: Path) -> None:
    plan = small_plan()
    run_plan(plan, "sample", tmp_path / "first", RunOptions(max_steps=2), Silent())
    options = RunOptions(max_steps=2, init=RunFolder(tmp_path / "first").model)  # nothing held out: the full model
    report = run_plan(plan, "sample", tmp_path / "second", options, Silent())
    assert report.init is not None and report.init.unused == ()
    assert all(name.startswith("heads.") for name in report.init.left)
    assert read_document(RunFolder(tmp_path / "second").report, Report) == report
    with pytest.raises(InputError, match="resume it without"):
        again = RunOptions(max_steps=2, init=RunFolder(tmp_path / "first").model, resume=True)
        run_plan(plan, "sample", tmp_path / "second", again, Silent())


def test_of_a_runs_output_folder_the_full_model_is_taken(tmp_path: Path) -> None:
    """Whether it is what came out, or lies beside an exit that did."""
    given = _given()
    out = tmp_path / "run"
    out.mkdir()
    save_file(given, RunFolder(out).model)
    keep_initial(out, tmp_path / "init", small_plan().model)
    assert load_file(tmp_path / "init").keys() == given.keys()
    RunFolder(out).model.rename(RunFolder(out).full_model)
    save_file({"units.0.0.weight": given["units.0.0.weight"]}, RunFolder(out).model)
    keep_initial(out, tmp_path / "init", small_plan().model)
    assert load_file(tmp_path / "init").keys() == given.keys()
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"--init .*none/model\.safetensors: cannot be read"):
        keep_initial(tmp_path / "none", tmp_path / "init", small_plan().model)


def test_a_file_of_torch_is_read_under_the_names_of_torchvision(tmp_path: Path) -> None:
    """As its published weights for resnet18 are: the first convolution is another for small images."""
    given = {
        "conv1.weight": torch.ones(64, 3, 7, 7),
        "layer1.0.conv1.weight": torch.ones(64, 64, 3, 3).half(),
        "layer2.0.downsample.1.num_batches_tracked": torch.tensor(5),
    }
    torch.save(given, tmp_path / "w.pth")
    keep_initial(tmp_path / "w.pth", tmp_path / "init", from_zoo("resnet18"))
    kept = load_file(tmp_path / "init")
    assert {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in kept.items()} == {
        "units.0.0.weight": (torch.float32, (64, 3, 7, 7)),
        "units.1.0.body.0.weight": (torch.float32, (64, 64, 3, 3)),
        "units.3.0.shortcut.1.num_batches_tracked": (torch.int64, ()),
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["init", "w.pth"]
    torch.save(3, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"^--init .*w\.pth: holds no plain state dict"):
        keep_initial(tmp_path / "w.pth", tmp_path / "init", from_zoo("resnet18"))


def _nothing(path: Path) -> None:
    save_file({"features.0.weight": torch.zeros(3)}, path)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path: path.write_bytes(b"PK not tensors at all"), "not a safetensors file"),
        (lambda path: None, "cannot be read"),
        (_nothing, "no tensor of it fits"),
    ],
    ids=["another format", "missing", "another network"],
)
def test_what_cannot_be_begun_with_is_bad_input(tmp_path: Path, write: Callable[[Path], None], said: str) -> None:
    write(tmp_path / "w")
    with pytest.raises(InputError, match=said):
        run_plan(small_plan(), "sample", tmp_path / "out", RunOptions(max_steps=1, init=tmp_path / "w"), Silent())


def test_a_run_stopped_between_blocks_begins_the_next_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "calibration_seconds", lambda device: 1.0)
    plan = small_plan()
    whole = loaded_block(plan, 2, 77)
    save_file({name: tensor.contiguous() for name, tensor in state_of(whole).items()}, tmp_path / "w")

    def stop(event: Event) -> None:
        if isinstance(event, BlockStarted) and event.block == 1:
            raise ZeroDivisionError

    for name in ("at once", "stopped"):
        (tmp_path / name).mkdir()
        keep_initial(tmp_path / "w", RunFolder(tmp_path / name).init, small_plan().model)
    events: list[Event] = []
    session(plan, tmp_path / "at once", events.append)
    assert [event.init.taken for event in events if isinstance(event, Initialised)] == [len(state_of(whole))]
    with pytest.raises(ZeroDivisionError):
        session(plan, tmp_path / "stopped", stop)
    session(plan, tmp_path / "stopped")
    session(plan, tmp_path / "without")
    assert weights(tmp_path / "stopped", plan) == weights(tmp_path / "at once", plan)
    assert weights(tmp_path / "without", plan) != weights(tmp_path / "at once", plan)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_numbers_of_16_bits_are_made_float32_to_the_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    """Every number that 16 bits can be, and tensors of a network with its counters."""
    every = torch.arange(2**16, dtype=torch.int32).to(torch.uint16).view(dtype)
    given = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in _given().items()}
    foreign = torch.ones(3, dtype=dtype)
    save_file({**given, "units.99.every": every, "classifier.weight": foreign}, tmp_path / "w")
    keep_initial(tmp_path / "w", tmp_path / "init", small_plan().model)
    kept = load_file(tmp_path / "init")
    numbers = every.float()
    assert torch.equal(kept["units.99.every"].isnan(), numbers.isnan())
    known = ~numbers.isnan()
    assert torch.equal(kept["units.99.every"][known].view(torch.int32), numbers[known].view(torch.int32))
    assert kept["classifier.weight"].dtype == dtype, "what no network of ours has is left as it is"
    plan = make_plan((0, 2, 4), (4, 6))
    found = compare_init(run_context(plan), tmp_path / "init")
    floats = [name for name, tensor in given.items() if tensor.is_floating_point()]
    assert (found.taken, found.converted) == (len(given), len(floats) + 1)
    assert set(found.unused) == {"units.99.every", "classifier.weight"}
    block = loaded_block(plan, 0, 3)
    block.begin_with(tmp_path / "init")
    for name, tensor in state_of(block).items():
        if name in given:
            assert torch.equal(tensor, given[name].to(tensor.dtype)), name


@pytest.mark.parametrize(
    ("name", "tensor", "said"),
    [
        ("units.0.0.weight", torch.zeros(4, dtype=torch.float64), "is of type F64, F32 is right (or F16, BF16"),
        ("heads.2.0.weight", torch.zeros(4, dtype=torch.float8_e4m3fn), "is of type F8_E4M3, F32 is right (or F16"),
        ("units.0.1.num_batches_tracked", torch.tensor(3, dtype=torch.int32), "is of type I32, I64 is right; convert"),
        ("units.0.1.num_batches_tracked", torch.tensor(3.0, dtype=torch.float16), "is of type F16, I64 is right; con"),
    ],
)
def test_a_tensor_of_another_type_is_named(tmp_path: Path, name: str, tensor: torch.Tensor, said: str) -> None:
    save_file({"units.1.0.weight": torch.zeros(2), name: tensor}, tmp_path / "w")
    with pytest.raises(InputError) as caught:
        keep_initial(tmp_path / "w", tmp_path / "init", small_plan().model)
    assert f"--init {tmp_path / 'w'}: {name} {said}" in str(caught.value)
    assert not (tmp_path / "init").exists()


def test_types_that_are_of_no_use_are_left_alone(tmp_path: Path) -> None:
    save_file(
        {"positions": torch.arange(3, dtype=torch.int32), "mask": torch.ones(2, dtype=torch.bool)}, tmp_path / "w"
    )
    keep_initial(tmp_path / "w", tmp_path / "init", small_plan().model)
    assert load_file(tmp_path / "init")["positions"].tolist() == [0, 1, 2]


def test_converting_is_streamed(tmp_path: Path) -> None:
    """64 MiB of each type pass through the supervisor, which has no torch, within 8 MiB."""
    big = {f"units.{n}.w": torch.zeros(2**24, dtype=dtype) for n, dtype in enumerate((torch.float16, torch.bfloat16))}
    save_file(big, tmp_path / "w")
    code = """
        import json, sys
        from pathlib import Path
        from planner.runner.supervise import supervisor
        from planner.runner.supervise.initial import keep_initial
        from planner.model.zoo import from_zoo
        from planner.system.proc import read_memory, reset_peak
        assert "torch" not in sys.modules
        model = from_zoo("cnn6", (1, 28, 28), 10)
        reset_peak()
        before = read_memory().resident_bytes
        keep_initial(Path(sys.argv[1]), Path(sys.argv[2]), model)
        print(json.dumps(read_memory().peak_bytes - before))
    """
    assert run_child(code, str(tmp_path / "w"), str(tmp_path / "init")) < 8 * 2**20


def test_a_long_list_of_names_is_cut_where_a_document_holds_it() -> None:
    found = InitReport(1, tuple(map(str, range(20_000))), ("one",), 7).shortened()
    assert (len(found.left), found.left_more, found.unused, found.unused_more) == (1000, 19_000, ("one",), 0)
    assert decode(InitReport, parse_json(to_json(found))) == found


GRAPH = UnitGraph(
    "graph",
    ("a = mul.Tensor(x, $scale)", "b = add.Tensor(a, $steps)", "c = mean.dim(b, [2, 3])", "d = linear(c, $fc.weight)"),
    "d",
    (
        GraphTensor("scale", (3, 1, 1), "buffer", "given", persistent=False),
        GraphTensor("steps", (), "counter", "constant"),
        GraphTensor("fc.weight", (4, 3)),
    ),
)
OWN = Model("model/2", "mine", (3, 8, 8), 4, (Unit("only", (GRAPH,)),))


def test_a_networks_own_names_are_taken(tmp_path: Path) -> None:
    given = {
        "fc.weight": torch.arange(12, dtype=torch.float16).reshape(4, 3),
        "scale": torch.rand(3, 1, 1),
        "steps": torch.tensor(5),
        "other": torch.zeros(2),
    }
    save_file(given, tmp_path / "w")
    keep_initial(tmp_path / "w", tmp_path / "init", OWN)
    kept = load_file(tmp_path / "init")
    assert set(kept) == {"units.0.0.fc.weight", "units.0.0.scale", "units.0.0.steps", "other"}
    assert torch.equal(kept["units.0.0.fc.weight"], given["fc.weight"].float())
    assert kept["units.0.0.steps"].dtype == torch.int64
    save_file(given | {"steps": torch.tensor(5.0)}, tmp_path / "w")
    with pytest.raises(InputError, match="steps is of type F32, I64 is right"):
        keep_initial(tmp_path / "w", tmp_path / "init", OWN)


def test_a_constant_that_two_units_read_goes_to_both(tmp_path: Path) -> None:
    scaled = UnitGraph("graph", ("a = mul.Tensor(x, $scale)",), "a", GRAPH.tensors[:1])
    model = Model("model/2", "mine", (3, 8, 8), 4, (Unit("first", (scaled,)), Unit("second", (GRAPH,))))
    given = torch.rand(3, 1, 1)
    save_file({"scale": given}, tmp_path / "w")
    keep_initial(tmp_path / "w", tmp_path / "init", model)
    kept = load_file(tmp_path / "init")
    assert set(kept) == {"units.0.0.scale", "units.1.0.scale"}
    assert all(torch.equal(tensor, given) for tensor in kept.values())


def test_a_constant_that_only_weights_hold_has_to_be_brought() -> None:
    message = r"^scale is a constant of 3 numbers, which the description does not hold: bring the network's own weights"
    for left in (None, ["units.0.0.scale"]):
        with pytest.raises(InputError, match=message):
            check_beginning(OWN, left)
    check_beginning(OWN, ["units.0.0.fc.weight"])
