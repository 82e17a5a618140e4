"""One session of a run inside the training child: block after block, from where an earlier session stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn

from planner.data.split import Dataset, Split
from planner.errors import InputError, OverBudgetError, ShardError
from planner.model.shapes import model_sizes
from planner.runner.input.samples import Samples
from planner.runner.protocol import paths
from planner.runner.protocol.events import BlockDone, BlockStarted, Deviation, Event, PhasePeak
from planner.runner.protocol.job import Job, RunLength
from planner.runner.protocol.position import read_position
from planner.runner.protocol.sizes import sizes_of
from planner.runner.storage.checkpoint import Checkpoints
from planner.runner.storage.safetensors import content_checksum
from planner.runner.storage.sealed import read_sealed, write_sealed
from planner.runner.storage.stored import stored_units
from planner.runner.train.block import LoadedBlock, compare_init, load_before, load_frozen
from planner.runner.train.frozen import check_given, keep_frozen, seconds_per_sample
from planner.runner.train.guard import WARMING_BYTES, MemoryGuard, describe
from planner.runner.train.inputs import Inputs, Parts, split_parts
from planner.runner.train.passes import Watch, rehearse
from planner.runner.train.pooled import Exits, fit_exits, samples_to_fit, save_exits, wanted_exits
from planner.runner.train.post_training import Measured, Prefix, try_heads, try_writing, validate, write_cache
from planner.runner.train.stop import StopSignal
from planner.runner.train.train import BlockTrainer, Trained, exhausted, rungs_of
from planner.schema.common import Stored
from planner.schema.plan import Plan
from planner.schema.told import ExitReport, InitReport, Phase
from planner.system.exhaustion import is_out_of_memory
from planner.system.files import storage_errors
from planner.training import device as devices
from planner.training.calibration import calibration_seconds
from planner.training.runtime import release_memory, trim_after_each
from planner.training.segment import infer

T = TypeVar("T")


class Session:
    """Trains a plan's blocks one after another."""

    def __init__(
        self,
        job: Job,
        plan: Plan,
        data: Dataset,
        guard: MemoryGuard,
        tell: Callable[[Event], None],
        stop: StopSignal,
        rungs: Sequence[int] = (),
    ) -> None:
        """`rungs` are the largest settings that may be tried, block by block; none: each block's own."""
        self._rungs = rungs
        self._job = job
        self._out = Path(job.out)
        self._plan = plan
        self._guard = guard
        self._tell = tell
        self._stop = stop
        self._checkpoints = Checkpoints(self._out / paths.CHECKPOINT, job.checkpoint_seconds)
        training = plan.training
        self._order = RunLength(
            job.epochs or training.epochs, job.max_steps, training.seed if job.seed is None else job.seed
        )
        parts = split_parts(plan, data, job.exit_tolerance is not None)
        self._inputs = Inputs(plan, parts, self._out, self._order)
        self._held_out_scale = data.train.samples / parts["train"].samples
        init = self._out / paths.INIT
        self._init = init if init.exists() else None
        self._device = devices.device_of(plan.device.kind)
        self._frozen_peak_bytes = 0
        """Highest while frozen units ran by themselves."""
        self._filled_bytes = 0
        """What they have written to caches."""
        self._has_trained = False
        """Whether this session has trained a block."""

    def compare_init(self) -> InitReport | None:
        """What the weights to begin with hold of this network; none without. Raises InputError for too little."""
        if self._init is None:
            return None
        found = compare_init(self._plan, self._init)
        if not found.taken:
            raise InputError("--init: no tensor of it fits this network; names are like units.0.0.weight")
        check_given(self._plan, found)
        return found

    def run(self) -> None:
        """Train every block that is not done. Raises PlannerError."""
        keep_frozen(self._plan, self._order.seed, self._init, self._out)
        prefix = self._prefix_before(self._job.first_block)
        for index in range(self._job.first_block, len(self._plan.blocks)):
            prefix = self._run_block(index, prefix)

    def _prefix_before(self, first_block: int) -> Prefix:
        if first_block == 0:
            return self._behind_frozen()
        done = read_sealed(paths.result_path(self._out, first_block - 1), BlockDone)
        units = self._plan.blocks[first_block].units[0] if first_block < len(self._plan.blocks) else None
        parameters = sum(sizes.parameters for sizes in model_sizes(self._plan.model)[:units])
        seconds = done.seconds_per_sample or 1 / done.exits[-1].samples_per_second
        return Prefix(parameters, seconds)

    def _behind_frozen(self) -> Prefix:
        """What lies before the first block; where it reads caches that frozen units write, these are there afterwards.

        Raises OverBudgetError where that fits on no rung of the block.
        """
        count = self._plan.training.freeze
        if count == 0:
            return Prefix(0, 0.0)
        parameters = sum(sizes.parameters for sizes in model_sizes(self._plan.model)[:count])
        seconds = self._on_a_rung(0, self._first_rung(0), "running its frozen units", self._run_frozen)
        return Prefix(parameters, seconds)

    def _run_frozen(self, rung: int) -> float:
        """Fill the first block's caches, if it reads any; how many seconds a sample takes."""
        size = self._sizes(0)[rung]
        reads = self._plan.blocks[0].input
        fills = reads.kind == "cache"
        filled = [part for part in self._inputs.parts if fills and not self._inputs.is_there(0, part)]
        # Kernels are made here for the first time, which takes more than using them does.
        self._phase(0, "prepare", rung)
        self._guard.begin_block(self._frozen_peak_bytes, self._untouched(0, rung) + WARMING_BYTES)
        watch = self._watch(0, rung, "running its frozen units")
        units = load_before(self._plan, 0, self._out)
        seconds = 0.0
        for part in dict.fromkeys([*filled, "test"]):
            samples = self._inputs.images(part, size)
            count = samples.count * self._inputs.views(part)
            run = partial(_infer, units, reads.dtype if part in filled else None)
            rehearse(units, run, samples, count, watch, lambda: self._guard.limit(self._untouched(0, rung)))
            if part == "test":
                seconds = seconds_per_sample(units, samples)
            del samples  # its buffers; the next part has its own
        if filled:
            self._phase(0, "cache", rung)
        for part in filled:
            self._filled_bytes += self._inputs.fill(part, units, self._inputs.images(part, size), watch)
        self._guard.take()
        self._frozen_peak_bytes = self._guard.block_peak_bytes
        self._guard.release()
        release_memory()
        return seconds

    def _run_block(self, index: int, prefix: Prefix) -> Prefix:
        """One block; a shard of its input that turns out broken is computed anew, and the block goes on."""
        while True:
            try:
                return self._try_block(index, prefix)
            except ShardError as error:
                # Another error of the same content: this one's traceback holds the block.
                found = ShardError(error.file, error.problem, error.shard)
            self._guard.release()
            release_memory()
            self._rebuild(index, self._inputs.take_away(index, found), found.problem)

    def _try_block(self, index: int, prefix: Prefix) -> Prefix:
        with ExitStack() as opened:
            inputs = {part: self._input(index, part, opened) for part in self._inputs.parts}
            self._phase(index, "prepare", self._first_rung(index))
            calibration = calibration_seconds(self._device)  # before the block is in memory and its peak starts afresh
            trained = self._trained(index) or self._train(index, inputs)
            done, behind = self._finish_on_a_rung(index, trained, inputs, prefix, calibration)
        write_sealed(paths.result_path(self._out, index), done)
        self._tell(done)
        self._inputs.remove(index)
        return behind

    def _first_rung(self, index: int) -> int:
        first = self._job.first_rung if index == self._job.first_block else 0
        return max(first, self._rungs[index] if self._rungs else 0)

    def _trained(self, index: int) -> Trained | None:
        """The block as an earlier session has trained it."""
        path = paths.weights_path(self._out, index)
        position = read_position(path)
        if position is None:
            return None
        before = self._input_checksum(index)
        if position.input_checksum != before and (position.input_checksum is not None or self._has_trained):
            text = f"block {index} is trained again: what lies before it is no longer what it was trained behind"
            self._tell(Deviation("deviation", text))
            with storage_errors(path):
                path.unlink()
            return None
        release_memory()
        self._guard.enter(index, "train")
        self._guard.begin_block(position.peak_bytes, self._plan.blocks[index].predicted.untouched_bytes)
        block = LoadedBlock(self._plan, index, self._order.seed, load_frozen(self._plan, index, self._out))
        block.load(path)
        block.stop_training()
        return Trained(block, position, rungs_of(self._plan.blocks[index])[position.rung])

    def _input_checksum(self, index: int) -> str | None:
        """Of the weights right before a block; none where it has the data itself. Raises StorageError."""
        before = stored_units(self._plan, index, self._out)
        return content_checksum(before[-1].path) if before else None

    def _train(self, index: int, inputs: Parts) -> Trained:
        self._has_trained = True
        trainer = BlockTrainer(
            self._plan,
            index,
            self._order,
            lambda size: self._inputs.samples(index, "train", inputs["train"], size),
            self._guard,
            self._tell,
            self._checkpoints,
            self._stop,
            load_frozen(self._plan, index, self._out),
            min(self._first_rung(index), len(self._plan.blocks[index].ladder)),
            self._init,
            self._input_checksum(index),
        )
        trained = trainer.train()
        trained.block.stop_training()
        self._phase(index, "save", trained.position.rung)
        self._guard.limit()
        trained.block.save(paths.weights_path(self._out, index), trained.position.metadata())
        self._checkpoints.remove()
        self._stop.check()
        return trained

    def _finish_on_a_rung(
        self, index: int, trained: Trained, inputs: Parts, prefix: Prefix, calibration: float
    ) -> tuple[BlockDone, Prefix]:
        """`_finish`, on the first rung that holds from the trained one on. Raises OverBudgetError where none does."""
        first = max(trained.position.rung, self._first_rung(index))

        def finish(rung: int) -> tuple[BlockDone, Prefix]:
            return self._finish(index, trained, rung, inputs, prefix, calibration)

        return self._on_a_rung(index, first, "finishing", finish)

    def _on_a_rung(self, index: int, first: int, what: str, attempt: Callable[[int], T]) -> T:
        """`attempt` on a block's first rung that holds, from `first` on. Raises OverBudgetError where none does."""
        sizes = self._sizes(index)
        tried: list[str] = []
        for rung in range(first, len(sizes)):
            try:
                return attempt(rung)
            except (RuntimeError, MemoryError, OverBudgetError) as error:
                if not is_out_of_memory(error):
                    raise
                tried.append(f"micro-batch {sizes[rung]}: {describe(error)}")
            # Out of the handler, so that the traceback no longer holds what the failed micro-batch had.
            self._tell(Deviation("deviation", f"block {index}: {what} does not fit with {tried[-1]}"))
            release_memory()
        raise exhausted(index, tried)

    def _finish(
        self, index: int, trained: Trained, rung: int, inputs: Parts, prefix: Prefix, calibration: float
    ) -> tuple[BlockDone, Prefix]:
        """Measure the heads, and write what the next block reads; also what that one has before it."""
        size, position = self._sizes(index)[rung], trained.position
        following = index + 1
        caches = following < len(self._plan.blocks) and self._plan.blocks[following].input.kind == "cache"
        kept = self._plan.blocks[following].input.dtype if caches else None
        written = 0
        key = self._inputs.drawn_by(index)
        exits = self._fit_exits(index, trained, rung, inputs, key)
        self._phase(index, "validate", rung)
        with ExitStack() as opened:
            targets = {part: self._inputs.target(following, part, opened) for part in inputs} if caches else {}
            measured = {}
            watch = self._watch(index, rung, "measuring its heads")
            for part, split in inputs.items():
                if part == "train":
                    continue
                samples = self._inputs.samples(index, part, split, size)
                self._rehearse(index, rung, trained.block, samples, samples.count, watch, kept, exits)
                measured[part] = validate(trained.block, samples, exits, targets.get(part), prefix, watch)
                del samples  # its buffers; the next part has its own
            del exits
            if caches:
                self._phase(index, "cache", rung)
                watch = self._watch(index, rung, "writing its cache")
                samples = self._inputs.samples(index, "train", inputs["train"], size)
                views = self._inputs.views("train")
                self._rehearse(index, rung, trained.block, samples, samples.count * views, watch, kept)
                write_cache(trained.block.run_through, samples, targets["train"], key, views, watch)
                del samples
            for target in targets.values():
                target.writer.finish()
                written += target.writer.bytes_written
        self._guard.take()
        peak = self._guard.block_peak_bytes
        if index == 0:  # it is the frozen units that it begins with
            peak, written = max(peak, self._frozen_peak_bytes), written + self._filled_bytes
        behind = measured["test"].behind
        done = BlockDone(
            "block-done",
            index,
            trained.setting.micro_batch,
            trained.setting.accumulate,
            peak,
            position.seconds_per_epoch * self._held_out_scale,
            position.whole_epochs,
            position.step,
            position.loss,
            _exits(measured),
            written,
            position.stall_seconds,
            calibration,
            behind.seconds_per_sample,
            tuple(PhasePeak(phase, highest) for phase, highest in self._guard.phase_peaks(index).items()),
        )
        return done, behind

    def _fit_exits(self, index: int, trained: Trained, rung: int, inputs: Parts, key: tuple[int, ...] | None) -> Exits:
        """The block's pooled exits, fitted and written.

        They have the room that the plan's peak leaves; what does not fit there is left out.
        """
        block = self._plan.blocks[index]
        settings = [block.predicted, *(step.predicted for step in block.ladder)]
        predicted = settings[min(rung, len(settings) - 1)]
        room = predicted.fit_room_bytes
        if room is None:
            room = predicted.peak_bytes - predicted.peak_bytes_by_phase.validate
        size = self._sizes(index)[rung]
        wanted = wanted_exits(self._plan, index, size, room)
        if not wanted:
            return {}
        self._phase(index, "fit", rung)
        watch = self._watch(index, rung, "fitting its exits")
        samples = self._inputs.samples(index, "train", inputs["train"], size)
        count = samples_to_fit(samples.count, trained.position.step * self._plan.training.batch)

        def fit(most: int) -> Exits:
            classes, dtype = self._plan.model.classes, self._plan.training.dtype
            return fit_exits(trained.block, wanted, samples, key, most, classes, watch, dtype)

        self._guard.limit(self._untouched(index, rung) + WARMING_BYTES)
        with trim_after_each(trained.block.modules()):
            fit(size)
        release_memory()
        self._guard.limit(self._untouched(index, rung))
        exits = fit(count)
        save_exits(paths.exits_path(self._out, index), exits)
        release_memory()
        return exits

    def _rehearse(
        self,
        index: int,
        rung: int,
        block: LoadedBlock,
        samples: Samples,
        count: int,
        watch: Watch,
        kept: Stored | None,
        exits: Exits | None = None,
    ) -> None:
        """The dry step of a pass through a trained block, with its heads and exits where these are given.

        `kept` is how a cache holds the outputs, where they go to one.
        """
        untouched = self._untouched(index, rung)
        self._guard.limit(untouched + WARMING_BYTES)

        def run(inputs: Tensor, labels: Tensor) -> None:
            outputs = block.run_through(inputs) if exits is None else try_heads(block, exits, inputs, labels)
            if kept is not None:
                try_writing(outputs, kept)

        modules = [*block.modules(), *(exits or {}).values()]
        rehearse(modules, run, samples, count, watch, lambda: self._guard.limit(untouched))

    def _sizes(self, index: int) -> tuple[int, ...]:
        return sizes_of(self._plan.blocks[index])

    def _untouched(self, index: int, rung: int) -> int:
        rungs = rungs_of(self._plan.blocks[index])
        return rungs[min(rung, len(rungs) - 1)].untouched_bytes

    def _watch(self, index: int, rung: int, what: str) -> Watch:
        return Watch(self._stop, self._guard, what, has_smaller=rung + 1 < len(self._sizes(index)))

    def _input(self, index: int, part: str, opened: ExitStack) -> Split:
        if self._plan.blocks[index].input.kind == "cache" and not self._inputs.is_there(index, part):
            self._rebuild(index, part, "is not there whole")
        return self._inputs.open(index, part, opened)

    def _rebuild(self, index: int, part: str, problem: str) -> None:
        """Compute every shard of a cache that is not the wanted one."""
        _, which = self._inputs.lacking(index, part)
        self._tell(Deviation("deviation", f"block {index}: {which} computed anew: the cache {problem}"))
        done = [read_sealed(paths.result_path(self._out, number), BlockDone) for number in range(index)]
        most = min((before.micro_batch for before in done), default=self._sizes(index)[0])

        def rebuild(rung: int) -> None:
            self._phase(index, "repair", rung)
            self._guard.limit(self._untouched(index, rung) + WARMING_BYTES)
            left, _ = self._inputs.lacking(index, part)
            watch = self._watch(index, rung, "computing them anew")
            self._inputs.rebuild(index, part, left, min(most, self._sizes(index)[rung]), watch)

        self._on_a_rung(index, self._first_rung(index), "computing a cache anew", rebuild)
        self._guard.take()
        self._guard.release()

    def _phase(self, index: int, phase: Phase, rung: int) -> None:
        steps = -(-self._inputs.count("train") // self._plan.training.batch) * self._order.epochs
        total = min(steps, self._order.max_steps or steps)
        rungs = rungs_of(self._plan.blocks[index])
        size, accumulate = self._sizes(index)[rung], rungs[min(rung, len(rungs) - 1)].accumulate
        release_memory()  # what the phase before had of library pages should not lie under this one's
        self._guard.enter(index, phase)
        peak = self._guard.life_peak_bytes
        self._tell(BlockStarted("phase", index, phase, total, size, accumulate, rung, peak_bytes=peak))


def _infer(units: Sequence[nn.Module], kept: Stored | None, inputs: Tensor, labels: Tensor) -> None:
    outputs = infer(units, inputs)
    if kept is not None:
        try_writing(outputs, kept)


def _exits(measured: Mapping[str, Measured]) -> tuple[ExitReport, ...]:
    """A block's heads as the test part showed them, each with its accuracy on what was held out of training data."""
    exits = measured["test"].exits
    if "validation" not in measured:
        return exits
    held_out = measured["validation"].exits
    return tuple(
        replace(found, validation_accuracy=other.accuracy, validation_samples=other.samples)
        for found, other in zip(exits, held_out, strict=True)
    )
