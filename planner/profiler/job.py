"""The protocol between the profiler and its measuring child: one JSON object a line, on the child's input and output.

The child answers one measurement after another, so that whatever ends it, nothing that it has measured is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from planner.heads.kinds import AuxiliaryHead
from planner.schema.common import DeviceKind, Dtype, OptimizerConfig, Policy, TorchStart
from planner.schema.disturbance import NO_SAMPLES, Samples
from planner.schema.model import Model
from planner.schema.profile import Costs, Layers


@dataclass(frozen=True)
class Job:
    """What is measured and within which memory: the file that every measuring child is given."""

    model: Model
    """The chain of units."""
    optimizer: OptimizerConfig
    """The optimizer whose state and step are measured."""
    micro_batches: tuple[int, ...]
    """Micro-batches that are wanted, rising."""
    heads: tuple[AuxiliaryHead, ...]
    """Auxiliary heads to measure behind every unit."""
    device: DeviceKind
    """Where tensors live."""
    threads: int
    """Threads that torch computes with."""
    allocator: Policy
    """Allocator policy of the child that measures components."""
    max_bytes: int
    """Most resident bytes of the child, or most of the accelerator's memory."""
    dtype: Dtype = "float32"
    """Type that units compute in."""
    start: TorchStart = "plain"
    """How the measuring children import torch."""


@dataclass(frozen=True)
class Measurement:
    """What the child is to measure next: one component at one micro-batch."""

    component: int
    """Its index in `components_of(job)`."""
    micro_batch: int
    """Samples of one forward and backward."""
    with_facts: bool
    """Whether to measure as well what does not depend on the micro-batch."""
    with_layers: bool
    """Whether to look at the layers of a unit as well."""


@dataclass(frozen=True)
class Facts:
    """Costs of a component that do not depend on the micro-batch."""

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
    flops: int
    """Multiply-adds of one sample's forward."""


@dataclass(frozen=True)
class Ready:
    """The child has started and limited its memory."""

    kind: Literal["ready"]
    resident_bytes: int
    """Its resident bytes before any component, with room for the code pages that kernels will touch."""


@dataclass(frozen=True)
class Measured:
    """What one component costs at one micro-batch."""

    kind: Literal["measured"]
    costs: Costs
    """At the micro-batch asked for."""
    facts: Facts | None
    """Null unless asked for."""
    layers: Layers | None = None
    """Null unless asked for."""
    samples: Samples = NO_SAMPLES
    """The timings behind it."""


@dataclass(frozen=True)
class DoesNotFit:
    """An allocation was refused."""

    kind: Literal["does not fit"]


@dataclass(frozen=True)
class ComponentFailed:
    """The component cannot be computed, for another reason than memory."""

    kind: Literal["failed"]
    problem: str
    """Why, fit to be shown."""


MeasurementResult = Measured | DoesNotFit | ComponentFailed


@dataclass(frozen=True)
class Reply:
    """One line of the child."""

    line: Ready | MeasurementResult
    """What it says."""
