"""Which file of a run's folder holds which units' weights. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from planner.runner.protocol import paths
from planner.schema.plan import Plan


class Stored(NamedTuple):
    """Units that lie in one file."""

    units: range
    """By index."""
    path: Path
    """Their weights, as `units.<index>.<name>`."""


def stored_units(plan: Plan, blocks: int, out: Path) -> list[Stored]:
    """Where all units before block number `blocks` lie, in the order of the chain: frozen ones, then trained blocks."""
    count = plan.training.freeze
    found = [Stored(range(count), out / paths.FROZEN)] if count else []
    trained = enumerate(plan.blocks[:blocks])
    return found + [Stored(range(*block.units), paths.weights_path(out, index)) for index, block in trained]
