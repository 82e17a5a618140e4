"""What blocks see of augmented images: another view in every epoch, or a few that a cache holds, in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from planner.model.shapes import model_sizes
from planner.runner.input.augment import Augmented
from planner.runner.protocol.events import BlockStarted, Deviation, Event, Step
from planner.runner.protocol.job import TrainingJob
from planner.runner.storage import cache
from planner.runner.storage.cache import shard_path
from planner.runner.supervise.resume import clear_leftovers, first_open_block
from planner.runner.train import session as session_module
from planner.runner.train.block import LoadedBlock
from planner.runner.train.guard import MemoryGuard
from planner.runner.train.session import Session
from planner.runner.train.stop import StopSignal
from planner.schema.codec import content_id
from planner.schema.plan import Plan
from planner.schema.preprocessing import USUAL
from planner.schema.run_folder import RunFolder
from planner.tasks.base import Label
from planner.training.encoding import image_tensor
from tests.fault.support import weights
from tests.prepared import open_prepared
from tests.unit.data.support import cycling_labels, random_images
from tests.unit.runner.contexts import planned_run
from tests.unit.runner.test_methods import with_recomputed_input
from tests.unit.runner.train.test_block import make_plan

SAMPLES = 20
EPOCHS = 3

Tell = Callable[[Event], None]


@pytest.fixture(autouse=True)
def _small_and_untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several shards in a cache of a few samples, and no calibration."""
    monkeypatch.setattr(cache, "_SHARD_BYTES", 40_000)
    monkeypatch.setattr(session_module, "calibration_seconds", lambda device: 1.0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twenty images to train on, and ten to test on."""
    path = tmp_path / "data.npz"
    images = random_images(SAMPLES + 10, 1, 8, 8)
    labels = cycling_labels(SAMPLES + 10, 10)
    np.savez(
        path,
        images=images[:SAMPLES],
        labels=labels[:SAMPLES],
        test_images=images[SAMPLES:],
        test_labels=labels[SAMPLES:],
    )
    return path


def _plan(views: int, **training: object) -> Plan:
    """Three blocks of which the second and the third read caches."""
    plan = make_plan((0, 2), (2, 4), (4, 6))
    terms = {"epochs": EPOCHS, "samples": SAMPLES, "augment": "crop-flip", "views": views, **training}
    plan = replace(plan, training=replace(plan.training, **terms))  # type: ignore[arg-type]  # as named
    return replace(plan, id=content_id(plan))


def _recomputing() -> Plan:
    """The same, and both run images through the blocks before them instead."""
    plan = with_recomputed_input(with_recomputed_input(_plan(1), 1), 2)
    return replace(plan, id=content_id(plan))


def _session(plan: Plan, data: Path, out: Path, tell: Tell = lambda event: None) -> dict[str, bytes]:
    (out / "weights").mkdir(parents=True, exist_ok=True)
    first = first_open_block(planned_run(plan, out))
    clear_leftovers(planned_run(plan, out), first)
    job = TrainingJob(str(out), str(data), first_block=first, checkpoint_seconds=0.0)
    torch.set_num_threads(1)
    with open_prepared(str(data), out, size=plan.model.input) as opened:
        Session(job, plan, opened, MemoryGuard(None), tell, StopSignal()).run()
    return weights(out, plan) if (out / "weights" / "block-002.json").exists() else {}


def _trained_on(monkeypatch: pytest.MonkeyPatch, plan: Plan, data: Path, out: Path) -> list[list[set[bytes]]]:
    """By block and epoch, the samples that came in, dry steps left out."""
    seen: list[list[tuple[bytes, ...]]] = [[] for _ in plan.blocks]
    found: list[list[set[bytes]]] = [[set() for _ in range(EPOCHS)] for _ in plan.blocks]
    train_batch = LoadedBlock.train_batch

    def watch(block: LoadedBlock, micro_batches: object, *rest: object) -> float:
        def each() -> object:
            for inputs, labels in micro_batches:  # type: ignore[attr-defined]  # an iterator
                seen[plan.blocks.index(block.spec)].append(tuple(_bytes(sample) for sample in inputs))
                yield inputs, labels

        return train_batch(block, each(), *rest)  # type: ignore[arg-type]  # as it was called

    def tell(event: Event) -> None:
        if isinstance(event, BlockStarted) and event.phase == "train":
            seen[event.block].clear()
        if isinstance(event, Step):
            found[event.block][event.epoch].update(*seen[event.block])
            seen[event.block].clear()

    with monkeypatch.context() as patch:
        patch.setattr(LoadedBlock, "train_batch", watch)
        _session(plan, data, out, tell)
    return found


def _bytes(sample: Tensor) -> bytes:
    return bytes(sample.contiguous().numpy().tobytes())


def test_the_first_block_sees_another_view_of_every_image_in_every_epoch(
    monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path
) -> None:
    plan = _plan(2)
    epochs = _trained_on(monkeypatch, plan, data, tmp_path / "out")[0]
    with open_prepared(str(data), tmp_path, size=plan.model.input) as opened:
        views = Augmented(opened.training, "crop-flip", (1, 8, 8), plan.training.seed)
        for epoch, found in enumerate(epochs):
            buffer = bytearray(64)
            expected = set()
            for index in range(SAMPLES):
                views.read_into(epoch * SAMPLES + index, memoryview(buffer))
                expected.add(_bytes(image_tensor(memoryview(buffer), (1, 8, 8), USUAL)[0]))
            assert found == expected


def test_a_cache_holds_so_many_views_and_epochs_take_them_in_turn(
    monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path
) -> None:
    _, second, third = _trained_on(monkeypatch, _plan(2), data, tmp_path / "two")
    for epochs in (second, third):
        assert len(epochs[0]) == len(epochs[1]) == SAMPLES
        assert epochs[2] == epochs[0]
        assert len(epochs[1] & epochs[0]) < SAMPLES / 2
    _, second, _ = _trained_on(monkeypatch, _plan(1), data, tmp_path / "one")
    assert second[0] == second[1] == second[2]


def test_a_view_for_every_epoch_trains_as_running_images_through_again_does(data: Path, tmp_path: Path) -> None:
    cached = _session(_plan(EPOCHS), data, tmp_path / "cached")
    again = _session(_recomputing(), data, tmp_path / "again")
    assert cached == again
    assert _session(_plan(2), data, tmp_path / "fewer") != cached


def test_no_more_views_are_written_than_a_shorter_run_reads(data: Path, tmp_path: Path) -> None:
    sizes: list[int] = []

    def tell(event: Event) -> None:
        if isinstance(event, BlockStarted) and (event.block, event.phase) == (1, "train"):
            folder = RunFolder(tmp_path).block_cache(1, "train")
            sizes.append(sum(path.stat().st_size for path in folder.glob("shard-*")))

    plan = _plan(EPOCHS)
    (tmp_path / "weights").mkdir()
    job = TrainingJob(str(tmp_path), str(data), epochs=1, checkpoint_seconds=0.0)
    with open_prepared(str(data), tmp_path, size=plan.model.input) as opened:
        Session(job, plan, opened, MemoryGuard(None), tell, StopSignal()).run()
    record = 4 * int(np.prod(model_sizes(plan.model)[1].output))
    assert sizes == [SAMPLES * (record + 8)]


@pytest.mark.parametrize("shard", [0, -1])
def test_a_shard_of_any_view_that_is_spoiled_is_computed_anew(data: Path, tmp_path: Path, shard: int) -> None:
    plan = _plan(EPOCHS)
    whole = _session(plan, data, tmp_path / "whole")
    out, deviations = tmp_path / "out", []

    def tell(event: Event) -> None:
        if isinstance(event, Deviation):
            deviations.append(event.text)
        if isinstance(event, BlockStarted) and (event.block, event.phase) == (1, "prepare") and not deviations:
            shards = sorted(RunFolder(out).block_cache(1, "train").glob("shard-*"))
            assert shards[0] == shard_path(shards[0].parent, 0) and len(shards) > EPOCHS
            content = bytearray(shards[shard].read_bytes())
            content[len(content) // 2] ^= 4
            shards[shard].write_bytes(content)

    assert _session(plan, data, out, tell) == whole
    assert len(deviations) == 1 and "computed anew" in deviations[0]


def test_a_run_that_is_stopped_while_it_writes_views_ends_in_the_same_weights(
    monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path
) -> None:
    plan = _plan(EPOCHS)
    whole = _session(plan, data, tmp_path / "whole")
    out, left = tmp_path / "out", [SAMPLES + 7]
    append = cache.CacheWriter.append

    def fail(writer: cache.CacheWriter, index: int, record: cache.Record, label: Label) -> None:
        left[0] -= 1
        if left[0] < 0 and "train" in str(writer._folder):
            raise ZeroDivisionError
        append(writer, index, record, label)

    with monkeypatch.context() as patch:
        patch.setattr(cache.CacheWriter, "append", fail)
        with pytest.raises(ZeroDivisionError):
            _session(plan, data, out)
    assert _session(plan, data, out) == whole
