"""Blocks of every task: their loss is torch's, and a cache carries what the data labels samples with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from planner.heads.convolution import ConvHead
from planner.heads.dense import PixelHead, PlaceHead
from planner.heads.kinds import AuxiliaryHead
from planner.heads.pooled import PooledHead
from planner.operators.activation import Activation
from planner.operators.convolution import Conv2d
from planner.operators.layers import Layer
from planner.operators.linear import Linear
from planner.operators.reshaping import Flatten
from planner.operators.unit_graph import GraphTensor, UnitGraph
from planner.runner.protocol.events import BlockDone, Event
from planner.runner.protocol.job import TrainingJob
from planner.runner.supervise.resume import clear_leftovers, first_open_block
from planner.runner.train import session as session_module
from planner.runner.train.guard import MemoryGuard
from planner.runner.train.session import Session
from planner.runner.train.stop import StopSignal
from planner.schema.codec import content_id, decode, encode
from planner.schema.model import Model, Unit
from planner.schema.plan import BlockInput, Exit, Plan, Segment
from planner.tasks.kinds import USUAL
from planner.training.tasks import make_arithmetic
from tests.fault.support import weights
from tests.prepared import open_prepared
from tests.unit.data.support import random_images
from tests.unit.runner.contexts import loaded_block, planned_run
from tests.unit.runner.test_methods import with_recomputed_input
from tests.unit.runner.train.test_block import BATCH, make_plan

SHAPE = (1, 8, 8)
TOKENS, VOCABULARY = (6,), 11
OUTPUTS: Mapping[str, int] = {
    "regression": 2, "multilabel": 3, "segmentation": 3, "autoencoder": 1, "next-token": VOCABULARY,
}  # fmt: skip
HEADS: Mapping[str, AuxiliaryHead] = {
    "regression": ConvHead("auxiliary", 8),
    "multilabel": ConvHead("auxiliary", 8),
    "segmentation": PixelHead("pixel"),
    "autoencoder": PixelHead("pixel"),
    "next-token": PlaceHead("place"),
}
DENSE = ("segmentation", "autoencoder")


def _linear(name: str, rows: int, columns: int, *more: str) -> Unit:
    """A linear layer at every place."""
    weight = GraphTensor("weight", (rows, columns), start="uniform", scale=0.5)
    return Unit(name, (UnitGraph("graph", ("y = linear(x, $weight)", *more), "y" if not more else "z", (weight,)),))


def _language_model() -> Model:
    table = GraphTensor("table", (VOCABULARY, 4), start="normal", scale=1.0)
    embedding = UnitGraph("graph", ("y = embedding($table, x)",), "y", (table,), takes="int64")
    units = Unit("a", (embedding,)), _linear("b", 4, 4, "z = relu(y)"), _linear("c", VOCABULARY, 4)
    return Model("model/2", "next", TOKENS, VOCABULARY, units, USUAL["next-token"], input_dtype="int64")


def _model(kind: str) -> Model:
    if kind == "next-token":
        return _language_model()
    outputs = OUTPUTS[kind]
    filters: tuple[Layer, ...] = (Conv2d("conv2d", 4, 3, padding=1), Activation("relu"))
    flat: tuple[Layer, ...] = (Flatten("flatten"), Linear("linear", outputs))
    last = (Conv2d("conv2d", outputs, 1),) if kind in DENSE else flat
    return Model(
        "model/2", kind, SHAPE, outputs, (Unit("a", filters), Unit("b", filters), Unit("c", last)), USUAL[kind]
    )


def _plan(kind: str) -> Plan:
    """Two blocks, the second of which reads a cache."""
    plan = make_plan((0, 6), lr=0.01)
    head = HEADS[kind]
    block = plan.blocks[0]
    first = replace(block, units=(0, 1), segments=(Segment((0, 1), head),))
    source = BlockInput("cache", 1, 64, "float32")
    second = replace(block, units=(1, 3), segments=(Segment((1, 3), None),), input=source)
    fitted = (Exit(2, PooledHead("pooled")),) if USUAL[kind].fits_exits else ()
    plan = replace(plan, model=_model(kind), blocks=(first, second), exits=(Exit(1, head), *fitted, Exit(3, None)))
    return replace(plan, id=content_id(plan))


def _labels(kind: str, count: int) -> dict[str, np.ndarray]:
    drawn = np.random.default_rng(1)
    match kind:
        case "regression":
            return {"labels": drawn.normal(size=(count, 2))}
        case "multilabel":
            return {"labels": drawn.integers(0, 2, (count, 3))}
        case "segmentation":
            return {"labels": np.where(drawn.random((count, 8, 8)) < 0.1, 255, drawn.integers(0, 3, (count, 8, 8)))}
    return {}


def _session(plan: Plan, data: Path, out: Path) -> list[BlockDone]:
    """Run all blocks in this process; what was said of each when it was done."""
    (out / "weights").mkdir(parents=True)
    first = first_open_block(planned_run(plan, out))
    clear_leftovers(planned_run(plan, out), first)
    done: list[BlockDone] = []

    def tell(event: Event) -> None:
        if isinstance(event, BlockDone):
            done.append(event)

    torch.set_num_threads(1)
    model = plan.model
    wanted = {"classes": model.classes, "task": model.task, "input_dtype": model.input_dtype}
    with open_prepared(data, out, size=model.input, **wanted) as opened:
        Session(TrainingJob(str(out), str(data)), plan, opened, MemoryGuard(None), tell, StopSignal()).run()
    return done


@pytest.mark.parametrize("kind", OUTPUTS)
def test_a_cache_carries_the_labels(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that reads one ends in the weights of a block that reads the data itself."""
    monkeypatch.setattr(session_module, "calibration_seconds", lambda device: 1.0)
    path, plan = tmp_path / "data.npz", _plan(kind)
    samples: np.ndarray = random_images(30, 8, 8)
    if kind == "next-token":
        samples = np.random.default_rng(2).integers(0, VOCABULARY, (30, *TOKENS))
    np.savez(path, images=samples, **_labels(kind, 30))  # type: ignore[arg-type]  # numpy types its flag
    cached = _session(plan, path, tmp_path / "cached")
    again = with_recomputed_input(plan, 1)
    read = _session(replace(again, id=content_id(again)), path, tmp_path / "read")
    assert cached[0].cache_bytes > 0 and read[0].cache_bytes == 0
    assert weights(tmp_path / "cached", plan) == weights(tmp_path / "read", plan)
    for one, other in zip(cached, read, strict=True):
        assert [found.accuracy for found in one.exits] == pytest.approx([found.accuracy for found in other.exits])
        assert [found.unit for found in one.exits] == [found.unit for found in other.exits]
    form = plan.model.label_form
    record = 4 * prod((6, 4) if kind == "next-token" else (4, 8, 8)) + form.stored_bytes + 4
    assert cached[0].cache_bytes % record == 0 and cached[0].cache_bytes // record <= 30


