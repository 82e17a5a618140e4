"""What the service answers about plans."""

from __future__ import annotations

from dataclasses import dataclass

from api.schemas.responses import BudgetItem
from planner.schema.explain import Point
from planner.schema.plan import Alternative
from planner.schema.request import Strategy
from planner.solver.explain.peak_moment import PeakMoment
from planner.solver.unit_bytes import UnitBytes


@dataclass(frozen=True)
class Choice:
    """One of the values that a term may have."""

    name: str
    """The value."""
    words: str
    """What it is, in a few words."""


@dataclass(frozen=True)
class PlanChoices:
    """What there is to choose from."""

    strategies: tuple[Choice, ...]
    """Strategies."""
    optimizers: tuple[Choice, ...]
    """Optimizers."""
    heads: tuple[Choice, ...]
    """Kinds of head."""


@dataclass(frozen=True)
class PlanItem:
    """A plan in short."""

    id: str
    """sha256 of its content."""
    model: str
    """The model's name."""
    device: str
    """The device's name."""
    profile_id: str
    """What it was made from."""
    strategy: Strategy
    """The rule that chose it."""
    budget: BudgetItem
    """What must not be exceeded."""
    peak_bytes: int
    """Predicted peak."""
    seconds_total: float
    """Predicted time."""
    blocks: int
    """Blocks."""
    cuts: int
    """Boundaries where gradient stops."""
    created_at: str
    """When it was stored (UTC)."""
    labels: tuple[str, ...]
    """Words that people find it by."""
    notes: str
    """What people say of it."""
    archived_at: str | None
    """Since when it is kept out of lists (UTC); null: it is in them."""


@dataclass(frozen=True)
class PlanPage:
    """Plans, in the order that was asked for."""

    items: tuple[PlanItem, ...]
    """The plans."""
    next_cursor: str | None
    """Ask with this `cursor` for the next page; null: this was the last one."""
    total: int | None
    """How many there are on all pages; null where `count` was not asked for."""


@dataclass(frozen=True)
class PlanNames:
    """What plans can be filtered by."""

    models: tuple[str, ...]
    """Names of the networks that there are plans for."""
    devices: tuple[str, ...]
    """Names of the devices that there are plans for."""
    strategies: tuple[Strategy, ...]
    """The rules that chose them."""


@dataclass(frozen=True)
class Alternatives:
    """What else there is for a plan's request."""

    plan_id: str
    """The plan."""
    alternatives: tuple[Alternative, ...]
    """Every strategy that fits, and the frontier of time against cuts."""


@dataclass(frozen=True)
class Frontier:
    """What a budget buys."""

    plan_id: str
    """The plan whose model, device, training and strategy these plans share."""
    frontier: tuple[Point, ...]
    """Rising budgets, each plan faster than the one before."""


@dataclass(frozen=True)
class PlanUnits:
    """A plan, unit by unit."""

    plan_id: str
    """The plan."""
    units: tuple[UnitBytes, ...]
    """Every unit in order, each head behind the unit it reads."""


@dataclass(frozen=True)
class PlanPeak:
    """The peaks of a plan, layer by layer."""

    plan_id: str
    """The plan."""
    peak: tuple[PeakMoment, ...]
    """What is in memory when each block's training is at its peak; a polish comes last."""


@dataclass(frozen=True)
class Compared:
    """One row of a comparison."""

    budget: BudgetItem
    """The budget."""
    strategy: Strategy
    """The rule that chose."""
    plan_id: str | None
    """The plan; null where nothing fits."""
    peak_bytes: int | None
    """Predicted peak."""
    seconds_total: float | None
    """Predicted time."""
    blocks: int | None
    """Blocks."""
    cuts: int | None
    """Boundaries where gradient stops."""
    minimum_bytes: int | None
    """Where nothing fits: the smallest budget (or storage) that does."""
    binding_term: str | None
    """Where nothing fits: what most of that consists of."""


@dataclass(frozen=True)
class Comparison:
    """Several plans beside each other."""

    rows: tuple[Compared, ...]
    """Budget by budget, and within it strategy by strategy."""
