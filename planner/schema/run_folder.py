"""A run's output folder: which file in it is what. Runner, report and command line go by this one list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PARTS = ("train", "validation", "test")
"""The parts of a data set that blocks read; `validation` is held out of training data, for the choice of an exit."""


@dataclass(frozen=True)
class Failure:
    """Why a session of a run failed."""

    reason: str
    """As a sentence."""


class RunFolder:
    """The paths of a run's files. Makes and reads none of them."""

    def __init__(self, path: Path) -> None:
        """`path` is the folder, which need not exist."""
        self.path = path
        """The folder."""
        self.plan = path / "plan.json"
        """The plan being run."""
        self.memory = path / "memory.jsonl"
        """A line per optimizer step."""
        self.report = path / "report.json"
        """What the run did; it appears at the end."""
        self.model = path / "model.safetensors"
        """The weights of the network that comes out: it ends in the best exit."""
        self.description = path / "model.json"
        """Its `model/1`."""
        self.full_model = path / "full.safetensors"
        """The weights of the full model, where that is not the best exit."""
        self.full_description = path / "full.json"
        """Its `model/1`."""
        self.exit_model = path / "exit.safetensors"
        """The weights of the smallest exit that is good enough, where that is not the best."""
        self.exit_description = path / "exit.json"
        """Its `model/1`."""
        self.log = path / "child.log"
        """What the training child wrote on standard error."""
        self.job = path / "job.json"
        """What the supervisor told the child."""
        self.known = path / "known.json"
        """What is known of the run's start, and a copy of what the child was told."""
        self.failure = path / "failure.json"
        """Why the last session failed; it is gone once the run goes on."""
        self.reported = path / "reported.json"
        """Which run of which service this is, where it is reported to one."""
        self.deviations = path / "deviations.json"
        """Where the run had to leave its plan, kept over the sessions of a resumed run."""
        self.init = path / "init.safetensors"
        """The weights that the run was told to begin with."""
        self.data = path / "data.json"
        """What the data is that the run was begun with."""
        self.prepared = path / "data"
        """A folder in which data is prepared; others may have made it before."""
        self.records = self.prepared / "records.bin"
        """The prepared data."""
        self.comparison = path / "backprop"
        """The output folder of the run that this one is compared with."""
        self.weights = path / "weights"
        """The folder of what is trained, block by block."""
        self.caches = path / "cache"
        """The folder of activation caches."""
        self.frozen = self.weights / "frozen.safetensors"
        """Weights of the units that are never trained."""
        self.checkpoint = self.weights / "checkpoint.safetensors"
        """The last checkpoint within a block."""

    def block_weights(self, block: int) -> Path:
        """Weights of a trained block, heads included."""
        return self.weights / f"block-{block:03d}.safetensors"

    def block_result(self, block: int) -> Path:
        """What the child said of a block that is done."""
        return self.weights / f"block-{block:03d}.json"

    def block_exits(self, block: int) -> Path:
        """Weights of a trained block's pooled exits."""
        return self.weights / f"exits-{block:03d}.safetensors"

    def block_cache(self, block: int, part: str) -> Path:
        """The folder of the activation cache that a block reads; `part` is one of `PARTS`."""
        return self.caches / f"block-{block:03d}-{part}"

    def kept(self) -> tuple[Path, ...]:
        """The files that a run lays down at its begin and writes to as it goes on."""
        return (
            self.plan,
            self.job,
            self.known,
            self.data,
            self.init,
            self.deviations,
            self.memory,
            self.log,
            self.failure,
            self.reported,
        )

    def results(self) -> tuple[Path, ...]:
        """The files that a run writes at its end."""
        return (
            self.report,
            self.model,
            self.description,
            self.full_model,
            self.full_description,
            self.exit_model,
            self.exit_description,
        )

    def inside(self, folder: Path) -> Iterator[Path]:
        """What lies in `weights` or `caches` that is a run's own: other people call their folders so too."""
        patterns = {
            self.weights: ("block-*", "exits-*", "frozen.*", "checkpoint.*"),
            self.caches: ("block-*",),
        }
        for pattern in patterns[folder]:
            yield from folder.glob(pattern)
