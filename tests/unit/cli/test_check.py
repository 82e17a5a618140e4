"""`neuroflux check`: one line for a description that holds, a line for each fault of one that does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from planner.cli.main import main

LINEAR: list[dict[str, Any]] = [{"op": "flatten"}, {"op": "linear", "out_features": 4}]


def written(folder: Path, *units: list[dict[str, Any]]) -> str:
    named = [{"name": f"unit{index}", "layers": layers} for index, layers in enumerate(units)]
    value = {"schema": "model/2", "name": "mine", "input": [3, 8, 8], "classes": 4, "units": named}
    path = folder / "model.json"
    path.write_text(json.dumps(value))
    return str(path)


def test_a_description_that_holds_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, [{"op": "conv2d", "out_channels": 5, "kernel": 3}], LINEAR)
    assert main(["check", path]) == 0
    parameters = 5 * 3 * 9 + 5 + 5 * 36 * 4 + 4
    adds = 36 * 5 * 27 + 5 * 36 * 4
    amounts = f"{parameters} parameters, {adds:,} multiply-adds per sample"
    assert capsys.readouterr().out == f"mine: 2 units, {amounts}, output 4\n"
    assert main(["check", path, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["units"], told["parameters"], told["output"]) == (2, parameters, [4])


def test_each_fault_is_a_line_and_the_exit_code_that_of_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, [{"op": "relo"}], [{"op": "graph", "nodes": ["a = relu(b)"], "result": "a"}], LINEAR)
    assert main(["check", path, "--json"]) == 2
    shown = capsys.readouterr()
    first, second = shown.err.splitlines()
    assert first.startswith(f"neuroflux: {path}: $.units[0].layers[0].op: ")
    assert second == f"neuroflux: {path}: $.units[1].layers[0].nodes[0]: 'b' is read before it is computed"
    told = json.loads(shown.out)
    assert told["exit_code"] == 2 and len(told["errors"]) == 2


def test_where_every_field_is_right_the_chain_is_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, [{"op": "relu"}], [{"op": "linear", "out_features": 4}])
    assert main(["check", path]) == 2
    assert capsys.readouterr().err == (
        f"neuroflux: {path}: unit 1: unit1, layer 0 (linear): needs a flat input, has 3×8×8; put a flatten before it\n"
    )


def test_a_hundred_faults_are_not_told_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, *[[{"op": "relo"}]] * 100)
    assert main(["check", path]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21 and lines[-1] == "and 80 more"


def test_what_is_no_json_is_told_with_line_and_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.json"
    path.write_text('{"schema":\n oops}')
    assert main(["check", str(path)]) == 2
    assert capsys.readouterr().err == f"neuroflux: {path}: $: not JSON: Expecting value at line 2, column 2\n"


def test_an_onnx_file_is_no_description(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "net.onnx")]) == 2
    assert "`neuroflux describe` says whether an ONNX file comes in" in capsys.readouterr().err
