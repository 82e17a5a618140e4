"""The segments of all blocks, at every micro-batch, as tables over first unit and end.

A segment adds static bytes and time and has a dynamic peak; a block's live bytes are the sum of the first plus the
largest of the last, once while training and once while validating. Tables come from running sums over the chain, one
step per unit for all segments at once; `planner.solver.memory_model` says the same component by component. What a
segment can save by recomputing is in `planner.solver.search.spans`, and is worked out only where the search asks for
it.

Every table has a row per first unit and a column per end, 0 to the number of units; what lies on or below the diagonal
means nothing. Bytes are 64-bit integers: `Problem` refuses profiles whose sums could leave them.
"""

from __future__ import annotations

from functools import lru_cache, partial
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from planner.solver.costs import ComponentCost, Levels
from planner.solver.memory_model import fill_bytes
from planner.solver.problem import Problem, Source
from planner.solver.search.heads import heads_of_segments, preferred_heads
from planner.solver.search.recompute_bound import RecomputeBound

Integers = npt.NDArray[np.int64]

NEG_INF = -(2**61)
"""Below every level, and still so with every level added."""


MULTIPLIERS = 16
"""Of a byte, for bounds on what recomputation takes."""


class BatchMode(NamedTuple):
    """Micro-batch size of a block, and whether its optimizer steps within backward."""

    micro_batch: int
    stepping: bool
    """The optimizer in backward."""


class UncutBlock(NamedTuple):
    """A block without cuts: what its units and the head at its end add, whatever lies between."""

    time: int
    """Nanoseconds × micro-batch over one epoch."""
    static: int
    """Resident throughout training."""
    weights: int
    """Resident while validating."""
    peak: int
    """Of moments that belong to no segment: the step when accumulating, the frozen units before the block."""
    validate_peak: int
    """Of units, and of writing the cache."""
    fill: int
    """Live bytes of all while frozen units write the cache that the block reads; 0 where they do not."""


class SegmentSums(NamedTuple):
    """Segments without their heads; `least_` where all but one unit at a time is recomputed."""

    forward: Integers
    kept: Integers
    earlier: Integers
    """Highest level in the backward of all units but the last."""
    earlier_held: Integers
    """The same with what outlives the segment."""
    last: Integers
    """Highest level in the backward of the last unit."""
    last_held: Integers
    """The same while its output is held."""
    gradients: Integers
    step_transient: Integers
    inference: Integers
    """Highest level while the units run without gradients."""
    least_forward: Integers
    least_earlier: Integers
    least_earlier_held: Integers
    least_last: Integers
    least_last_held: Integers


class SegmentRow(NamedTuple):
    """All units at one micro-batch, the optimizer in backward or behind it."""

    units: tuple[ComponentCost, ...]
    first: tuple[Levels, ...]
    """As first of a segment."""
    inner: tuple[Levels, ...]
    gradients: tuple[int, ...]
    """What each unit leaves until the segment's step."""
    accumulating: bool
    stepping: bool
    given: Integers
    """By boundary: what passes there."""
    made: Integers
    """By first unit and boundary: what passes there and was made from that unit on."""
    is_joint: bool
    """Whether several tensors pass anywhere."""
    train_ns: tuple[int, ...]
    """This and what follows: sums over the units before each boundary."""
    step_ns: tuple[int, ...]
    static: tuple[int, ...]
    weights: tuple[int, ...]
    inference_ns: tuple[int, ...]
    too_small: tuple[int, ...]
    """Units whose batch normalisation needs a larger micro-batch."""


class HeadTable(NamedTuple):
    """By boundary: what stands behind a segment that ends there: its head, and in front of it its window if it has
    one. Where there is no head, they fit nowhere."""

    top: Integers
    """Highest level of forward and backward."""
    static: Integers
    weights: Integers
    closing_static: Integers
    """Where the block ends there: its window is then a unit of the next one."""
    closing_weights: Integers
    gradients: Integers
    transient: Integers
    """Of the optimizer's step."""
    inference: Integers
    """Level while validating, above what it reads; below every level behind a window, where it is not measured."""
    legal: npt.NDArray[np.bool_]
    """Whether batch normalisation sees enough."""


