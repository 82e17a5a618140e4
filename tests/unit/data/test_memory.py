"""A gigabyte opened, scanned and read in a child whose peak the kernel tells: none of it may stay, or pass at once."""

from __future__ import annotations

import gzip
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from planner.units import MIB

READER = """
import sys
from pathlib import Path
from planner.data.dataset import open_data

def status(field):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(field + ":"))

open_data("sample", Path(sys.argv[2])).close()  # what is imported on first use is not the data's
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
with open_data(sys.argv[1], Path(sys.argv[2])) as data:
    image = memoryview(bytearray(data.train.record_bytes))
    for index in range(0, data.train.samples, max(1, data.train.samples // 20_000)):
        data.train.read_into(index, image)
    print(data.info.train_samples, status("VmHWM") - before)
"""

SAMPLES = 350_000
SHAPE = (SAMPLES, 32, 32, 3)
PIXELS_BYTES = SAMPLES * 32 * 32 * 3


def peak_above_start(data: Path, work: Path) -> tuple[int, int]:
    """Open and read `data` in a child; return its training samples and the bytes its peak lies above its start."""
    done = subprocess.run([sys.executable, "-c", READER, data, work], capture_output=True, text=True, check=True)
    samples, peak = map(int, done.stdout.split())
    return samples, peak


def write_sparse_idx(folder: Path) -> Path:
    """Write 1.075 GB of IDX images, all of them a hole, and their labels."""
    folder.mkdir()
    with (folder / "train-images-idx3-ubyte").open("wb") as file:
        file.write(struct.pack(">4B3I", 0, 0, 8, 3, SAMPLES, 32, 96))
        file.truncate(file.tell() + PIXELS_BYTES)
    labels = (np.arange(SAMPLES) % 10).astype(np.uint8)
    (folder / "train-labels-idx1-ubyte").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, SAMPLES) + labels.tobytes())
    return folder


def write_sparse_npz(path: Path) -> Path:
    """Write an .npz with 1.075 GB of colour images that are a hole: the list of members is moved behind it."""
    np.savez(path, labels=np.arange(SAMPLES, dtype=np.int64) % 10)
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {SHAPE}}}\n".encode()
    header = b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("images.npy", header)
        entry = archive.getinfo("images.npy")
        entry.file_size = entry.compress_size = len(header) + PIXELS_BYTES
        archive.start_dir += PIXELS_BYTES
    return path


def write_cifar_batches(folder: Path) -> Path:
    """Write a sparse batch of 1.075 GB, so that all labels are 0: each lies among the pixels."""
    folder.mkdir()
    with (folder / "data_batch_1.bin").open("wb") as file:
        file.truncate(SAMPLES * 3073)
    return folder


def write_gzip_idx(folder: Path) -> Path:
    """Write 100 MiB of zeros in a compressed IDX file of a few hundred KiB."""
    write_sparse_idx(folder)
    count = 100 * MIB // 3072
    (folder / "train-images-idx3-ubyte").unlink()
    with gzip.open(folder / "train-images-idx3-ubyte.gz", "wb", 1) as file:
        file.write(struct.pack(">4B3I", 0, 0, 8, 3, count, 32, 96))
        for _ in range(count):
            file.write(bytes(3072))
    labels = (np.arange(count) % 10).astype(np.uint8)
    (folder / "train-labels-idx1-ubyte").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, count) + labels.tobytes())
    return folder


def write_deflated_npz(path: Path) -> Path:
    """Write 100 MiB of colour images, compressed."""
    count = 100 * MIB // 3072
    np.savez_compressed(path, images=np.zeros((count, 32, 32, 3), np.uint8), labels=np.arange(count) % 10)
    return path


@pytest.mark.parametrize(
    "write", [write_sparse_idx, write_sparse_npz, write_cifar_batches, write_gzip_idx, write_deflated_npz]
)
def test_a_large_set_takes_no_memory(tmp_path: Path, write: object) -> None:
    assert callable(write)
    data = write(tmp_path / "set.npz")
    samples, peak = peak_above_start(data, tmp_path / "work")
    assert samples >= 0.9 * 100 * MIB // 3072 - 1
    assert peak < 3 * MIB, peak


def test_the_gauge_sees_what_is_held(tmp_path: Path) -> None:
    """The control: the same child, reading the whole file at once, is far above."""
    path = tmp_path / "set"
    with path.open("wb") as file:
        file.truncate(64 * MIB)
    code = (
        READER.partition("with open_data")[0] + "held = Path(sys.argv[1]).read_bytes(); print(status('VmHWM') - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, path, tmp_path], capture_output=True, text=True, check=True)
    assert int(done.stdout) >= 64 * MIB