@pytest.mark.parametrize("kind", [kind for kind in OUTPUTS if kind != "next-token"])
def test_the_loss_of_a_batch_is_that_of_plain_torch(kind: str) -> None:
    plan = _plan(kind)
    whole = replace(plan.blocks[0], units=(0, 3), segments=(Segment((0, 3), None),))
    block = loaded_block(replace(plan, blocks=(whole,)), 0, 0)
    network = nn.Sequential(*block.segments[0].units)
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(BATCH, *SHAPE, generator=generator)
    labels = make_arithmetic(plan.model.task).examples(BATCH, plan.model.classes, SHAPE, generator)
    if kind == "autoencoder":
        labels = inputs
    if kind == "segmentation":
        labels[:, 0] = 255
    losses: Mapping[str, nn.Module] = {
        "regression": nn.MSELoss(),
        "multilabel": nn.BCEWithLogitsLoss(),
        "segmentation": nn.CrossEntropyLoss(ignore_index=255),
        "autoencoder": nn.MSELoss(),
    }
    with torch.no_grad():
        expected: Tensor = losses[kind](network(inputs), labels)
    assert block.train_batch(iter([(inputs, labels)]), BATCH, accumulate=False) == pytest.approx(float(expected))


def test_the_loss_of_tokens_is_that_of_plain_torch() -> None:
    plan = _plan("next-token")
    whole = replace(plan.blocks[0], units=(0, 3), segments=(Segment((0, 3), None),))
    block = loaded_block(replace(plan, blocks=(whole,)), 0, 0)
    tokens = torch.randint(0, VOCABULARY, (BATCH, *TOKENS), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        outputs = nn.Sequential(*block.segments[0].units)(tokens)
        expected = nn.CrossEntropyLoss()(outputs[:, :-1].reshape(-1, VOCABULARY), tokens[:, 1:].reshape(-1))
    assert block.train_batch(iter([(tokens, tokens)]), BATCH, accumulate=False) == pytest.approx(float(expected))


def test_what_a_task_says_is_in_every_document() -> None:
    for kind in OUTPUTS:
        assert decode(Model, encode(_model(kind))) == _model(kind)


@pytest.mark.parametrize(("kind", "other"), [("next-token", "uint8"), ("autoencoder", "int64")])
def test_a_task_says_what_samples_hold(kind: str, other: str) -> None:
    with pytest.raises(ValueError, match=rf"(task: {kind} takes .*; input_dtype is {other}|its layer takes)"):
        replace(_model(kind), input_dtype=other)  # type: ignore[arg-type]  # one of them
