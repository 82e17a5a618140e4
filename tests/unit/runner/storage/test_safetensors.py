"""Our files are read by the safetensors library, and the library's by us."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from planner import limits
from planner.errors import StorageError
from planner.heads.convolution import ConvHead
from planner.model.build import build_unit
from planner.model.heads import head_unit
from planner.operators.unit_graph import UnitGraph
from planner.runner.storage.safetensors import Entry, TensorFile, merge_tensors, write_tensors
from planner.schema.common import OptimizerConfig
from planner.schema.model import (
    Activation,
    AdaptivePool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    Pool2d,
    Residual,
    Unit,
)
from planner.training.device import bytes_of


def _write(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    names = {torch.float32: "F32", torch.int64: "I64"}
    entries = [Entry(name, names[tensor.dtype], tuple(tensor.shape)) for name, tensor in tensors.items()]
    write_tensors(path, entries, lambda: [bytes_of(tensor) for tensor in tensors.values()])


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {"a.weight": torch.randn(3, 4, 5), "a.count": torch.tensor(7), "b.empty": torch.empty(0, 3)}


def test_the_library_reads_what_we_write(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "x.safetensors"
    _write(path, tensors)
    with safe_open(path, "pt") as file:
        assert sorted(file.keys()) == sorted(tensors)
        for name, tensor in tensors.items():
            assert torch.equal(file.get_tensor(name), tensor)


def test_we_read_what_the_library_writes(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "x.safetensors"
    save_file(tensors, path, metadata={"made": "by the library"})
    file = TensorFile(path)
    for name, tensor in tensors.items():
        found = torch.zeros_like(tensor)
        file.read_into(name, bytes_of(found))
        assert torch.equal(found, tensor)
    file.close()


def test_merging_keeps_what_is_given_a_name(tmp_path: Path) -> None:
    first, second = {"units.0.w": torch.rand(300_000), "heads.1.w": torch.rand(2)}, {"units.1.w": torch.rand(5)}
    _write(tmp_path / "1", first)
    _write(tmp_path / "2", second)
    names = {"units.0.w": "units.0.w", "units.1.w": "last"}
    merge_tensors([tmp_path / "1", tmp_path / "2"], tmp_path / "all", names.get)
    with safe_open(tmp_path / "all", "pt") as file:
        assert sorted(file.keys()) == ["last", "units.0.w"]
        assert torch.equal(file.get_tensor("units.0.w"), first["units.0.w"])
        assert torch.equal(file.get_tensor("last"), second["units.1.w"])


def _header(tensors: object, data: bytes = b"") -> bytes:
    text = json.dumps(tensors).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x05\x00",
        (2**60).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (2).to_bytes(8, "little") + b"{",
        _header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"1234"),
        _header({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, bytes(8)),
        _header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}}, bytes(8)),
        _header({"a": {"dtype": "F8", "shape": [8], "data_offsets": [0, 8]}}, bytes(8)),
        _header({"a": {"shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
    ],
    ids=["empty", "short", "huge-header", "list", "json", "truncated", "size", "negative", "dtype", "field"],
)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"broken\.safetensors"):
        TensorFile(path)


def test_a_missing_tensor_and_a_wrong_size_are_named(tmp_path: Path) -> None:
    _write(tmp_path / "x", {"a": torch.zeros(2)})
    file = TensorFile(tmp_path / "x")
    with pytest.raises(StorageError, match="no tensor called 'b'"):
        file.read_into("b", memoryview(bytearray(8)))
    with pytest.raises(StorageError, match="'a' has 8 bytes, 12 are expected"):
        file.read_into("a", memoryview(bytearray(12)))
    file.close()


def test_too_little_data_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        write_tensors(tmp_path / "x", [Entry("a", "F32", (2,))], lambda: [memoryview(b"1234")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_the_largest_network_there_may_be_is_written_and_read(tmp_path: Path) -> None:
    """As many tensors as a checkpoint of it has, under names as long as they get."""
    path = "63.shortcut." * limits.MAX_RESIDUAL_DEPTH
    name = f"optimizer.units.{limits.MAX_UNITS - 1}.{path}63.weight.momentum_buffer."
    entries = [Entry(f"{name}{number:06}", "F32", (65536, 0, 64, 64)) for number in range(limits.MAX_TENSORS)]
    write_tensors(tmp_path / "all", entries, list)
    file = TensorFile(tmp_path / "all")
    assert len(file.entries) == limits.MAX_TENSORS and file.entries[-1] == entries[-1]
    file.close()
    with pytest.raises(StorageError, match=f"{limits.MAX_TENSORS + 1} tensors are to be written; at most"):
        write_tensors(tmp_path / "more", [*entries, Entry("one more", "F32", (0,))], list)
    assert not (tmp_path / "more").exists()


def test_the_longest_header_of_so_many_tensors_is_one_that_is_read() -> None:
    path = "63.shortcut." * limits.MAX_RESIDUAL_DEPTH
    numbers = 4 * limits.MAX_PARAMETERS * 4
    longest = {
        f"optimizer.units.{limits.MAX_UNITS - 1}.{path}63.weight.momentum_buffer": {
            "dtype": "F32",
            "shape": [limits.MAX_CHANNELS, limits.MAX_CHANNELS, limits.MAX_KERNEL, limits.MAX_KERNEL],
            "data_offsets": [numbers, numbers],
        }
    }
    assert limits.MAX_TENSORS * len(json.dumps(longest)) < limits.MAX_HEADER_BYTES


def test_no_network_has_more_tensors_than_a_file(tmp_path: Path) -> None:
    """The layer with most, as often as a unit may have layers, behind a head: with what Adam keeps of each."""
    unit = Unit("all", (BatchNorm2d("batchnorm2d"),) * limits.MAX_LAYERS_PER_UNIT)
    modules = [
        build_unit(unit, (3, 8, 8)),
        build_unit(head_unit(ConvHead("auxiliary", 4), (3, 8, 8), (10,)), (3, 8, 8)),
    ]
    states = OptimizerConfig("adam", 0.1).state_copies
    tensors = sum(len(module.state_dict()) + states * len(list(module.parameters())) for module in modules)
    assert limits.MAX_UNITS * tensors == limits.MAX_TENSORS
    every = (
        Conv2d("conv2d", 3, 1), Linear("linear", 3), BatchNorm2d("batchnorm2d"), Activation("relu"), Flatten("flatten"),
        Pool2d("max_pool2d", 2, 2), AdaptivePool2d("adaptive_avg_pool2d", 1, 1), Dropout("dropout", 0.5),
    )  # fmt: skip
    assert {type(layer) for layer in every} | {Residual, UnitGraph} == set(get_args(Layer))
    in_graphs = limits.MAX_GRAPH_TENSORS * (1 + states) + limits.MAX_UNITS * 18  # heads as above
    assert in_graphs == limits.MAX_TENSORS
    for layer in every:
        module = build_unit(Unit("one", (layer,)), (3,) if isinstance(layer, Linear) else (3, 8, 8))
        assert len(module.state_dict()) + states * len(list(module.parameters())) <= 9


def test_seventeen_thousand_tensors_are_what_the_library_says(tmp_path: Path) -> None:
    tensors = {f"units.{number}.weight": torch.tensor([float(number)]) for number in range(17_000)}
    _write(tmp_path / "ours", tensors)
    save_file(tensors, tmp_path / "theirs")
    with safe_open(tmp_path / "ours", "pt") as library:
        assert set(library.keys()) == set(tensors)
    file = TensorFile(tmp_path / "theirs")
    assert {entry.name for entry in file.entries} == set(tensors)
    file.close()
