"""Runs handed to tools that show runs, opened again by those tools where they are installed."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from planner.cli.main import main
from planner.export.records import memory_viz
from planner.report.read import read_run
from tests.unit.report.documents import LINES, PLAN, REPORT, write_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's output folder."""
    return write_run(tmp_path / "bench")


def _levels(trace: list[dict[str, Any]]) -> list[int]:
    """Bytes that are taken after each event; a free has to be of what was taken."""
    held: dict[int, int] = {}
    found = []
    for event in trace:
        if event["action"] == "alloc":
            assert event["addr"] not in held
            held[event["addr"]] = event["size"]
        elif event["action"] == "free_completed":
            assert held.pop(event["addr"]) == event["size"]
        found.append(sum(held.values()))
    return found


def test_the_memory_visualiser_sees_what_was_measured_beside_what_was_predicted(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "snapshot.pickle"
    assert main(["export-run", str(folder), "--memory-viz", str(out)]) == 0
    found = pickle.loads(out.read_bytes())
    assert found == memory_viz.snapshot(read_run(folder))
    measured, predicted = found["device_traces"]
    assert max(_levels(measured)) == max(line["peak_bytes"] for line in LINES)
    assert _levels(measured)[-1] == LINES[-1]["resident_bytes"]
    assert max(_levels(predicted)) == PLAN.blocks[0].predicted.breakdown.total
    assert _levels(predicted)[-1] == 0
    names = {event["frames"][0]["name"] for event in predicted}
    assert {"block 0: activations", "block 1: runtime"} <= names


def test_pytorchs_own_reader_opens_the_snapshot(folder: Path, tmp_path: Path) -> None:
    """In a process of its own: importing torch takes a second and is not forgotten."""
    out = tmp_path / "snapshot.pickle"
    assert main(["export-run", str(folder), "--memory-viz", str(out)]) == 0
    reader = "torch.cuda._memory_viz"
    drawn = tmp_path / "page.html"
    for action, target in (("trace", None), ("trace_plot", drawn)):
        command = [sys.executable, "-m", reader, action, str(out), *(["-o", str(target)] if target else [])]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "Active memory" in drawn.read_text() or "snapshot" in drawn.read_text().lower()


def test_perfetto_counts_bytes_and_shows_blocks(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "trace.json"
    assert main(["export-run", str(folder), "--perfetto", str(out), "--name", "first"]) == 0
    events = json.loads(out.read_text())["traceEvents"]
    counters = sorted((event for event in events if event["ph"] == "C"), key=lambda event: event["name"])
    series = {
        name: [(e["ts"], e["args"]["value"]) for e in each] for name, each in groupby(counters, lambda e: e["name"])
    }
    assert series["peak of the step (bytes)"] == [(line["seconds"] * 1e6, line["peak_bytes"]) for line in LINES]
    assert {value for _, value in series["budget (bytes)"]} == {PLAN.budget.bytes}
    slices = [(event["name"], event["ts"], event["dur"]) for event in events if event["ph"] == "X"]
    assert slices == [("block 0", 1e6, 1e6), ("block 1", 5.5e6, 0.0)]


def test_perfettos_own_processor_reads_the_trace(folder: Path, tmp_path: Path) -> None:
    processor = pytest.importorskip(
        "perfetto.trace_processor", reason="perfetto is not installed (pip install perfetto)"
    )
    out = tmp_path / "trace.json"
    assert main(["export-run", str(folder), "--perfetto", str(out)]) == 0
    try:
        opened = processor.TraceProcessor(trace=str(out))
    except Exception as error:
        pytest.skip(f"perfetto's processor cannot be started here, it is downloaded at its first start: {error!s:.100}")
    rows = list(
        opened.query(
            "select max(value) as most from counter join counter_track t on track_id = t.id where t.name like 'peak%'"
        )
    )
    assert rows[0].most == max(line["peak_bytes"] for line in LINES)
    opened.close()


def test_tensorboard_reads_its_event_files(folder: Path, tmp_path: Path) -> None:
    reason = "tensorboard is not installed (pip install 'neuroflux-planner[tensorboard]')"
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason=reason)
    assert main(["export-run", str(folder), "--tensorboard", str(tmp_path / "logs")]) == 0
    found = reader.EventAccumulator(str(tmp_path / "logs" / "bench"))
    found.Reload()
    peaks = [(event.step, event.value) for event in found.Scalars("memory/peak_bytes")]
    assert peaks == [(0, 250_000_000.0), (1, 251_000_000.0), (2, 250_000_000.0)]
    assert found.Scalars("result/accuracy")[0].value == REPORT.accuracy
    assert b"budget_bytes: 280000000" in found.Tensors("run")[0].tensor_proto.string_val[0]


def test_mlflow_reads_the_run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracking = pytest.importorskip(
        "mlflow.tracking", reason="mlflow is not installed (pip install 'neuroflux-planner[mlflow]')"
    )
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    assert main(["export-run", str(folder), "--mlflow", uri]) == 0
    client = tracking.MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("neuroflux").experiment_id])
    assert (run.info.run_name, run.info.status, run.data.params["strategy"]) == ("bench", "FINISHED", "auto")
    used = client.get_metric_history(run.info.run_id, "system/system_memory_usage_megabytes")
    assert [(each.step, each.value) for each in used] == [(0, 200.0), (1, 200.0), (2, 210.0)]
    assert used[1].timestamp - used[0].timestamp == 1000
    assert run.data.metrics["result/accuracy"] == REPORT.accuracy
    assert {each.path for each in client.list_artifacts(run.info.run_id)} == {"plan.json", "report.json"}


def test_trackio_reads_the_run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    storage = pytest.importorskip(
        "trackio.sqlite_storage", reason="trackio is not installed (pip install 'neuroflux-planner[trackio]')"
    ).SQLiteStorage
    assert main(["export-run", str(folder), "--trackio", "boards"]) == 0
    logs = storage.get_logs("boards", "bench")
    assert [(each["step"], each["memory/peak_bytes"]) for each in logs] == [(0, 250e6), (1, 251e6), (2, 250e6)]
    assert logs[-1]["result/accuracy"] == REPORT.accuracy
    system = storage.get_system_logs("boards", "bench")
    assert [each["memory/used"] for each in system] == [200e6 / 2**30, 200e6 / 2**30, 210e6 / 2**30]
    assert storage.get_run_config("boards", "bench")["strategy"] == "auto"


def test_what_cannot_be_handed_over_is_said(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("planner.extras.find_spec", lambda name: None)
    for package in ("tensorboard", "mlflow", "trackio"):
        assert main(["export-run", str(folder), f"--{package}", "x"]) == 2
        assert f"neuroflux-planner[{package}]" in capsys.readouterr().err
    assert main(["export-run", str(folder), "--perfetto", str(tmp_path / "none" / "x.json")]) != 0
    empty = write_run(tmp_path / "empty", b"")
    assert main(["export-run", str(empty), "--perfetto", str(tmp_path / "x.json")]) == 2
    assert "no optimizer step" in capsys.readouterr().err
