"""The training child: `python -m planner.runner.child JOB`. Events go to standard output, one JSON object a line.

Its process is the one the budget is for: it imports torch and what it needs of the standard library, nothing else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from planner.document import read_document, to_json
from planner.errors import InputError, PlannerError
from planner.runner import paths
from planner.runner.cache import CacheReader, CacheWriter, remove_cache
from planner.runner.data.dataset import open_data
from planner.runner.data.split import Dataset, Split
from planner.runner.events import BlockDone, BlockStarted, Deviation, Event, Failed, Finished, Phase, Ready, Told
from planner.runner.guard import MemoryGuard, describe
from planner.runner.job import Job, Order
from planner.solver.schema import Plan
from planner.system.exhaustion import is_out_of_memory
from planner.system.files import write_atomically
from planner.system.rlimit import die_with_parent
from planner.training.runtime import start_torch

if TYPE_CHECKING:
    from planner.runner.block import LoadedBlock
    from planner.runner.finish import Prefix
    from planner.runner.samples import Samples
    from planner.runner.train import Trained


class Run:
    """Trains a plan's blocks one after another."""

    def __init__(self, job: Job, plan: Plan, data: Dataset, guard: MemoryGuard, tell: Callable[[Event], None]) -> None:
        self._out = Path(job.out)
        self._plan = plan
        self._data = data
        self._guard = guard
        self._tell = tell
        training = plan.training
        self._order = Order(
            job.epochs or training.epochs, job.max_steps, training.seed if job.seed is None else job.seed
        )
        self._limit = None if job.max_steps is None else job.max_steps * training.batch

    def run(self, first_block: int) -> None:
        """Train every block from `first_block` on. Raises PlannerError."""
        prefix = self._prefix_before(first_block)
        for index in range(first_block, len(self._plan.blocks)):
            prefix = self._run_block(index, prefix)

    def _prefix_before(self, first_block: int) -> Prefix:
        from planner.runner.finish import Prefix

        if first_block == 0:
            return Prefix(0, 0.0)
        done = read_document(paths.result_path(self._out, first_block - 1), BlockDone)
        return Prefix(self._parameters_before(first_block), 1 / done.exits[-1].samples_per_second)

    def _parameters_before(self, block: int) -> int:
        from planner.model.shapes import model_sizes

        return sum(sizes.parameters for sizes in model_sizes(self._plan.model)[: self._plan.blocks[block].units[0]])

    def _run_block(self, index: int, prefix: Prefix) -> Prefix:
        from planner.runner.block import load_frozen
        from planner.runner.finish import prefix_after
        from planner.runner.train import BlockTrainer
        from planner.training.calibration import calibration_seconds

        with ExitStack() as opened:
            train, test = (self._input(index, part, opened) for part in ("train", "test"))
            self._phase(index, "prepare")
            calibration = calibration_seconds()  # before the block is in memory and its peak starts afresh
            trainer = BlockTrainer(
                self._plan,
                index,
                self._order,
                lambda size: self._samples(index, train, size),
                self._guard,
                self._tell,
                load_frozen(self._plan, index, self._out),
            )
            trained = trainer.train()
            block = trained.block
            block.stop_training()
            self._phase(index, "save")
            block.save(paths.weights_path(self._out, index))
            done = replace(self._finish(index, trained, train, test, prefix), calibration_seconds=calibration)
        write_atomically(paths.result_path(self._out, index), to_json(done))
        self._tell(done)
        for part in ("train", "test"):
            remove_cache(paths.cache_path(self._out, index, part))
        return prefix_after(block, done.exits)

    def _finish(self, index: int, trained: Trained, train: Split, test: Split, prefix: Prefix) -> BlockDone:
        from planner.runner.finish import validate, write_cache

        size = trained.setting.micro_batch
        following = index + 1
        caches = following < len(self._plan.blocks) and self._plan.blocks[following].input.kind == "cache"
        written = 0
        self._phase(index, "validate")
        test_writer = self._writer(trained.block, following, "test") if caches else None
        exits = validate(trained.block, self._samples(index, test, size), test_writer, prefix)
        if test_writer is not None:
            test_writer.finish()
            self._phase(index, "cache")
            writer = self._writer(trained.block, following, "train")
            write_cache(trained.block, self._samples(index, train, size), writer)
            writer.finish()
            written = writer.bytes_written + test_writer.bytes_written
        self._guard.take()
        return BlockDone(
            "block-done",
            index,
            size,
            trained.setting.accumulate,
            self._guard.block_peak_bytes,
            trained.seconds_per_epoch,
            trained.epochs,
            trained.steps,
            trained.loss,
            exits,
            written,
            trained.stall_seconds,
        )

    def _input(self, index: int, part: str, opened: ExitStack) -> Split:
        if self._plan.blocks[index].input.kind != "cache":
            return self._data.train if part == "train" else self._data.test
        reader = CacheReader(paths.cache_path(self._out, index, part))
        opened.callback(reader.close)
        return reader

    def _samples(self, index: int, split: Split, micro_batch: int) -> Samples:
        from planner.runner.block import input_shapes
        from planner.runner.samples import Samples

        block = self._plan.blocks[index]
        cached = block.input.kind == "cache"
        shape = input_shapes(self._plan)[block.units[0] if cached else 0]
        return Samples(split, shape, cached, micro_batch, self._limit)

    def _writer(self, block: LoadedBlock, index: int, part: str) -> CacheWriter:
        from planner.runner.finish import record_bytes

        return CacheWriter(paths.cache_path(self._out, index, part), record_bytes(block))

    def _phase(self, index: int, phase: Phase) -> None:
        block = self._plan.blocks[index]
        samples = min(self._data.train.samples, self._limit or self._data.train.samples)
        steps = -(-samples // self._plan.training.batch) * self._order.epochs
        total = min(steps, self._order.max_steps or steps)
        self._tell(BlockStarted("phase", index, phase, total, block.micro_batch, block.accumulate))


def check_data(plan: Plan, data: Dataset) -> str | None:
    """Raise InputError where data and model do not fit; return a deviation where they fit but differ from the plan."""
    info = data.info
    shape = (info.channels, info.height, info.width)
    if shape != plan.model.input:
        has, takes = ("×".join(str(extent) for extent in extents) for extents in (shape, plan.model.input))
        raise InputError(f"{info.name}: its images are {has}, but the plan's model takes {takes}")
    if info.classes > plan.model.classes:
        raise InputError(
            f"{info.name}: has {info.classes} classes, but the plan's model tells {plan.model.classes} apart"
        )
    if info.train_samples != plan.training.samples:
        return f"the plan counts {plan.training.samples} training samples, the data has {info.train_samples}"
    return None


def _tell(event: Event) -> None:
    sys.stdout.write(to_json(Told(event), indent=None) + "\n")
    sys.stdout.flush()


def _train(job: Job, tell: Callable[[Event], None]) -> None:
    plan = read_document(Path(job.out) / paths.PLAN, Plan)
    with open_data(job.data, Path(job.out), size=plan.model.input) as data:
        difference = check_data(plan, data)
        started = start_torch(plan.allocator, plan.device.threads)
        allowed = job.allowed_bytes
        if allowed is not None and job.above_baseline:
            allowed += started.baseline_bytes
        guard = MemoryGuard(allowed, started.baseline_bytes)
        guard.take()
        tell(Ready("ready", started.baseline_bytes, started.peak_bytes))
        if difference is not None:
            tell(Deviation("deviation", difference))
        Run(job, plan, data, guard, tell).run(job.first_block)
        guard.take()
        tell(Finished("finished", guard.life_peak_bytes))


def main(job_path: str, supervisor_pid: int) -> int:
    """Run the job; what goes wrong is told as a `Failed` event."""
    die_with_parent(supervisor_pid)
    try:
        _train(read_document(job_path, Job), _tell)
    except PlannerError as error:
        _tell(Failed("failed", error.exit_code, str(error)))
        return error.exit_code
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        _tell(Failed("failed", 4, describe(error)))
        return 4
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1], int(sys.argv[2]))
    sys.stdout.flush()
    # Torch's tear-down takes a second and touches memory; everything is on storage.
    os._exit(code)
