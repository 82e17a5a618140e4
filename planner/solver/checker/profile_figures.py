"""A profile's figures at any micro-batch, under any allocator policy and type of cache, read once more for the checker.

Like the ledger that uses them, without a line in common with the solver.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, prod

from planner.errors import PlannerError
from planner.model.shapes import Shape, model_sizes
from planner.operators.unit_graph import UnitGraph
from planner.schema.common import CacheDtype, Dtype
from planner.schema.plan import Plan
from planner.schema.profile import ComponentProfile, Costs, Profile
from planner.schema.runtime import PolicyProfile

_RETENTION_FACTOR = 2
"""Where what is freed is kept, bytes that come and go: once while in use and once kept for the next step."""


@dataclass(frozen=True)
class PolicyFigures:
    """What depends on the allocator policy alone."""

    baseline_bytes: int
    """The child before its first block."""
    overhead_bytes: int
    """Beyond what is live, constant part."""
    overhead_permille: int
    """Beyond what is live, growing part."""
    steps: tuple[PolicyProfile, PolicyProfile] | None
    """Whose steps say what a nanosecond of the profile is here: this policy's, the profile's; none: the same."""
    times: int
    """How often bytes that come and go count."""
    calibration_seconds: float | None
    """What times here are compared by."""
    start_peak_bytes: int
    """The child's highest until then."""


def policy_figures(plan: Plan, profile: Profile) -> PolicyFigures:
    """Those of the plan's policy. Raises PlannerError where the profile does not know them."""
    runtime = profile.runtime
    if plan.allocator == profile.allocator == "tight":
        return PolicyFigures(
            runtime.baseline_bytes,
            runtime.overhead_bytes,
            runtime.overhead_permille,
            None,
            1,
            profile.calibration_seconds,
            runtime.start_peak_bytes,
        )
    measured = {policy.policy: policy for policy in profile.policies}
    known = profile.allocator == "tight" and not profile.device.is_accelerator
    known = known and {"tight", plan.allocator} <= measured.keys()
    if not known or not all(_ns(step.seconds) for step in measured["tight"].steps):
        raise PlannerError(f"the solver contradicts its checker: nothing is known under the allocator {plan.allocator}")
    own = measured[plan.allocator]
    return PolicyFigures(
        own.baseline_bytes,
        own.overhead_bytes,
        own.overhead_permille,
        (own, measured["tight"]),
        _RETENTION_FACTOR,
        None,
        max(own.start_peak_bytes, runtime.start_peak_bytes),
    )


def _time_scale(around: PolicyFigures, size: int) -> Fraction:
    """Time under the plan's policy, of a nanosecond in the profile."""
    if around.steps is None:
        return Fraction(1)
    here, there = (
        _on_lines([(step.micro_batch, _ns(step.seconds)) for step in policy.steps], size) for policy in around.steps
    )
    return Fraction(here, there)


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _on_lines(table: list[tuple[int, int]], size: int) -> int:
    """A figure at a micro-batch that need not have been measured, rounded up."""
    exact = dict(table)
    if size in exact:
        return exact[size]
    below = [point for point in table if point[0] < size]
    above = [point for point in table if point[0] > size]
    if not below:
        return above[0][1]
    if not above and len(below) == 1:
        below = [(0, 0), *below]
    (x0, y0), (x1, y1) = (below[-1], above[0]) if above else (below[-2], below[-1])
    value = ceil(y0 + Fraction(y1 - y0, x1 - x0) * (size - x0))
    return value if above else max(value, y1)


