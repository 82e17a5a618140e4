"""Brute force: every block, every cut, every micro-batch, every cap; memory played out event by event.

Written from the definition of what the runner does, without a look at the search; shares no code with the solver.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from planner.profiler.schema import HeadProfile, PieceProfile, Profile
from planner.solver.schema import Scope, Training

Event = tuple[str, str, int]
"""(take | free | touch, owner, bytes); a touch is the highest level in passing, which includes what is then taken."""


@dataclass(frozen=True)
class Setting:
    """One block, completely decided."""

    span: tuple[int, int]
    micro_batch: int
    ends: tuple[int, ...]
    filters: tuple[int, ...]
    live_bytes: int
    key_ns: int
    """Nanoseconds of all epochs and what follows, at preferred widths."""
    true_ns: int
    """The same at its own widths."""


def value(table: dict[int, int], size: int) -> int:
    """A profile's figure at any micro-batch."""
    sizes = sorted(table)
    if size <= sizes[0]:
        return table[sizes[0]]
    if size > sizes[-1]:
        left, right = ([0, *sizes])[-2:]
        slope = Fraction(table[right] - table.get(left, 0), right - left)
        return max(table[right], math.ceil(table[right] + slope * (size - right)))
    right = min(known for known in sizes if known >= size)
    if right == size:
        return table[size]
    left = max(known for known in sizes if known < size)
    share = Fraction(size - left, right - left)
    return math.ceil(table[left] * (1 - share) + table[right] * share)


