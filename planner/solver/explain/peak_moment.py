"""What is in memory when a block's training is at its peak, layer by layer: the parts of its peak, parted further.

The checker plays a block out as the runner does, so what was there is read from its ledger.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

from planner.schema.plan import Plan
from planner.schema.profile import Profile
from planner.solver.checker.ledger import BlockRun, Moment
from planner.solver.checker.profile_figures import ComponentFigures

Doing = Literal["forward", "backward", "recompute", "step"]
"""What goes on: samples forward, gradients back, a span forward again in backward, or the optimizer's step."""


@dataclass(frozen=True)
class PeakShare:
    """What one unit or head has in memory then."""

    unit: int
    """Index of the unit; of a head: of its segment's last unit."""
    name: str
    """The unit's name."""
    kind: Literal["unit", "head"]
    """`unit`, or `head` for an auxiliary head or the classifier's loss."""
    parameters_bytes: int
    """Parameters and buffers."""
    gradients_bytes: int
    """Gradients of the parameters, as far as they are there."""
    optimizer_bytes: int
    """Optimizer state."""
    activations_bytes: int
    """Kept from forward until backward."""
    transient_bytes: int
    """What it takes beside that because it is at work."""


@dataclass(frozen=True)
class PeakMoment:
    """When a block's training is at its peak. All bytes here add up to the block's breakdown."""

    block: int
    """Index of the block; behind the last: the polish."""
    doing: Doing
    """What goes on."""
    unit: int | None
    """Index of the unit that is at work, or whose head is; null: all step."""
    kind: Literal["unit", "head"] | None
    """Whether that is a unit or a head."""
    shares: tuple[PeakShare, ...]
    """Every unit and head that is in memory, in order."""
    held_bytes: int
    """Activations held for the next segment or the one before, which are nobody's own."""
    data_bytes: int
    """The samples at hand."""
    around_bytes: int
    """Kernels, and what the allocator keeps of what was freed."""
    runtime_bytes: int
    """Python and torch, as far as the budget's scope counts them."""


def peak_moments(profile: Profile, plan: Plan) -> tuple[PeakMoment, ...]:
    """The moment of every block, and of a polish. `profile` is the one that the plan was made from."""
    stages = enumerate(plan.stages)
    return tuple(_moment(BlockRun(plan, profile, index, block.micro_batch), index) for index, block in stages)


def _moment(run: BlockRun, index: int) -> PeakMoment:
    moment, times = run.training.moment, run.training.times
    assert moment is not None
    parts = run.block.predicted.breakdown
    places = dict(_places(run))
    activations, fresh = _activations(moment, times), _fresh_gradients(run, moment, times)
    shares = tuple(
        PeakShare(
            unit=unit,
            name=run.plan.model.units[unit].name,
            kind=kind,
            parameters_bytes=component.fixed.parameter_bytes + component.fixed.buffer_bytes,
            gradients_bytes=_held_gradients(run, component) + fresh.get(component, 0),
            optimizer_bytes=0 if component in run.prefix else component.fixed.optimizer_bytes,
            activations_bytes=activations.get(component, 0),
            transient_bytes=moment.above // times if component is moment.who else 0,
        )
        for component, (unit, kind) in places.items()
    )
    at = None if moment.who is None else places[moment.who]
    return PeakMoment(
        block=index,
        doing=cast("Doing", moment.doing),
        unit=None if at is None else at[0],
        kind=None if at is None else at[1],
        shares=shares,
        held_bytes=parts.activations - sum(share.activations_bytes for share in shares),
        data_bytes=parts.data,
        around_bytes=parts.transient - sum(share.transient_bytes for share in shares),
        runtime_bytes=parts.runtime,
    )


def _places(run: BlockRun) -> Iterator[tuple[ComponentFigures, tuple[int, Literal["unit", "head"]]]]:
    """Units in order, each head behind the unit it reads."""
    for unit, component in enumerate(run.prefix):
        yield component, (unit, "unit")
    ends = {segment.units[1] - 1: head for segment, head in zip(run.block.segments, run.heads, strict=True)}
    for unit, component in run.units.items():
        yield component, (unit, "unit")
        if unit in ends:
            yield ends[unit], (unit, "head")
    for component in run.beyond:
        yield component, (run.block.units[1], "unit")


def _activations(moment: Moment, times: int) -> dict[ComponentFigures, int]:
    """What each component of the segment at work keeps."""
    kept = ((component, moment.owners.get(f"activations {index}", 0)) for index, component in enumerate(moment.chain))
    return {component: size // times for component, size in kept}


def _held_gradients(run: BlockRun, component: ComponentFigures) -> int:
    """Gradients that are there throughout training; a window has its own apart from its unit's."""
    if not run.accumulating or component in run.prefix:
        return 0
    windows = [window for segment in run.block.segments[:-1] for window in run.window(segment)]
    return component.fixed.parameter_bytes * (1 + windows.count(component))


def _fresh_gradients(run: BlockRun, moment: Moment, times: int) -> dict[ComponentFigures, int]:
    """Gradients since this segment's backward began: of as many components from its end on as have been passed."""
    left = moment.owners.get("gradients fresh", 0)
    found: dict[ComponentFigures, int] = {}
    for component in reversed(moment.chain):
        size = min(left, component.gradients())
        found[component] = found.get(component, 0) + size // times
        left -= size
    return found