class ComponentFigures:
    """A unit or head at one micro-batch; figures between profiled ones lie on straight lines, rounded up."""

    def __init__(self, profile: ComponentProfile, size: int, case: str, around: PolicyFigures) -> None:
        self.fixed = profile
        self.size = size
        self.case = case
        self.time_scale = _time_scale(around, size)
        self.times = around.times

    @property
    def measured(self) -> int:
        """The largest profiled micro-batch."""
        return self.fixed.costs[-1].micro_batch

    def _bytes(self, table: list[tuple[int, int]]) -> int:
        """Beyond what was profiled, bytes grow at least in proportion."""
        return self.times * self._grown(table)

    def _grown(self, table: list[tuple[int, int]]) -> int:
        largest, value = table[-1]
        grown = ceil(Fraction(value * self.size, largest)) if self.size > largest else 0
        return max(_on_lines(table, self.size), grown)

    def trace(self, field: str, first: bool) -> int:
        case = ("first" if first else "inner") + self.case

        def pick(cost: Costs) -> int:
            return int(getattr(getattr(cost.traces, case), field))

        return self._bytes([(cost.micro_batch, pick(cost)) for cost in self.fixed.costs])

    def inference(self) -> int:
        return self._bytes([(cost.micro_batch, cost.inference_peak_bytes) for cost in self.fixed.costs])

    def detached(self) -> int:
        return self._bytes([(cost.micro_batch, cost.detached_peak_bytes) for cost in self.fixed.costs])

    def untouched(self) -> int:
        return self._grown([(cost.micro_batch, cost.untouched_bytes) for cost in self.fixed.costs])

    def output(self) -> int:
        return self.times * self.size * self.fixed.output_bytes

    def step(self) -> int:
        return self.times * self.fixed.step_transient_bytes

    def gradients(self) -> int:
        return self.times * self.fixed.parameter_bytes

    def nanoseconds(self, *names: str) -> int:
        table = [(cost.micro_batch, sum(_ns(getattr(cost, name)) for name in names)) for cost in self.fixed.costs]
        return ceil(_on_lines(table, self.size) * self.time_scale)

    def step_ns(self) -> int:
        return ceil(_ns(self.fixed.step_seconds) * self.time_scale)


class PassingBytes:
    """What passes between units at one micro-batch, by the unit that made it."""

    def __init__(self, profile: Profile, size: int, times: int) -> None:
        self.profile = profile
        self.number_bytes = times * size * (4 if profile.dtype == "float32" else 2)
        self.outputs = [times * size * unit.output_bytes for unit in profile.units]
        self.shapes: list[tuple[Shape, ...]] = []
        if any(unit.further_results for unit in profile.model.units):
            self.shapes = [(sizes.output, *sizes.further) for sizes in model_sizes(profile.model)]

    def made_within(self, first: int, end: int) -> int:
        """Bytes that pass behind the unit before `end` and were made by units from `first` on; none without units."""
        if first >= end:
            return 0
        made = self.outputs[end - 1]
        for place, shape in enumerate(self.shapes[end - 1] if self.shapes else ()):
            if self._maker(end - 1, place) < first:
                made -= self.number_bytes * prod(shape)
        return max(0, made)

    def _maker(self, unit: int, place: int) -> int:
        """The unit that made the tensor which a unit gives at a place of its results."""
        layer = self.profile.model.units[unit].layers[0]
        while isinstance(layer, UnitGraph) and layer.results[place] in layer.inputs:
            place = layer.inputs.index(layer.results[place])
            if unit == 0:  # the network's own input
                break
            unit -= 1
            layer = self.profile.model.units[unit].layers[0]
        return unit


def record(profile: Profile, boundary: int, kept: CacheDtype) -> int:
    """One sample on storage, kept as that: what the unit behind the boundary reads, its label and a checksum."""
    trailer = profile.model.label_form.bytes_behind(cached=boundary > 0) + 4
    if boundary == 0:
        return {"uint8": 1, "float32": 4, "int64": 4}[profile.model.input_dtype] * prod(profile.model.input) + trailer
    output = profile.units[boundary - 1].output_bytes
    if kept == profile.dtype:
        return output + trailer
    numbers = ceil(Fraction(output, 4 if profile.dtype == "float32" else 2))
    scales = 8 * (1 + len(profile.model.units[boundary - 1].further_results)) if kept == "uint8" else 0
    return numbers * {"uint8": 1, "bfloat16": 2, "float32": 4}[kept] + scales + trailer


def converting(computed: Dtype, kept: CacheDtype) -> tuple[int, int]:
    """Activations that reading a micro-batch makes besides, and writing a sample does, in sizes of what units make.

    Reading: what units compute in, and before it, of 8-bit numbers for bfloat16, what the scale is applied to in
    float32. Writing: the sample as it is kept, and the one before; 8-bit numbers are found in float32, twice.
    """
    if computed == kept:
        return 0, 0
    if kept == "uint8":
        return (1, 3) if computed == "float32" else (3, 7)
    return 1, 1 if kept == "bfloat16" else 4
