"""`neuroflux describe`, end to end: a person's own code in, a description and its weights out, or every obstacle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from safetensors.torch import load_file
from torch import nn

from planner.cli.main import main
from planner.model.load import load_model
from tests.unit.model.importers.onnx.files import graph

NETWORK = """
import os
import torch
from torch import nn

class Careless(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(48, 10))

    def forward(self, x):
        if x.sum() > 0:
            x = 2 * x
        return {"hidden": x, "scores": self.body(x)}

def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 10))

def dies():
    os.kill(os.getpid(), 11)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_description_and_weights_are_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["describe", "mine:net", "--input", "3x4x4", "-o", "m.json", "--state-dict", "w.safetensors"]
    assert main(words) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == "Sequential comes in: 3×4×4 in, 10 classes, 490 parameters in 1 units"
    assert said.err == "written to m.json\nwritten to w.safetensors\n"
    model = load_model("m.json", None, None)
    assert {tensor.name: tensor.shape for _, tensor in model.graph_tensors()} == {"1.weight": (10, 48), "1.bias": (10,)}
    # They are what the function's module began with: the same draw from the same seed.
    torch.manual_seed(0)
    wanted = nn.Sequential(nn.Flatten(), nn.Linear(48, 10)).state_dict()
    found = load_file(folder / "w.safetensors")
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_every_obstacle_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "mine.py:Careless", "--input", "3x4x4", "-o", "m.json", "--json"]) == 2
    said = capsys.readouterr()
    output, branch = json.loads(said.out)["errors"]
    assert output == (
        "forward gives a dict; one tensor (batch, classes) is needed; have its forward return out['scores']"
    )
    assert "mine.py:12: what it does depends on the values of the data" in branch
    assert said.err.startswith("neuroflux: 2 things are in the way of this network:\n")
    assert not Path("m.json").exists()


def test_code_that_dies_is_one_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "mine:dies"]) == 4
    said = capsys.readouterr().err
    assert said.startswith("neuroflux: the process that runs mine:dies was ended (SIGSEGV) ")
    assert len(said.splitlines()) == 1


def test_networks_of_the_zoo_are_described_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "vgg11", "--input", "3x32x32"]) == 0
    assert capsys.readouterr().out.startswith("vgg11 comes in: 3×32×32 in, 10 classes, ")
    assert main(["describe", "vgg11", "--state-dict", "w.safetensors"]) == 2
    assert "--state-dict: vgg11 is no function" in capsys.readouterr().err


def test_an_onnx_file_comes_in_with_what_is_to_be_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Gemm", ["f", "fc.weight"], ["g"]),
        helper.make_node("Softmax", ["g"], ["y"]),
    ]
    onnx.save(graph(nodes, weights={"fc.weight": np.ones((192, 3), np.float32)}), tmp_path / "net.onnx")
    assert main(["describe", "net.onnx", "-o", "net.json"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("net comes in: 4×6×8 in, 3 classes, 576 parameters in 1 unit")
    assert "net.onnx: the softmax at its end is left out" in shown.err
    assert load_model("net.json", None, None).units[0].name == "fc"
    assert main(["describe", "net.onnx", "--classes", "4"]) == 2
    assert "the model has 3 classes, but 4 were asked for" in capsys.readouterr().err
