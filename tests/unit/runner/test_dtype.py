"""A run that computes in bfloat16: caches and recomputed inputs give the same numbers, weights stay float32."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from planner.errors import InputError
from planner.runner.protocol.events import BlockDone, BlockStarted, Deviation, Event
from planner.runner.storage import cache
from planner.runner.storage.cache import shard_path
from planner.runner.train import session as session_module
from planner.runner.train.block import LoadedBlock
from planner.schema.codec import content_id
from planner.schema.plan import Plan
from planner.schema.run_folder import RunFolder
from planner.training.encoding import decode_samples, encode_samples
from planner.training.runtime import check_arithmetic
from tests.fault.support import session, small_plan, weights
from tests.unit.runner.test_methods import with_recomputed_input
from tests.unit.runner.train.test_pooled import with_pooled_exits


@pytest.fixture(autouse=True)
def _small_and_untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several shards in a cache of a few samples, and no calibration."""
    monkeypatch.setattr(cache, "_SHARD_BYTES", 400_000)
    monkeypatch.setattr(session_module, "calibration_seconds", lambda device: 1.0)


def _in_bfloat16(plan: Plan) -> Plan:
    """`plan`, computing in bfloat16; caches hold it."""
    blocks = tuple(
        replace(block, input=replace(block.input, dtype="bfloat16")) if block.input.kind == "cache" else block
        for block in plan.blocks
    )
    plan = replace(plan, blocks=blocks, training=replace(plan.training, dtype="bfloat16"))
    return replace(plan, id=content_id(plan))


def test_caches_and_recomputed_inputs_give_the_same_weights_and_these_are_float32(tmp_path: Path) -> None:
    plan = _in_bfloat16(small_plan())
    session(plan, tmp_path / "cached")
    again = with_recomputed_input(with_recomputed_input(small_plan(), 1), 2)
    again = _in_bfloat16(again)
    session(again, tmp_path / "again")
    cached = weights(tmp_path / "cached", plan)
    assert cached == weights(tmp_path / "again", again)
    session(small_plan(), tmp_path / "float32")
    assert cached != weights(tmp_path / "float32", small_plan())
    for index in range(len(plan.blocks)):
        tensors = load_file(RunFolder(tmp_path / "cached").block_weights(index))
        assert {tensor.dtype for tensor in tensors.values()} == {torch.float32, torch.int64}


def test_a_spoiled_shard_in_bfloat16_is_computed_anew_to_the_bit(tmp_path: Path) -> None:
    plan, deviations = _in_bfloat16(small_plan()), []
    session(plan, tmp_path / "whole")
    out = tmp_path / "out"

    def tell(event: Event) -> None:
        if isinstance(event, Deviation):
            deviations.append(event.text)
        if isinstance(event, BlockStarted) and (event.block, event.phase) == (1, "prepare") and not deviations:
            file = shard_path(RunFolder(out).block_cache(1, "train"), 0)
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 4
            file.write_bytes(content)

    session(plan, out, tell)
    assert len(deviations) == 1
    assert weights(out, plan) == weights(tmp_path / "whole", plan)


def test_what_a_block_trains_on_and_keeps_is_bfloat16(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: dict[int, set[torch.dtype]] = {0: set(), 1: set(), 2: set()}
    plan = _in_bfloat16(small_plan())
    train_batch = LoadedBlock.train_batch

    def watch(block: LoadedBlock, micro_batches: Any, *rest: Any) -> float:
        def each() -> Any:
            for inputs, labels in micro_batches:
                seen[plan.blocks.index(block.spec)].add(inputs.dtype)
                yield inputs, labels

        return train_batch(block, each(), *rest)

    monkeypatch.setattr(LoadedBlock, "train_batch", watch)
    session(plan, tmp_path)
    assert seen == {0: {torch.float32}, 1: {torch.bfloat16}, 2: {torch.bfloat16}}


def test_pooled_exits_are_fitted_and_measured(tmp_path: Path) -> None:
    plan = _in_bfloat16(with_pooled_exits(small_plan()))
    events: list[Event] = []
    session(plan, tmp_path, events.append)
    done = [event for event in events if isinstance(event, BlockDone)]
    assert [report.unit for event in done for report in event.exits] == [place.unit for place in plan.exits]


@pytest.mark.parametrize("stored", ["float32", "bfloat16", "uint8"])
def test_activations_in_bfloat16_come_back_from_every_way_to_store_them(stored: Any) -> None:
    outputs = torch.randn(3, 2, 4, 4).to(torch.bfloat16)
    records = memoryview(bytearray(b"".join(bytes(record) for record in encode_samples(outputs, stored))))
    found = decode_samples(records, stored, (2, 4, 4), "bfloat16")
    assert found.dtype == torch.bfloat16
    if stored == "uint8":
        assert torch.allclose(found.float(), outputs.float(), atol=0.03)
    else:
        assert torch.equal(found, outputs)


def test_a_processor_without_such_arithmetic_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    check_arithmetic("float32")
    with pytest.raises(InputError, match="computes in bfloat16, for which this processor has no instructions"):
        check_arithmetic("bfloat16")
