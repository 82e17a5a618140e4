"""An independent second opinion on a plan: every byte and second computed again from the profile, before it leaves.

Shares no code with costs and search. Memory is not summed up by formula but kept in a ledger of allocations and frees,
in the order in which the runner causes them.
"""

from __future__ import annotations

from dataclasses import fields, replace
from fractions import Fraction
from math import ceil, floor

from planner.document import content_id
from planner.errors import PlannerError
from planner.profiler.schema import Costs, PieceProfile, Profile, Trace
from planner.solver.schema import Block, BlockPrediction, Breakdown, Exit, PhasePeaks, Plan, Segment

_WRITER = 65536, 16
_SHOWN = 8


def check(plan: Plan, profile: Profile) -> None:
    """Compare a plan with the profile it was made from. Raises PlannerError that lists every disagreement.

    Such an error is a fault of the solver, never of what a person asked.
    """
    judge = _Judge(plan, profile)
    judge.whole()
    for index, block in enumerate(plan.blocks):
        judge.block(f"blocks[{index}]", block)
    if judge.faults:
        shown = "; ".join(judge.faults[:_SHOWN])
        raise PlannerError(f"the solver contradicts its checker, please report this: {shown}")


class _Ledger:
    """Live bytes by owner, and the most there ever were.

    Only `touch` raises the peak: whatever a piece leaves behind was part of the level it has reached before.
    """

    def __init__(self) -> None:
        self.owners: dict[str, int] = {}
        self.peak = 0

    def take(self, owner: str, size: int) -> None:
        self.owners[owner] = self.owners.get(owner, 0) + size

    def drop(self, owner: str) -> None:
        self.owners.pop(owner, None)

    def touch(self, above: int) -> None:
        self.peak = max(self.peak, sum(self.owners.values()) + above)


class _Piece:
    """A unit or head at one micro-batch; figures between profiled ones lie on straight lines, rounded up."""

    def __init__(self, profile: PieceProfile, size: int, accumulating: bool) -> None:
        self.fixed = profile
        self.size = size
        self.accumulating = accumulating

    def _figure(self, table: list[tuple[int, int]]) -> int:
        exact = dict(table)
        if self.size in exact:
            return exact[self.size]
        below = [point for point in table if point[0] < self.size]
        above = [point for point in table if point[0] > self.size]
        if not below:
            return above[0][1]
        if not above and len(below) == 1:
            below = [(0, 0), *below]
        (x0, y0), (x1, y1) = (below[-1], above[0]) if above else (below[-2], below[-1])
        value = ceil(y0 + Fraction(y1 - y0, x1 - x0) * (self.size - x0))
        return value if above else max(value, y1)

    def _bytes(self, table: list[tuple[int, int]]) -> int:
        """Beyond what was profiled, bytes grow at least in proportion."""
        largest, value = table[-1]
        return max(self._figure(table), ceil(Fraction(value * self.size, largest)) if self.size > largest else 0)

    def trace(self, field: str, first: bool) -> int:
        case = ("first" if first else "inner") + ("_accumulating" if self.accumulating else "")

        def pick(cost: Costs) -> int:
            trace: Trace = getattr(cost.traces, case)
            return int(getattr(trace, field))

        return self._bytes([(cost.micro_batch, pick(cost)) for cost in self.fixed.costs])

    def inference(self) -> int:
        return self._bytes([(cost.micro_batch, cost.inference_peak_bytes) for cost in self.fixed.costs])

    def output(self) -> int:
        return self.size * self.fixed.output_bytes

    def nanoseconds(self, *names: str) -> int:
        return self._figure(
            [(cost.micro_batch, sum(round(getattr(cost, name) * 1e9) for name in names)) for cost in self.fixed.costs]
        )


