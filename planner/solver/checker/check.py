"""An independent second opinion on a plan: every byte and second computed again from the profile, before it leaves.

Shares no code with costs and search: `planner.solver.checker.ledger` plays every block out, and here is compared.
"""

from __future__ import annotations

from dataclasses import fields, replace

from planner.errors import PlannerError
from planner.heads.pooled import PooledHead
from planner.schema.codec import content_id
from planner.schema.plan import Block, Exit, Plan
from planner.schema.prediction import BlockPrediction, Breakdown
from planner.schema.profile import Profile
from planner.solver.checker.accuracy import loss_faults
from planner.solver.checker.ledger import BlockRun
from planner.solver.checker.profile_figures import policy_figures, record

_REACH = 4
_SHOWN = 8


def check(plan: Plan, profile: Profile) -> None:
    """Compare a plan with the profile it was made from. Raises PlannerError that lists every disagreement.

    Such an error is a fault of the solver, never of what a person asked.
    """
    checker = _Checker(plan, profile)
    checker.whole()
    for index, block in enumerate(plan.stages):
        checker.block(index, block)
    checker.polish()
    if checker.faults:
        shown = "; ".join(checker.faults[:_SHOWN])
        raise PlannerError(f"the solver contradicts its checker, please report this: {shown}")


class _Checker:
    """Collects what is wrong."""

    def __init__(self, plan: Plan, profile: Profile) -> None:
        self.plan, self.profile = plan, profile
        self.faults: list[str] = []

    def same(self, what: str, stated: object, computed: object) -> None:
        if stated != computed:
            self.faults.append(f"{what} is {stated}, computed {computed}")

    def true(self, what: str, holds: bool) -> None:
        if not holds:
            self.faults.append(f"{what} does not hold")

    def whole(self) -> None:
        plan, profile = self.plan, self.profile
        self.same("id", plan.id, content_id(replace(plan, id="")))
        self.same("profile_id", plan.profile_id, profile.id)
        self.same("model", plan.model, profile.model)
        self.same("training.dtype", plan.training.dtype, profile.dtype)
        self.same("device", plan.device, profile.device)
        self.same("start", plan.start, profile.runtime.start)
        around = policy_figures(plan, profile)
        self.same("baseline_bytes", plan.baseline_bytes, around.baseline_bytes)
        self.same("calibration_seconds", plan.calibration_seconds, around.calibration_seconds)
        segments = [segment for block in plan.blocks for segment in block.segments]
        self._features([segment.units for segment in segments])
        exits: list[Exit] = []
        for segment in segments if plan.polish is None else plan.polish.block.segments:
            if profile.model.task.fits_exits:
                stop = segment.units[1] + segment.window
                inside = filter(profile.model.may_end, range(segment.units[0] + 1, stop))
                exits += [Exit(unit, PooledHead("pooled")) for unit in inside]
            if not segment.window:
                exits.append(Exit(segment.units[1], segment.head))
        self.same("exits", plan.exits, tuple(exits))
        dtypes = {block.input.dtype for block in plan.blocks if block.input.kind == "cache"}
        self.true(f"caches hold one type: {', '.join(sorted(dtypes))}", len(dtypes) <= 1)
        self.same("the first trained unit", plan.blocks[0].units[0], plan.training.freeze)
        cuts = len(segments) - 1
        self.true(f"{cuts} cuts ≤ max_cuts {plan.max_cuts}", plan.max_cuts is None or cuts <= plan.max_cuts)
        self.faults += loss_faults(plan)
        self._budget()
        self._totals()
        for index, other in enumerate(plan.alternatives):
            self._fits(f"alternatives[{index}].peak_bytes", other.peak_bytes)
            self._stores(f"alternatives[{index}].cache_bytes", other.cache_bytes)

    def _features(self, spans: list[tuple[int, int]]) -> None:
        """Every segment has a unit that extracts features, in a network that has any, unless nothing is cut."""
        units = self.plan.model.units
        if self.plan.linear_segments or len(spans) == 1 or not any(unit.extracts_features for unit in units):
            return
        for first, end in spans:
            extracting = sum(unit.extracts_features for unit in units[first:end])
            self.true(
                f"{extracting} of the units {first} to {end - 1}, a segment, extract features: ≥ 1", extracting > 0
            )

    def _windows(self, where: str, run: BlockRun) -> None:
        """Asked for, they are wherever a head stands behind the next unit and that is not the network's last; left to
        the planner, only there."""
        count, asked = len(self.plan.model.units), self.plan.asked.overlap
        standing = {found.boundary for found in self.profile.heads if found.boundary < count}
        for segment in run.block.segments:
            end = segment.units[1]
            wanted = segment.window if asked == "auto" else asked
            wanted = wanted if end + 1 in standing else 0
            self.same(f"{where}: units behind unit {end - 1} that its segment trains", segment.window, wanted)

    def _budget(self) -> None:
        plan, runtime = self.plan, self.profile.runtime
        if plan.budget.scope == "process":
            self._fits("start", policy_figures(plan, self.profile).start_peak_bytes + runtime.supervisor_bytes)
        minimum = plan.minimum_budget_bytes
        self.true(f"minimum_budget_bytes {minimum} ≤ {plan.budget.bytes}", minimum <= plan.budget.bytes)

    def _totals(self) -> None:
        plan, predicted = self.plan, self.plan.predicted
        peak = max(block.predicted.peak_bytes for block in plan.stages)
        self.same("predicted.peak_bytes", predicted.peak_bytes, peak)
        self._fits("predicted.peak_bytes", peak)
        runs = [BlockRun(plan, self.profile, index, block.micro_batch) for index, block in enumerate(plan.stages)]
        passes = [plan.training.epochs if block.epochs is None else block.epochs for block in plan.stages]
        total = sum(epochs * run.epoch_ns() + run.finish_ns() for epochs, run in zip(passes, runs, strict=True))
        self.same("predicted.seconds_total", predicted.seconds_total, total / 1e9)
        stored = max(run.read_bytes() + run.written_bytes() for run in runs)
        self.same("predicted.cache_bytes", predicted.cache_bytes, stored)
        self._stores("predicted.cache_bytes", stored)

    def polish(self) -> None:
        """It trains, end to end, all that is trained at all, for as long as was asked for."""
        plan, found = self.plan, self.plan.polish
        self.same("polish.epochs", found.epochs if found else 0, plan.training.polish)
        if found is None:
            return
        trained = (plan.training.freeze, len(plan.model.units))
        rate = plan.training.polish_lr
        self.same("polish.lr", found.lr, plan.training.optimizer.lr / 10 if rate is None else rate)
        self.same("polish.block: units", found.block.units, trained)
        self.same("polish.block: segments", [segment.units for segment in found.block.segments], [trained])
        self.same("polish.block.input.kind", found.block.input.kind, "recompute" if trained[0] else "data")
        self.true("polish.block: the optimizer steps behind backward", not found.block.optimizer_in_backward)

    def _fits(self, what: str, peak: int) -> None:
        room = self.plan.budget.bytes - self.plan.reserve_bytes
        self.true(f"{what} {peak} ≤ {room}, the budget less its reserve", peak <= room)

    def _stores(self, what: str, stored: int) -> None:
        storage = self.plan.storage_bytes
        self.true(f"{what} {stored} ≤ storage_bytes {storage}", storage is None or stored <= storage)

    def block(self, index: int, block: Block) -> None:
        where = f"blocks[{index}]" if index < len(self.plan.blocks) else "polish.block"
        cached = block.input.kind == "cache"
        boundary = block.units[0] if cached else 0
        if not cached:
            self.same(f"{where}.input.dtype", block.input.dtype, "uint8")
        self._passes(f"{where}.epochs", block)
        self.same(f"{where}.input.from_unit", block.input.from_unit, boundary)
        self.same(
            f"{where}.input.sample_bytes", block.input.sample_bytes, record(self.profile, boundary, block.input.dtype)
        )
        run = BlockRun(self.plan, self.profile, index, block.micro_batch)
        self._setting(where, run, block.accumulate, block.predicted)
        peak, size = block.predicted.peak_bytes, block.micro_batch
        for step, fallback in enumerate(block.ladder):
            here = f"{where}.ladder[{step}]"
            self.true(f"{here} is smaller than what stands before it", fallback.micro_batch < size)
            self.true(f"{here} needs less than what stands before it", fallback.predicted.peak_bytes < peak)
            self._setting(
                here,
                BlockRun(self.plan, self.profile, index, fallback.micro_batch),
                fallback.accumulate,
                fallback.predicted,
            )
            peak, size = fallback.predicted.peak_bytes, fallback.micro_batch

    def _passes(self, where: str, block: Block) -> None:
        """The share of the trained units that lie before the block's end is that of the epochs above the early ones."""
        training, units = self.plan.training, len(self.plan.model.units)
        if self.plan.polish is not None and block is self.plan.polish.block:
            self.same(where, block.epochs, training.polish)
            return
        if training.early_epochs is None:
            self.same(where, block.epochs, None)
            return
        share = (block.units[1] - training.freeze) / (units - training.freeze)
        exact = training.early_epochs + share * (training.epochs - training.early_epochs)
        self.true(f"{where} {block.epochs} within ½ of {exact:.3f}", abs((block.epochs or 0) - exact) <= 0.5 + 1e-9)

    def _setting(self, where: str, run: BlockRun, accumulate: int, predicted: BlockPrediction) -> None:
        self._reach(where, run, predicted)
        self.same(f"{where}: micro_batch × accumulate", run.size * accumulate, self.plan.training.batch)
        phases = run.phases()
        for field in fields(phases):
            stated = getattr(predicted.peak_bytes_by_phase, field.name)
            self.same(f"{where}: peak_bytes_by_phase.{field.name}", stated, getattr(phases, field.name))
        self.same(f"{where}: peak_bytes", predicted.peak_bytes, run.peak())
        self.same(f"{where}: fit_room_bytes", predicted.fit_room_bytes, run.room())
        self._parts(where, run, predicted, phases.train)
        self.same(f"{where}: seconds_per_epoch", predicted.seconds_per_epoch, run.epoch_ns() / 1e9)
        self.same(f"{where}: finish_seconds", predicted.finish_seconds, run.finish_ns() / 1e9)

    def _reach(self, where: str, run: BlockRun, predicted: BlockPrediction) -> None:
        """Frozen units have to be known at the micro-batch as well, but normalise by what they learned before."""
        low = max(component.fixed.minimum_micro_batch for component in run.trained)
        running = [*run.filling, *run.components]
        self._windows(where, run)
        measured = min(component.measured for component in running)
        high = _REACH * measured
        self.true(f"{where}: {low} ≤ micro_batch {run.size} ≤ {high}", low <= run.size <= high)
        beyond = measured if run.size > measured else None
        self.same(f"{where}: extrapolated_from", predicted.extrapolated_from, beyond)
        untouched = max(component.untouched() for component in running)
        self.same(f"{where}: untouched_bytes", predicted.untouched_bytes, untouched)

    def _parts(self, where: str, run: BlockRun, predicted: BlockPrediction, peak: int) -> None:
        parts = predicted.breakdown
        self.same(f"{where}: breakdown's sum", parts.total, peak)
        self.same(f"{where}: breakdown.runtime", parts.runtime, run.processes())
        self.same(f"{where}: breakdown.data", parts.data, run.data())
        self.same(f"{where}: breakdown.parameters", parts.parameters, run.weights())
        self.same(f"{where}: breakdown.optimizer", parts.optimizer, run.optimizer())
        self.same(f"{where}: breakdown.cache", parts.cache, 0)
        stated, peak_parts = (parts.activations, parts.gradients), run.training.peak_parts
        self.true(f"{where}: activations and gradients {stated} among {sorted(peak_parts)}", stated in peak_parts)
        sizes = {field.name: int(getattr(parts, field.name)) for field in fields(Breakdown)}
        self.true(f"{where}: every part of the breakdown ≥ 0", min(sizes.values()) >= 0)
        self.same(f"{where}: binding's size", sizes.get(predicted.binding), max(sizes.values()))
