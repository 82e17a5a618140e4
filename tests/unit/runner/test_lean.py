"""The training child imports what training needs: judged in a real child, after real steps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from planner.runner.protocol.job import TrainingJob
from planner.schema.codec import to_json
from planner.schema.common import OptimizerConfig
from planner.schema.run_folder import RunFolder
from planner.units import MIB
from tests.fault.support import small_plan
from tests.prepared import open_prepared
from tests.unit.system.support import run_child

# Not torch.optim, torch.utils.data and multiprocessing: `import torch` itself brings these.
HEAVY = (
    "torch._dynamo", "torch._inductor", "sympy", "mpmath", "numpy", "pydantic", "networkx", "jinja2",
    "planner.solver.search.search", "planner.schema.profile", "planner.schema.report",
    "planner.operators.graph", "planner.cli.main",
)  # fmt: skip

_CODE = """
import os, sys
from planner.runner.train import child
code = child.main(sys.argv[1], os.getppid())
print([name for name in sys.argv[2:] if sys.modules.get(name) is not None])
sys.exit(code)
"""


def _train(tmp_path: Path, kind: str = "sgd") -> tuple[list[dict[str, Any]], str]:
    """What a real child tells, and which of `HEAVY` it has imported at the end."""
    plan = small_plan(OptimizerConfig(kind, 0.01))  # type: ignore[arg-type]  # a literal
    (tmp_path / "weights").mkdir()
    RunFolder(tmp_path).plan.write_text(to_json(plan))
    open_prepared("sample", tmp_path, size=plan.model.input).close()
    job = RunFolder(tmp_path).job
    job.write_text(to_json(TrainingJob(str(tmp_path), "sample", max_steps=2, checkpoint_seconds=0.0)))
    command = [sys.executable, "-c", _CODE, str(job), *HEAVY]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    *events, imported = done.stdout.splitlines()
    return [json.loads(event)["event"] for event in events], imported


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_a_whole_run_imports_nothing_heavy(tmp_path: Path, kind: str) -> None:
    events, imported = _train(tmp_path, kind)
    assert events[-1]["kind"] == "finished"
    assert imported == "[]"


@pytest.mark.skipif(torch.version.cuda is not None, reason="the target is for a CPU build of torch")
def test_at_its_first_step_it_is_within_the_target(tmp_path: Path) -> None:
    """The design's, for the whole of it, Python and torch included; the CPU build takes 165 MiB."""
    events, _ = _train(tmp_path)
    first = next(event for event in events if event["kind"] == "step")
    assert first["resident_bytes"] <= 245 * MIB


def test_a_supervisor_and_what_it_starts_go_without_huge_pages() -> None:
    """Whatever the machine's setting is: it is taken for `always` here."""
    code = """
        import json, subprocess
        from planner.runner.supervise.own_memory import release_start_memory
        from planner.system import pages
        pages.huge_pages = lambda: "always"
        release_start_memory()
        found = subprocess.run(["grep", "THP_enabled", "/proc/self/status"], capture_output=True, text=True, check=True)
        print(json.dumps(found.stdout.split()))
    """
    assert run_child(code) == ["THP_enabled:", "0"]
