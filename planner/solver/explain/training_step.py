"""One training step of a whole network by plain backpropagation, composed as the solver composes plans."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Literal

from planner.limits import MAX_BYTES
from planner.schema.explain import MemoryPoint, TrainingStep
from planner.schema.profile import Profile
from planner.schema.request import Budget, Request, Training
from planner.solver.costs import ComponentCost
from planner.solver.problem import CLASSIFIER, Problem


def training_step(profile: Profile) -> TrainingStep:
    """One step without accumulation, at the largest micro-batch at which every unit and head was measured."""
    # A batch normalisation that was measured below what it needs to train is shown at what it needs.
    trained = [*profile.units, *(head.cost for head in profile.heads if head.kind == "classifier")]
    size = max(profile.shared_micro_batch, *(component.minimum_micro_batch for component in trained))
    training = Training(batch=size, epochs=1, samples=size, optimizer=profile.optimizer, dtype=profile.dtype)
    problem = Problem(profile, Request(Budget(MAX_BYTES, "training"), training))
    units = [problem.unit_cost(index, size) for index in range(problem.count)]
    head = problem.head_cost(problem.count, CLASSIFIER, size)
    components = [*units, head]
    points = tuple(_points(components))
    data, weights = problem.data_bytes(0, "data", size), sum(component.weights for component in components)
    optimizer = sum(component.optimizer for component in components)
    dynamic = max(point.activations_bytes + point.gradients_bytes + point.transient_bytes for point in points)
    allocated = data + weights + optimizer + dynamic
    # Scope `training` leaves the processes out, so what is resident beyond tensors is the step's overhead.
    overhead = problem.process.resident(allocated + problem.process.kernel_bytes(size)) - allocated
    return TrainingStep(size, profile.runtime.baseline_bytes, overhead, data, weights, optimizer, points)


def _points(components: list[ComponentCost]) -> Iterator[MemoryPoint]:
    """Forward through units and loss, backward, and the optimizer's step; `components`: units and classifier."""
    levels = [components[0].first, *(component.inner for component in components[1:])]
    kept = [0, *accumulate(level.kept for level in levels)]
    units: list[int | None] = [*range(len(components) - 1), None]
    for level, below, unit in zip(levels, kept, units, strict=False):
        yield _point("forward", unit, below, level.kept, level.forward, 0)
    gradients = 0
    for index in range(len(components) - 1, -1, -1):
        level = levels[index]
        yield _point("backward", units[index], kept[index], level.kept, level.backward, gradients)
        gradients += components[index].gradients
    yield MemoryPoint("step", None, 0, gradients, max(component.step_transient for component in components))


def _point(
    phase: Literal["forward", "backward"], unit: int | None, below: int, kept: int, level: int, gradients: int
) -> MemoryPoint:
    own = min(kept, level)
    return MemoryPoint(phase, unit, below + own, gradients, level - own)
