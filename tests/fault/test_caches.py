"""A cache that storage has spoiled is computed anew, shard by shard, and training ends as if nothing had been."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planner.errors import StorageError
from planner.runner.protocol.events import BlockStarted, Deviation, Event
from planner.runner.storage import cache
from planner.runner.storage.cache import shard_path
from planner.runner.train import session as session_module
from planner.runner.train.block import LoadedBlock
from planner.runner.train.repair import Repairer
from planner.schema.plan import Plan
from planner.schema.run_folder import RunFolder
from tests.fault.support import session, small_plan, weights

Spoil = Callable[[Path], None]


@pytest.fixture(autouse=True)
def _small_and_untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several shards in a cache of a few samples, and no calibration."""
    monkeypatch.setattr(cache, "_SHARD_BYTES", 400_000)
    monkeypatch.setattr(session_module, "calibration_seconds", lambda device: 1.0)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, dict[str, bytes]]:
    plan, out = small_plan(), tmp_path_factory.mktemp("whole") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "_SHARD_BYTES", 400_000)
        session(plan, out)
    return plan, weights(out, plan)


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def _truncate(file: Path) -> None:
    with file.open("rb+") as opened:
        opened.truncate(file.stat().st_size - 1)


def _swap(file: Path) -> None:
    file.write_bytes(shard_path(file.parent, 0).read_bytes())


SPOILED: dict[str, Spoil] = {"flipped": _flip, "truncated": _truncate, "lost": Path.unlink, "another": _swap}


class _Spoiler:
    """Spoils a shard of a block's cache when that block begins, or its training does."""

    def __init__(self, out: Path, spoil: Spoil, phase: str, part: str = "train", times: int = 1) -> None:
        self._folder = RunFolder(out).block_cache(1, part)
        self._spoil = spoil
        self._phase = phase
        self.times = times
        self.deviations: list[str] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, Deviation):
            self.deviations.append(event.text)
        if isinstance(event, BlockStarted) and (event.block, event.phase) == (1, self._phase) and self.times:
            self.times -= 1
            self._spoil(shard_path(self._folder, 1))


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("spoil", SPOILED)
def test_a_spoiled_shard_is_computed_anew(
    expected: tuple[Plan, dict[str, bytes]], tmp_path: Path, spoil: str, part: str
) -> None:
    plan, whole = expected
    spoiler = _Spoiler(tmp_path, SPOILED[spoil], "prepare", part)
    if spoil == "lost":
        # An open file stays readable: the loss shows when a session begins.
        with pytest.raises(ZeroDivisionError):
            session(plan, tmp_path, _stop_at(1))
        shard_path(RunFolder(tmp_path).block_cache(1, part), 1).unlink()
        spoiler.times = 0
    session(plan, tmp_path, spoiler)
    assert len(spoiler.deviations) == 1
    assert "shards of" in spoiler.deviations[0] and "computed anew" in spoiler.deviations[0]
    found = weights(tmp_path, plan)
    assert found.keys() == whole.keys()
    # Computed one unit at a time with the same micro-batch, so even the bits are the same here.
    assert found == whole


def _stop_at(block: int) -> Callable[[Event], None]:
    def tell(event: Event) -> None:
        if isinstance(event, BlockStarted) and (event.block, event.phase) == (block, "prepare"):
            raise ZeroDivisionError

    return tell


def test_a_whole_cache_that_is_gone_is_computed_anew_and_no_block_is_trained_twice(
    expected: tuple[Plan, dict[str, bytes]], tmp_path: Path
) -> None:
    plan, whole = expected
    with pytest.raises(ZeroDivisionError):
        session(plan, tmp_path, _stop_at(2))
    for part in ("train", "test"):
        cache.remove_cache(RunFolder(tmp_path).block_cache(2, part))
    events: list[Event] = []
    session(plan, tmp_path, events.append)
    assert {event.block for event in events if event.kind == "step"} == {2}
    assert weights(tmp_path, plan) == whole


def test_storage_that_spoils_a_shard_again_is_not_trusted(
    expected: tuple[Plan, dict[str, bytes]], tmp_path: Path
) -> None:
    plan, _ = expected
    with pytest.raises(StorageError, match="cannot be relied on"):
        session(plan, tmp_path, _Spoiler(tmp_path, _flip, "prepare", times=2))


@pytest.mark.parametrize("dtype", ["bfloat16", "uint8"])
def test_smaller_caches_train_too_and_are_repaired_too(tmp_path: Path, dtype: str) -> None:
    plan = small_plan(dtype=dtype)
    session(plan, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "_SHARD_BYTES", 100_000)
        spoiler = _Spoiler(tmp_path / "spoiled", _flip, "prepare")
        session(plan, tmp_path / "spoiled", spoiler)
    assert len(spoiler.deviations) == 1
    assert weights(tmp_path / "spoiled", plan) == weights(tmp_path / "whole", plan)


def test_the_block_is_out_of_memory_while_its_shard_is_computed(
    expected: tuple[Plan, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One unit at a time has room beside nothing: the block that found the damage must be gone by then."""
    plan, _ = expected
    blocks: list[weakref.ref[LoadedBlock]] = []
    alive: list[int] = []
    make, write = LoadedBlock.__init__, Repairer.write

    def note_block(block: LoadedBlock, *arguments: Any, **more: Any) -> None:
        make(block, *arguments, **more)
        blocks.append(weakref.ref(block))

    def note_alive(repairer: Repairer, *arguments: Any) -> None:
        alive.append(sum(block() is not None for block in blocks))
        write(repairer, *arguments)

    monkeypatch.setattr(LoadedBlock, "__init__", note_block)
    monkeypatch.setattr(Repairer, "write", note_alive)
    gc.disable()  # nothing may wait for the collector
    try:
        session(plan, tmp_path, _Spoiler(tmp_path, _flip, "train"))
    finally:
        gc.enable()
    assert alive == [0]
