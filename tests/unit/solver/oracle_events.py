"""What the runner does to memory, event by event, on a profile's figures; shares no code with the solver.

Written from the definition of a block's work: a segment runs forward, its head, backward; what comes after it needs its
output alone. With a window the next unit runs between the two, and moves as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property
from typing import Literal, NamedTuple

from planner.operators.unit_graph import UnitGraph
from planner.schema.common import CacheDtype
from planner.schema.profile import ComponentProfile, Profile

Event = tuple[str, str, int]
"""(take | free | touch, owner, bytes); a touch is the highest level in passing, which includes what is then taken."""

Span = tuple[int, int]
Source = Literal["data", "cache", "recompute"]


class Work(NamedTuple):
    """One segment of a block, completely decided."""

    units: Span
    filters: int
    micro_batch: int
    spans: tuple[Span, ...]
    """Recomputed."""
    stepping: bool
    """The optimizer steps within backward."""
    block: int
    """The first unit of its block."""
    closes: bool
    """It is the last of its block."""
    window: int
    """Units behind it that it trains as well."""


def value(table: dict[int, int], size: int) -> int:
    """A profile's figure at any micro-batch."""
    if size in table:
        return table[size]
    sizes = sorted(table)
    if size < sizes[0]:
        return table[sizes[0]]
    if size > sizes[-1]:
        left, right = ([0, *sizes])[-2:]
        slope = Fraction(table[right] - table.get(left, 0), right - left)
        return max(table[right], math.ceil(table[right] + slope * (size - right)))
    right = min(known for known in sizes if known > size)
    left = max(known for known in sizes if known < size)
    share = Fraction(size - left, right - left)
    return math.ceil(table[left] * (1 - share) + table[right] * share)


