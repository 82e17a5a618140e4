"""The order of measurements, and what happens when one does not fit in memory or time.

Every component is measured at its smallest micro-batch first, then every one at its next, so that running out of time
costs the largest micro-batches and nothing else. No torch here: a child measures, and is replaced when it dies.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from planner.errors import InfeasibleError, InputError, ModelError, RunError
from planner.profiler.bounded import Bounds, Child, EndedError, OutOfTimeError
from planner.profiler.components import Component, components_of
from planner.profiler.job import ComponentFailed, DoesNotFit, Facts, Job, Measurement, MeasurementResult, Ready, Reply
from planner.schema.codec import decode, parse_json, to_json
from planner.schema.disturbance import NO_SAMPLES, Samples
from planner.schema.profile import ComponentProfile, Costs, HeadProfile, Layers, LeftOut, Trace
from planner.units import format_bytes, format_seconds

OnProgress = Callable[[int, int, str], None]
"""Called with (measurements done, measurements in all, name of the next)."""

Reason = Literal["does not fit", "out of time"]

_MOST_DEATHS = 8
"""After so many killed children no micro-batch beyond a component's smallest is tried."""

_EARLY_LAYERS = 64
"""Layers are measured first at a 64th of the largest micro-batch wanted or more, where that costs little."""


class Measuring(Protocol):
    """A measuring child: `MeasuringChild`, or a stand-in of tests."""

    resident_bytes: int
    """Its resident bytes before any component."""

    def send(self, measurement: Measurement) -> None:
        """Start a measurement."""

    def answer(self) -> MeasurementResult:
        """Wait for its result. Raises EndedError where the child ends instead, OutOfTimeError after the deadline."""

    def close(self) -> None:
        """Kill the child."""


class MeasuringChild:
    """A child that runs `planner.profiler.child.measure`. Starting it and waiting for it raise like `Child.read`."""

    def __init__(self, bounds: Bounds, path: Path, parent_pid: int) -> None:
        self._child = Child(bounds, "planner.profiler.child.measure", str(path), str(parent_pid))
        try:
            ready = self._read()
        except BaseException:
            self.close()
            raise
        assert isinstance(ready, Ready)
        self.resident_bytes = ready.resident_bytes

    def send(self, measurement: Measurement) -> None:
        """Start a measurement."""
        self._child.send(to_json(measurement, indent=None))

    def answer(self) -> MeasurementResult:
        """Wait for its result."""
        line = self._read()
        assert not isinstance(line, Ready)
        return line

    def _read(self) -> Ready | MeasurementResult:
        return decode(Reply, parse_json(self._child.read())).line

    def close(self) -> None:
        """Kill the child."""
        self._child.close()