def bytes_value(table: dict[int, int], size: int) -> int:
    """The same for bytes, which grow beyond the largest profiled size as fast as that size itself, or faster."""
    largest = max(table)
    return max(value(table, size), -(-table[largest] * size // largest)) if size > largest else value(table, size)


def _ns(seconds: float) -> int:
    return round(seconds * 1_000_000_000)


class Oracle:
    """All settings of all blocks of one problem."""

    def __init__(self, profile: Profile, training: Training, storage_bytes: int | None, head_time_share: float) -> None:
        self.profile = profile
        self.training = training
        self.storage_bytes = storage_bytes
        self.count = len(profile.units)
        self.heads = {(head.boundary, head.filters): head.cost for head in profile.heads if self._usable(head)}
        self.boundaries = sorted({boundary for boundary, _ in self.heads})
        self.caps = sorted({filters for _, filters in self.heads})
        self.preferred = {boundary: self._preferred(boundary, head_time_share) for boundary in self.boundaries}
        spans = itertools.combinations([0, *self.boundaries], 2)
        self.blocks = {span: list(self._settings(span)) for span in spans if self._stores(span)}

    def _usable(self, head: HeadProfile) -> bool:
        return (head.kind == "classifier") == (head.boundary == self.count)

    def _widths(self, boundary: int) -> list[int]:
        return sorted(filters for place, filters in self.heads if place == boundary)

    def _preferred(self, boundary: int, share: float) -> int:
        known = [cost.micro_batch for cost in self.profile.units[0].costs]
        size = max([one for one in known if one <= self.training.batch] or known[:1])
        chain = sum(self._train_ns(unit, size, index == 0) for index, unit in enumerate(self.profile.units))
        chain += self._train_ns(self.heads[self.count, 0], size, False)
        widths = self._widths(boundary)
        good = [w for w in widths if self._train_ns(self.heads[boundary, w], size, False) <= share * chain / 4]
        return good[-1] if good else widths[0]

    def _capped(self, boundary: int, cap: int) -> int:
        widths = self._widths(boundary)
        return max([w for w in widths if w <= min(cap, self.preferred[boundary])] or widths[:1])

    def _train_ns(self, piece: PieceProfile, size: int, first: bool) -> int:
        table = {}
        for cost in piece.costs:
            backward = cost.first_backward_seconds if first else cost.backward_seconds
            table[cost.micro_batch] = _ns(cost.forward_seconds) + _ns(backward)
        return value(table, size)

    def _stored(self, boundary: int) -> int:
        if boundary in (0, self.count):
            return 0
        return self.training.samples * (self.profile.units[boundary - 1].output_bytes + 8)

    def _stores(self, span: tuple[int, int]) -> bool:
        return self.storage_bytes is None or self._stored(span[0]) + self._stored(span[1]) <= self.storage_bytes

    def _settings(self, span: tuple[int, int]) -> Iterator[Setting]:
        inner = [boundary for boundary in self.boundaries if span[0] < boundary < span[1]]
        reach = 4 * min(piece.costs[-1].micro_batch for piece in (*self.profile.units, *self.heads.values()))
        for size in range(1, self.training.batch + 1):
            if self.training.batch % size or size > reach:
                continue
            for chosen in itertools.product((False, True), repeat=len(inner)):
                ends = (*(end for end, taken in zip(inner, chosen, strict=True) if taken), span[1])
                for filters in {tuple(self._capped(end, cap) for end in ends) for cap in self.caps}:
                    if self._legal(span, size, ends, filters):
                        yield self.setting(span, size, ends, filters)

    def _pieces(self, span: tuple[int, int], ends: tuple[int, ...], filters: tuple[int, ...]) -> list[PieceProfile]:
        heads = [self.heads[end, width] for end, width in zip(ends, filters, strict=True)]
        return [*self.profile.units[span[0] : span[1]], *heads]

    def _legal(self, span: tuple[int, int], size: int, ends: tuple[int, ...], filters: tuple[int, ...]) -> bool:
        return all(piece.minimum_micro_batch <= size for piece in self._pieces(span, ends, filters))

    def setting(self, span: tuple[int, int], size: int, ends: tuple[int, ...], filters: tuple[int, ...]) -> Setting:
        """One block, played out."""
        live = max(peak(self._train_events(span, size, ends, filters)), peak(self._later(span, size, ends, filters)))
        preferred = tuple(self.preferred[end] for end in ends)
        key, true = (self._total_ns(span, size, ends, widths) for widths in (preferred, filters))
        return Setting(span, size, ends, filters, live, key, true)

    def _resident(
        self, span: tuple[int, int], size: int, ends: tuple[int, ...], filters: tuple[int, ...]
    ) -> Iterator[Event]:
        channels, height, width = self.profile.model.input
        if span[0] == 0:
            yield "take", "two raw buffers", 2 * size * (channels * height * width + 8)
            yield "take", "images", 4 * size * channels * height * width
        else:
            yield "take", "two cache buffers", 2 * size * (self.profile.units[span[0] - 1].output_bytes + 8)
        yield "take", "labels", 8 * size
        runtime = self.profile.runtime
        low, high, most = runtime.small_micro_batch, runtime.large_micro_batch, runtime.growing_bytes
        yield "take", "kernels", most if size >= high else value({low: 0, high: most}, size) if size > low else 0
        for piece in self._pieces(span, ends, filters):
            yield "take", "weights", piece.parameter_bytes + piece.buffer_bytes

    def _train_events(
        self, span: tuple[int, int], size: int, ends: tuple[int, ...], filters: tuple[int, ...]
    ) -> Iterator[Event]:
        more = size < self.training.batch
        yield from self._resident(span, size, ends, filters)
        pieces = self._pieces(span, ends, filters)
        for piece in pieces:
            yield "take", "optimizer", piece.optimizer_bytes
            yield "take", "gradients", piece.parameter_bytes if more else 0
        start = span[0]
        for end, width in zip(ends, filters, strict=True):
            yield from self._segment(start, end, self.heads[end, width], size, more, end < span[1])
            start = end
        if more:
            for piece in pieces:
                yield "touch", "step", piece.step_transient_bytes

    def _segment(
        self, start: int, end: int, head: PieceProfile, size: int, more: bool, goes_on: bool
    ) -> Iterator[Event]:
        chain = [*self.profile.units[start:end], head]
        case = "_accumulating" if more else ""

        def figure(place: int, name: str) -> int:
            kind = ("inner" if place else "first") + case
            costs = chain[place].costs
            return bytes_value({cost.micro_batch: getattr(getattr(cost.traces, kind), name) for cost in costs}, size)

        for place in range(len(chain)):
            yield "touch", "forward", figure(place, "forward_peak_bytes")
            yield "take", f"saved by {place}", figure(place, "kept_bytes")
        for place in reversed(range(len(chain))):
            yield "free", f"saved by {place}", 0
            if goes_on and place == len(chain) - 2:
                yield "touch", "backward", figure(place, "held_backward_peak_bytes")
                yield "take", "output", size * chain[place].output_bytes
            else:
                yield "touch", "backward", figure(place, "backward_peak_bytes")
            if not more:
                yield "take", "new gradients", chain[place].parameter_bytes
        if not more:
            for piece in chain:
                yield "touch", "step", piece.step_transient_bytes
            yield "free", "new gradients", 0
        yield "free", "input", 0
        if goes_on:
            yield "free", "output", 0
            yield "take", "input", size * chain[-2].output_bytes

    def _later(
        self, span: tuple[int, int], size: int, ends: tuple[int, ...], filters: tuple[int, ...]
    ) -> Iterator[Event]:
        """Validating, then writing the cache."""
        yield from self._resident(span, size, ends, filters)
        heads = {end: self.heads[end, width] for end, width in zip(ends, filters, strict=True)}
        for writer in (0, 64 * 1024 + 16 * size):
            if writer and span[1] == self.count:
                continue
            yield "take", "writer", writer
            for index in range(*span):
                unit = self.profile.units[index]
                yield "touch", "forward", self._inference(unit, size)
                yield "free", "activation", 0
                yield "take", "activation", size * unit.output_bytes
                if not writer and index + 1 in heads:
                    yield "touch", "head", self._inference(heads[index + 1], size)
            yield "free", "activation", 0

    def _inference(self, piece: PieceProfile, size: int) -> int:
        return bytes_value({cost.micro_batch: cost.inference_peak_bytes for cost in piece.costs}, size)

    def _total_ns(self, span: tuple[int, int], size: int, ends: tuple[int, ...], filters: tuple[int, ...]) -> int:
        samples, batch = self.training.samples, self.training.batch
        pieces = self._pieces(span, ends, filters)
        one_pass = sum(
            self._train_ns(piece, size, place == 0 or span[0] + place in ends)
            if place < span[1] - span[0]
            else self._train_ns(piece, size, False)
            for place, piece in enumerate(pieces)
        )
        epoch = math.floor(Fraction(one_pass * samples, size))
        epoch += math.ceil(samples / batch) * sum(_ns(piece.step_seconds) for piece in pieces)
        reading = math.ceil(Fraction(self._stored(span[0]) * 10**9, self.profile.storage.read_bytes_per_second))
        total = self.training.epochs * max(epoch, reading)
        if span[1] < self.count:
            inference = 0
            for unit in self.profile.units[span[0] : span[1]]:
                inference += value({cost.micro_batch: _ns(cost.inference_seconds) for cost in unit.costs}, size)
            total += math.floor(Fraction(inference * samples, size))
            total += math.ceil(Fraction(self._stored(span[1]) * 10**9, self.profile.storage.write_bytes_per_second))
        return total

    def compositions(self) -> Iterator[tuple[tuple[int, int], ...]]:
        """Every way to split the chain into blocks that storage allows."""
        inner = self.boundaries[:-1]
        for chosen in itertools.product((False, True), repeat=len(inner)):
            marks = [0, *(mark for mark, taken in zip(inner, chosen, strict=True) if taken), self.count]
            spans = tuple(itertools.pairwise(marks))
            if all(span in self.blocks for span in spans):
                yield spans

    def frontier(self, limit: int) -> dict[int, int]:
        """Least key for each number of segments, within so many live bytes."""
        found: dict[int, int] = {}
        for spans in self.compositions():
            totals = {0: 0}
            for span in spans:
                totals = _least(
                    (segments + len(setting.ends), key + setting.key_ns)
                    for segments, key in totals.items()
                    for setting in self.blocks[span]
                    if setting.live_bytes <= limit
                )
            found = _least([*found.items(), *totals.items()])
        return found

    def smallest_live(self) -> int:
        """Live bytes of the plan that needs least."""
        return min(
            max(min((setting.live_bytes for setting in self.blocks[span]), default=2**70) for span in spans)
            for spans in self.compositions()
        )

    def budget(self, live: int, scope: Scope, reserve: int) -> int:
        """The budget that so many live bytes need."""
        runtime = self.profile.runtime
        overhead = runtime.overhead_bytes + math.ceil(Fraction(live * runtime.overhead_permille, 1000))
        if scope == "training":
            return live + overhead + reserve
        running = runtime.baseline_bytes + runtime.supervisor_bytes + live + overhead + reserve
        return max(running, runtime.start_peak_bytes + runtime.supervisor_bytes)


def _least(pairs: Iterator[tuple[int, int]] | list[tuple[int, int]]) -> dict[int, int]:
    found: dict[int, int] = {}
    for segments, key in pairs:
        found[segments] = min(key, found.get(segments, key))
    return found


def peak(events: Iterator[Event]) -> int:
    """The highest level that a sequence of events reaches."""
    owned: dict[str, int] = {}
    highest = 0
    for what, owner, size in events:
        if what == "free":
            owned.pop(owner, None)
        elif what == "take":
            owned[owner] = owned.get(owner, 0) + size
        else:
            highest = max(highest, sum(owned.values()) + size)
    return highest
