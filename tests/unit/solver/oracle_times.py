"""What the runner's time is made of, under one allocator policy; shares no code with the solver."""

from __future__ import annotations

import math
from fractions import Fraction

from planner.schema.common import CacheDtype, Policy
from planner.schema.profile import ComponentProfile, Profile
from planner.schema.request import Training
from tests.unit.solver.oracle_events import Source, Span, record, value


class Clock:
    """Nanoseconds, each of a profile's figures rounded once."""

    def __init__(self, profile: Profile, training: Training, policy: Policy, kept: CacheDtype) -> None:
        self.kept = kept
        self.profile = profile
        self.training = training
        self._steps: list[dict[int, int]] = []
        if policy == "fast":
            measured = {found.policy: found.steps for found in profile.policies}
            both = measured["fast"], measured["tight"]
            self._steps = [{step.micro_batch: _ns(step.seconds) for step in steps} for steps in both]
        self._known: dict[tuple[int, int, tuple[str, ...]], int] = {}
        inside, storage = range(1, len(profile.units)), profile.storage
        self._views = self.training.views
        self._read = {boundary: self._moving(boundary, storage.read_bytes_per_second, 1) for boundary in inside}
        self._write = {
            boundary: self._moving(boundary, storage.write_bytes_per_second, self._views) for boundary in inside
        }

    def _moving(self, boundary: int, speed: int, views: int) -> int:
        return math.ceil(Fraction(self.stored(boundary) // self._views * views * 10**9, speed))

    def _paced(self, time: int, size: int) -> int:
        if not self._steps:
            return time
        here, there = (value(steps, size) for steps in self._steps)
        return math.ceil(Fraction(time * here, there))

    def _component(self, component: ComponentProfile, size: int, *names: str) -> int:
        key = id(component), size, names
        if key not in self._known:
            table = {cost.micro_batch: sum(_ns(getattr(cost, name)) for name in names) for cost in component.costs}
            self._known[key] = self._paced(value(table, size), size)
        return self._known[key]

    def train(self, component: ComponentProfile, size: int, first: bool = False) -> int:
        """Forward and backward of one micro-batch."""
        return self._component(component, size, "forward_seconds", f"{'first_' if first else ''}backward_seconds")

    def segment(self, units: Span, size: int, spans: tuple[Span, ...], head: ComponentProfile) -> int:
        """Forward and backward of a segment, and once more forward where it is recomputed."""
        start, end = units
        total = self.train(head, size)
        for index, unit in enumerate(self.profile.units[start:end]):
            total += self.train(unit, size, index == 0)
        for span in spans:
            total += sum(self._component(unit, size, "forward_seconds") for unit in self.profile.units[slice(*span)])
        return total

    def step(self, components: list[ComponentProfile], size: int) -> int:
        """One optimizer step behind micro-batches of this size."""
        return sum(self._paced(_ns(component.step_seconds), size) for component in components)

    def stored(self, boundary: int) -> int:
        """Bytes of the cache at a boundary."""
        return self._views * self.training.samples * record(self.profile, boundary, self.kept)

    def block(self, units: Span, size: int, source: Source, caches: bool, one_pass: int, step: int) -> int:
        """All epochs and what follows, given what a micro-batch takes in the segments, and a step in all."""
        (first, end), samples = units, self.training.samples
        prefix = self._inference((0, first if source == "recompute" else 0), size)
        epoch = (one_pass + prefix) * samples // size + math.ceil(samples / self.training.batch) * step
        if source == "cache":
            epoch = max(epoch, self._read[first])
        total = self._epochs(end) * epoch
        if caches:
            total += (prefix + self._inference(units, size)) * samples * self._views // size + self._write[end]
        return total

    def _epochs(self, end: int) -> int:
        """The nearest whole number to what lies on a straight line between the early epochs and all."""
        training, early = self.training, self.training.early_epochs
        if early is None:
            return training.epochs
        share = Fraction(end - training.freeze, len(self.profile.units) - training.freeze)
        return math.floor(early + share * (training.epochs - early) + Fraction(1, 2))

    def filling(self, count: int, size: int) -> int:
        """Every view passed through so many frozen units, and writing what comes out."""
        samples = self.training.samples * self._views
        return self._inference((0, count), size) * samples // size + self._write[count]

    def _inference(self, units: Span, size: int) -> int:
        return sum(self._component(unit, size, "inference_seconds") for unit in self.profile.units[slice(*units)])


def _ns(seconds: float) -> int:
    return round(seconds * 1_000_000_000)
