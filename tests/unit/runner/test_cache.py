"""The activation cache gives back what was written, or says that it cannot."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from planner.errors import StorageError
from planner.runner import cache
from planner.runner.cache import TRAILER_BYTES, CacheReader, CacheWriter, is_finished, remove_cache

RECORD = 1000


def _records(count: int) -> list[bytes]:
    source = random.Random(1)
    return [source.randbytes(RECORD) for _ in range(count)]


def _write(folder: Path, records: list[bytes], group: int = 3) -> CacheWriter:
    writer = CacheWriter(folder, RECORD)
    for at in range(0, len(records), group):
        some = records[at : at + group]
        writer.append(memoryview(b"".join(some)), range(at, at + len(some)))
    writer.finish()
    return writer


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_SHARD_BYTES", 4 * (RECORD + TRAILER_BYTES))


@pytest.mark.usefixtures("small_shards")
def test_records_come_back_in_any_order_over_several_shards(tmp_path: Path) -> None:
    records = _records(11)
    writer = _write(tmp_path / "c", records)
    assert writer.bytes_written == 11 * (RECORD + TRAILER_BYTES)
    assert len(list((tmp_path / "c").glob("shard-*"))) == 3
    reader = CacheReader(tmp_path / "c")
    assert (reader.samples, reader.record_bytes) == (11, RECORD)
    for index in random.Random(2).sample(range(11), 11):
        found = bytearray(RECORD)
        assert reader.read_into(index, memoryview(found)) == index
        assert bytes(found) == records[index]
    with pytest.raises(IndexError):
        reader.read_into(11, memoryview(bytearray(RECORD)))
    reader.close()


@pytest.mark.parametrize("at", [0, RECORD - 1, RECORD, RECORD + 4], ids=["first", "last", "label", "checksum"])
def test_one_flipped_bit_is_found(tmp_path: Path, at: int) -> None:
    _write(tmp_path / "c", _records(3))
    shard = tmp_path / "c" / "shard-00000.bin"
    content = bytearray(shard.read_bytes())
    content[RECORD + TRAILER_BYTES + at] ^= 1
    shard.write_bytes(content)
    reader = CacheReader(tmp_path / "c")
    assert reader.read_into(0, memoryview(bytearray(RECORD))) == 0
    with pytest.raises(StorageError, match=r"shard-00000\.bin, record 1: its checksum disagrees"):
        reader.read_into(1, memoryview(bytearray(RECORD)))
    reader.close()


def test_a_truncated_shard_is_found(tmp_path: Path) -> None:
    _write(tmp_path / "c", _records(2))
    shard = tmp_path / "c" / "shard-00000.bin"
    shard.write_bytes(shard.read_bytes()[:-1])
    reader = CacheReader(tmp_path / "c")
    with pytest.raises(StorageError, match="record 1"):
        reader.read_into(1, memoryview(bytearray(RECORD)))
    reader.close()


def test_an_unfinished_cache_is_none(tmp_path: Path) -> None:
    writer = CacheWriter(tmp_path / "c", RECORD)
    writer.append(memoryview(_records(1)[0]), [0])
    assert not is_finished(tmp_path / "c")
    with pytest.raises(StorageError, match="not a finished activation cache"):
        CacheReader(tmp_path / "c")
    writer.finish()
    assert is_finished(tmp_path / "c")
    remove_cache(tmp_path / "c")
    assert not (tmp_path / "c").exists()


@pytest.mark.usefixtures("small_shards")
def test_a_lost_shard_is_named(tmp_path: Path) -> None:
    _write(tmp_path / "c", _records(9))
    (tmp_path / "c" / "shard-00001.bin").unlink()
    with pytest.raises(StorageError, match=r"shard-00001\.bin: cannot be read"):
        CacheReader(tmp_path / "c")


def test_writing_again_replaces_what_was_there(tmp_path: Path) -> None:
    _write(tmp_path / "c", _records(5))
    _write(tmp_path / "c", _records(2))
    reader = CacheReader(tmp_path / "c")
    assert reader.samples == 2
    reader.close()