def bytes_value(table: dict[int, int], size: int) -> int:
    """The same for bytes, which grow beyond the largest profiled size as fast as that size itself, or faster."""
    largest = max(table)
    return max(value(table, size), -(-table[largest] * size // largest)) if size > largest else value(table, size)


class Figures:
    """Bytes of a profile's components at any micro-batch, and what running them takes and frees."""

    def __init__(self, profile: Profile, batch: int, times: int = 1, kept: CacheDtype | None = None) -> None:
        """`times`: how often bytes count that come and go, since the allocator may keep them as well. `kept`: what
        caches hold; none: what units compute in."""
        self.kept: CacheDtype = kept or profile.dtype
        self.times = times
        self.profile = profile
        self.batch = batch
        self.count = len(profile.units)
        self.heads = {
            (head.boundary, head.filters): head.cost
            for head in profile.heads
            if (head.kind == "classifier") == (head.boundary == self.count)
        }
        self._known: dict[tuple[int, int, str, str], int] = {}
        self._peaks: dict[Work, int] = {}

    def bytes(self, component: ComponentProfile, size: int, name: str, case: str = "") -> int:
        """A figure of the costs, or of the trace of a case."""
        key = id(component), size, name, case
        if key not in self._known:
            sources = {cost.micro_batch: getattr(cost.traces, case) if case else cost for cost in component.costs}
            self._known[key] = self.times * bytes_value(
                {known: getattr(source, name) for known, source in sources.items()}, size
            )
        return self._known[key]

    def output(self, unit: int, size: int) -> int:
        """What a unit hands on."""
        return self.times * size * self.profile.units[unit].output_bytes

    def made(self, span: Span, size: int) -> int:
        """Of what leaves a span of units, the part that did not come in: what is carried along is the same."""
        if span[0] == span[1]:
            return 0
        before, behind = (dict(self._passing[at]) for at in span)
        number = 2 if self.profile.dtype == "bfloat16" else 4
        carried = sum(numbers for name, numbers in behind.items() if name in before)
        return self.output(span[1] - 1, size) - self.times * size * number * carried

    @cached_property
    def _passing(self) -> list[list[tuple[str, int]]]:
        """By boundary: a name for each tensor there, the same wherever it is carried, and its numbers in a sample."""
        found: list[list[tuple[str, int]]] = [[("input", 0)]]
        for index, unit in enumerate(self.profile.model.units):
            (graph, *_) = unit.layers
            if not isinstance(graph, UnitGraph):
                found.append([(f"{index}", 0)])
                continue
            names = dict(zip(("x", *(each.name for each in graph.further_inputs)), found[-1], strict=True))
            if index == 0:  # what the runner is given is counted with the data, and once more with what it makes
                names = {}
            made = (graph.result, *graph.further_results)
            found.append([names.get(name, (f"{index} {name}", 1 * 5 * 7)) for name in made])
        return found

    def resident(self, block: Span, size: int, source: Source) -> Iterator[Event]:
        """Samples, kernels, and the weights of what is frozen in front of the block."""
        channels, height, width = self.profile.model.input
        if self.profile.device.kind == "cuda":  # storage is read into the processor's memory
            read = size * self.profile.units[block[0] - 1].output_bytes
            yield "take", "what has arrived", read if source == "cache" else 4 * size * channels * height * width
        elif source == "cache":
            yield "take", "two cache buffers", 2 * size * record(self.profile, block[0], self.kept)
            if self.kept != self.profile.dtype:
                output = size * self.profile.units[block[0] - 1].output_bytes
                yield "take", "what the block reads", output
                if (self.kept, self.profile.dtype) == ("uint8", "bfloat16"):
                    yield "take", "the same in float32", 2 * output
        else:
            yield "take", "two raw buffers", 2 * size * (channels * height * width + 8)
            yield "take", "images", 4 * size * channels * height * width
        yield "take", "labels", 8 * size
        runtime = self.profile.runtime
        low, high, most = runtime.small_micro_batch, runtime.large_micro_batch, runtime.growing_bytes
        grown = [most if n >= high else value({low: 0, high: most}, n) if n > low else 0 for n in (size, self.batch)]
        yield "take", "kernels", grown[0]
        finishing = self.profile.runtime.finishing
        made = [unit.kernel_bytes for unit in finishing.units] if finishing else []
        made = made if any(made) else [1] * len(self.profile.units)
        yield (
            "take",
            "kernels of earlier blocks",
            math.ceil(Fraction((grown[1] - grown[0]) * sum(made[: block[0]]), sum(made))),
        )
        if source == "recompute":
            yield "take", "what the prefix makes", size * self.profile.units[block[0] - 1].output_bytes
            for unit in self.profile.units[: block[0]]:
                yield "take", "weights", unit.parameter_bytes + unit.buffer_bytes

    def weights(self, components: list[ComponentProfile]) -> Iterator[Event]:
        """Of what trains."""
        for component in components:
            yield "take", "weights", component.parameter_bytes + component.buffer_bytes

    def states(self, components: list[ComponentProfile], size: int) -> Iterator[Event]:
        """What training keeps beside them all the time."""
        for component in components:
            yield "take", "optimizer", component.optimizer_bytes
            yield "take", "gradients", component.parameter_bytes if size < self.batch else 0

    def prefix(self, block: Span, size: int, source: Source) -> Iterator[Event]:
        """Making the block's input from images."""
        if source == "recompute":
            yield from self.running((0, block[0]), size, {})

    def segment_peak(self, work: Work) -> int:
        """The highest level of a segment, played out once."""
        if work not in self._peaks:
            self._peaks[work] = peak(self.segment(work))
        return self._peaks[work]

    def segment(self, work: Work) -> Iterator[Event]:
        """One segment's forward and backward, above all that stays."""
        (start, end), size = work.units, work.micro_batch
        reached = end + work.window
        chain = [*self.profile.units[start:reached], self.heads[reached, work.filters]]
        last = end - start - 1
        again = {
            unit - start: (first - start, stop - start) for first, stop in work.spans for unit in range(first, stop)
        }
        more = size < self.batch
        case = "_accumulating" if more else "_stepping" if work.stepping else ""

        def figure(place: int, name: str) -> int:
            return self.bytes(chain[place], size, name, ("inner" if place else "first") + case)

        def forward(places: range) -> Iterator[Event]:
            for place in places:
                yield "touch", "forward", figure(place, "forward_peak_bytes")
                yield "take", f"saved by {place}", figure(place, "kept_bytes")

        yield "take", "input", self.made((work.block, start), size)

        def staying(place: int) -> int:
            """What the next segment needs of what is made from there on."""
            return 0 if work.closes else self.made((min(start + place, end), end), size)

        apart = len(chain)
        for place, component in enumerate(chain):
            if place not in again:
                yield from forward(range(place, place + 1))
                continue
            yield "touch", "first pass", self.bytes(component, size, "detached_peak_bytes")
            yield "free", "passing", 0
            owner = f"saved by {place}" if place + 1 == again[place][1] else "passing"
            yield "take", owner, self.made((start + again[place][0], start + place + 1), size)
        for place in reversed(range(len(chain))):
            if place in again and place + 1 == again[place][1]:
                yield "free", f"saved by {place}", 0
                apart = again[place][0]
                yield "free", "output", 0
                yield "take", "output", staying(apart)
                yield "take", "gradient of the span's output", self.times * size * chain[place].output_bytes
                yield from forward(range(*again[place]))
                yield "free", "gradient of the span's output", 0
            yield "free", f"saved by {place}", 0
            if place == last and not work.closes and place not in again:
                yield "touch", "backward", figure(place, "held_backward_peak_bytes")
                yield "take", "output", staying(place)
            else:
                yield "free", "output", 0
                yield "take", "output", staying(min(place, apart))
                yield "touch", "backward", figure(place, "backward_peak_bytes")
            if not more and not work.stepping:
                yield "take", "new gradients", self.times * chain[place].parameter_bytes
        if not more and not work.stepping:
            yield from self.steps(chain)
            yield "free", "new gradients", 0
        yield "free", "input", 0
        yield "free", "output", 0

    def steps(self, components: list[ComponentProfile]) -> Iterator[Event]:
        """An optimizer step of its own."""
        for component in components:
            yield "touch", "step", self.times * component.step_transient_bytes

    def writer(self, boundary: int, size: int) -> Iterator[Event]:
        """The writer of the cache at a boundary, and a sample on its way there."""
        if self.profile.device.kind == "cuda":
            return
        yield "take", "writer", 64 * 1024 + 16 * size
        half = self.profile.dtype == "bfloat16"
        sample = self.profile.units[boundary - 1].output_bytes
        single = 2 * sample if half else sample
        if self.kept == self.profile.dtype:
            return
        if self.kept == "float32":
            yield "take", "the sample, and the one before", 2 * single
        elif self.kept == "bfloat16":
            yield "take", "the sample, and the one before", 2 * (single // 2) + single % 2
        else:
            yield "take", "its distance from the least, and that in steps", 2 * single
            yield "take", "room for 8-bit numbers, and the sample before", single
            yield "take", "the sample in float32", sample if half else 0

    def filling(self, count: int, size: int) -> Iterator[Event]:
        """So many frozen units write what the first block reads; nothing of that block is there yet."""
        yield from self.resident((0, count), size, "data")
        yield from self.weights(list(self.profile.units[:count]))
        yield from self.writer(count, size)
        yield from self.running((0, count), size, {})

    def running(self, units: Span, size: int, heads: dict[int, ComponentProfile]) -> Iterator[Event]:
        """Units and heads without gradients."""
        for index in range(*units):
            yield "touch", "forward", self.bytes(self.profile.units[index], size, "inference_peak_bytes")
            yield "free", "activation", 0
            yield "take", "activation", self.made((units[0], index + 1), size)
            if index + 1 in heads:
                yield "touch", "head", self.bytes(heads[index + 1], size, "inference_peak_bytes")
        yield "free", "activation", 0


def record(profile: Profile, boundary: int, kept: CacheDtype) -> int:
    """Bytes of a sample in a cache, its label and checksum included; scales stand before 8-bit numbers."""
    output = profile.units[boundary - 1].output_bytes
    if kept == profile.dtype:
        return output + 8
    numbers = math.ceil(output / (2 if profile.dtype == "bfloat16" else 4))
    tensors = 1 + len(profile.model.units[boundary - 1].further_results)
    return {"uint8": 8 * tensors + numbers, "bfloat16": 2 * numbers, "float32": 4 * numbers}[kept] + 8


def peak(events: Iterator[Event]) -> int:
    """The highest level that a sequence of events reaches."""
    owned: dict[str, int] = {}
    level = highest = 0
    for what, owner, size in events:
        if what == "free":
            level -= owned.pop(owner, 0)
        elif what == "take":
            owned[owner] = owned.get(owner, 0) + size
            level += size
        else:
            highest = max(highest, level + size)
    return highest


def taken(events: Iterator[Event]) -> int:
    """Bytes of events that take and free nothing."""
    return sum(size for _, _, size in events)
