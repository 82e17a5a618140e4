"""A lean import computes what a plain one does, to the bit; and whatever is unexpected ends in a plain one."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from planner.training.lean import LEFT_OUT, LeftOutError, left_out, names_left_out, torch_version
from tests.unit.system.support import environment, run_child

VERSION = torch_version()

needs_list = pytest.mark.skipif(
    names_left_out(VERSION or "") is None, reason=f"nothing is known to be needless in torch {VERSION}"
)

START = """
    import json, sys
    from planner.training import lean
    {change}
    from planner.system.answers import Answers
    from planner.training.start import start_child
    answers = Answers()
    started = start_child(answers, "tight", 1, "lean")
    import torch.fx
    answers.emit(json.dumps([started.start, hasattr(torch.fx, "Node"), sorted(sys.argv[1:])]))
"""


def _results(start: str) -> Any:
    command = [sys.executable, "-W", "ignore", "-m", "tests.unit.training.lean_results", start]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@needs_list
def test_networks_and_every_operator_compute_the_same_to_the_bit() -> None:
    plain, lean = _results("plain"), _results("lean")
    assert (plain.pop("start"), lean.pop("start")) == ("plain", "lean")
    assert lean == plain
    assert len(set(plain["networks"].values())) == len(plain["networks"]) - 1  # recomputation changes nothing
    ran = [result for result in plain["operators"].values() if ":" not in result]
    assert len(ran) > 0.85 * len(plain["operators"])


@needs_list
def test_a_lean_start_leaves_out_what_is_listed() -> None:
    assert run_child(START.format(change=""), "a", "b") == ["lean", False, ["a", "b"]]


@needs_list
def test_modules_are_made_without_bytes_under_a_lean_start() -> None:
    """As they are to compare weights with; torch looks through all functions that make tensors for that."""
    made = """
        import json
        from planner.system.answers import Answers
        from planner.training.start import start_child
        answers = Answers()
        started = start_child(answers, "tight", 1, "lean")
        import torch
        with torch.device("meta"):
            layer = torch.nn.Conv2d(1, 2, 3)
        answers.emit(json.dumps([started.start, layer.weight.device.type]))
    """
    assert run_child(made) == ["lean", "meta"]


@pytest.mark.parametrize(
    "change",
    [
        "lean.LEFT_OUT = {}",
        "import planner.training.runtime as runtime; runtime.torch_version = lambda: '1.2.3'",
        "lean.LEFT_OUT = {key: {'torch.nn.functional': ()} for key in lean.LEFT_OUT}",
        "lean.LEFT_OUT = {key: {**names, 'torch._tensor': ()} for key, names in lean.LEFT_OUT.items()}",
    ],
    ids=["no list", "unknown version", "needed by others", "needed by itself"],
)
def test_whatever_is_unexpected_ends_in_a_plain_start_as_if_nothing_had_been_tried(change: str) -> None:
    assert run_child(START.format(change=change), "a", "b") == ["plain", True, ["a", "b"]]


def test_versions_are_known_by_their_minor_number() -> None:
    known = next(iter(LEFT_OUT))
    assert names_left_out(f"{known}.0+cpu") == names_left_out(f"{known}.7") == LEFT_OUT[known]
    assert names_left_out(f"{known}1.0") is names_left_out("2.5.1") is names_left_out("") is None


def test_what_is_left_out_may_be_named_and_no_more() -> None:
    names = {"not_there": ("Node", "is_available"), "not_there.below": ()}
    with left_out(names):
        import not_there.below  # type: ignore[import-not-found]
    assert not not_there.is_available()

    class Mine(not_there.Node):  # type: ignore[misc]
        pass

    assert not isinstance(3, not_there.Node) and not hasattr(not_there, "Graph")
    for use in (lambda: not_there.Node(), lambda: Mine(), lambda: not_there.Node.meta, lambda: not_there.below.x):
        with pytest.raises(LeftOutError, match=r"^\S+ was left out when torch was imported"):
            use()
    with pytest.raises(ModuleNotFoundError), left_out(names):
        import not_there.again  # type: ignore[import-not-found]  # not listed
