"""Brute force: every block with every cut, micro-batch, recomputed span, place of the optimizer, and input.

Written from the definition of what the runner does, without a look at the search; shares no code with the solver.
Memory is played out event by event (`oracle_events`), each segment once; a shortest path joins the blocks.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cached_property
from typing import Literal, NamedTuple

from planner.schema.common import CacheDtype, Policy
from planner.schema.model import Layer
from planner.schema.profile import ComponentProfile, Profile
from planner.schema.request import Scope, Training
from tests.unit.solver.oracle_events import Figures, Source, Span, Work, peak, taken
from tests.unit.solver.oracle_times import Clock

Feature = Literal["spans", "stepping", "cache", "prefix", "fill"]
"""What a plan may do beside cuts and micro-batches."""

Joint = tuple[Span, Source, bool]
"""A block's units, where its input comes from, and whether it writes the cache for the next one."""


class Setting(NamedTuple):
    """One block, completely decided."""

    span: Span
    micro_batch: int
    ends: tuple[int, ...]
    filters: tuple[int, ...]
    recompute: tuple[Span, ...]
    stepping: bool
    """The optimizer is in backward."""
    source: Source
    caches: bool
    live_bytes: int
    time_ns: int
    """Nanoseconds of all epochs and what follows."""


class _Part(NamedTuple):
    """A segment with its recomputed spans."""

    spans: tuple[Span, ...]
    peak: int
    time_ns: int
    """One micro-batch."""


class _Shape(NamedTuple):
    """A block without its spans and joints."""

    span: Span
    micro_batch: int
    ends: tuple[int, ...]
    filters: tuple[int, ...]
    stepping: bool

    @property
    def segments(self) -> list[Span]:
        return list(itertools.pairwise((self.span[0], *self.ends)))


def disjoint_spans(first: int, end: int) -> list[tuple[Span, ...]]:
    """All sets of spans within [first, end) that do not overlap."""
    if first == end:
        return [()]
    found = disjoint_spans(first + 1, end)
    for stop in range(first + 1, end + 1):
        found += [((first, stop), *rest) for rest in disjoint_spans(stop, end)]
    return found


def _convolutions(layers: tuple[Layer, ...]) -> int:
    """How many there are, wherever."""
    found = 0
    for layer in layers:
        if layer.op == "residual":
            found += _convolutions(layer.body) + _convolutions(layer.shortcut)
        found += layer.op == "conv2d"
    return found