class SegmentPeaks(NamedTuple):
    """Dynamic bytes of segments with their heads, above the input that is held."""

    open: Integers
    """Of a segment that another one of its block follows, nothing recomputed."""
    close: Integers
    """Of one that closes its block."""
    least_open: Integers
    """Below this no recomputation brings them."""
    least_close: Integers
    always: Integers
    """By boundary: the head's step when accumulating; nothing is held then."""


class SegmentTables:
    """Segments and blocks, computed as far as they are asked for."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.chosen_heads = heads_of_segments(problem, preferred_heads(problem))
        self.block_boundaries = np.array(problem.block_boundaries, dtype=np.int64)
        """Where a segment may begin or end."""
        self.allowed = np.less.outer(problem.depths, problem.depths)
        """By first unit and end: whether these units may be a segment (`Problem.allows_segment`)."""
        self.allowed[problem.start, problem.count] = True
        self.row = lru_cache(maxsize=None)(self._make_row)
        self.sums = lru_cache(maxsize=None)(self._make_sums)
        self.replay = lru_cache(maxsize=None)(self._make_replay)
        self.heads = lru_cache(maxsize=None)(self._make_heads)
        self.peaks = lru_cache(maxsize=64)(self._make_peaks)
        self.cut_times = lru_cache(maxsize=None)(self._make_cut_times)
        self.fill_bytes = lru_cache(maxsize=None)(partial(fill_bytes, problem))

    def modes(self) -> list[BatchMode]:
        """Micro-batches, falling, and whether the optimizer steps in backward: only where nothing is accumulated."""
        batch = self.problem.training.batch
        stepping = [BatchMode(batch, True)] if batch == self.problem.micro_batches[0] else []
        return stepping + [BatchMode(size, False) for size in self.problem.micro_batches]

    def _make_row(self, micro_batch: int, stepping: bool) -> SegmentRow:
        units = tuple(self.problem.unit_cost(unit, micro_batch) for unit in range(self.problem.count))
        given = np.array([0, *(unit.output for unit in units)], dtype=np.int64)
        return SegmentRow(
            units=units,
            first=tuple(unit.first_stepping if stepping else unit.first for unit in units),
            inner=tuple(unit.inner_stepping if stepping else unit.inner for unit in units),
            gradients=tuple(0 if stepping else unit.gradients for unit in units),
            accumulating=self.problem.accumulates(micro_batch),
            stepping=stepping,
            given=given,
            made=self._made(micro_batch, given),
            is_joint=self.problem.carried is not None,
            train_ns=_running(unit.train_ns for unit in units),
            step_ns=_running(unit.step_ns for unit in units),
            static=_running(unit.static for unit in units),
            weights=_running(unit.weights for unit in units),
            inference_ns=_running(unit.inference_ns for unit in units),
            too_small=_running(unit.minimum_micro_batch > micro_batch for unit in units),
        )

    def _made(self, micro_batch: int, given: Integers) -> Integers:
        numbers = self.problem.carried
        if numbers is None:
            return np.broadcast_to(given, (len(given), len(given)))
        carried = np.array(numbers, dtype=np.int64) * self.problem.carried_number_bytes(micro_batch)
        found: Integers = np.maximum(given - carried, 0)
        return found

    def _make_sums(self, micro_batch: int, stepping: bool) -> SegmentSums:
        return sums_of(self.row(micro_batch, stepping))

    def _make_replay(self, micro_batch: int, stepping: bool) -> RecomputeBound:
        row = self.row(micro_batch, stepping)
        most = [max(first.kept, inner.kept) for first, inner in zip(row.first, row.inner, strict=True)]
        return RecomputeBound(row.units, most, MULTIPLIERS)

    def _make_heads(self, mode: BatchMode) -> HeadTable:
        problem = self.problem
        count = problem.count
        found = {name: np.full(count + 1, -NEG_INF, dtype=np.int64) for name in HeadTable._fields if name != "legal"}
        legal = np.zeros(count + 1, dtype=np.bool_)
        for end, chosen in self.chosen_heads.items():
            head = problem.ending_cost(end, chosen, mode.micro_batch)
            closing = problem.ending_cost(end, chosen, mode.micro_batch, closes=True)
            levels = head.inner_stepping if mode.stepping else head.inner
            found["top"][end] = max(levels.forward, levels.backward)
            found["static"][end] = head.static
            found["weights"][end] = head.weights
            found["closing_static"][end] = closing.static
            found["closing_weights"][end] = closing.weights
            found["gradients"][end] = 0 if mode.stepping else head.gradients
            found["transient"][end] = head.step_transient
            found["inference"][end] = NEG_INF if problem.has_window(end) else head.inference_peak
            legal[end] = head.minimum_micro_batch <= mode.micro_batch
        return HeadTable(**found, legal=legal)

    def _make_peaks(self, mode: BatchMode) -> SegmentPeaks:
        row, heads = self.row(mode.micro_batch, mode.stepping), self.heads(mode)
        return peaks_of(row, self.sums(mode.micro_batch, mode.stepping), heads)

    def _make_cut_times(self, micro_batch: int) -> tuple[int, ...]:
        """By boundary: what a cut adds, in the unit of `UncutBlock.time`; 0 where there can be none."""
        found = [0] * (self.problem.count + 1)
        for end in self.problem.boundaries[:-1]:
            head = self.problem.ending_cost(end, self.chosen_heads[end], micro_batch)
            unit = self.problem.unit_cost(end, micro_batch)
            micro_step = head.train_ns + unit.first_train_ns - unit.train_ns
            found[end] = self.problem.training.samples * micro_step + micro_batch * self.problem.steps * head.step_ns
        return tuple(found)

    def base_time(self, micro_batch: int, stepping: bool, first: int, end: int, prefix: int) -> int:
        """A block without cuts that runs `prefix` units in front of it, in the unit of `UncutBlock.time`."""
        row = self.row(micro_batch, stepping)
        head = self.problem.ending_cost(end, self.chosen_heads[end], micro_batch)
        micro_step = row.train_ns[end] - row.train_ns[first] - row.units[first].train_ns + head.train_ns
        micro_step += row.units[first].first_train_ns + row.inference_ns[prefix]
        step = row.step_ns[end] - row.step_ns[first] + head.step_ns
        return self.problem.training.samples * micro_step + micro_batch * self.problem.steps * step

    def fixed_bytes(self, micro_batch: int, first: int, source: Source) -> int:
        """Samples, kernels, and the weights of frozen units in front of a block."""
        frozen = self.row(micro_batch, False).weights[first] if source == "recompute" else 0
        kernels = self.problem.process.kernel_bytes(micro_batch, first)
        return self.problem.data_bytes(first, source, micro_batch) + kernels + frozen

    def base(self, mode: BatchMode, first: int, end: int, source: Source, caches: bool) -> UncutBlock | None:
        """The block [first, end); none where a batch normalisation in it needs a larger micro-batch."""
        micro_batch = mode.micro_batch
        row, sums = self.row(micro_batch, mode.stepping), self.sums(micro_batch, mode.stepping)
        head = self.problem.ending_cost(end, self.chosen_heads[end], micro_batch, closes=True)
        if head.minimum_micro_batch > micro_batch or row.too_small[end] > row.too_small[first]:
            return None
        prefix = first if source == "recompute" else 0
        fixed = self.fixed_bytes(micro_batch, first, source)
        before = int(sums.inference[0, prefix]) if prefix else 0
        inference = max(before, int(sums.inference[first, end]))
        return UncutBlock(
            time=self.base_time(micro_batch, mode.stepping, first, end, prefix),
            static=fixed + head.static + row.static[end] - row.static[first],
            weights=fixed + head.weights + row.weights[end] - row.weights[first],
            peak=max(before, int(sums.step_transient[first, end])) if row.accumulating else before,
            validate_peak=inference + (self.problem.writer_bytes(end, micro_batch) if caches else 0),
            fill=self.fill_bytes(micro_batch) if self.problem.fills(first, source) else 0,
        )


def _running(values: object) -> tuple[int, ...]:
    return tuple(accumulate(values, initial=0))  # type: ignore[call-overload]


def peaks_of(row: SegmentRow, sums: SegmentSums, heads: HeadTable) -> SegmentPeaks:
    """Segments with their heads."""
    output, gradients = row.made[: len(row.units)], heads.gradients
    close = np.maximum(sums.forward, sums.kept + heads.top)
    least = np.maximum(sums.least_forward, heads.top)
    found = SegmentPeaks(
        open=_highest(close, gradients + sums.last_held, gradients + sums.earlier_held),
        close=_highest(close, gradients + sums.last, gradients + sums.earlier),
        least_open=_highest(least, gradients + sums.least_last_held, gradients + sums.least_earlier_held),
        least_close=_highest(least, gradients + sums.least_last, gradients + sums.least_earlier),
        always=heads.transient if row.accumulating else np.zeros_like(heads.transient),
    )
    if row.accumulating or row.stepping:
        return found
    step = sums.gradients + gradients + np.maximum(sums.step_transient, heads.transient)
    return SegmentPeaks(
        open=np.maximum(found.open, step + output),
        close=np.maximum(found.close, step),
        least_open=np.maximum(found.least_open, step + output),
        least_close=np.maximum(found.least_close, step),
        always=found.always,
    )


def _highest(first: Integers, second: Integers, third: Integers) -> Integers:
    found: Integers = np.maximum(np.maximum(first, second), third)
    return found


def sums_of(row: SegmentRow) -> SegmentSums:
    """Running sums over the chain."""
    count = len(row.units)
    names = [name for name in SegmentSums._fields if name not in ("earlier_held", "least_earlier_held")]
    found = {name: np.zeros((count, count + 1), dtype=np.int64) for name in names}
    now = {name: np.zeros(count, dtype=np.int64) for name in names}
    for name in ("earlier", "last", "least_earlier", "least_last"):
        now[name][:] = NEG_INF
    for index, unit in enumerate(row.units):
        _add(now, row, index, unit)
        for name, table in found.items():
            table[: index + 1, index + 1] = now[name][: index + 1]
    earlier, least = (found[name] + row.given for name in ("earlier", "least_earlier"))
    if row.is_joint:
        for end in range(1, count + 1):
            earlier[:end, end], least[:end, end] = _held_earlier(row, end)
    return SegmentSums(**found, earlier_held=earlier, least_earlier_held=least)


def _held_earlier(row: SegmentRow, end: int) -> tuple[Integers, Integers]:
    """By first unit of segments up to `end`: `earlier_held`, and the same where nothing else is kept.

    Of what outlives the segment, that of units before the one at work is among what they keep.
    """
    gradients, kept = (_running(values) for values in (row.gradients, (level.kept for level in row.inner)))
    most: list[int] = []
    least: list[int] = []
    beyond = beyond_kept = NEG_INF
    for index in range(end - 1, -1, -1):
        rest = gradients[end] - gradients[index + 1] + int(row.made[index, end]) if index < end - 1 else NEG_INF
        alone = row.first[index].backward + rest
        least.append(max(alone, beyond))
        most.append(max(alone, row.first[index].kept - kept[index + 1] + beyond_kept))
        beyond = max(beyond, row.inner[index].backward + rest)
        beyond_kept = max(beyond_kept, row.inner[index].backward + rest + kept[index])
    return np.array(most[::-1], dtype=np.int64), np.array(least[::-1], dtype=np.int64)


def _add(now: dict[str, Integers], row: SegmentRow, index: int, unit: ComponentCost) -> None:
    """The unit at `index` behind all segments that begin before it, and alone."""
    own = row.gradients[index]
    level = np.array([row.inner[index]] * index + [row.first[index]], dtype=np.int64).T
    part = {name: values[: index + 1] for name, values in now.items()}
    kept = part["kept"].copy()
    part["earlier"][:] = np.maximum(part["earlier"], part["last"]) + own
    part["least_earlier"][:] = np.maximum(part["least_earlier"], part["least_last"]) + own
    part["forward"][:] = np.maximum(part["forward"], kept + level[0])
    part["least_forward"][:] = np.maximum(part["least_forward"], level[0])
    part["last"][:] = kept + level[2]
    part["last_held"][:] = kept + level[3]
    part["least_last"][:] = level[2]
    part["least_last_held"][:] = np.minimum(level[3], level[2] + row.made[index, index + 1])
    part["kept"] += level[1]
    part["gradients"] += own
    np.maximum(part["step_transient"], unit.step_transient, out=part["step_transient"])
    before = np.append(row.made[:index, index], 0)
    np.maximum(part["inference"], before + unit.inference_peak, out=part["inference"])
