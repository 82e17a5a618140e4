"""Where a run keeps what, inside its output folder."""

from __future__ import annotations

from pathlib import Path

PLAN = "plan.json"
"""The plan being run."""
MEMORY = "memory.jsonl"
"""A line per optimizer step."""
REPORT = "report.json"
"""What the run did; it appears at the end."""
MODEL = "model.safetensors"
"""The weights of the network that comes out: it ends in the best exit."""
DESCRIPTION = "model.json"
"""Its `model/1`."""
LOG = "child.log"
"""What the training child wrote on standard error."""
JOB = "job.json"
"""What the supervisor told the child."""
KNOWN = "known.json"
"""What is known of the run's start, and a copy of what the child was told."""
REPORTED = "reported.json"
"""Which run of which service this is, where it is reported to one."""
DEVIATIONS = "deviations.json"
"""Where the run had to leave its plan, kept over the sessions of a resumed run."""
FULL_MODEL = "full.safetensors"
"""The weights of the full model, where that is not the best exit."""
FULL_DESCRIPTION = "full.json"
"""Its `model/1`."""
EXIT_MODEL = "exit.safetensors"
"""The weights of the smallest exit that is good enough, where that is not the best."""
EXIT_DESCRIPTION = "exit.json"
"""Its `model/1`."""
INIT = "init.safetensors"
"""The weights that the run was told to begin with."""
FROZEN = "weights/frozen.safetensors"
"""Weights of the units that are never trained."""
CHECKPOINT = "weights/checkpoint.safetensors"
"""The last checkpoint within a block."""


PARTS = ("train", "validation", "test")
"""The parts of a data set that blocks read; `validation` is held out of training data, for the choice of an exit."""


def weights_path(out: Path, block: int) -> Path:
    """Weights of a finished block, heads included."""
    return out / "weights" / f"block-{block:03d}.safetensors"


def result_path(out: Path, block: int) -> Path:
    """What the child said of a finished block."""
    return out / "weights" / f"block-{block:03d}.json"


def exits_path(out: Path, block: int) -> Path:
    """Weights of a finished block's pooled exits."""
    return out / "weights" / f"exits-{block:03d}.safetensors"


def cache_path(out: Path, block: int, part: str) -> Path:
    """The activation cache that a block reads; `part` is one of `PARTS`."""
    return out / "cache" / f"block-{block:03d}-{part}"