class Oracle:
    """All settings of all blocks of one problem, under one allocator policy."""

    def __init__(
        self,
        profile: Profile,
        training: Training,
        storage_bytes: int | None,
        head_time_share: float,
        policy: Policy = "tight",
        without: frozenset[Feature] = frozenset(),
        figures: Figures | None = None,
        kept: CacheDtype | None = None,
        linear_segments: bool = True,
        overlap: int = 0,
    ) -> None:
        """`without` says what plans must do without; `figures` of the same profile and batch spare the time;
        `kept` is what caches hold. `linear_segments`: a segment needs no convolution of its own. `overlap`: segments
        train so many units behind them."""
        self.profile = profile
        self.training = training
        self.storage_bytes = storage_bytes
        self.policy = policy
        self.without = without
        self.linear_segments = linear_segments
        self.overlap = overlap
        self.count = len(profile.units)
        self.figures = figures or Figures(profile, training.batch, 2 if policy == "fast" else 1, kept)
        self.heads = self.figures.heads
        self.start = training.freeze
        self.boundaries = sorted({boundary for boundary, _ in self.heads if boundary > self.start})
        self.clock = Clock(profile, training, policy, self.figures.kept)
        self._fast = {found.policy: found for found in profile.policies}["fast"] if policy == "fast" else None
        self._parts: dict[Work, list[_Part]] = {}
        self.preferred = {boundary: self._preferred(boundary, head_time_share) for boundary in self.boundaries}
        self.blocks = {joint: _staircases(self.settings(joint)) for joint in sorted(self._joints())}
        """Of every block the settings that no other one with as many segments beats in bytes and time."""

    def _widths(self, boundary: int) -> list[int]:
        return sorted(filters for place, filters in self.heads if place == boundary)

    def _preferred(self, boundary: int, share: float) -> int:
        known = [cost.micro_batch for cost in self.profile.units[0].costs]
        size = max([one for one in known if one <= self.training.batch] or known[:1])
        chain = self.clock.segment((0, self.count), size, (), self.heads[self.count, 0])
        widths = self._widths(boundary)
        good = [w for w in widths if self.clock.train(self.heads[boundary, w], size) <= share * chain / 4]
        return good[-1] if good else widths[0]

    def has_filters(self, setting: Setting) -> bool:
        """Whether a block's heads are as wide as they are before anything is chosen."""
        return setting.filters == self._filters(setting.ends)

    def has_narrower_head(self, setting: Setting) -> bool:
        """Whether one of a block's heads is narrower than that."""
        preferred = self._filters(setting.ends)
        return any(mine < theirs for mine, theirs in zip(setting.filters, preferred, strict=True))

    def preferring(self, setting: Setting) -> Setting:
        """A block's setting with heads as wide as preferred."""
        filters = self._filters(setting.ends)
        joint = setting.source, setting.caches
        return self.setting(
            setting.span, setting.micro_batch, setting.ends, filters, setting.recompute, setting.stepping, *joint
        )

    def _filters(self, ends: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(self.preferred[end + self.window(end)] for end in ends)

    def window(self, end: int) -> int:
        """Units behind an end that a segment trains as well: a head has to stand behind them, not the classifier."""
        return self.overlap if end + self.overlap in self.boundaries[:-1] else 0

    def windows(self, ends: tuple[int, ...]) -> tuple[int, ...]:
        """Of ends, those with such units."""
        return tuple(end for end in ends if self.window(end))

    def stored(self, joint: Joint) -> int:
        """Storage of the caches that a block reads and writes."""
        (first, end), source, caches = joint
        return (source == "cache") * self.clock.stored(first) + caches * self.clock.stored(end)

    def fills(self, first: int, source: Source) -> bool:
        """Whether the cache that a block reads is written by frozen units, since no block stands before it."""
        return source == "cache" and first == self.start

    def _joints(self) -> Iterator[Joint]:
        for first, end in itertools.combinations([self.start, *self.boundaries], 2):
            sources: tuple[Source, ...] = ("cache", "recompute") if first else ("data",)
            for source, caches in itertools.product(sources, (False, True)):
                joint = (first, end), source, caches
                if caches and (end == self.count or "cache" in self.without):
                    continue
                if source == "recompute" and "prefix" in self.without:
                    continue
                if self.fills(first, source) and {"cache", "fill"} & self.without:
                    continue
                if self.storage_bytes is None or self.stored(joint) <= self.storage_bytes:
                    yield joint

    def sizes(self) -> list[int]:
        """Micro-batches."""
        reach = 4 * min(component.costs[-1].micro_batch for component in (*self.profile.units, *self.heads.values()))
        batch = self.training.batch
        return [size for size in range(1, min(batch, reach) + 1) if batch % size == 0]

    def may_be_segment(self, first: int, end: int) -> bool:
        """Whether these units may stand between two cuts.

        They have a convolution among them, unless that is not asked for; of a network without any they need none, and
        nor do they where there is no cut at all.
        """
        if self.linear_segments or (first == self.start and end == self.count):
            return True
        convolves = [_convolutions(unit.layers) > 0 for unit in self.profile.model.units]
        return any(convolves[first:end]) or not any(convolves)

    def _shapes(self, span: Span) -> Iterator[_Shape]:
        inner = [boundary for boundary in self.boundaries if span[0] < boundary < span[1]]
        for chosen in itertools.product((False, True), repeat=len(inner)):
            ends = (*itertools.compress(inner, chosen), span[1])
            if not all(self.may_be_segment(*segment) for segment in itertools.pairwise((span[0], *ends))):
                continue
            filters = self._filters(ends)
            least = self._least_micro_batch(span, ends, filters)
            for size in self.sizes():
                if size >= least:
                    yield _Shape(span, size, ends, filters, False)
                    if size == self.training.batch and "stepping" not in self.without:
                        yield _Shape(span, size, ends, filters, True)

    def has_enough_samples(self, setting: Setting) -> bool:
        """Whether a block's units and heads can train at its micro-batch (batch normalisation)."""
        return setting.micro_batch >= self._least_micro_batch(setting.span, setting.ends, setting.filters)

    def _least_micro_batch(self, span: Span, ends: tuple[int, ...], filters: tuple[int, ...]) -> int:
        return max(component.minimum_micro_batch for component in self.components(span, ends, filters))

    def components(self, span: Span, ends: tuple[int, ...], filters: tuple[int, ...]) -> list[ComponentProfile]:
        """Units and heads, and a unit of the next block that the last segment trains."""
        heads = [self.heads[end + self.window(end), width] for end, width in zip(ends, filters, strict=True)]
        return [*self.profile.units[span[0] : span[1] + self.window(span[1])], *heads]

    def trained_twice(self, ends: tuple[int, ...]) -> list[ComponentProfile]:
        """Units of a block that two of its segments train."""
        return [self.profile.units[end] for end in self.windows(ends[:-1])]

    def settings(self, joint: Joint) -> Iterator[Setting]:
        """Every setting of a block."""
        span, source, caches = joint
        for shape in self._shapes(span):
            block = _Block(self, shape, source, caches)
            works = [
                self._work(span, units, width, shape.micro_batch, (), shape.stepping)
                for units, width in zip(shape.segments, shape.filters, strict=True)
            ]
            for parts in itertools.product(*(self._every_part(work) for work in works)):
                yield block.setting(parts)

    def setting(
        self,
        span: Span,
        size: int,
        ends: tuple[int, ...],
        filters: tuple[int, ...],
        recompute: tuple[Span, ...] = (),
        stepping: bool = False,
        source: Source | None = None,
        caches: bool | None = None,
    ) -> Setting:
        """One block; unless told otherwise, caches join it to what is before and behind it."""
        shape = _Shape(span, size, ends, filters, stepping)
        parts = []
        for units, width in zip(shape.segments, filters, strict=True):
            spans = tuple(one for one in recompute if units[0] <= one[0] < one[1] <= units[1])
            parts.append(self._part(self._work(span, units, width, size, spans, stepping)))
        source = source or ("cache" if span[0] else "data")
        return _Block(self, shape, source, span[1] < self.count if caches is None else caches).setting(tuple(parts))

    def _work(self, block: Span, units: Span, filters: int, size: int, spans: tuple[Span, ...], stepping: bool) -> Work:
        """A segment of a block. Without skips only what is right before it counts, so that blocks share segments."""
        first = block[0] if self._has_skips or units[0] == block[0] else 0
        return Work(units, filters, size, spans, stepping, first, units[1] == block[1], self.window(units[1]))

    @cached_property
    def _has_skips(self) -> bool:
        return any(unit.further_inputs for unit in self.profile.model.units)

    def _every_part(self, work: Work) -> list[_Part]:
        if work not in self._parts:
            choices = [()] if "spans" in self.without else disjoint_spans(*work.units)
            self._parts[work] = [self._part(work._replace(spans=spans)) for spans in choices]
        return self._parts[work]

    def _part(self, work: Work) -> _Part:
        end, size = work.units[1], work.micro_batch
        time = self.clock.segment(work.units, size, work.spans, self.heads[end + work.window, work.filters])
        time += sum(self.clock.train(unit, size) for unit in self.profile.units[end : end + work.window])
        return _Part(work.spans, self.figures.segment_peak(work), time)

    def frontier(self, limit: int) -> dict[int, int]:
        """Least time for each number of segments, within so many live bytes."""
        return self._joined(
            operator.add,
            {
                joint: [(len(setting.ends), setting.time_ns) for setting in settings if setting.live_bytes <= limit]
                for joint, settings in self.blocks.items()
            },
        )

    def smallest(self) -> dict[int, int]:
        """Live bytes of the plan that needs least, for each number of segments."""
        return self._joined(
            max,
            {
                joint: [(len(setting.ends), setting.live_bytes) for setting in settings]
                for joint, settings in self.blocks.items()
            },
        )

    def _joined(self, total: Callable[[int, int], int], blocks: dict[Joint, list[tuple[int, int]]]) -> dict[int, int]:
        """Least total by number of segments: a cache is read where the block before has written one, and only there.

        Before the first block there may be one or not, as it asks for: writing it is part of that block's work.
        """
        found: dict[tuple[int, bool], dict[int, int]] = {(self.start, False): {0: 0}, (self.start, True): {0: 0}}
        for ((first, end), source, caches), choices in blocks.items():
            after = found.setdefault((end, caches), {})
            for segments, spent in found.get((first, source == "cache"), {}).items():
                for more, cost in choices:
                    both = total(spent, cost)
                    after[segments + more] = min(both, after.get(segments + more, both))
        return found.get((self.count, False), {})

    def rising(self) -> bool:
        """Whether no head is faster than a narrower one, so that wider ones never make a plan faster."""
        return all(
            self.clock.train(narrow, size) <= self.clock.train(wide, size)
            and self.clock.step([narrow], size) <= self.clock.step([wide], size)
            for boundary in self.boundaries
            for narrow, wide in itertools.pairwise(self.heads[boundary, width] for width in self._widths(boundary))
            for size in self.sizes()
        )

    def levels(self) -> list[int]:
        """Live bytes at which something begins to fit."""
        return sorted({setting.live_bytes for settings in self.blocks.values() for setting in settings})

    def resident(self, live: int, scope: Scope) -> int:
        """What is resident where so many bytes are live."""
        runtime = self.profile.runtime
        around = self._fast or runtime
        overhead = around.overhead_bytes + math.ceil(Fraction(live * around.overhead_permille, 1000))
        baseline = self._fast.baseline_bytes if self._fast else runtime.baseline_bytes
        process = baseline + runtime.supervisor_bytes if scope == "process" else 0
        return live + overhead + runtime.run_bytes + process

    def budget(self, live: int, scope: Scope, reserve: int) -> int:
        """The budget that so many live bytes need."""
        runtime = self.profile.runtime
        start = runtime.start_peak_bytes + runtime.supervisor_bytes if scope == "process" else 0
        return max(self.resident(live, scope), start) + reserve


class _Block:
    """What the segments of a block share."""

    def __init__(self, oracle: Oracle, shape: _Shape, source: Source, caches: bool) -> None:
        self._clock, self._shape, self._source, self._caches = oracle.clock, shape, source, caches
        span, size, figures = shape.span, shape.micro_batch, oracle.figures
        components = oracle.components(span, shape.ends, shape.filters)
        twice = oracle.trained_twice(shape.ends)
        self._step_ns = oracle.clock.step(components + twice, size)
        resident = taken(figures.resident(span, size, source)) + taken(figures.weights(components))
        self._static = resident + taken(figures.states(components, size))
        self._dynamic = frozen = peak(figures.prefix(span, size, source))
        if size < oracle.training.batch:
            self._static += sum(component.parameter_bytes for component in twice)
            self._dynamic = max(frozen, peak(figures.steps(components)))
        heads = {
            end: oracle.heads[end, width]
            for end, width in zip(shape.ends, shape.filters, strict=True)
            if not oracle.window(end)
        }
        later = [figures.prefix(span, size, source), figures.running(span, size, heads)]
        if caches:
            later += [
                figures.writer(span[1], size),
                figures.prefix(span, size, source),
                figures.running(span, size, {}),
            ]
        self._later = resident + peak(itertools.chain(*later))
        self._fills = oracle.fills(span[0], source)
        if self._fills:
            self._later = max(self._later, peak(figures.filling(span[0], size)))

    def setting(self, parts: tuple[_Part, ...]) -> Setting:
        """With the parts' spans."""
        shape, joint = self._shape, (self._source, self._caches)
        one_pass = sum(part.time_ns for part in parts)
        return Setting(
            shape.span,
            shape.micro_batch,
            shape.ends,
            shape.filters,
            tuple(span for part in parts for span in part.spans),
            shape.stepping,
            *joint,
            max(self._static + max(self._dynamic, *(part.peak for part in parts)), self._later),
            self._clock.block(shape.span, shape.micro_batch, *joint, one_pass, self._step_ns)
            + (self._clock.filling(shape.span[0], shape.micro_batch) if self._fills else 0),
        )


def _staircases(settings: Iterator[Setting]) -> list[Setting]:
    found: list[Setting] = []
    least: dict[int, int] = {}
    for setting in sorted(settings, key=lambda setting: (setting.live_bytes, setting.time_ns)):
        count = len(setting.ends)
        if count not in least or setting.time_ns < least[count]:
            least[count] = setting.time_ns
            found.append(setting)
    return found
