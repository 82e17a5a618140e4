"""One session of a run inside the training child: block after block, from where an earlier session stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from planner.data.records import Records
from planner.data.split import Split
from planner.errors import InputError, ShardError
from planner.runner.protocol.events import BlockDone, Deviation, Event, PhasePeak
from planner.runner.protocol.job import RunLength, TrainingJob
from planner.runner.protocol.position import read_position
from planner.runner.storage.checkpoint import Checkpoints
from planner.runner.storage.sealed import read_sealed, write_sealed
from planner.runner.train.block import LoadedBlock, compare_init, load_frozen
from planner.runner.train.context import BlockContext, RunContext
from planner.runner.train.finishing import BlockFinisher, FinishedBlock
from planner.runner.train.frozen import FrozenPass, check_beginning, check_given, keep_frozen
from planner.runner.train.guard import MemoryGuard
from planner.runner.train.inputs import Inputs, Parts, split_parts
from planner.runner.train.phases import Phases
from planner.runner.train.post_training import Prefix
from planner.runner.train.stop import StopSignal
from planner.runner.train.train import BlockTrainer, Trained
from planner.schema.plan import Plan
from planner.schema.report_parts import InitReport
from planner.schema.run_folder import RunFolder
from planner.system.allocator import taking_steps
from planner.system.files import storage_errors
from planner.system.waiting import WaitingShare
from planner.training.calibration import calibration_seconds
from planner.training.runtime import release_memory


class Session:
    """Trains a plan's blocks one after another."""

    def __init__(
        self,
        job: TrainingJob,
        plan: Plan,
        data: Records,
        guard: MemoryGuard,
        emit: Callable[[Event], None],
        stop: StopSignal,
        first_fallbacks: Sequence[int] = (),
    ) -> None:
        """Open nothing yet.

        Args:
            job: What the supervisor asks for.
            plan: What is to be trained.
            data: On what; it stays open as long as the session.
            guard: Keeps this process within its share of the budget.
            emit: Takes every event.
            stop: Whether the run is to stop.
            first_fallbacks: The largest setting that each block may try (0: the plan's own); empty: each its own.
        """
        self._job = job
        self._guard = guard
        self._emit = emit
        self._stop = stop
        self._first_fallbacks = first_fallbacks
        training = plan.training
        length = RunLength(
            job.epochs or training.epochs, job.max_steps, training.seed if job.seed is None else job.seed
        )
        self._run = RunContext(plan, RunFolder(Path(job.out)), length)
        self._checkpoints = Checkpoints(self._run.folder.checkpoint, job.checkpoint_seconds)
        parts = split_parts(plan, data, job.exit_tolerance is not None, job.holds_out)
        self._held_out_scale = data.training.samples / parts["train"].samples
        self._inputs = Inputs(self._run, parts)
        self._phases = Phases(guard, emit, stop, self._inputs.count("train"))
        self._frozen: dict[int, FrozenPass] = {}
        """By stage, the passes of the frozen units before it."""
        self._waited: dict[int, int | None] = {}
        """By stage, the thousandths of its training's time that went by waiting for a processor."""
        self._has_trained = False
        """Whether this session has trained a block."""

    def compare_init(self) -> InitReport | None:
        """What the weights to begin with hold of this network; none without. Raises InputError for too little."""
        init = self._run.init
        if init is None:
            check_beginning(self._run.plan.model, None)
            return None
        found = compare_init(self._run, init)
        if not found.taken:
            raise InputError("--init: no tensor of it fits this network; names are like units.0.0.weight")
        check_given(self._run.plan, found)
        check_beginning(self._run.plan.model, found.left)
        return found

    def run(self) -> None:
        """Train every block that is not done. Raises PlannerError."""
        keep_frozen(self._run)
        prefix = self._prefix_before(self._job.first_block)
        for block in self._run.stages[self._job.first_block :]:
            prefix = self._run_block(block, self._behind_frozen(block) if block.is_polish else prefix)

    def _prefix_before(self, first_block: int) -> Prefix:
        """What lies before the block that the session begins with."""
        if first_block == 0:
            return self._behind_frozen(self._run.stages[0])
        before = self._run.stages[first_block - 1]
        done = read_sealed(before.result_path, BlockDone)
        seconds = done.seconds_per_sample or 1 / done.exits[-1].samples_per_second
        return Prefix(self._run.parameters_before(before.spec.units[1]), seconds)

    def _behind_frozen(self, block: BlockContext) -> Prefix:
        """What lies before a block that begins with the first trained unit: the first one, or the polish."""
        frozen = self._frozen[block.index] = FrozenPass(block, self._inputs, self._phases)
        return frozen.run(self._first_fallback(block))

    def _run_block(self, block: BlockContext, prefix: Prefix) -> Prefix:
        """One block; a shard of its input that turns out broken is computed anew, and the block goes on."""
        while True:
            try:
                return self._try_block(block, prefix)
            except ShardError as error:
                # Another error of the same content: this one's traceback holds the block.
                found = ShardError(error.file, error.problem, error.shard)
            self._guard.release()
            release_memory()
            self._rebuild(block, self._inputs.take_away(block, found), found.problem)

    def _try_block(self, block: BlockContext, prefix: Prefix) -> Prefix:
        with ExitStack() as opened:
            splits = {part: self._open(block, part, opened) for part in self._inputs.parts}
            self._phases.begin(block, "prepare", self._first_fallback(block))
            # Before the block is in memory and its peak starts afresh.
            calibration = calibration_seconds(self._run.device)
            trained = self._trained_before(block) or self._train(block, splits)
            finisher = BlockFinisher(block, trained, self._inputs, splits, prefix, self._phases)
            first = max(trained.position.fallback, self._first_fallback(block))
            finished = self._phases.first_that_fits(block, first, "finishing", finisher.finish)
            self._guard.take()
            done = self._result(block, trained, finished, calibration)
        write_sealed(block.result_path, done)
        self._emit(done)
        self._inputs.remove(block)
        return finished.behind

    def _first_fallback(self, block: BlockContext) -> int:
        """The largest setting that a block may try: 0 is the plan's own."""
        first = self._job.first_fallback if block.index == self._job.first_block else 0
        return max(first, self._first_fallbacks[block.index] if self._first_fallbacks else 0)

    def _trained_before(self, block: BlockContext) -> Trained | None:
        """The block as an earlier session has trained it; none where it has to be trained (again)."""
        path = block.weights_path
        position = read_position(path)
        if position is None:
            return None
        checksum = block.input_checksum()
        if position.input_checksum != checksum and (position.input_checksum is not None or self._has_trained):
            text = f"{block.name} is trained again: what lies before it is no longer what it was trained behind"
            self._emit(Deviation("deviation", text))
            with storage_errors(path):
                path.unlink()
            return None
        release_memory()
        self._guard.enter(block.index, "train")
        self._guard.begin_block(position.peak_bytes, block.setting(0).predicted.untouched_bytes)
        loaded = LoadedBlock(block, load_frozen(block))
        loaded.load(path)
        loaded.stop_training()
        return Trained(loaded, position, block.settings[position.fallback])

    def _train(self, block: BlockContext, splits: Parts) -> Trained:
        """Train a block and save its weights."""
        self._has_trained = True
        trainer = BlockTrainer(
            block,
            lambda size: self._inputs.samples(block, "train", splits["train"], size),
            self._guard,
            self._emit,
            self._checkpoints,
            self._stop,
            load_frozen(block),
            min(self._first_fallback(block), len(block.settings) - 1),
        )
        watch = WaitingShare()
        with taking_steps(self._run.plan.allocator):
            trained = trainer.train()
        self._waited[block.index] = watch.permille()
        trained.block.stop_training()
        self._phases.begin(block, "save", trained.position.fallback)
        self._guard.limit()
        trained.block.save(block.weights_path, trained.position.metadata())
        self._checkpoints.remove()
        self._stop.check()
        return trained

    def _result(
        self, block: BlockContext, trained: Trained, finished: FinishedBlock, calibration_seconds: float
    ) -> BlockDone:
        """What is told of a block that is done."""
        position = trained.position
        peak, written = self._guard.block_peak_bytes, finished.cache_bytes
        frozen = self._frozen.get(block.index)
        if frozen is not None:  # it is the frozen units that it begins with
            peak, written = max(peak, frozen.peak_bytes), written + frozen.bytes_written
        peaks, seconds = self._guard.phase_peaks(block.index), self._guard.phase_seconds(block.index)
        return BlockDone(
            "block-done",
            block.index,
            trained.setting.micro_batch,
            trained.setting.accumulate,
            peak,
            position.seconds_per_epoch * self._held_out_scale,
            position.whole_epochs,
            position.step,
            position.loss,
            finished.exits,
            written,
            position.stall_seconds,
            calibration_seconds,
            finished.behind.seconds_per_sample,
            tuple(PhasePeak(phase, highest, seconds.get(phase)) for phase, highest in peaks.items()),
            self._waited.get(block.index),
        )

    def _open(self, block: BlockContext, part: str, opened: ExitStack) -> Split:
        """What a block reads of a part of the data set; a cache that is not there whole is computed before."""
        if block.reads_cache and not self._inputs.is_there(block, part):
            self._rebuild(block, part, "is not there whole")
        return self._inputs.open(block, part, opened)

    def _rebuild(self, block: BlockContext, part: str, problem: str) -> None:
        """Compute every shard of a cache that is not the wanted one."""
        _, which = self._inputs.lacking(block, part)
        self._emit(Deviation("deviation", f"{block.name}: {which} computed anew: the cache {problem}"))
        done = [read_sealed(before.result_path, BlockDone) for before in self._run.stages[: block.index]]
        most = min((before.micro_batch for before in done), default=block.micro_batches[0])

        def rebuild(fallback: int) -> None:
            self._phases.begin(block, "repair", fallback)
            self._phases.limit(block, fallback, warms=True)
            left, _ = self._inputs.lacking(block, part)
            watch = self._phases.watch(block, fallback, "computing them anew")
            self._inputs.rebuild(block, part, left, min(most, block.micro_batches[fallback]), watch)

        self._phases.first_that_fits(block, self._first_fallback(block), "computing a cache anew", rebuild)
        self._guard.take()
        self._guard.release()
