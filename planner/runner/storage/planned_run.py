"""A plan and the folder that it is run in: what supervisor and training child both go by. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from planner.schema.plan import Plan
from planner.schema.run_folder import RunFolder


class WeightFile(NamedTuple):
    """A file of weights, and the units whose they are."""

    units: range
    """By index."""
    path: Path
    """Their weights, as `units.<index>.<name>`."""


class PlannedRun:
    """One run: what it is to do, and where its files lie."""

    def __init__(self, plan: Plan, folder: RunFolder) -> None:
        self.plan = plan
        """What is to be done."""
        self.folder = folder
        """Where its files lie."""

    def weight_files(self, stages: int) -> list[WeightFile]:
        """Where the weights lie of all units that are trained once so many stages are done, in the order of the chain.

        First the frozen ones, then those of trained blocks, or of the polish in place of them. Whether the files are
        there is not looked at.
        """
        count = self.plan.training.freeze
        frozen = [WeightFile(range(count), self.folder.frozen)] if count else []
        done = list(enumerate(self.plan.stages[:stages]))
        trained = done if stages <= len(self.plan.blocks) else done[-1:]
        return frozen + [WeightFile(range(*block.units), self.folder.block_weights(index)) for index, block in trained]
