"""One block of a plan played out from the profile: what its runner holds at every moment, and how long it takes.

Part of the checker, and like it without a line in common with the solver. Memory is not summed up by formula but kept
in a ledger of allocations and frees, in the order in which the runner causes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from math import ceil, floor, prod
from typing import NamedTuple

from planner.errors import PlannerError
from planner.model.shapes import Shape, unit_sizes
from planner.schema.common import CacheDtype
from planner.schema.plan import BlockInput, Plan, Segment
from planner.schema.prediction import PhasePeaks
from planner.schema.profile import ComponentProfile, Profile
from planner.solver.checker.profile_figures import (
    ComponentFigures,
    PassingBytes,
    converting,
    policy_figures,
    record,
)

_WRITER = 65536, 16


class Moment(NamedTuple):
    """What was there when live bytes were highest."""

    owners: Mapping[str, int]
    """Live bytes by owner."""
    above: int
    """What the component at work had beside them."""
    chain: Sequence[ComponentFigures]
    """The components of the segment at work: units, window, head; none: it was in front of all segments."""
    who: ComponentFigures | None
    """The one at work; none: all of them step."""
    doing: str
    """What it did."""


class Ledger:
    """Live bytes by owner, the most there ever were, and what was among them then.

    Only `touch` raises the peak: whatever a component leaves behind was part of the level it has reached before. An
    owner is a kind, or a kind and a name.
    """

    def __init__(self, times: int = 1) -> None:
        """`times`: how often what comes and goes is counted; moments name it once."""
        self.times = times
        self.owners: dict[str, int] = {}
        self.peak = 0
        self.peak_parts: set[tuple[int, int]] = set()
        """Activations and gradients, whenever the peak was reached."""
        self.moment: Moment | None = None
        """When the peak was first reached."""
        self.chain: Sequence[ComponentFigures] = ()
        """The segment at work."""

    def take(self, owner: str, size: int) -> None:
        self.owners[owner] = self.owners.get(owner, 0) + size

    def drop(self, owner: str) -> None:
        self.owners.pop(owner, None)

    def touch(self, above: int, who: ComponentFigures | None, doing: str) -> None:
        level = sum(self.owners.values()) + above
        if level > self.peak:
            self.peak = level
            self.peak_parts = set()
            self.moment = Moment(dict(self.owners), above, self.chain, who, doing)
        if level == self.peak:
            fresh = self.owners.get("gradients fresh", 0)
            gradients = self._of("gradients") - fresh + fresh // self.times
            self.peak_parts.add((self._of("activations") // self.times, gradients))

    def _of(self, kind: str) -> int:
        return sum(size for owner, size in self.owners.items() if owner.split()[0] == kind)


class BlockRun:
    """One block at one micro-batch; as one of its fallbacks where that is smaller than the block's own."""

    def __init__(self, plan: Plan, profile: Profile, index: int, size: int) -> None:
        block = plan.stages[index]
        self.plan, self.profile, self.block, self.size = plan, profile, block, size
        self.around = policy_figures(plan, profile)
        self.elsewhere = profile.device.is_accelerator
        """Whether tensors lie in another memory than what reads and writes storage."""
        self.behind = next((other.input for other in plan.stages[index + 1 : index + 2]), None)
        self.caches = self.behind is not None and self.behind.kind == "cache"
        self.accumulating = size < plan.training.batch
        self.stepping = block.optimizer_in_backward and not self.accumulating
        first, last = block.units
        self.prefix = [
            self._component(unit) for unit in profile.units[: first if block.input.kind == "recompute" else 0]
        ]
        fills = index == 0 and block.input.kind == "cache"
        self.filling = [self._component(unit) for unit in profile.units[: plan.training.freeze if fills else 0]]
        """Frozen units that write what the first block reads, and are gone when it begins."""
        self.units = {index: self._component(profile.units[index]) for index in range(first, last)}
        self.beyond = [
            self._component(profile.units[last]) for segment in block.segments[-1:] for _ in range(segment.window)
        ]
        """The next block's first unit, where the last segment trains it too."""
        self.heads = [self._component(_head(profile, segment)) for segment in block.segments]
        self.trained = [*self.units.values(), *self.beyond, *self.heads]
        self.passing = PassingBytes(profile, size, self.around.times)

    def _component(self, profile: ComponentProfile) -> ComponentFigures:
        case = "_accumulating" if self.accumulating else "_stepping" if self.stepping else ""
        return ComponentFigures(profile, self.size, case, self.around)

    @property
    def components(self) -> list[ComponentFigures]:
        """All that are in memory while it trains."""
        return [*self.prefix, *self.trained]

    def kernels(self, first: int) -> int:
        """Of this block, and of the units in front of `first`, which may have been trained at the whole batch."""
        own, most = self._grown(self.size), self._grown(self.plan.training.batch)
        finishing = self.profile.runtime.finishing
        sizes = [unit.kernel_bytes for unit in finishing.units] if finishing else []
        if not any(sizes):
            sizes = [1] * len(self.profile.units)
        return own + ceil(Fraction((most - own) * sum(sizes[:first]), sum(sizes)))

    def _grown(self, size: int) -> int:
        runtime = self.profile.runtime
        low, high = runtime.small_micro_batch, runtime.large_micro_batch
        if size >= high:
            return runtime.growing_bytes
        return ceil(Fraction(runtime.growing_bytes * (size - low), high - low)) if size > low else 0

    def data(self) -> int:
        """Two buffers of records and the labels; of images also what the block's input is made from.

        On an accelerator what has arrived there.
        """
        if self.block.input.kind == "cache":
            label = self.profile.model.label_bytes(cached=True, elsewhere=self.elsewhere)
            boundary, kept = self.block.units[0], self.block.input.dtype
            given = self.profile.units[boundary - 1].output_bytes
            if self.elsewhere:
                return self.size * (given + label)
            return self.size * (
                2 * record(self.profile, boundary, kept) + label + converting(self.profile.dtype, kept)[0] * given
            )
        return self._images() + (self.size * self.prefix[-1].fixed.output_bytes if self.prefix else 0)

    def _images(self) -> int:
        """Buffers, labels, and the images as float32; numbers that are float32 stay in their buffer."""
        model = self.profile.model
        stored = record(self.profile, 0, "uint8")
        label = model.label_bytes(cached=False, elsewhere=self.elsewhere)
        number = {"uint8": 4, "float32": 4 if self.elsewhere else 0, "int64": 8}[model.input_dtype]
        return self.size * ((0 if self.elsewhere else 2 * stored) + number * prod(model.input) + label)

    def weights(self) -> int:
        return sum(component.fixed.parameter_bytes + component.fixed.buffer_bytes for component in self.components)

    def optimizer(self) -> int:
        return sum(component.fixed.optimizer_bytes for component in self.trained)

    def _loaded(self) -> Ledger:
        ledger = Ledger(self.around.times)
        ledger.take("data", self.data())
        ledger.take("kernels", self.kernels(self.block.units[0]))
        ledger.take("weights", self.weights())
        return ledger

    @cached_property
    def training(self) -> Ledger:
        """An epoch."""
        ledger = self._loaded()
        ledger.take("optimizer", self.optimizer())
        if self.accumulating:
            ledger.take("gradients", sum(component.fixed.parameter_bytes for component in self.trained))
            for segment in self.block.segments[:-1]:  # those of a window apart from those of the segment it begins
                for component in self.window(segment):
                    ledger.take("gradients", component.fixed.parameter_bytes)
        self._evaluate(ledger, self.prefix, 0, {})
        for segment, head in zip(self.block.segments, self.heads, strict=True):
            self._segment(ledger, segment, head)
        if self.accumulating:
            ledger.touch(max(component.step() for component in self.trained), None, "step")
        return ledger

    def window(self, segment: Segment) -> list[ComponentFigures]:
        """The unit behind a segment that is trained with it, if it has one."""
        if not segment.window:
            return []
        return [self.units[segment.units[1]]] if segment.units[1] in self.units else self.beyond

    def _segment(self, ledger: Ledger, segment: Segment, head: ComponentFigures) -> None:
        start, end = segment.units
        chain = [*(self.units[index] for index in range(start, end)), *self.window(segment), head]
        spans = [range(first - start, last - start) for first, last in segment.recompute]
        ledger.chain = chain
        _forward(ledger, chain, spans, lambda first, end: self.passing.made_within(start + first, start + end))
        outlives = end < self.block.units[1]
        staying = [self.passing.made_within(index, end) if outlives else 0 for index in range(start, end)]
        self._backward(ledger, chain, spans, staying, outlives)
        if not self.accumulating and not self.stepping:
            ledger.touch(max(component.step() for component in chain), None, "step")
        ledger.drop("gradients fresh")
        ledger.drop("activations output")
        ledger.drop("activations input")
        ledger.take("activations input", self.passing.made_within(self.block.units[0], end) if outlives else 0)

    def _backward(
        self,
        ledger: Ledger,
        chain: list[ComponentFigures],
        spans: list[range],
        staying: list[int],
        outlives: bool,
    ) -> None:
        """`staying`: by unit, what the next segment needs of what it and later units made; window and head follow.

        Until a unit's activations are let go, what stays of them is part of those. `outlives`: there is such a segment.
        """
        for index in reversed(range(len(chain))):
            component = chain[index]
            held = outlives and index == len(staying) - 1
            span = next((span for span in spans if span[-1] == index), None)
            if span is not None:
                # What is replayed are other tensors than those that stay.
                ledger.drop("activations output")
                ledger.take("activations output", staying[span[0]])
                held = False
                ledger.drop(f"activations {index}")
                ledger.take("given gradient", component.output())
                for again in span:
                    _keep(ledger, chain, again, "recompute")
                ledger.drop("given gradient")
            ledger.drop(f"activations {index}")
            stays = staying[index] if index < len(staying) else 0
            if not held:
                self._let_stay(ledger, stays)
            field = "held_backward_peak_bytes" if held else "backward_peak_bytes"
            ledger.touch(component.trace(field, index == 0), component, "backward")
            self._let_stay(ledger, stays)
            if not self.accumulating and not self.stepping:
                ledger.take("gradients fresh", component.gradients())

    @staticmethod
    def _let_stay(ledger: Ledger, size: int) -> None:
        """Of the segment's activations so many bytes at least; more where a span was let go as a whole."""
        there = ledger.owners.get("activations output", 0)
        ledger.take("activations output", max(0, size - there))

    def _inference(self, heads: bool, writer: int) -> int:
        ledger = self._loaded()
        ledger.take("writer", writer)
        self._evaluate(ledger, self.prefix, 0, {})
        measured = {
            segment.units[1] - self.block.units[0]: head
            for segment, head in zip(self.block.segments, self.heads, strict=True)
            if heads and not segment.window
        }
        self._evaluate(ledger, list(self.units.values()), self.block.units[0], measured)
        return ledger.peak

    def _evaluate(
        self, ledger: Ledger, units: Sequence[ComponentFigures], first: int, heads: dict[int, ComponentFigures]
    ) -> None:
        """Units from `first` on without gradients, and the heads that stand behind so many of them.

        What the first of them is given is accounted for elsewhere, however far it is passed on.
        """
        for count, unit in enumerate(units, start=1):
            ledger.touch(unit.inference(), unit, "forward")
            ledger.drop("passing")
            ledger.take("passing", self.passing.made_within(first, first + count))
            if count in heads:
                ledger.touch(heads[count].inference(), heads[count], "forward")
        ledger.drop("passing")

    def _filled(self, writer: int) -> int:
        """Frozen units at work by themselves."""
        ledger = Ledger(self.around.times)
        ledger.take("data", self._images())
        ledger.take("kernels", self.kernels(0))
        ledger.take("writer", writer)
        for component in self.filling:
            ledger.take("weights", component.fixed.parameter_bytes + component.fixed.buffer_bytes)
        self._evaluate(ledger, self.filling, 0, {})
        return ledger.peak

    def _writer(self, boundary: int, kept: CacheDtype) -> int:
        if self.elsewhere:
            return 0
        again = converting(self.profile.dtype, kept)[1]
        return _WRITER[0] + _WRITER[1] * self.size + again * self.profile.units[boundary - 1].output_bytes

    def _writing(self) -> list[int]:
        written = []
        if self.behind is not None and self.caches:
            written.append(self._inference(False, self._writer(self.block.units[1], self.behind.dtype)))
        if self.filling:
            written.append(self._filled(self._writer(self.block.units[0], self.block.input.dtype)))
        return written

    def peak(self) -> int:
        """Of all phases, as if training's kernels were there in each."""
        levels = [self.training.peak, self._inference(True, 0), self.weights(), *self._writing()]
        return self._resident(max(levels))

    def phases(self) -> PhasePeaks:
        """Behind training less is resident around the tensors, as far as that was measured."""
        written, measured, running = 0, self._inference(True, 0), self._inference(False, 0)
        kept = None
        if self.behind is not None and self.caches:
            kept = self.behind.dtype
            level = self._inference(False, self._writer(self.block.units[1], kept))
            measured, written = max(measured, level), self._behind(level, "pass", self._reads_images(), kept)
        if self.filling:
            stored = self.block.input.dtype
            filled = self._filled(self._writer(self.block.units[0], stored))
            written = max(written, self._behind(filled, "pass", True, stored, frozen=True))
        fitted = self.fitted()
        fits = min(self.peak(), self._behind(running + sum(fitted), "fit", self._reads_images())) if fitted else 0
        return PhasePeaks(
            train=self._resident(self.training.peak),
            cache=written,
            validate=self._behind(measured, "heads", self._reads_images(), kept),
            save=self._behind(self.weights(), "still"),
            fit=fits,
        )

    def _reads_images(self) -> bool:
        return self.block.input.kind != "cache"

    def room(self) -> int:
        """For the sums that linear exits are fitted from."""
        return max(0, self.peak() - self._behind(self._inference(False, 0), "fit", self._reads_images()))

    def fitted(self) -> list[int]:
        """What fitting each exit takes; in order, while they have room."""
        if not self.profile.model.task.fits_exits:
            return []
        model, found = self.profile.model, list[int]()
        shape: Shape = self.profile.model.input
        widths = [shape[0]]
        for described in self.profile.model.units:
            shape = unit_sizes(described, shape).output
            widths.append(shape[0] + shape[1] if len(shape) == 2 else shape[0])
        cuts = {segment.units[1] for segment in self.block.segments if not segment.window}
        for unit in range(self.block.units[0] + 1, self.block.units[1] + 1):
            if unit in cuts or not model.may_end(unit):
                continue
            size = model.task.fit_bytes(widths[unit], model.classes, self.size)
            if sum(found) + size > self.room():
                break
            found.append(size)
        return found

    def _run_alone(self, phase: str, frozen: bool) -> int | None:
        """What a pass through some of the units needs around tensors, if every unit was measured by itself."""
        known = self.profile.runtime.finishing
        if known is None or not known.units or phase not in ("pass", "heads"):
            return None
        count = self.plan.training.freeze if frozen else len(self.prefix)
        windows = range(self.block.units[1], self._reached)
        running = [*range(count)] if frozen else [*range(count), *self.units, *windows]
        alone = known.common_bytes if phase == "pass" else known.common_heads_bytes
        return alone + sum(int(getattr(known.units[index], f"{phase}_bytes")) for index in running)

    def _behind(
        self, live: int, phase: str, images: bool = False, kept: CacheDtype | None = None, frozen: bool = False
    ) -> int:
        """Resident when a block's training is over and library pages of that have been given back."""
        as_ever, runtime = self._resident(live), self.profile.runtime
        known = runtime.finishing
        if known is None:
            return as_ever
        around = int(getattr(known, f"{phase}_bytes"))
        alone = self._run_alone(phase, frozen)
        around = around if alone is None else min(around, alone)
        reached = self.plan.training.freeze if frozen else self._reached
        around -= sum(later.kernel_bytes for later in known.units[reached:])
        around += known.images_bytes if images else 0
        if kept is not None and kept != self.profile.dtype:
            around += int(getattr(known, f"{kept}_bytes"))
        counted = self.processes() + runtime.run_bytes - runtime.baseline_bytes
        grown = ceil(live + Fraction(live * self.around.overhead_permille, 1000))
        return min(as_ever, max(0, around + counted) + grown)

    @property
    def _reached(self) -> int:
        """Units up to the last one that has run in training."""
        return self.block.units[1] + len(self.beyond)

    def processes(self) -> int:
        """Resident before any block, as far as the scope counts it."""
        if self.plan.budget.scope == "training":
            return 0
        return self.around.baseline_bytes + self.profile.runtime.supervisor_bytes

    def _resident(self, live: int) -> int:
        beyond = self.profile.runtime.run_bytes + self.around.overhead_bytes
        return self.processes() + beyond + ceil(live + Fraction(live * self.around.overhead_permille, 1000))

    def _passes(self, nanoseconds: int, views: int = 1) -> int:
        return floor(Fraction(nanoseconds * self.plan.training.samples * views, self.size))

    def epoch_ns(self) -> int:
        training = self.plan.training
        compute = sum(head.nanoseconds("forward_seconds", "backward_seconds") for head in self.heads)
        compute += sum(unit.nanoseconds("inference_seconds") for unit in self.prefix)
        windows = [window for segment in self.block.segments for window in self.window(segment)]
        compute += sum(window.nanoseconds("forward_seconds", "backward_seconds") for window in windows)
        for segment in self.block.segments:
            for index in range(*segment.units):
                backward = "first_backward_seconds" if index == segment.units[0] else "backward_seconds"
                compute += self.units[index].nanoseconds("forward_seconds", backward)
            for span in segment.recompute:
                compute += sum(self.units[index].nanoseconds("forward_seconds") for index in range(*span))
        steps = ceil(Fraction(training.samples, training.batch))
        # The unit of a window that is the block's own steps twice.
        stepping = [*self.units.values(), *windows, *self.heads]
        total = self._passes(compute) + steps * sum(component.step_ns() for component in stepping)
        one_view = self.read_bytes() // training.views
        return max(total, self._moving(one_view, self.profile.storage.read_bytes_per_second))

    def finish_ns(self) -> int:
        behind = self._write_ns([*self.prefix, *self.units.values()], self.written_bytes()) if self.caches else 0
        return behind + (self._write_ns(self.filling, self.read_bytes()) if self.filling else 0)

    def _write_ns(self, units: Sequence[ComponentFigures], size: int) -> int:
        """A pass over every view of the samples, and what comes out to storage."""
        inference = sum(unit.nanoseconds("inference_seconds") for unit in units)
        passes = self._passes(inference, self.plan.training.views)
        return passes + self._moving(size, self.profile.storage.write_bytes_per_second)

    def read_bytes(self) -> int:
        """The cache it trains from."""
        return self._cache(self.block.input) if self.block.input.kind == "cache" else 0

    def written_bytes(self) -> int:
        """The cache it leaves."""
        return self._cache(self.behind) if self.behind is not None and self.caches else 0

    def _cache(self, source: BlockInput) -> int:
        size = record(self.profile, source.from_unit, source.dtype)
        return self.plan.training.views * self.plan.training.samples * size

    def _moving(self, size: int, speed: int) -> int:
        return ceil(Fraction(size * 10**9, speed))


