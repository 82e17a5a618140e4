"""Modules by the name of the function that makes them, and what can be wrong with that function."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn

from planner.errors import ModelError
from planner.model.importers.factory import made_by

NETWORKS = """
from torch import nn
from family.sizes import WIDTH

def net():
    return nn.Linear(WIDTH, 10)

class Net(nn.Linear):
    def __init__(self):
        super().__init__(WIDTH, 3)

    @classmethod
    def wide(cls):
        return nn.Linear(WIDTH, 5)

READY = nn.Linear(WIDTH, 7)
NUMBER = 3

def fails():
    raise ValueError("why not")

def leaves():
    raise SystemExit("no licence")

def sized(width):
    return nn.Linear(width, 1)

def number():
    return 3
"""


ALONE = """
from torch import nn
from beside import WIDTH
net = lambda: nn.Linear(WIDTH, 2)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a package, which is the working directory; what is imported from it is forgotten again."""
    (tmp_path / "family").mkdir()
    (tmp_path / "family" / "sizes.py").write_text("WIDTH = 4")
    (tmp_path / "family" / "nets.py").write_text(NETWORKS)
    (tmp_path / "alone.py").write_text(
        "from torch import nn\nfrom beside import WIDTH\nnet = lambda: nn.Linear(WIDTH, 2)"
    )
    (tmp_path / "beside.py").write_text("WIDTH = 6")
    (tmp_path / "torn.py").write_text("\ndef net(:\n")
    (tmp_path / "needy.py").write_text("x = 1\nimport not_there_at_all\n")
    (tmp_path / "zero.py").write_text("x = 1\nx / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("family.nets:net", 10),
        ("family.nets:Net", 3),
        ("family.nets:Net.wide", 5),
        ("family.nets:READY", 7),
        ("family/nets.py:net", 10),
    ],
)
def test_a_module_is_made(name: str, outputs: int) -> None:
    found = made_by(name)
    assert isinstance(found, nn.Linear)
    assert (found.in_features, found.out_features) == (4, outputs)


def test_a_file_elsewhere_has_its_folder_to_import_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    found = made_by(f"{folder}/alone.py:net")
    assert isinstance(found, nn.Linear)
    assert found.in_features == 6


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("family.nets:fails", r".*/family/nets\.py:\d+: calling fails\(\) fails \(ValueError: why not\)$"),
        ("family.nets:leaves", r".*/family/nets\.py:\d+: calling leaves\(\) fails \(SystemExit: no licence\)$"),
        ("family.nets:sized", r"calling sized\(\) fails \(TypeError: .*missing 1 required .*'width'\)$"),
        ("family.nets:number", r"family\.nets:number: returns a int; a torch\.nn\.Module is needed$"),
        (
            "family.nets:NUMBER",
            r"family\.nets:NUMBER: is a int; a function that returns a torch\.nn\.Module is",
        ),
        ("family.nets:nett", r"family\.nets has no 'nett'; it has net, Net, fails, leaves, sized, number$"),
        ("family.missing:net", r"there is no Python module 'family\.missing' in .*, nor is one installed for "),
        ("stranger.nets:net", r"there is no Python module 'stranger' in .*, nor is one installed for "),
        ("missing.py:net", r"missing\.py: is no file$"),
        ("torn:net", r".*/torn\.py:2: importing torn fails \(SyntaxError: "),
        ("torn.py:net", r".*torn\.py:2: importing torn\.py fails \(SyntaxError: "),
        ("needy:net", r".*/needy\.py:2: importing needy fails \(ModuleNotFoundError: .*'not_there_at_all'\)$"),
        ("zero:net", r".*/zero\.py:2: importing zero fails \(ZeroDivisionError: division by zero\)$"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=f"^{message}"):
        made_by(name)
