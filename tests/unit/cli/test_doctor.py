from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest

from planner.cli import doctor
from planner.cli.main import main
from planner.schema.codec import decode
from planner.schema.device import Baseline, DeviceDocument
from planner.schema.profile import Storage
from planner.system import machine
from planner.system.machine import fingerprint, probe
from planner.units import MIB
from tests.unit.profiler.profiles import FOREIGN

DOCUMENT = DeviceDocument(
    "device/1",
    replace(FOREIGN, gpu_total_bytes=8 * MIB, gpu_context_bytes=3 * MIB, torch_threads=66),
    55,
    "a" * 64,
    Storage(5 * MIB, 7 * MIB, "ext4"),
    Baseline(9 * MIB, 10 * MIB, 11 * MIB),
)


def _rows(text: str) -> dict[str, str]:
    pairs = (line.split("  ", 1) for line in text.splitlines())
    return {name.strip(): value.strip() for name, value in pairs}


def test_the_table_holds_every_fact(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "examine", lambda folder, seconds: DOCUMENT)
    assert main(["doctor"]) == 0
    rows = _rows(capsys.readouterr().out)
    expected = {
        "name": "Other Board",
        "cores": "77",
        "threads used": "55",
        "isa": "other",
        "torch version": "1.2.3",
        "torch default threads": "66",
        "memory total": "4.00 GiB",
        "memory available": "2.00 GiB",
        "memory limit": "none",
        "swap": "0 B",
        "allocator": "musl",
        "storage write speed": "5.0 MiB/s",
        "storage read speed": "7.0 MiB/s",
        "storage file system": "ext4",
        "gpu name": "Other GPU",
        "gpu memory": "8.0 MiB",
        "gpu context overhead": "3.0 MiB",
        "unified memory": "yes",
        "runtime baseline": "9.0 MiB",
        "fingerprint": "a" * 64,
    }
    assert {name: rows.get(name) for name in expected} == expected
    assert "torch fit" not in rows  # it is no Arm processor


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch installed")
def test_the_document_says_what_this_device_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", "--folder", str(tmp_path)]) == 0
    found = decode(DeviceDocument, json.loads(capsys.readouterr().out))
    here = probe()
    assert (found.machine.name, found.threads) == (here.name, here.cores)
    assert found.fingerprint == fingerprint(here, here.torch_version, here.cores)
    assert found.machine.torch_threads is not None
    assert found.runtime is not None
    assert list(tmp_path.iterdir()) == []


def test_without_torch_the_rest_is_still_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "installed_torch_version", lambda: None)
    assert main(["doctor", "--folder", str(tmp_path)]) == 0
    rows = _rows(capsys.readouterr().out)
    assert (rows["torch version"], rows["runtime"], rows["torch default threads"]) == ("none", "none", "none")
    assert rows["storage read speed"].endswith("/s")


def test_one_core_is_a_number_and_no_yes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    one = replace(DOCUMENT, threads=1, machine=replace(DOCUMENT.machine, cores=1, torch_threads=0))
    monkeypatch.setattr(doctor, "examine", lambda folder, seconds: one)
    assert main(["doctor"]) == 0
    rows = _rows(capsys.readouterr().out)
    assert (rows["cores"], rows["threads used"], rows["torch default threads"]) == ("1", "1", "0")
    assert rows["unified memory"] == "yes"


def test_a_torch_that_the_processor_cannot_run_is_named_and_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    board = replace(FOREIGN, architecture="aarch64", allocator="mimalloc", torch_version="2.10.0", torch_threads=None)
    monkeypatch.setattr(machine, "probe", lambda: board)
    monkeypatch.setattr(machine, "has_atomics", lambda: False)
    assert main(["doctor", "--folder", str(tmp_path)]) == 0
    rows = _rows(capsys.readouterr().out)
    assert rows["torch fit"].startswith("torch 2.10.0 needs Armv8.1 atomics (LSE), which this processor lacks")
    assert rows["runtime"] == rows["torch default threads"] == "none"


def test_torch_gets_the_time_that_was_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    monkeypatch.setattr("planner.system.machine.installed_torch_version", lambda: "9.9")
    assert main(["doctor", "--max-seconds", "1"]) == 4
    assert "torch 9.9 gave no answer within 1" in capsys.readouterr().err
