from __future__ import annotations

import io
import struct
import tempfile
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from planner.data.dataset import open_data
from planner.errors import DataError, PlannerError
from tests.unit.data.support import Integers, cycling_labels, random_images, read_all

IMAGES = random_images(20, 4, 6)
LABELS = cycling_labels(20, 3)
INTEGER_TYPES = [f"{order}{kind}{size}" for order in "<>" for kind in "iu" for size in (1, 2, 4, 8)]


def npy(array: Any) -> bytes:
    with io.BytesIO() as file:
        np.save(file, array)
        return file.getvalue()


def npy_with_header(header: str, data: bytes, *, version: int = 1) -> bytes:
    text = header.encode("latin1")
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + data


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED, **changes: Any) -> None:
    """Write a zip of these arrays; `changes` are lies about the first one in the list of members at the end."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
        for name, value in changes.items():
            setattr(archive.infolist()[0], name, value)


def chw(images: Integers) -> Integers:
    return images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)


@settings(max_examples=60)
@given(
    count=st.integers(10, 40),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels=st.sampled_from([None, 1, 2, 3, 5]),
    test_count=st.integers(0, 5),
    label_type=st.sampled_from(INTEGER_TYPES),
    compressed=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_what_numpy_saves_is_read(
    count: int,
    height: int,
    width: int,
    channels: int | None,
    test_count: int,
    label_type: str,
    compressed: bool,
    seed: int,
) -> None:
    extents = (height, width) if channels is None else (height, width, channels)
    images = random_images(count, *extents, seed=seed)
    test_images = random_images(test_count, *extents, seed=seed + 1)
    top = min(np.iinfo(label_type).max, 65_535)
    labels = np.random.default_rng(seed).integers(0, top + 1, count).astype(label_type)
    labels[0] = top
    arrays: dict[str, Any] = {"images": images, "labels": labels}
    if test_count:
        arrays |= {"test_images": test_images, "test_labels": labels[:test_count], "another": np.zeros(3)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "set.npz"
        (np.savez_compressed if compressed else np.savez)(path, **arrays)
        with open_data(str(path), Path(folder) / "work", layout="nhwc") as data:
            shape = (channels or 1, height, width)
            assert data.info.shape == shape
            assert data.info.test_samples == test_count
            assert data.info.classes == top + 1
            train, train_labels = read_all(data.train, shape)
            assert_array_equal(train, chw(images))
            assert_array_equal(train_labels, labels)
            assert list(data.train.labels()) == train_labels
            if test_count:
                test, test_labels = read_all(data.test, shape)
                assert_array_equal(test, chw(test_images))
                assert_array_equal(test_labels, labels[:test_count])
            unpacked = sum(len(npy(array)) for name, array in arrays.items() if name != "another")
            assert data.storage_bytes == (unpacked if compressed else 0)
            assert (Path(folder) / "work").exists() == compressed


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version_of_the_array_header(tmp_path: Path, version: int) -> None:
    images = npy_with_header(
        "{'descr': '|u1', 'fortran_order': False, 'shape': (20, 4, 6), }", IMAGES.tobytes(), version=version
    )
    write_zip(tmp_path / "set.npz", {"images": images, "labels": npy(LABELS)})
    with open_data(str(tmp_path / "set.npz"), tmp_path) as data:
        assert_array_equal(read_all(data.train, (1, 4, 6))[0][:, 0], IMAGES)


def test_the_file_is_known_by_its_content(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=IMAGES, labels=LABELS)
    (tmp_path / "set.npz").rename(tmp_path / "set.dat")
    with open_data(str(tmp_path / "set.dat"), tmp_path) as data:
        assert data.info.train_samples == 20


@pytest.mark.parametrize("label_type", [name for name in INTEGER_TYPES if name[1:] not in ("u1", "u2")])
def test_the_first_label_out_of_range_is_named(tmp_path: Path, label_type: str) -> None:
    # Every number of one or two bytes without a sign is a possible label, so those types are not among the cases.
    # 300,000 labels are more than is checked in one piece.
    labels = np.zeros(300_000, dtype=label_type)
    labels[290_000] = 1
    bad = -1 if "i" in label_type else np.iinfo(label_type).max
    labels[[290_001, 290_002]] = bad
    np.savez_compressed(tmp_path / "set.npz", images=np.zeros((300_000, 1, 1), dtype=np.uint8), labels=labels)
    with pytest.raises(DataError, match=rf"the label {bad} is not in 0 … 65535") as caught:
        open_data(str(tmp_path / "set.npz"), tmp_path)
    assert caught.value.record == 290_001
    assert caught.value.file == f"{tmp_path / 'set.npz'}: labels"


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"images": IMAGES}, "labels: this array is missing; the file holds images.npy"),
        ({"labels": LABELS}, "images: this array is missing; the file holds labels.npy"),
        ({"images": IMAGES, "labels": LABELS, "test_images": IMAGES}, "test_labels: this array is missing"),
        ({"images": IMAGES, "labels": LABELS, "test_labels": LABELS}, "test_images: this array is missing"),
        ({"images": IMAGES, "labels": LABELS[:-1]}, "holds 19 labels for 20 images"),
        ({"images": IMAGES, "labels": LABELS.astype(float)}, "labels: has fractional numbers of type '<f8'"),
        ({"images": IMAGES, "labels": LABELS > 0}, r"labels: has elements of type '\|b1'; labels are integers"),
        (
            {"images": IMAGES, "labels": LABELS.reshape(10, 2)},
            "has the shape 10×2; labels are one integer for each image",
        ),
        ({"images": IMAGES, "labels": np.array(3)}, "has the shape of a single number"),
        ({"images": IMAGES, "labels": LABELS * 0}, "has 1 class; training needs at least 2"),
        ({"images": IMAGES.astype(np.complex64), "labels": LABELS}, "images: has elements of type '<c8'; numbers are"),
        ({"images": IMAGES.astype(np.int8), "labels": LABELS}, "images: has elements of type '.i1'"),
        ({"images": IMAGES[0, 0], "labels": LABELS}, "has the shape 6; images are N×H×W, N×H×W×C or N×C×H×W"),
        (
            {"images": IMAGES[..., None, None, None], "labels": LABELS},
            "has the shape 20×4×6×1×1×1; images are N×H×W, N×H×W×C or",
        ),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "images: holds no samples"),
        ({"images": IMAGES, "labels": LABELS[:0]}, "labels: holds no samples"),
        ({"images": IMAGES[:, :0], "labels": LABELS}, "images of 0×6; height and width are 1 to 8192"),
        ({"images": IMAGES[..., None][..., :0], "labels": LABELS}, "images of 0 channels"),
        ({"images": np.zeros((20, 8193, 1), np.uint8), "labels": LABELS}, "images of 8193×1"),
        ({"images": np.asfortranarray(IMAGES), "labels": LABELS}, "images: is in Fortran order"),
        ({"images": IMAGES.astype(object), "labels": LABELS}, "images: holds pickled objects, which are never opened"),
        ({"images": IMAGES, "labels": LABELS.astype(object)}, "labels: holds pickled objects, which are never opened"),
        ({"images": np.zeros((20, 4, 6), "u1,u1"), "labels": LABELS}, "images: has elements of several fields"),
        (
            {"images": IMAGES, "labels": LABELS, "test_images": IMAGES[..., None].repeat(3, 3), "test_labels": LABELS},
            "its samples are 3×4×6 .* the training part has 1×4×6",
        ),
        ({"images": IMAGES[:9], "labels": LABELS[:9]}, "has 9 samples and no test part; .* at least 10 are needed"),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_that_are_no_data_set(tmp_path: Path, arrays: dict[str, Any], problem: str, compressed: bool) -> None:
    path = tmp_path / "set.npz"
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    with pytest.raises(DataError, match=problem) as caught:
        open_data(str(path), tmp_path)
    assert caught.value.file.startswith(str(path))


SHAPE = "(20, 4, 6)"
GOOD = npy_with_header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {SHAPE}}}", b"")
HUGE = npy_with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (20, 8192, 8192, 31)}", b"")


@pytest.mark.parametrize(
    ("images", "problem"),
    [
        (b"not an array at all", "is not an .npy array"),
        (b"\x93NUMPY\x04\0" + bytes(80), "is not an .npy array of version 1, 2 or 3"),
        (b"\x93NUMPY\x01\0", "ends inside its header"),
        (b"\x93NUMPY\x02\0" + struct.pack("<I", 10_001) + b" " * 10_001, "header of 10001 bytes; at most 10000"),
        (b"\x93NUMPY\x02\0" + struct.pack("<I", 5_000) + b" " * 80, "ends inside its header"),
        (npy_with_header("[" * 5_000, b""), "a header that cannot be read"),
        (npy_with_header("{'descr': __import__('os')}", b""), "a header that cannot be read"),
        (
            npy_with_header("{'descr': '|u1', 'shape': (2, 4, 6)}", b""),
            "without exactly descr, fortran_order and shape",
        ),
        (npy_with_header("['descr']", b""), "without exactly descr, fortran_order and shape"),
        (npy_with_header(f"{{'descr': 1, 'fortran_order': False, 'shape': {SHAPE}}}", b""), "several fields"),
        (npy_with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 4, 6)}", b""), "a shape that is not"),
        (npy_with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (2.0, 4, 6)}", b""), "a shape that is not"),
        (
            npy_with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (True, 4, 6)}", b""),
            "a shape that is not",
        ),
        (npy_with_header("{'descr': '|u1', 'fortran_order': False, 'shape': [2, 4, 6]}", b""), "a shape that is not"),
        (
            npy_with_header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': (0x{'f' * 9000},)}}", b""),
            "a shape that is not",
        ),
        (
            GOOD + bytes(479),
            f"its header promises 20×4×6, so {len(GOOD) + 20 * 4 * 6}",
        ),
        (
            GOOD + bytes(481),
            f"its header promises 20×4×6, so {len(GOOD) + 20 * 4 * 6}",
        ),
        (
            npy_with_header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({10**10 + 1}, 4, 6)}}", b""),
            "promises 10000000001 samples",
        ),
        (
            npy_with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (20, 8192, 8192, 64)}", b""),
            "has more than 2147483648 values",
        ),
        (
            HUGE,
            f"its header promises 20×8192×8192×31, so {len(HUGE) + 20 * 8192 * 8192 * 31}",
        ),
    ],
)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_array_headers_that_cannot_be_true(tmp_path: Path, images: bytes, problem: str, method: int) -> None:
    path = tmp_path / "set.npz"
    write_zip(path, {"images": images, "labels": npy(LABELS)}, method)
    with pytest.raises(DataError, match=problem) as caught:
        open_data(str(path), tmp_path / "work")
    assert caught.value.file == f"{path}: images"
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("checksum", ["of all", "of what is stated"])
def test_a_bomb_is_not_unpacked_beyond_what_its_entry_states(tmp_path: Path, checksum: str) -> None:
    """Zip entry and array header agree on 20×100×100 pixels; the compressed stream goes on for 50 MB."""
    path, work = tmp_path / "set.npz", tmp_path / "work"
    header = npy_with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (20, 100, 100)}", b"")
    stated = header + bytes(200_000)
    changes = {"file_size": len(stated)} | ({} if checksum == "of all" else {"CRC": zlib.crc32(stated)})
    write_zip(path, {"images": header + bytes(50_000_000), "labels": npy(LABELS)}, zipfile.ZIP_DEFLATED, **changes)
    if checksum == "of what is stated":
        open_data(str(path), work).close()
    else:
        with pytest.raises(DataError, match="images: is damaged"):
            open_data(str(path), work)
    unpacked = [file.stat().st_size for file in (work / "data").glob("images*.bin*")]
    assert unpacked == ([len(stated)] if checksum == "of what is stated" else [])


def test_a_stored_member_that_ends_behind_the_file(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    header = npy_with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (20, 100, 100)}", b"")
    size = len(header) + 200_000
    write_zip(path, {"images": header + bytes(100), "labels": npy(LABELS)}, file_size=size, compress_size=size)
    # 30 bytes of the entry's own header and ten of its name lie before the member.
    with pytest.raises(
        DataError, match=f"ends at byte {path.stat().st_size} of the file; .* end at {40 + size}$|Overlapped entries"
    ):
        open_data(str(path), tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("header_offset", 2**64 - 10),
        ("header_offset", 2**62),
        ("header_offset", 7),
        ("header_offset", "the end"),
        ("extract_version", 255),
        ("filename", "labels.npy"),
    ],
)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_list_of_members_that_cannot_be_true(tmp_path: Path, field: str, value: Any, method: int) -> None:
    path = tmp_path / "set.npz"
    members = {"images": npy(IMAGES), "labels": npy(LABELS)}
    if value == "the end":  # with no room behind it for the entry's own header
        write_zip(path, members, method)
        value = path.stat().st_size - 10
    write_zip(path, members, method, **{field: value})
    with pytest.raises(DataError) as caught:
        open_data(str(path), tmp_path / "work")
    assert caught.value.file.startswith(str(path))


def test_a_member_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    write_zip(path, {"images": npy(IMAGES), "labels": npy(LABELS), "é": b""})
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\xc3\x28"))
    with pytest.raises(DataError, match="is damaged"):
        open_data(str(path), tmp_path)


def test_a_class_that_only_the_test_part_has_counts(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=IMAGES, labels=LABELS, test_images=IMAGES[:2], test_labels=np.array([0, 40]))
    with open_data(str(tmp_path / "set.npz"), tmp_path) as data:
        assert data.info.classes == 41


def test_the_highest_label_counts_wherever_it_stands(tmp_path: Path) -> None:
    labels = np.zeros(300_000, dtype=np.uint16)  # more than is checked in one piece
    labels[5] = 7
    np.savez(tmp_path / "set.npz", images=np.zeros((300_000, 1, 1), dtype=np.uint8), labels=labels)
    with open_data(str(tmp_path / "set.npz"), tmp_path) as data:
        assert data.info.classes == 8


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_only_two_methods_of_compression_are_read(tmp_path: Path, method: int) -> None:
    write_zip(tmp_path / "set.npz", {"images": npy(IMAGES), "labels": npy(LABELS)}, method)
    with pytest.raises(DataError, match=f"compressed by method {method}; only stored and deflated"):
        open_data(str(tmp_path / "set.npz"), tmp_path)


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    write_zip(path, {"images": npy(IMAGES), "labels": npy(LABELS)})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # bit 0 of the flags in the first entry of the list at the end
    path.write_bytes(data)
    with pytest.raises(DataError, match="images: is encrypted"):
        open_data(str(path), tmp_path)


def test_a_flipped_bit_in_a_compressed_member(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez_compressed(path, images=IMAGES, labels=LABELS)
    data = bytearray(path.read_bytes())
    data[300] ^= 4
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"images: is damaged"):
        open_data(str(path), tmp_path)


def test_a_zip_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, images=IMAGES, labels=LABELS)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match="is damaged"):
        open_data(str(path), tmp_path)


def test_a_list_of_members_too_long_to_be_read(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    write_zip(path, {"images": npy(IMAGES), "labels": npy(LABELS)} | {f"member{i}": b"" for i in range(2_000)})
    with pytest.raises(DataError, match="bytes for its list of members"):
        open_data(str(path), tmp_path)


@pytest.mark.parametrize("compressed", [False, True])
def test_ruined_files_give_a_clear_error_or_a_set_that_reads(tmp_path: Path, compressed: bool) -> None:
    """A thousand files with a few bytes changed, most of them where zip and .npy keep their structure."""
    path = tmp_path / "set.npz"
    (np.savez_compressed if compressed else np.savez)(path, images=IMAGES, labels=LABELS)
    whole = path.read_bytes()
    chance = np.random.default_rng(7)
    structure = [i for mark in (b"PK", b"\x93NUMPY") for i in range(len(whole)) if whole.startswith(mark, i)]
    outcomes = {"refused": 0, "read": 0}
    for _ in range(1_000):
        data = bytearray(whole)
        for _ in range(chance.integers(1, 4)):
            start = chance.choice(structure) if chance.random() < 0.8 else chance.integers(len(whole))
            data[min(start + chance.integers(80), len(data) - 1)] = chance.integers(256)
        path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zipfile warns of names that stand twice
            try:
                with open_data(str(path), tmp_path / "work") as opened:
                    info = opened.info
                    read_all(opened.train, info.shape)
                outcomes["read"] += 1
            except PlannerError as error:
                assert str(path) in str(error)
                outcomes["refused"] += 1
    assert min(outcomes.values()) > 50, outcomes


@pytest.mark.parametrize(
    "names",
    [
        ("images", "labels", "test_images", "test_labels", "val_images", "val_labels"),
        ("x_train", "y_train", "x_test", "y_test", "x_val", "y_val"),  # Keras
        ("train_images", "train_labels", "test_images", "test_labels", "val_images", "val_labels"),  # MedMNIST
        ("X_train", "Y_train", "X_test", "Y_test", "X_valid", "Y_valid"),
    ],
)
def test_the_names_that_arrays_have_elsewhere(tmp_path: Path, names: tuple[str, ...]) -> None:
    parts = (slice(0, 12), slice(12, 16), slice(16, 20))
    arrays = [array[part] for part in parts for array in (IMAGES, LABELS[:, None])]
    np.savez(tmp_path / "set.npz", **dict(zip(names, arrays, strict=True)))  # type: ignore[arg-type]  # arrays by name
    with open_data(str(tmp_path / "set.npz"), tmp_path) as data:
        assert data.validation is not None and data.test is not None
        for part, split in zip(parts, (data.train, data.test, data.validation), strict=True):
            images, labels = read_all(split, (1, 4, 6))
            assert_array_equal(images[:, 0], IMAGES[part])
            assert labels == LABELS[part].tolist()
        assert data.parts.notes == ()


def test_what_is_not_read_is_named(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "set.npz",
        images=IMAGES,
        labels=LABELS,
        mean=np.zeros(3),
        val_images=IMAGES[:4],
        val_labels=LABELS[:4],
    )
    with open_data(str(tmp_path / "set.npz"), tmp_path) as data:
        assert data.parts.notes == (
            "left out: 1 array (mean)",
            "there is no test part: the validation part is tested on",
        )
        assert data.test is not None and data.test.samples == 4 and data.validation is None


def test_two_arrays_for_the_same_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=IMAGES, labels=LABELS, x_train=IMAGES)
    with pytest.raises(DataError, match="two arrays for the same: images and x_train"):
        open_data(str(tmp_path / "set.npz"), tmp_path)


COLOUR = random_images(20, 3, 8, 6)
"""Channels first."""


def test_channels_first_are_refused_where_nothing_settles_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=COLOUR, labels=LABELS)
    with pytest.raises(DataError, match=r"20×3×8×6: 6 channels of 3×8, or 3 of 8×6\?.*--layout nchw.*transpose"):
        open_data(str(tmp_path / "set.npz"), tmp_path)


@pytest.mark.parametrize("how", [{"layout": "nchw"}, {"size": (3, 8, 6)}])
def test_channels_first_are_read_where_it_is_said(tmp_path: Path, how: dict[str, Any]) -> None:
    np.savez(tmp_path / "first.npz", images=COLOUR, labels=LABELS)
    np.savez(tmp_path / "last.npz", images=COLOUR.transpose(0, 2, 3, 1), labels=LABELS)
    with open_data(str(tmp_path / "first.npz"), tmp_path, **how) as data:
        assert_array_equal(read_all(data.train, (3, 8, 6))[0], COLOUR)
    with open_data(str(tmp_path / "last.npz"), tmp_path, size=how.get("size")) as data:
        assert_array_equal(read_all(data.train, (3, 8, 6))[0], COLOUR)