@dataclass
class _Progress:
    """What is measured of a component so far."""

    index: int
    component: Component
    state_copies: int
    costs: list[Costs] = field(default_factory=list)
    facts: Facts | None = None
    layers: Layers | None = None
    """At the largest micro-batch at which layers were measured."""
    seconds: float = 0.0
    """Time that measuring at its last micro-batch took."""
    limit: int | None = None
    """The micro-batch that was given up; no larger one is tried."""
    ended: str | None = None
    """How the last child that was measuring it ended, in words."""

    @property
    def largest(self) -> int:
        return self.costs[-1].micro_batch if self.costs else 0

    def wants_layers(self, size: int) -> bool:
        """Whether to measure layers at `size`: once early, in case nothing larger fits, and at the largest wanted."""
        if self.component.is_head:
            return False
        wanted = self.component.micro_batches[-1]
        early = self.layers is None and size >= wanted // _EARLY_LAYERS
        return early or size == wanted or self.limit is not None

    def predicted_bytes(self, size: int) -> int:
        """Least bytes that measuring at micro-batch `size` takes: by arithmetic, and in proportion to the last size."""
        least = self.component.least_bytes(size, self.state_copies)
        if not self.costs or self.facts is None:
            return least
        cost, facts = self.costs[-1], self.facts
        traces: list[Trace] = list(vars(cost.traces).values())
        peak = max(cost.inference_peak_bytes, *(trace.held_backward_peak_bytes for trace in traces))
        gradients = min(peak, facts.parameter_bytes)
        static = 2 * facts.parameter_bytes + facts.buffer_bytes + facts.optimizer_bytes
        inputs = least - self.component.least_bytes(0, self.state_copies) - size * self.component.output_bytes
        return max(least, static + inputs + gradients + (peak - gradients) * size // cost.micro_batch)

    def predicted_seconds(self, size: int) -> float:
        """Seconds that measuring at micro-batch `size` takes, in proportion to the last size."""
        return self.seconds * size / self.largest if self.costs else 0.0


@dataclass(frozen=True)
class ComponentMeasurements:
    """Every component of a job, measured; fields are those of `Profile`."""

    units: tuple[ComponentProfile, ...]
    """One per unit."""
    heads: tuple[HeadProfile, ...]
    """Every head, the classifier last."""
    left_out: tuple[LeftOut, ...]
    """Micro-batches that were wanted and not measured."""
    notes: tuple[str, ...] = ()
    """Micro-batches that are taken not to fit because a child ended in a way that may have another cause."""
    samples: Samples = NO_SAMPLES
    """All timings."""


class MeasurementRun:
    """Measures every component of a job within bounds."""

    def __init__(self, job: Job, bounds: Bounds, start: Callable[[], Measuring], on_progress: OnProgress) -> None:
        self._bounds = bounds
        self._start = start
        self._on_progress = on_progress
        self._components = [
            _Progress(i, component, job.optimizer.state_copies) for i, component in enumerate(components_of(job))
        ]
        self._child: Measuring | None = None
        self._taken_bytes = 0
        self._deaths = 0
        self._done = 0
        self._total = sum(len(progress.component.micro_batches) for progress in self._components)
        self._left_out: list[LeftOut] = []
        self._notes: list[str] = []
        self._samples = NO_SAMPLES

    def run(self) -> ComponentMeasurements:
        """Measure every component.

        Raises:
            ModelError: a component fails; the error names it.
            InfeasibleError: a component does not fit at its smallest micro-batch.
            InputError: time ended before every component was measured once.
            RunError: children ended for another reason than memory.
        """
        try:
            for progress in self._components:
                self._measure(progress, progress.component.micro_batches[0])
            for size in sorted(
                {size for progress in self._components for size in progress.component.micro_batches[1:]}
            ):
                for progress in self._components:
                    if size in progress.component.micro_batches[1:]:
                        self._measure(progress, size)
        finally:
            if self._child is not None:
                self._child.close()
        self._on_progress(self._total, self._total, "done")
        return self._result()

    def _measure(self, progress: _Progress, size: int) -> None:
        """Measure a component at micro-batch `size`, or at half of it, a quarter, … where that does not fit."""
        self._done += 1
        if progress.limit is not None:
            return
        given_up = self._try(progress, size)
        if given_up is None:
            return
        progress.limit = size
        wanted = [larger for larger in progress.component.micro_batches if larger >= size]
        self._left_out += [LeftOut(progress.component.name, larger, given_up) for larger in wanted]
        while given_up == "does not fit" and (size := size // 2) > progress.largest:
            given_up = self._try(progress, size)
            if given_up is None:
                return

    def _try(self, progress: _Progress, size: int) -> Reason | None:
        """Measure, unless it is predicted to be too slow. Returns why nothing was measured, or None."""
        is_first = not progress.costs
        if not is_first and self._bounds.seconds_left < progress.predicted_seconds(size):
            return "out of time"
        try:
            # The smallest has a second chance: a child may be killed for what others on the device do.
            fits = self._attempt(progress, size) or (is_first and self._child is None and self._attempt(progress, size))
        except OutOfTimeError:
            self._close()
            if is_first:
                raise self._too_slow() from None
            return "out of time"
        if not fits and is_first:
            raise self._too_large(progress, size)
        return None if fits else "does not fit"

    def _attempt(self, progress: _Progress, size: int) -> bool:
        """Have a child measure once; False where that does not fit in memory."""
        child = self._ready_child(must=not progress.costs)
        if child is None or self._taken_bytes + progress.predicted_bytes(size) > self._bounds.max_bytes:
            return False
        started = time.monotonic()
        child.send(Measurement(progress.index, size, progress.facts is None, progress.wants_layers(size)))
        self._on_progress(self._done - 1, self._total, f"{progress.component.name}, micro-batch {size}")
        try:
            answer = child.answer()
        except EndedError as error:
            self._close()
            self._deaths += 1
            self._check_end(error, progress, size)
            return False
        if isinstance(answer, ComponentFailed):
            raise ModelError(
                f"{progress.component.name}: fails while measured: {answer.problem}", progress.component.unit
            )
        if isinstance(answer, DoesNotFit):
            return False
        progress.costs.append(answer.costs)
        self._samples += answer.samples
        progress.facts = answer.facts or progress.facts
        progress.layers = answer.layers or progress.layers
        progress.seconds = time.monotonic() - started
        return True

    def _ready_child(self, must: bool) -> Measuring | None:
        """The child, started again where the last one died; None where too many have, unless it `must` be there."""
        if self._child is None:
            if self._deaths >= _MOST_DEATHS:
                if must:
                    raise RunError(f"{self._deaths} measuring processes were killed, one after another")
                return None
            with starting(self._bounds):
                self._child = self._start()
            self._taken_bytes = self._child.resident_bytes
            if self._taken_bytes >= self._bounds.max_bytes:
                raise InfeasibleError(
                    f"{format_bytes(self._bounds.max_bytes)} are too little to measure in (--max-bytes, or what is "
                    f"available): a measuring process takes {format_bytes(self._taken_bytes)} before any layer",
                    self._taken_bytes,
                    "runtime",
                )
        return self._child

    def _close(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None

    def _check_end(self, error: EndedError, progress: _Progress, size: int) -> None:
        """Raise RunError unless lack of memory may be the cause; what does not fit is no error."""
        if not error.end.may_be_memory:
            raise RunError(f"{progress.component.name}: the measuring process was {error}")
        progress.ended = error.end.explained
        if error.end.signal != signal.SIGKILL:
            where = f"{progress.component.name} at micro-batch {size}"
            self._notes.append(f"{where} is taken not to fit: the measuring process was {error.end.explained}")

    def _too_large(self, progress: _Progress, size: int) -> InfeasibleError:
        component = progress.component
        where = component.name if component.unit is None else f"unit {component.unit}: {component.name}"
        needed = max(self._bounds.max_bytes, self._taken_bytes + progress.predicted_bytes(size))
        return InfeasibleError(
            f"{where}: does not fit in {format_bytes(self._bounds.max_bytes)} (--max-bytes, or what is available) at "
            f"its smallest micro-batch, {size}: measuring it takes more than {format_bytes(needed)}, of which "
            f"{format_bytes(self._taken_bytes)} before any layer"
            f"{f'; the measuring process was {progress.ended}' if progress.ended else ''}",
            needed,
            component.name,
        )

    def _too_slow(self) -> InputError:
        once = sum(bool(progress.costs) for progress in self._components)
        spent = self._bounds.max_seconds - self._bounds.seconds_left
        return out_of_time(
            self._bounds, f"{once} of {len(self._components)} parts", spent * len(self._components) / (once + 1)
        )

    def _result(self) -> ComponentMeasurements:
        units: list[ComponentProfile] = []
        heads: list[HeadProfile] = []
        for progress in self._components:
            component, facts = progress.component, progress.facts
            assert facts is not None
            cost = _profile(component, facts, tuple(progress.costs), progress.layers)
            if component.is_head:
                heads.append(HeadProfile.of(component.boundary, component.head, cost))
            else:
                units.append(cost)
        left_out, notes = tuple(self._left_out), tuple(self._notes)
        return ComponentMeasurements(tuple(units), tuple(heads), left_out, notes, self._samples)


def _profile(component: Component, facts: Facts, costs: tuple[Costs, ...], layers: Layers | None) -> ComponentProfile:
    return ComponentProfile(
        parameters=component.sizes.parameters,
        parameter_bytes=facts.parameter_bytes,
        buffer_bytes=facts.buffer_bytes,
        optimizer_bytes=facts.optimizer_bytes,
        step_transient_bytes=facts.step_transient_bytes,
        step_seconds=facts.step_seconds,
        flops=facts.flops,
        output_bytes=component.output_bytes,
        minimum_micro_batch=component.sizes.minimum_micro_batch,
        costs=costs,
        layers=layers,
    )


@contextmanager
def starting(bounds: Bounds) -> Iterator[None]:
    """Turn what `Child` raises in the `with` block into InputError, InfeasibleError or RunError.

    For children that need the same memory and time whatever is measured: there is nothing smaller to try.
    """
    try:
        yield
    except OutOfTimeError:
        raise out_of_time(bounds, "nothing", 2 * bounds.max_seconds) from None
    except EndedError as error:
        if not error.end.may_be_memory:
            raise RunError(f"a measuring process was {error}") from None
        raise InfeasibleError(
            f"{format_bytes(bounds.max_bytes)} are too little to measure in (--max-bytes, or what is available): "
            f"a process was {error.end.explained}, before it had measured any layer",
            bounds.max_bytes,
            "runtime",
        ) from None


def first_line(bounds: Bounds, module: str, *arguments: str) -> str:
    """Run a module as a measuring child and return its first line.

    Raises:
        InfeasibleError: it was killed, or ended in a way that may be for lack of memory.
        InputError: the deadline passed.
        RunError: it ended otherwise.
    """
    with starting(bounds), Child(bounds, module, *arguments) as child:
        return child.read()


def out_of_time(bounds: Bounds, done: str, wanted_seconds: float) -> InputError:
    """The error of a measurement that was not completed even at the smallest micro-batches.

    `done` says what was measured, `wanted_seconds` is how long all of it may take.
    """
    enough = math.ceil(max(2 * bounds.max_seconds, 1.5 * wanted_seconds) / 10) * 10
    return InputError(
        f"the measurement did not end within {format_seconds(bounds.max_seconds)} (--max-seconds): {done} could be "
        f"measured; allow {enough:d} s or more"
    )
