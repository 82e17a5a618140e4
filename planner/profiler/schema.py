"""`profile/1`: what every unit and head of a model costs on one device, in bytes and seconds. No torch here.

Levels in a `Trace` are bytes above the unit's start: its input, its parameters, and (accumulating) its gradients are
resident before. The solver composes segments from them (DESIGN.md, section 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from planner.limits import MAX_BATCH, MAX_BYTES, MAX_UNITS
from planner.model.spec import Model
from planner.settings import Device, Optimizer


def _check_bytes(document: object, *names: str) -> None:
    for name in names:
        value = getattr(document, name)
        if not 0 <= value <= MAX_BYTES:
            raise ValueError(f"{name} is {value}; bytes lie between 0 and 2^63 - 1")


def _check_seconds(document: object, *names: str) -> None:
    for name in names:
        value = getattr(document, name)
        if not 0 <= value <= 1e9:
            raise ValueError(f"{name} is {value}; seconds lie between 0 and 1e9")


@dataclass(frozen=True)
class Trace:
    """Allocator levels of one unit's forward and backward, in bytes above the unit's start."""

    forward_peak_bytes: int
    """Highest level during forward."""
    kept_bytes: int
    """Level after forward: what is saved for backward, and the output."""
    saved_bytes: int
    """The same without the output where the unit itself does not save it."""
    backward_peak_bytes: int
    """Highest level during backward, the output's gradient included."""
    held_backward_peak_bytes: int
    """The same while somebody else holds the output (the next segment of the block needs it)."""
    end_bytes: int
    """Level after backward: the input's gradient, and the parameters' where they were empty before."""

    def __post_init__(self) -> None:
        _check_bytes(self, "forward_peak_bytes", "kept_bytes", "saved_bytes", "backward_peak_bytes", "end_bytes")
        _check_bytes(self, "held_backward_peak_bytes")
        if not self.saved_bytes <= self.kept_bytes <= self.forward_peak_bytes:
            raise ValueError("saved_bytes ≤ kept_bytes ≤ forward_peak_bytes does not hold")
        if self.end_bytes > self.backward_peak_bytes:
            raise ValueError("end_bytes is above backward_peak_bytes")


@dataclass(frozen=True)
class Traces:
    """One unit at one micro-batch in the cases that training meets."""

    inner: Trace
    """Its input needs a gradient; parameter gradients are empty before."""
    inner_accumulating: Trace
    """Its input needs a gradient; parameter gradients exist (second micro-batch of a batch)."""
    first: Trace
    """First of a segment: its input needs no gradient; parameter gradients are empty before."""
    first_accumulating: Trace
    """First of a segment; parameter gradients exist."""


@dataclass(frozen=True)
class Costs:
    """One unit or head at one micro-batch."""

    micro_batch: int
    """Samples in one forward and backward."""
    traces: Traces
    """Memory while training. A head always stands behind a unit: it uses the inner cases alone."""
    inference_peak_bytes: int
    """Highest level of forward without gradients (cache writing, validation), the output included."""
    inference_kept_bytes: int
    """The output alone."""
    forward_seconds: float
    """One forward while training."""
    backward_seconds: float
    """One backward, the input's gradient included."""
    first_backward_seconds: float
    """One backward where the input needs no gradient."""
    inference_seconds: float
    """One forward without gradients."""

    def __post_init__(self) -> None:
        if not 1 <= self.micro_batch <= MAX_BATCH:
            raise ValueError(f"micro_batch is {self.micro_batch}; it must lie between 1 and {MAX_BATCH}")
        _check_bytes(self, "inference_peak_bytes", "inference_kept_bytes")
        _check_seconds(self, "forward_seconds", "backward_seconds", "first_backward_seconds", "inference_seconds")


