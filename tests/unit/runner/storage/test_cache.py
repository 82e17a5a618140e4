"""The activation cache gives back what was written, or says that it cannot."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import ShardError
from planner.runner.storage import cache
from planner.runner.storage.cache import (
    CacheReader,
    CacheSpec,
    CacheWriter,
    is_finished,
    mark_finished,
    remove_cache,
    seems_whole,
    shard_path,
)
from planner.tasks.base import class_label

RECORD = 1000
TRAILER_BYTES = 8  # a label of four bytes, a checksum of four


def _spec(samples: int, identity: str = "mine") -> CacheSpec:
    return CacheSpec(samples, RECORD, identity)


def _records(count: int) -> list[bytes]:
    source = random.Random(1)
    return [source.randbytes(RECORD) for _ in range(count)]


def _append(writer: CacheWriter, records: Sequence[bytes], first: int = 0) -> None:
    for index, record in enumerate(records, start=first):
        writer.append(index, (memoryview(record),), class_label(index))


def _write(folder: Path, records: list[bytes], identity: str = "mine") -> CacheSpec:
    spec = _spec(len(records), identity)
    with CacheWriter(folder, spec) as writer:
        _append(writer, records)
        writer.finish()
    return spec


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_SHARD_BYTES", 4 * (RECORD + TRAILER_BYTES))


def _names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.usefixtures("small_shards")
def test_records_come_back_in_any_order_over_several_shards(tmp_path: Path) -> None:
    records = _records(11)
    spec = _write(tmp_path / "c", records)
    assert _names(tmp_path / "c") == ["done", *(f"shard-{index:05d}.bin" for index in range(3))]
    reader = CacheReader(tmp_path / "c", spec)
    assert (reader.samples, reader.record_bytes) == (11, RECORD)
    for index in random.Random(2).sample(range(11), 11):
        found = bytearray(RECORD)
        assert reader.read_into(index, memoryview(found)) == class_label(index)
        assert bytes(found) == records[index]
    with pytest.raises(IndexError):
        reader.read_into(11, memoryview(bytearray(RECORD)))
    reader.close()


@given(st.lists(st.integers(0, 10), min_size=1, max_size=30))
def test_any_list_of_records_is_read_at_once(tmp_path_factory: pytest.TempPathFactory, indices: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "_SHARD_BYTES", 4 * (RECORD + TRAILER_BYTES))
        patch.setattr(cache, "_MOST_PIECES", 6)
        records, folder = _records(11), tmp_path_factory.mktemp("c")
        reader = CacheReader(folder, _write(folder, records))
        found = bytearray(RECORD * len(indices))
        assert reader.read_many(indices, memoryview(found)) == list(map(class_label, indices))
        assert bytes(found) == b"".join(records[index] for index in indices)
        reader.close()


@given(st.lists(st.integers(0, 10), min_size=1, max_size=30))
def test_parts_of_records_come_back_one_behind_the_other(
    tmp_path_factory: pytest.TempPathFactory, indices: list[int]
) -> None:
    """All first parts of what is read, then all second ones; on storage each record is in one piece."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "_SHARD_BYTES", 4 * (RECORD + TRAILER_BYTES))
        patch.setattr(cache, "_MOST_PIECES", 9)
        records, folder = _records(11), tmp_path_factory.mktemp("c")
        spec = replace(_spec(11), parts=(300, RECORD - 300))
        with CacheWriter(folder, spec) as writer:
            for index, record in enumerate(records):
                writer.append(index, (memoryview(record)[:300], memoryview(record)[300:]), class_label(index))
            writer.finish()
        assert shard_path(folder, 0).read_bytes()[:RECORD] == records[0]
        reader = CacheReader(folder, spec)
        found = bytearray(RECORD * len(indices))
        assert reader.read_many(indices, memoryview(found)) == list(map(class_label, indices))
        wanted = [records[index] for index in indices]
        assert bytes(found) == b"".join([record[:300] for record in wanted] + [record[300:] for record in wanted])
        reader.close()


@pytest.mark.parametrize("at", [0, RECORD - 1, RECORD, RECORD + 4], ids=["first", "last", "label", "checksum"])
def test_one_flipped_bit_is_found(tmp_path: Path, at: int) -> None:
    spec = _write(tmp_path / "c", _records(3))
    shard = tmp_path / "c" / "shard-00000.bin"
    content = bytearray(shard.read_bytes())
    content[RECORD + TRAILER_BYTES + at] ^= 1
    shard.write_bytes(content)
    reader = CacheReader(tmp_path / "c", spec)
    assert reader.read_into(0, memoryview(bytearray(RECORD))) == class_label(0)
    with pytest.raises(ShardError, match=r"shard-00000\.bin: record 1: its checksum disagrees") as raised:
        reader.read_into(1, memoryview(bytearray(RECORD)))
    assert raised.value.shard == 0
    reader.close()


