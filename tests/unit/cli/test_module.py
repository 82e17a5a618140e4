"""Networks by the name of a function: what such a name is, and `--model` with one, in a process of its own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

from planner.cli import options
from planner.cli.module import is_function
from planner.cli.subject import named_model, subject_from

NETWORK = """
import os
from torch import nn

print("printed while it is imported")

def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))

def dies():
    os.kill(os.getpid(), 11)
"""


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("pkg.mod:factory", True),
        ("mod:Class.method", True),
        ("path/to my/file.py:factory", True),
        ("/abs/file.py:net", True),
        ("vgg16", False),
        ("model.json", False),
        ("a:b.json", False),
        ("C:/net.onnx", False),
        ("http://host/plan", False),
        ("pkg.mod:", False),
        (":net", False),
        ("pkg..mod:net", False),
        ("file.py:1net", False),
        ("file.txt:net:", False),
    ],
)
def test_what_is_the_name_of_a_function(name: str, is_one: bool) -> None:
    assert is_function(name) is is_one


def test_a_function_is_a_model_of_the_shape_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its code runs in the working directory, and neither it nor torch in this process."""
    (tmp_path / "mine.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    parser = argparse.ArgumentParser()
    options.add_model(parser)
    found = subject_from(parser.parse_args(["--model", "mine:net", "--data", "sample"]), tmp_path)
    assert (found.model.schema, found.model.input, found.model.classes) == ("model/2", (1, 28, 28), 10)
    assert [tensor.shape for _, tensor in found.model.graph_tensors()] == [(10, 784), (10,)]
    assert "mine" not in sys.modules
    # Equal code gives an equal description, by which its profile is found again.
    again = named_model(parser.parse_args(["--model", "mine.py:net", "--input", "1x28x28"]))
    assert again == found.model