@dataclass(frozen=True)
class PieceProfile:
    """What a unit or head costs: bytes that do not depend on the micro-batch, and a table of those that do."""

    parameters: int
    """Trainable numbers."""
    parameter_bytes: int
    """Bytes of the parameters; their gradients have the same size."""
    buffer_bytes: int
    """Bytes of running statistics and counters."""
    optimizer_bytes: int
    """Bytes of the optimizer's state for these parameters."""
    step_transient_bytes: int
    """Highest level above the state during one optimizer step."""
    step_seconds: float
    """One optimizer step over these parameters."""
    flops: int
    """Multiply-adds of one sample's forward, as fvcore counts them."""
    output_bytes: int
    """Bytes of one sample's output."""
    minimum_micro_batch: int
    """Smallest micro-batch whose batch normalisations see more than one value per channel."""
    costs: tuple[Costs, ...]
    """Rising micro-batches."""

    def __post_init__(self) -> None:
        _check_bytes(self, "parameter_bytes", "buffer_bytes", "optimizer_bytes", "step_transient_bytes", "output_bytes")
        _check_bytes(self, "parameters", "flops", "minimum_micro_batch")
        _check_seconds(self, "step_seconds")
        sizes = [cost.micro_batch for cost in self.costs]
        if not sizes or sizes != sorted(set(sizes)):
            raise ValueError(f"costs: micro-batches must be present and rise, but are {sizes[:20]}")


@dataclass(frozen=True)
class HeadProfile:
    """A head that may stand behind a unit."""

    boundary: int
    """Units before it, 1 to the number of units."""
    kind: Literal["auxiliary", "classifier"]
    """An auxiliary head, or the loss alone behind the model's own classifier."""
    filters: int
    """Filters of an auxiliary head; 0 for the classifier."""
    cost: PieceProfile
    """What it costs, its loss included."""

    def __post_init__(self) -> None:
        if not 1 <= self.boundary <= MAX_UNITS:
            raise ValueError(f"boundary is {self.boundary}; it must lie between 1 and {MAX_UNITS}")


@dataclass(frozen=True)
class Runtime:
    """The process around the training step."""

    baseline_bytes: int
    """Resident bytes of the training child after its first tiny step."""
    start_peak_bytes: int
    """Highest resident bytes of the child until then (importing torch)."""
    supervisor_bytes: int
    """Highest resident bytes of the supervisor."""
    overhead_bytes: int
    """Resident bytes of a real step beyond its allocator peak, constant part (kernels, thread arenas)."""
    overhead_permille: int
    """The part of it that grows with the allocator peak, in thousandths, rounded up."""

    def __post_init__(self) -> None:
        _check_bytes(self, "baseline_bytes", "start_peak_bytes", "supervisor_bytes")
        _check_bytes(self, "overhead_bytes", "overhead_permille")


@dataclass(frozen=True)
class Storage:
    """Sequential speed of the storage that caches live on."""

    write_bytes_per_second: int
    """Written and synced."""
    read_bytes_per_second: int
    """Read with the page cache out of the way."""

    def __post_init__(self) -> None:
        _check_bytes(self, "write_bytes_per_second", "read_bytes_per_second")
        if 0 in (self.write_bytes_per_second, self.read_bytes_per_second):
            raise ValueError("a storage speed of 0 cannot hold a cache")


@dataclass(frozen=True)
class Profile:
    """Everything the solver needs to know about one model on one device."""

    schema: Literal["profile/1"]
    id: str
    """sha256 of the canonical content."""
    model: Model
    """The chain that was measured."""
    device: Device
    """Where."""
    dtype: Literal["float32"]
    """Type of parameters and activations."""
    optimizer: Optimizer
    """The optimizer whose state and step were measured."""
    allocator: Literal["tight", "fast"]
    """Allocator policy in force."""
    runtime: Runtime
    """The process around it."""
    storage: Storage
    """The storage measured."""
    units: tuple[PieceProfile, ...]
    """One per unit of the model."""
    heads: tuple[HeadProfile, ...]
    """Every head that may stand behind a unit, the classifier last."""
    uncounted_operators: tuple[str, ...]
    """Operators fvcore does not count, so that `flops` lacks them."""

    def __post_init__(self) -> None:
        count = len(self.model.units)
        if len(self.units) != count:
            raise ValueError(f"units: {len(self.units)} are profiled, but the model has {count}")
        if any(head.boundary > count for head in self.heads):
            raise ValueError(f"heads: a boundary lies beyond the model's {count} units")
        if not any(head.kind == "classifier" and head.boundary == count for head in self.heads):
            raise ValueError("heads: the classifier's loss behind the last unit is missing")
