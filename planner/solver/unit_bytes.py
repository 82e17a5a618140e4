"""What each unit of a plan takes by itself, at its block's micro-batch: for looking at, not for planning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from planner.operators.unit_graph import UnitGraph
from planner.schema.model import Unit
from planner.schema.plan import Block, Plan, Segment
from planner.schema.profile import ComponentProfile, Profile
from planner.solver.costs import ComponentTable, Levels


@dataclass(frozen=True)
class UnitBytes:
    """A unit, or the head behind it, as if nothing else of its block were there. The parts sum to its own peak."""

    unit: int
    """Index of the unit; of a head: of its segment's last unit, which a window may lie behind."""
    name: str
    """The unit's name."""
    kind: Literal["unit", "head"]
    """`unit`, or `head` for an auxiliary head or the classifier's loss."""
    parameters_bytes: int
    """Parameters and buffers."""
    gradients_bytes: int
    """Gradients of the parameters."""
    optimizer_bytes: int
    """Optimizer state."""
    activations_bytes: int
    """Kept from forward until backward."""
    transient_bytes: int
    """What its highest moment takes beside that."""
    recomputed: bool
    """Whether it runs forward again before its backward; what it keeps then is counted as transient."""
    frozen: bool = False
    """Whether it is not trained; then it only runs for what the units behind it read."""

    @property
    def own_bytes(self) -> int:
        """Its highest level: what no cut and no recomputation between units makes less."""
        static = self.parameters_bytes + self.gradients_bytes + self.optimizer_bytes
        return static + self.activations_bytes + self.transient_bytes


def unit_bytes(profile: Profile, plan: Plan) -> tuple[UnitBytes, ...]:
    """Every unit in order, each head behind the unit it reads. `profile` is the one that the plan was made from."""
    heads = {(found.boundary, found.head): found.cost for found in profile.heads}
    found = [_frozen(profile, plan, unit) for unit in range(plan.training.freeze)]
    for block in plan.blocks:
        for segment in block.segments:
            for unit in range(*segment.units):
                found.append(_unit(profile, plan, block, segment, unit))
            last = segment.units[1]
            name = plan.model.units[last - 1].name
            head = heads[segment.head_behind, segment.head]
            found.append(_component(head, block, last - 1, name, "head", False, False))
    return tuple(found)


MOST = 0.5
"""Share of what a plan takes from which on a single unit is told of."""


def largest_unit(profile: Profile, plan: Plan) -> UnitBytes | None:
    """The unit of several layers with weights that alone takes most of what a plan takes beside the processes.

    None where there is no such unit.

    `profile` is the one that the plan was made from.
    """
    units = [found for found in unit_bytes(profile, plan) if found.kind == "unit" and not found.frozen]
    largest = max(units, key=lambda found: found.own_bytes)
    around = min(block.predicted.breakdown.runtime for block in plan.blocks)
    is_most = largest.own_bytes > MOST * (plan.predicted.peak_bytes - around)
    return largest if is_most and _layers_with_weights(profile.model.units[largest.unit]) > 2 else None


def _layers_with_weights(unit: Unit) -> int:
    graphs = (layer for layer in unit.layers if isinstance(layer, UnitGraph))
    return sum(len(tensor.shape) > 1 for graph in graphs for tensor in graph.tensors)


def _frozen(profile: Profile, plan: Plan, unit: int) -> UnitBytes:
    cost = ComponentTable(profile.units[unit]).at(plan.blocks[0].micro_batch, accumulating=False)
    name = plan.model.units[unit].name
    return UnitBytes(unit, name, "unit", cost.weights, 0, 0, 0, cost.inference_peak, recomputed=False, frozen=True)


def _unit(profile: Profile, plan: Plan, block: Block, segment: Segment, unit: int) -> UnitBytes:
    recomputed = any(first <= unit < last for first, last in segment.recompute)
    name = plan.model.units[unit].name
    return _component(profile.units[unit], block, unit, name, "unit", unit == segment.units[0], recomputed)


def _component(
    component: ComponentProfile,
    block: Block,
    unit: int,
    name: str,
    kind: Literal["unit", "head"],
    is_first: bool,
    recomputed: bool,
) -> UnitBytes:
    cost = ComponentTable(component).at(block.micro_batch, block.accumulate > 1)
    stepping = block.optimizer_in_backward
    levels: Levels
    if is_first:
        levels = cost.first_stepping if stepping else cost.first
    else:
        levels = cost.inner_stepping if stepping else cost.inner
    highest = max(levels.forward, levels.backward)
    kept = 0 if recomputed else levels.kept
    static = cost.static - cost.weights - cost.optimizer
    fresh = min(cost.gradients, highest - kept)
    return UnitBytes(
        unit=unit,
        name=name,
        kind=kind,
        parameters_bytes=cost.weights,
        gradients_bytes=static + fresh,
        optimizer_bytes=cost.optimizer,
        activations_bytes=kept,
        transient_bytes=highest - kept - fresh,
        recomputed=recomputed,
    )
