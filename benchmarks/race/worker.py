"""A process that takes optimizer steps of a plan's blocks when told to: `python -m benchmarks.race.worker PLAN`.

It starts torch as the training child does, under the plan's allocator policy and threads, and holds every block of the
plan at once (memory is not what is judged here). A line with a block's index on standard input is answered with the
seconds of one optimizer step over a whole batch. Inputs are random and in memory: reading data is the same for all.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from planner.schema.codec import read_document
from planner.schema.plan import Plan
from planner.training.runtime import start_torch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from planner.runner.train.block import LoadedBlock
    from planner.runner.train.context import BlockContext


class Racer:
    """The blocks of a plan, each with one micro-batch of inputs."""

    def __init__(self, plan: Plan) -> None:
        import torch

        from planner.runner.protocol.job import RunLength
        from planner.runner.train.context import RunContext
        from planner.schema.run_folder import RunFolder

        self._batch = plan.training.batch
        generator = torch.Generator().manual_seed(0)
        self._blocks: list[tuple[LoadedBlock, Tensor, Tensor]] = []
        for context in RunContext(plan, RunFolder(Path()), RunLength(1, None, 0)).blocks:
            block = _load(context)
            size = context.spec.micro_batch
            shape = plan.model.input if block.frozen else context.input_shape
            inputs = torch.rand(size, *shape, generator=generator)
            if context.reads_cache:
                inputs = inputs.to(getattr(torch, plan.training.dtype))
            labels = torch.randint(0, plan.model.classes, (size,), generator=generator)
            self._blocks.append((block, inputs, labels))

    def step(self, index: int) -> float:
        """Seconds of one optimizer step of a block."""
        block, inputs, labels = self._blocks[index]
        count = self._batch // block.spec.micro_batch
        started = time.perf_counter()
        block.train_batch(self._repeated(inputs, labels, count), self._batch, count > 1)
        return time.perf_counter() - started

    def warm(self) -> None:
        """Make every block's kernels and optimizer state."""
        for block, inputs, labels in self._blocks:
            block.train_batch(self._repeated(inputs, labels, 1), len(labels), block.spec.accumulate > 1)

    @staticmethod
    def _repeated(inputs: Tensor, labels: Tensor, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(count):
            yield inputs, labels


def _load(context: BlockContext) -> LoadedBlock:
    from planner.runner.train.block import LoadedBlock, fresh_unit

    frozen: list[nn.Module] = []
    if context.spec.input.kind == "recompute":
        frozen = [fresh_unit(context.run, unit).eval() for unit in range(context.spec.units[0])]
    return LoadedBlock(context, frozen)


def main(path: Path) -> None:
    """Answer until standard input ends."""
    plan = read_document(path, Plan)
    start_torch(plan.allocator, plan.device.threads)
    racer = Racer(plan)
    racer.warm()
    print("ready", flush=True)
    for line in sys.stdin:
        print(racer.step(int(line)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
