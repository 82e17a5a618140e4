"""How much a run keeps in its output folder, at most: what it takes of memory where that folder is memory."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from planner.errors import InfeasibleError
from planner.heads.kinds import AuxiliaryHead
from planner.model.heads import head_sizes
from planner.model.shapes import Sizes, model_sizes
from planner.runner.supervise.exits import exit_model
from planner.runner.supervise.room import least_prediction
from planner.schema.plan import Block, Plan, Segment
from planner.units import MIB, format_bytes

_NUMBER_BYTES = 4
"""Parameters and buffers are float32."""

_COUNTER_BYTES = 8

_LINE_BYTES = 200
"""Longest line of memory.jsonl: a dozen numbers and their names."""

_SMALL_BYTES = 2 * MIB
"""Documents, logs, headers of files, and pages that are not full."""


@dataclass(frozen=True)
class SampleCounts:
    """How many samples a run has."""

    train: int
    """Trained on in one pass."""
    held_out: int
    """Held out to choose an exit by, and to test on."""


@dataclass(frozen=True)
class FolderBytes:
    """Bytes of a run's output folder, at most."""

    training_bytes: int
    """While a block is trained or finished: everything but the exported networks."""
    end_bytes: int
    """When the networks that come out are written; the training child has ended by then."""


def folder_bytes(plan: Plan, samples: SampleCounts, epochs: int, data_bytes: int, init_bytes: int = 0) -> FolderBytes:
    """What the run of a plan keeps in its folder at most.

    Args:
        plan: what is run.
        samples: how many there are, whatever the plan counts on.
        epochs: passes over the data.
        data_bytes: length of the prepared data.
        init_bytes: length of the weights to begin with, of which the folder holds a copy.
    """
    weights = _Weights(plan)
    whole = sum(weights.block_bytes(block) for block in plan.stages) + weights.frozen_bytes
    passes = len(plan.blocks) * epochs + plan.training.polish
    steps = passes * ceil(samples.train / plan.training.batch)
    always = whole + data_bytes + init_bytes + steps * _LINE_BYTES + _SMALL_BYTES
    passing = [
        # A checkpoint is whole before the one before it goes; so are the caches before and behind a block.
        2 * weights.checkpoint_bytes(block)
        + _cache_bytes(plan, index, samples)
        + _cache_bytes(plan, index + 1, samples)
        for index, block in enumerate(plan.stages)
    ]
    # The best exit, the full model and the smallest that is good enough, one of them twice while it is written.
    networks = 1 + min(3, len(plan.exits))
    return FolderBytes(always + max(passing), always + networks * (whole + weights.largest_head_bytes))


def check_folder(plan: Plan, stored: FolderBytes, folder: str, supervisor_bytes: int) -> str:
    """What a person should know of a run whose output folder is memory.

    Args:
        plan: what is run.
        stored: what it keeps there.
        folder: the folder and what it is, in words.
        supervisor_bytes: what is resident besides, once no child is left.

    Raises:
        InfeasibleError: the budget does not hold that beside the smallest micro-batches, or beside the supervisor.
    """
    budget = plan.budget.bytes
    least = max(least_prediction(block).peak_bytes for block in plan.stages)
    needed = max(least + stored.training_bytes, supervisor_bytes + stored.end_bytes)
    if needed > budget:
        raise InfeasibleError(
            f"the output folder {folder} is memory: up to {format_bytes(stored.training_bytes)} that the run keeps "
            f"there count in its budget, beside the {format_bytes(least)} of its smallest micro-batches, and "
            f"{format_bytes(stored.end_bytes)} at its end; that is more than {format_bytes(budget)}. Name a folder on "
            f"storage with --out, or plan for {format_bytes(needed)}",
            needed,
            "storage",
        )
    message = (
        f"the output folder {folder} is memory: up to {format_bytes(stored.training_bytes)} kept there are counted in"
    )
    if max(block.predicted.peak_bytes for block in plan.stages) + stored.training_bytes <= budget:
        return f"{message} the budget"
    return f"{message} the budget, so that blocks may need smaller micro-batches than planned"


def _cache_bytes(plan: Plan, index: int, samples: SampleCounts) -> int:
    """Storage of the cache that a block reads; 0 behind the last one, and where it reads something else."""
    if index >= len(plan.stages) or plan.stages[index].input.kind != "cache":
        return 0
    return plan.stages[index].input.sample_bytes * (samples.train * plan.training.views + samples.held_out)


class _Weights:
    """Bytes of a plan's weights on storage."""

    def __init__(self, plan: Plan) -> None:
        self._sizes = model_sizes(plan.model)
        self._heads = {
            exit.unit: model_sizes(exit_model(plan, exit.unit))[-1] for exit in plan.exits if exit.head is not None
        }
        self._output = plan.model.output
        self.frozen_bytes = sum(_bytes(sizes) for sizes in self._sizes[: plan.training.freeze])
        """Of the units that are not trained."""
        self.largest_head_bytes = max((_bytes(head) for head in self._heads.values()), default=0)
        """Of the exit whose head is largest."""

    def block_bytes(self, block: Block) -> int:
        """A block's units, its segments' heads and its exits' heads, and a window that is a unit of the next block."""
        return sum(_bytes(sizes) for sizes in self._of(block))

    def checkpoint_bytes(self, block: Block) -> int:
        """A block with its optimizer's state."""
        return self.block_bytes(block) + block.predicted.breakdown.optimizer

    def _of(self, block: Block) -> list[Sizes]:
        first, last = block.units
        windows = self._sizes[last : block.segments[-1].head_behind]
        trained = [self._trained(segment, segment.head) for segment in block.segments if segment.head is not None]
        known = {segment.units[1] for segment in block.segments if not segment.window}
        exits = [head for unit, head in self._heads.items() if first < unit <= last and unit not in known]
        return [*self._sizes[first:last], *windows, *trained, *exits]

    def _trained(self, segment: Segment, head: AuxiliaryHead) -> Sizes:
        return head_sizes(head, self._sizes[segment.head_behind - 1].output, self._output)


def _bytes(sizes: Sizes) -> int:
    return _NUMBER_BYTES * (sizes.parameters + sizes.buffers) + _COUNTER_BYTES * sizes.counters
