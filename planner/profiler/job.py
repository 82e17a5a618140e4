"""What the profiler and its measuring child say to each other: one JSON object a line, on the child's input and output.

The child answers one measurement after another, so that whatever ends it, nothing that it has measured is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from planner.heads.kinds import AuxiliaryHead
from planner.schema.common import DeviceKind, Dtype, OptimizerConfig
from planner.schema.model import Model
from planner.schema.profile import Costs, Layers


@dataclass(frozen=True)
class Job:
    """What to measure, and within which memory: the file that every measuring child is given."""

    model: Model
    """The chain."""
    optimizer: OptimizerConfig
    """Its optimizer."""
    micro_batches: tuple[int, ...]
    """Rising."""
    heads: tuple[AuxiliaryHead, ...]
    """Auxiliary heads to measure behind every unit."""
    device: DeviceKind
    """Where."""
    threads: int
    """Threads for arithmetic."""
    allocator: Literal["tight", "fast"]
    """Allocator policy."""
    max_bytes: int
    """Resident bytes that the child stays below."""
    dtype: Dtype = "float32"
    """What units compute in."""


@dataclass(frozen=True)
class Measurement:
    """One component at one micro-batch."""

    component: int
    """Its index among the job's components."""
    micro_batch: int
    """Samples."""
    with_facts: bool
    """Whether to measure as well what does not depend on the micro-batch."""
    with_layers: bool
    """Whether to look at the layers of a unit as well."""


@dataclass(frozen=True)
class Facts:
    """What a component costs whatever the micro-batch."""

    parameter_bytes: int
    """Bytes of the parameters."""
    buffer_bytes: int
    """Bytes of running statistics and counters."""
    optimizer_bytes: int
    """Bytes of the optimizer's state."""
    step_transient_bytes: int
    """Highest level above the state during one optimizer step."""
    step_seconds: float
    """One optimizer step."""
    flops: int | None
    """Multiply-adds of one sample's forward, as fvcore counts them; null without fvcore."""
    uncounted_operators: tuple[str, ...]
    """Operators that fvcore did not count, in this component or one before."""


@dataclass(frozen=True)
class Ready:
    """The child has started and limited itself."""

    kind: Literal["ready"]
    resident_bytes: int
    """What it takes before any component: measured, and the code pages that kernels will touch."""


@dataclass(frozen=True)
class Measured:
    """What one component costs at one micro-batch."""

    kind: Literal["measured"]
    costs: Costs
    """At the micro-batch asked for."""
    facts: Facts | None
    """Where they were asked for."""
    layers: Layers | None = None
    """Where they were asked for."""


@dataclass(frozen=True)
class DoesNotFit:
    """An allocation was refused."""

    kind: Literal["does not fit"]


@dataclass(frozen=True)
class ComponentFailed:
    """The component fails whatever the memory."""

    kind: Literal["failed"]
    problem: str
    """Why, fit to be shown."""


MeasurementResult = Measured | DoesNotFit | ComponentFailed


@dataclass(frozen=True)
class Reply:
    """One line of the child."""

    line: Ready | MeasurementResult
    """What it says."""