@pytest.mark.usefixtures("small_shards")
def test_two_records_that_changed_places_are_found(tmp_path: Path) -> None:
    spec = _write(tmp_path / "c", _records(8))
    one, other = (shard_path(tmp_path / "c", shard) for shard in (0, 1))
    contents = one.read_bytes(), other.read_bytes()
    one.write_bytes(contents[1])
    other.write_bytes(contents[0])
    reader = CacheReader(tmp_path / "c", spec)
    with pytest.raises(ShardError):
        reader.read_into(5, memoryview(bytearray(RECORD)))
    reader.close()


@pytest.mark.usefixtures("small_shards")
def test_anothers_shard_is_found(tmp_path: Path) -> None:
    spec = _write(tmp_path / "mine", _records(8))
    _write(tmp_path / "other", _records(8), "another's")
    shard_path(tmp_path / "mine", 1).write_bytes(shard_path(tmp_path / "other", 1).read_bytes())
    reader = CacheReader(tmp_path / "mine", spec)
    with pytest.raises(ShardError) as raised:
        reader.read_into(4, memoryview(bytearray(RECORD)))
    assert raised.value.shard == 1
    reader.close()
    assert [seems_whole(tmp_path / "mine", spec, shard) for shard in (0, 1)] == [True, False]


def test_a_truncated_shard_is_found_before_and_while_it_is_read(tmp_path: Path) -> None:
    spec = _write(tmp_path / "c", _records(2))
    reader = CacheReader(tmp_path / "c", spec)
    shard = shard_path(tmp_path / "c", 0)
    with shard.open("rb+") as file:
        file.truncate(2 * RECORD)
    assert not is_finished(tmp_path / "c", spec)
    with pytest.raises(ShardError, match=r"shard-00000\.bin: is shorter than its records"):
        reader.read_into(1, memoryview(bytearray(RECORD)))
    reader.close()


@pytest.mark.usefixtures("small_shards")
def test_a_lost_shard_is_named(tmp_path: Path) -> None:
    spec = _write(tmp_path / "c", _records(9))
    shard_path(tmp_path / "c", 1).unlink()
    assert not is_finished(tmp_path / "c", spec)
    with pytest.raises(ShardError, match=r"shard-00001\.bin: cannot be read"):
        CacheReader(tmp_path / "c", spec)


def test_an_unfinished_cache_is_none_and_neither_is_another(tmp_path: Path) -> None:
    spec = _spec(1)
    with CacheWriter(tmp_path / "c", spec) as writer:
        _append(writer, _records(1))
        assert not is_finished(tmp_path / "c", spec)
        writer.finish()
    assert is_finished(tmp_path / "c", spec)
    for other in (replace(spec, identity="x"), replace(spec, samples=2), replace(spec, record_bytes=8)):
        assert not is_finished(tmp_path / "c", other)
    remove_cache(tmp_path / "c")
    assert not (tmp_path / "c").exists()


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("written", [0, 3, 4, 6, 8, 10])
def test_writing_goes_on_behind_the_last_whole_shard(tmp_path: Path, written: int) -> None:
    records, spec = _records(10), _spec(10)
    with pytest.raises(ZeroDivisionError), CacheWriter(tmp_path / "c", spec) as writer:
        _append(writer, records[:written])
        raise ZeroDivisionError
    kept = 10 if written == 10 else written // 4 * 4
    assert len(_names(tmp_path / "c")) == -(-kept // 4)  # whole shards, and nothing half-written
    with CacheWriter(tmp_path / "c", spec) as writer:
        assert writer.samples == kept
        # Records that are there already may come again: micro-batches are cut as before.
        _append(writer, records[max(0, kept - 1) :], max(0, kept - 1))
        assert writer.bytes_written == (10 - kept) * spec.stride
        writer.finish()
    _write(tmp_path / "at once", records)
    assert _names(tmp_path / "c") == _names(tmp_path / "at once")
    for name in _names(tmp_path / "c"):
        assert (tmp_path / "c" / name).read_bytes() == (tmp_path / "at once" / name).read_bytes()


@pytest.mark.usefixtures("small_shards")
def test_shards_of_another_cache_are_not_gone_on_from(tmp_path: Path) -> None:
    _write(tmp_path / "c", _records(8), "another's")
    with CacheWriter(tmp_path / "c", _spec(8)) as writer:
        assert writer.samples == 0


def test_a_cache_put_together_from_shards_is_finished_when_marked(tmp_path: Path) -> None:
    spec = _write(tmp_path / "c", _records(2))
    (tmp_path / "c" / "done").unlink()
    assert not is_finished(tmp_path / "c", spec)
    mark_finished(tmp_path / "c", spec)
    assert is_finished(tmp_path / "c", spec)