class _Run:
    """One block at one micro-batch."""

    def __init__(self, plan: Plan, profile: Profile, block: Block, size: int) -> None:
        self.plan, self.profile, self.span, self.size = plan, profile, block.units, size
        self.accumulating = size < plan.training.batch
        self.segments = block.segments
        self.units = {index: self._piece(profile.units[index]) for index in range(*block.units)}
        self.heads = [self._piece(_head(profile, segment)) for segment in block.segments]
        self.pieces = [*self.units.values(), *self.heads]
        self.last = block.units[1] == len(profile.units)

    def _piece(self, profile: PieceProfile) -> _Piece:
        return _Piece(profile, self.size, self.accumulating)

    def kernels(self) -> int:
        runtime = self.profile.runtime
        low, high, size = runtime.small_micro_batch, runtime.large_micro_batch, self.size
        if size >= high:
            return runtime.growing_bytes
        return ceil(Fraction(runtime.growing_bytes * (size - low), high - low)) if size > low else 0

    def data(self) -> int:
        record = _record(self.profile, self.span[0])
        batch = 0 if self.span[0] else 4 * (record - 8)
        return self.size * (2 * record + batch + 8)

    def total(self, *names: str) -> int:
        return sum(int(getattr(piece.fixed, name)) for piece in self.pieces for name in names)

    def _loaded(self) -> _Ledger:
        ledger = _Ledger()
        ledger.take("data", self.data())
        ledger.take("kernels", self.kernels())
        ledger.take("weights", self.total("parameter_bytes", "buffer_bytes"))
        return ledger

    def train(self) -> int:
        ledger = self._loaded()
        ledger.take("optimizer", self.total("optimizer_bytes"))
        if self.accumulating:
            ledger.take("gradients", self.total("parameter_bytes"))
        for segment, head in zip(self.segments, self.heads, strict=True):
            self._segment(ledger, segment, head)
        if self.accumulating:
            ledger.touch(max(piece.fixed.step_transient_bytes for piece in self.pieces))
        return ledger.peak

    def _segment(self, ledger: _Ledger, segment: Segment, head: _Piece) -> None:
        start, end = segment.units
        chain = [*(self.units[index] for index in range(start, end)), head]
        for place, piece in enumerate(chain):
            ledger.touch(piece.trace("forward_peak_bytes", place == 0))
            ledger.take(f"kept {place}", piece.trace("kept_bytes", place == 0))
        outlives = end < self.span[1]
        for place in reversed(range(len(chain))):
            piece = chain[place]
            ledger.drop(f"kept {place}")
            held = outlives and place == len(chain) - 2
            ledger.touch(piece.trace("held_backward_peak_bytes" if held else "backward_peak_bytes", place == 0))
            if held:
                ledger.take("output", piece.output())
            if not self.accumulating:
                ledger.take("fresh gradients", piece.fixed.parameter_bytes)
        if not self.accumulating:
            ledger.touch(max(piece.fixed.step_transient_bytes for piece in chain))
        ledger.drop("fresh gradients")
        ledger.drop("input")
        ledger.take("input", ledger.owners.pop("output", 0))

    def inference(self, heads: bool, writer: int) -> int:
        ledger = self._loaded()
        ledger.take("writer", writer)
        ends = {segment.units[1]: head for segment, head in zip(self.segments, self.heads, strict=True)}
        for index, unit in self.units.items():
            ledger.touch(unit.inference())
            ledger.drop("activation")
            ledger.take("activation", unit.output())
            if heads and index + 1 in ends:
                ledger.touch(ends[index + 1].inference())
        return ledger.peak

    def phases(self) -> PhasePeaks:
        writer = _WRITER[0] + _WRITER[1] * self.size
        return PhasePeaks(
            train=self._resident(self.train()),
            cache=0 if self.last else self._resident(self.inference(False, writer)),
            validate=self._resident(self.inference(True, 0)),
            save=self._resident(self.total("parameter_bytes", "buffer_bytes")),
        )

    def _resident(self, live: int) -> int:
        runtime = self.profile.runtime
        return _runtime(self.plan, self.profile) + ceil(
            live + runtime.run_bytes + runtime.overhead_bytes + Fraction(live * runtime.overhead_permille, 1000)
        )

    def _passes(self, nanoseconds: int) -> int:
        return floor(Fraction(nanoseconds * self.plan.training.samples, self.size))

    def epoch_ns(self) -> int:
        training, starts = self.plan.training, {segment.units[0] for segment in self.segments}
        compute = sum(head.nanoseconds("forward_seconds", "backward_seconds") for head in self.heads)
        for index, unit in self.units.items():
            backward = "first_backward_seconds" if index in starts else "backward_seconds"
            compute += unit.nanoseconds("forward_seconds", backward)
        steps = ceil(Fraction(training.samples, training.batch))
        total = self._passes(compute) + steps * sum(round(piece.fixed.step_seconds * 1e9) for piece in self.pieces)
        return max(total, self._moving(self.span[0], self.profile.storage.read_bytes_per_second))

    def finish_ns(self) -> int:
        if self.last:
            return 0
        inference = sum(unit.nanoseconds("inference_seconds") for unit in self.units.values())
        return self._passes(inference) + self._moving(self.span[1], self.profile.storage.write_bytes_per_second)

    def _moving(self, boundary: int, speed: int) -> int:
        return ceil(Fraction(_cache(self.plan, self.profile, boundary) * 10**9, speed))


