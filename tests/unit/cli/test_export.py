"""`neuroflux export`: a file, or the reason why there is none."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
import pytest
from safetensors.torch import load_file

from planner.cli.main import main
from planner.runner.storage.weights import save_tensors
from planner.schema.run_folder import RunFolder
from tests.unit.runner.storage.test_exported import export, graph_model, random_weights


def test_a_file_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "net.onnx"
    assert main(["export", str(export(tmp_path / "out")), "--onnx", str(target)]) == 0
    said = f"cnn6: {target}\nimages go in as (value / 255 - 0.5) / 0.25\n"
    assert capsys.readouterr().out == said
    onnx.checker.check_model(onnx.load(target))


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["export", str(export(tmp_path / "out")), "--onnx", str(tmp_path / "net.onnx")]) == 2
    assert "pip install 'neuroflux-planner[onnx]'" in capsys.readouterr().err
    assert not (tmp_path / "net.onnx").exists()


def test_what_cannot_be_exported_or_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path / "gone"), "--onnx", str(tmp_path / "net.onnx")]) == 2
    assert "gone: is neither a folder nor" in capsys.readouterr().err
    assert main(["export", str(export(tmp_path / "out")), "--onnx", str(tmp_path / "no" / "net.onnx")]) == 4
    assert "the folder does not exist" in capsys.readouterr().err


def test_a_state_dict_is_written_instead(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, target = export(tmp_path / "out", graph_model()), tmp_path / "state.safetensors"
    save_tensors(RunFolder(folder).model, random_weights(graph_model()).items())  # as a run does, with a checksum
    assert main(["export", str(folder), "--state-dict", str(target)]) == 0
    assert capsys.readouterr().out.startswith(f"mine: {target}\nimages go in as ")
    assert set(load_file(target)) == {"fc.weight", "fc.bias"}
    with pytest.raises(SystemExit):
        main(["export", str(folder)])
    assert "one of the arguments --onnx --state-dict is required" in capsys.readouterr().err
