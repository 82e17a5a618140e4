"""Files of `torch.save` are read without torch, and nothing in them is run."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from planner.errors import InputError
from planner.runner.storage.torch_weights import TorchWeights
from planner.runner.supervise.torch_file import as_safetensors


def state() -> dict[str, torch.Tensor]:
    rows = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    return {
        "conv.weight": torch.nn.Parameter(torch.ones(2, 3, 1, 1)),
        "count": torch.tensor(7),
        "half": torch.arange(3).half(),
        "bfloat16": torch.arange(4).bfloat16(),
        "rows": rows,
        "last rows": rows[2:],  # of the same storage
        "twice": torch.arange(3.0).double(),
    }


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "older format"])
@pytest.mark.parametrize("within", [None, "state_dict", "model"])
def test_what_torch_saved_is_read(archive: bool, within: str | None, tmp_path: Path) -> None:
    saved: Any = state()
    if within is not None:
        saved = {"epoch": 3, within: saved, "optimizer": {0: {"step": torch.zeros(9)}}, "device": torch.device("cpu")}
    torch.save(saved, tmp_path / "w.pth", _use_new_zipfile_serialization=archive)
    weights = TorchWeights(tmp_path / "w.pth")
    data = b"".join(weights.chunks())
    weights.close()
    expected = state()
    assert [entry.name for entry in weights.entries] == list(expected)
    assert [entry.shape for entry in weights.entries] == [tuple(tensor.shape) for tensor in expected.values()]
    plain = (tensor.detach().contiguous().reshape(-1).view(torch.uint8) for tensor in expected.values())
    assert data == b"".join(bytes(each.tolist()) for each in plain)


def test_a_process_of_its_own_writes_it_for_other_tools(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(3, 2).state_dict(), tmp_path / "w.pt")
    as_safetensors(tmp_path / "w.pt", tmp_path / "w.safetensors")
    found, expected = load_file(tmp_path / "w.safetensors"), torch.load(tmp_path / "w.pt")
    assert found.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(InputError, match=r"list\.pt: holds no plain state dict \(it holds something else\); save "):
        as_safetensors(tmp_path / "list.pt", tmp_path / "none.safetensors")
    assert not (tmp_path / "none.safetensors").exists()


class _Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.write_text, (self.path, "run")


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "older format"])
def test_nothing_in_it_is_run(archive: bool, tmp_path: Path) -> None:
    saved = {"a": torch.ones(2), "evil": _Evil(tmp_path / "proof")}
    torch.save(saved, tmp_path / "w.pth", _use_new_zipfile_serialization=archive)
    pickle.loads(pickle.dumps(saved["evil"]))  # it would
    (tmp_path / "proof").unlink()
    assert [entry.name for entry in TorchWeights(tmp_path / "w.pth").entries] == ["a"]
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "older format"])
def test_a_file_that_ends_early_or_is_changed_is_refused_or_read(archive: bool, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2, 2), "b": torch.zeros(3)}, tmp_path / "w", _use_new_zipfile_serialization=archive)
    whole = (tmp_path / "w").read_bytes()
    damaged = tmp_path / "damaged"
    refused = 0
    for place in range(0, len(whole), max(1, len(whole) // 150)):
        for content in (whole[:place], whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]):
            damaged.write_bytes(content)
            try:
                weights = TorchWeights(damaged)
                for _ in weights.chunks():
                    pass
                weights.close()
            except InputError as error:
                refused += 1
                assert str(damaged) in str(error)
    assert refused > 150


def _nothing(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("weights")


def _other_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a")


def _module(path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), path)


def _turned(path: Path) -> None:
    torch.save({"a": torch.ones(3, 2).t()}, path)


def _pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"a": [1.0]}))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_nothing, "holds no plain state dict"),
        (_text, "holds no plain state dict"),
        (_other_archive, "it is an archive of something else"),
        (_module, "it holds something else"),
        (_turned, "the numbers of a lie in another order than its shape says; save it contiguous"),
        (_pickle, "it is no file of torch.save"),
        (lambda path: path.mkdir(), r"cannot be read \(Is a directory\)"),
    ],
)
def test_other_files_are_refused_in_words(make: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    make(tmp_path / "w.pth")
    with pytest.raises(InputError, match=said):
        TorchWeights(tmp_path / "w.pth")