def _head(profile: Profile, segment: Segment) -> PieceProfile:
    wanted = ("classifier", 0) if segment.head is None else ("auxiliary", segment.head.filters)
    for head in profile.heads:
        if head.boundary == segment.units[1] and (head.kind, head.filters) == wanted:
            return head.cost
    raise PlannerError(f"the solver contradicts its checker: no head {wanted} is profiled behind {segment.units}")


def _record(profile: Profile, boundary: int) -> int:
    channels, height, width = profile.model.input
    return (profile.units[boundary - 1].output_bytes if boundary else channels * height * width) + 8


def _cache(plan: Plan, profile: Profile, boundary: int) -> int:
    inside = 0 < boundary < len(profile.units)
    return plan.training.samples * _record(profile, boundary) if inside else 0


def _runtime(plan: Plan, profile: Profile) -> int:
    if plan.budget.scope == "training":
        return 0
    return profile.runtime.baseline_bytes + profile.runtime.supervisor_bytes


class _Judge:
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
        self.same("device", plan.device, profile.device)
        self.same("allocator", plan.allocator, profile.allocator)
        self.same("baseline_bytes", plan.baseline_bytes, profile.runtime.baseline_bytes)
        self.same("calibration_seconds", plan.calibration_seconds, profile.calibration_seconds)
        peak = max(block.predicted.peak_bytes for block in plan.blocks)
        self.same("predicted.peak_bytes", plan.predicted.peak_bytes, peak)
        self._fits("predicted.peak_bytes", peak)
        if plan.budget.scope == "process":
            starting = profile.runtime.start_peak_bytes + profile.runtime.supervisor_bytes
            self.true(f"start of {starting} ≤ budget of {plan.budget.bytes}", starting <= plan.budget.bytes)
        minimum = plan.minimum_budget_bytes
        self.true(f"minimum_budget_bytes {minimum} ≤ {plan.budget.bytes}", minimum <= plan.budget.bytes)
        total = sum(self._total_ns(block) for block in plan.blocks)
        self.same("predicted.seconds_total", plan.predicted.seconds_total, total / 1e9)
        stored = max(self._storage(block) for block in plan.blocks)
        self.same("predicted.cache_bytes", plan.predicted.cache_bytes, stored)
        self.true(f"caches of {stored} fit the storage", plan.storage_bytes is None or stored <= plan.storage_bytes)
        ends = [Exit(segment.units[1], segment.head) for block in plan.blocks for segment in block.segments]
        self.same("exits", plan.exits, tuple(ends))
        for place, other in enumerate(plan.alternatives):
            self._fits(f"alternatives[{place}].peak_bytes", other.peak_bytes)

    def _fits(self, what: str, peak: int) -> None:
        room = self.plan.budget.bytes - self.plan.reserve_bytes
        self.true(f"{what} {peak} ≤ {room}, the budget less its reserve", peak <= room)

    def _total_ns(self, block: Block) -> int:
        run = _Run(self.plan, self.profile, block, block.micro_batch)
        return self.plan.training.epochs * run.epoch_ns() + run.finish_ns()

    def _storage(self, block: Block) -> int:
        return sum(_cache(self.plan, self.profile, boundary) for boundary in block.units)

    def block(self, where: str, block: Block) -> None:
        cached = block.units[0] > 0
        self.same(f"{where}.input.kind", block.input.kind, "cache" if cached else "data")
        self.same(f"{where}.input.dtype", block.input.dtype, "float32" if cached else "uint8")
        self.same(f"{where}.input.from_unit", block.input.from_unit, block.units[0])
        self.same(f"{where}.input.sample_bytes", block.input.sample_bytes, _record(self.profile, block.units[0]))
        self._setting(where, block, block.micro_batch, block.accumulate, block.predicted)
        peak, size = block.predicted.peak_bytes, block.micro_batch
        for place, rung in enumerate(block.ladder):
            here = f"{where}.ladder[{place}]"
            self.true(f"{here} is smaller than what stands before it", rung.micro_batch < size)
            self.true(f"{here} needs less than what stands before it", rung.predicted.peak_bytes < peak)
            self._setting(here, block, rung.micro_batch, rung.accumulate, rung.predicted)
            peak, size = rung.predicted.peak_bytes, rung.micro_batch

    def _setting(self, where: str, block: Block, size: int, accumulate: int, predicted: BlockPrediction) -> None:
        run = _Run(self.plan, self.profile, block, size)
        self.same(f"{where}: micro_batch × accumulate", size * accumulate, self.plan.training.batch)
        for piece in run.pieces:
            low, high = piece.fixed.minimum_micro_batch, 4 * piece.fixed.costs[-1].micro_batch
            self.true(f"{where}: {low} ≤ micro_batch {size} ≤ {high}", low <= size <= high)
        measured = min(piece.fixed.costs[-1].micro_batch for piece in run.pieces)
        self.same(f"{where}: extrapolated_from", predicted.extrapolated_from, measured if size > measured else None)
        phases = run.phases()
        for field in fields(phases):
            stated = getattr(predicted.peak_bytes_by_phase, field.name)
            self.same(f"{where}: peak_bytes_by_phase.{field.name}", stated, getattr(phases, field.name))
        highest = max(phases.train, phases.cache, phases.validate, phases.save)
        self.same(f"{where}: peak_bytes", predicted.peak_bytes, highest)
        self._parts(where, run, predicted, phases.train)
        self.same(f"{where}: seconds_per_epoch", predicted.seconds_per_epoch, run.epoch_ns() / 1e9)
        self.same(f"{where}: finish_seconds", predicted.finish_seconds, run.finish_ns() / 1e9)

    def _parts(self, where: str, run: _Run, predicted: BlockPrediction, peak: int) -> None:
        parts = predicted.breakdown
        self.same(f"{where}: breakdown's sum", parts.total, peak)
        self.same(f"{where}: breakdown.runtime", parts.runtime, _runtime(self.plan, self.profile))
        self.same(f"{where}: breakdown.data", parts.data, run.data())
        self.same(f"{where}: breakdown.parameters", parts.parameters, run.total("parameter_bytes", "buffer_bytes"))
        self.same(f"{where}: breakdown.optimizer", parts.optimizer, run.total("optimizer_bytes"))
        sizes = {field.name: int(getattr(parts, field.name)) for field in fields(Breakdown)}
        self.true(f"{where}: every part of the breakdown ≥ 0", min(sizes.values()) >= 0)
        self.same(f"{where}: binding's size", sizes.get(predicted.binding), max(sizes.values()))
