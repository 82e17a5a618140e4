from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from planner.data.arrays import RecordFile
from planner.data.unpack import CHUNK_BYTES, unpack
from planner.errors import DataError, StorageError

CONTENT = os.urandom(3 * CHUNK_BYTES + 17)


class Unpacker:
    """One gzip file, and how often its stream was started."""

    def __init__(self, folder: Path, content: bytes, resources: ExitStack) -> None:
        self.source = folder / "source.gz"
        self.source.write_bytes(gzip.compress(content, 1))
        self.work = folder / "work"
        self.started = 0
        self._resources = resources

    def __call__(self, size: int = len(CONTENT), member: str = "part", source: Path | None = None) -> Path:
        file = RecordFile(source or self.source, self._resources)

        def start() -> gzip.GzipFile:
            self.started += 1
            return gzip.GzipFile(file.path)

        return unpack(file, member, size, start, self.work)


@pytest.fixture
def unpacker(tmp_path: Path) -> Iterator[Unpacker]:
    with ExitStack() as resources:
        yield Unpacker(tmp_path, CONTENT, resources)


def test_it_lies_in_the_work_folder(unpacker: Unpacker) -> None:
    path = unpacker()
    assert path.read_bytes() == CONTENT
    assert list((unpacker.work / "data").iterdir()) == [path]


def test_two_sources_and_two_members_do_not_meet(unpacker: Unpacker, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / unpacker.source.name
    twin.write_bytes(gzip.compress(CONTENT[::-1], 1))
    paths = [unpacker(), unpacker(member="another"), unpacker(source=twin)]
    assert [path.read_bytes() for path in paths] == [CONTENT, CONTENT, CONTENT[::-1]]


@pytest.mark.parametrize(
    ("size", "found"), [(len(CONTENT) + 1, "only"), (len(CONTENT) - 1, "more"), (CHUNK_BYTES, "more")]
)
def test_another_size_than_promised_leaves_nothing(unpacker: Unpacker, size: int, found: str) -> None:
    with pytest.raises(DataError, match=f"unpacks to {found} .* promises {size}"):
        unpacker(size)
    assert list((unpacker.work / "data").iterdir()) == []


FULL_STORAGE = """
import resource, signal, sys
from pathlib import Path
from planner.errors import StorageError
from planner.data.dataset import open_data
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    open_data("sample", Path(sys.argv[1]))
except StorageError as error:
    print(error)
"""


def test_a_limit_on_file_size_is_a_clear_storage_error(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL_STORAGE, tmp_path], capture_output=True, text=True, check=True)
    assert "fashion_mnist_sample.npz: images needs 3.0 MiB" in done.stdout
    assert "File too large" in done.stdout
    assert list((tmp_path / "data").iterdir()) == []


def test_full_storage_says_what_is_needed(unpacker: Unpacker, tmp_path: Path) -> None:
    """A real file system of 128 KiB."""
    unpacker.work.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", unpacker.work], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        with pytest.raises(StorageError, match=r"needs 192\.0 KiB, 128\.0 KiB are free \(No space left on device\)"):
            unpacker()
        assert unpacker.started == 0  # it says so before, not after the half of it
        assert list((unpacker.work / "data").iterdir()) == []
    finally:
        subprocess.run(["umount", unpacker.work], check=True)


def test_a_work_folder_that_cannot_be_made(unpacker: Unpacker) -> None:
    unpacker.work.write_text("a file")
    with pytest.raises(StorageError, match="work/data: a file stands where a folder is to be"):
        unpacker()
