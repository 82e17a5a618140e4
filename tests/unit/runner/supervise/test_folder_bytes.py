"""What a run keeps in its folder, against what really lies there; and folders that are memory, real ones."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from planner.errors import InfeasibleError
from planner.model.shapes import model_sizes
from planner.runner.protocol.events import Event
from planner.runner.supervise.folder_bytes import FolderBytes, SampleCounts, check_folder, folder_bytes
from planner.runner.supervise.supervisor import RunOptions, run_plan
from planner.schema.codec import content_id, read_document, to_json
from planner.schema.common import OptimizerConfig
from planner.schema.plan import Plan
from planner.schema.report import Report
from planner.schema.run_folder import RunFolder
from planner.units import MIB
from tests.fault.support import small_plan
from tests.unit.data.support import cycling_labels, random_images
from tests.unit.runner.supervise.test_room import plan_of
from tests.unit.runner.train.test_windows import overlapping
from tests.unit.system.support import environment, mounting, python

_SMALL_BYTES = 2 * MIB
"""What is allowed for documents, whatever the run."""


def _plan(optimizer: OptimizerConfig | None = None) -> Plan:
    """`small_plan` with the records that its caches really have: float32 activations, label and checksum."""
    plan = small_plan(optimizer)
    outputs = [math.prod(sizes.output) for sizes in model_sizes(plan.model)]
    blocks = [
        replace(block, input=replace(block.input, sample_bytes=4 * outputs[block.units[0] - 1] + 8))
        if block.units[0]
        else block
        for block in plan.blocks
    ]
    plan = replace(plan, blocks=tuple(blocks))
    return replace(plan, id=content_id(plan))


class _Scales:
    """Weighs the folder whenever something happens."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self.most_bytes = 0

    def observe(self, event: Event) -> None:
        self.most_bytes = max(self.most_bytes, weigh(self._out))


def weigh(out: Path) -> int:
    """Bytes of all files below a folder; a file or a folder that goes meanwhile weighs nothing."""
    total = 0
    # os.walk passes over folders that are gone, where rglob raises before Python 3.13.
    for folder, _, names in os.walk(out):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += Path(folder, name).stat().st_size
    return total


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_what_is_promised_is_what_lies_there(kind: str, tmp_path: Path) -> None:
    images, labels = random_images(100, 28, 28), cycling_labels(100, 10)
    np.savez(tmp_path / "data.npz", images=images, labels=labels, test_images=images[:20], test_labels=labels[:20])
    optimizer = OptimizerConfig("sgd", 0.05, 0.9) if kind == "sgd" else OptimizerConfig("adam", 0.001)
    plan, out = _plan(optimizer), tmp_path / "out"
    if kind == "adam":  # windows, two of which are units of the next block, are kept as well
        plan = overlapping(plan)
        plan = replace(plan, id=content_id(plan))
    scales = _Scales(out)
    options = RunOptions(checkpoint_seconds=0, exit_tolerance=0.5)
    run_plan(plan, str(tmp_path / "data.npz"), out, options, scales)
    end = weigh(out)
    stored = folder_bytes(plan, SampleCounts(100, 20), 1, 0)
    # Between two looks there may be one more checkpoint; nothing else of size is left out.
    assert scales.most_bytes <= stored.training_bytes <= 1.5 * scales.most_bytes + _SMALL_BYTES
    assert end <= stored.end_bytes
    # Its parts are told: more samples make larger caches, weights to begin with and data lie there too.
    cached = max(block.input.sample_bytes for block in plan.blocks if block.input.kind == "cache")
    more = folder_bytes(plan, SampleCounts(101, 20), 1, 0).training_bytes - stored.training_bytes
    assert cached <= more <= 2 * cached + 200 * len(plan.blocks)
    with_files = folder_bytes(plan, SampleCounts(100, 20), 1, 1000, 100)
    assert with_files.training_bytes - stored.training_bytes == 1100
    assert with_files.end_bytes - stored.end_bytes == 1100


def test_a_folder_in_memory_counts_as_long_as_it_fits() -> None:
    plan = plan_of(200 * MIB, 120 * MIB)
    plan = replace(plan, budget=replace(plan.budget, bytes=240 * MIB))
    said = check_folder(plan, FolderBytes(40 * MIB, 200 * MIB), "out (tmpfs)", 40 * MIB)
    assert said == "the output folder out (tmpfs) is memory: up to 40.0 MiB kept there are counted in the budget"
    smaller = check_folder(plan, FolderBytes(40 * MIB + 1, 0), "out (tmpfs)", 40 * MIB)
    assert "smaller micro-batches than planned" in smaller
    assert check_folder(plan, FolderBytes(120 * MIB, 0), "out (tmpfs)", 0) == smaller.replace("40.0 MiB", "120.0 MiB")
    for stored in (FolderBytes(120 * MIB + 1, 0), FolderBytes(0, 200 * MIB + 1)):
        with pytest.raises(InfeasibleError, match=r"--out, or plan for 240\.0 MiB") as caught:
            check_folder(plan, stored, "out (tmpfs)", 40 * MIB)
        assert caught.value.minimum_bytes == 240 * MIB + 1


def _run(plan: Plan, tmp_path: Path, out: Path) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "plan.json"
    file.write_text(to_json(plan))
    keep = tmp_path / "kept.json"
    code = """
        import subprocess, sys
        from pathlib import Path
        out, keep = Path(sys.argv[1]), Path(sys.argv[2])
        done = subprocess.run([sys.executable, "-m", "planner.cli.main", *sys.argv[3:]])
        if (out / "report.json").exists():
            keep.write_bytes((out / "report.json").read_bytes())
        print(sorted(path.name for path in out.parent.iterdir()))
        sys.exit(done.returncode)
    """
    words = ["run", str(file), "--data", "sample", "--out", str(out), "--max-steps", "2", "--quiet"]
    wrapper = mounting(out.parent)
    command = [*wrapper, *python(code, str(out), str(keep), *words)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True)


def test_a_run_into_a_folder_that_is_memory_counts_it_or_is_refused(tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    memory.mkdir()
    plan = _plan()
    done = _run(plan, tmp_path, memory / "out")
    assert done.returncode == 0, done.stderr
    assert f"warning: the output folder {memory / 'out'} (tmpfs) is memory: up to" in done.stderr
    report = read_document(tmp_path / "kept.json", Report)
    kept = report.stored_in_memory_bytes
    assert kept > 4000 * max(block.input.sample_bytes for block in plan.blocks if block.input.kind == "cache")
    assert report.peak_bytes == report.child_peak_bytes + report.supervisor_peak_bytes + kept
    assert report.within_budget
    # One that has no room for that beside its smallest micro-batches.
    tight = replace(plan, budget=replace(plan.budget, bytes=kept))
    done = _run(replace(tight, id=content_id(tight)), tmp_path, memory / "out")
    assert done.returncode == 3
    assert "Name a folder on storage with --out" in done.stderr
    assert done.stdout.splitlines()[-1] == "[]", "something was left behind"


def test_on_storage_nothing_of_it_counts(tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = run_plan(_plan(), "sample", out, RunOptions(max_steps=1), _Scales(out))
    assert report.stored_in_memory_bytes == 0
    assert RunFolder(out).report.exists()