def _keep(ledger: Ledger, chain: list[ComponentFigures], index: int, doing: str = "forward") -> None:
    """Forward of a component that keeps what its backward needs."""
    ledger.touch(chain[index].trace("forward_peak_bytes", index == 0), chain[index], doing)
    ledger.take(f"activations {index}", chain[index].trace("kept_bytes", index == 0))


def _forward(
    ledger: Ledger, chain: list[ComponentFigures], spans: list[range], made: Callable[[int, int], int]
) -> None:
    """Inside a span that will be recomputed each output goes as soon as the next is there.

    `made` says how much of what leaves a unit was made from another one on: what came before it is there already.
    """
    for index, component in enumerate(chain):
        span = next((span for span in spans if index in span), None)
        if span is None:
            _keep(ledger, chain, index)
            continue
        ledger.touch(component.detached(), component, "forward")
        ledger.drop("passing")
        ledger.take(f"activations {index}" if index == span[-1] else "passing", made(span[0], index + 1))


def _head(profile: Profile, segment: Segment) -> ComponentProfile:
    for found in profile.heads:
        if found.boundary == segment.units[1] + segment.window and found.head == segment.head:
            return found.cost
    wanted = segment.head.words if segment.head else "the classifier"
    raise PlannerError(f"the solver contradicts its checker: no head ({wanted}) is profiled behind {segment.units}")
