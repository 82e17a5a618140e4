"""`profile/1`: what every unit and head of a model costs on one device, in bytes and seconds. No torch here.

Levels in a `Trace` are bytes above the unit's start: its input, its parameters, and (accumulating) its gradients are
resident before. The solver composes segments from them (docs/design/memory.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from planner.heads.convolution import ConvHead
from planner.heads.kinds import AuxiliaryHead
from planner.limits import MAX_BATCH, MAX_UNITS
from planner.schema.codec import added
from planner.schema.common import Device, Dtype, Machine, OptimizerConfig, Policy, check_bytes, check_seconds
from planner.schema.disturbance import Disturbance
from planner.schema.model import Model
from planner.schema.observed import Observed
from planner.schema.runtime import PolicyProfile, Runtime


def _check_flops(document: LayerProfile | ComponentProfile) -> None:
    if document.flops is not None:
        check_bytes(document, "flops")


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
        check_bytes(self, "forward_peak_bytes", "kept_bytes", "saved_bytes", "backward_peak_bytes", "end_bytes")
        check_bytes(self, "held_backward_peak_bytes")
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
    inner_stepping: Trace
    """Its input needs a gradient; every parameter steps within backward, and its gradient goes (optimizer state exists
    before)."""
    first_stepping: Trace
    """First of a segment; every parameter steps within backward, and its gradient goes."""


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
    detached_peak_bytes: int
    """Highest level of a training forward that saves nothing (first pass of a recomputed span), output included."""
    forward_seconds: float
    """One forward while training."""
    backward_seconds: float
    """One backward, the input's gradient included."""
    first_backward_seconds: float
    """One backward where the input needs no gradient."""
    inference_seconds: float
    """One forward without gradients."""
    unexplained_bytes: int | None = None
    """What the allocator holds after forward (output let go) less what autograd says is saved, each storage once and
    the input left out: the audit's residual; null where it was not audited."""
    untouched_bytes: int = 0
    """Most that is allocated beyond these peaks as scratch that nobody writes. It is never resident, but a limit on
    mapped memory has to leave room for it."""

    def __post_init__(self) -> None:
        if not 1 <= self.micro_batch <= MAX_BATCH:
            raise ValueError(f"micro_batch is {self.micro_batch}; it must lie between 1 and {MAX_BATCH}")
        check_bytes(self, "inference_peak_bytes", "inference_kept_bytes", "detached_peak_bytes", "untouched_bytes")
        check_seconds(self, "forward_seconds", "backward_seconds", "first_backward_seconds", "inference_seconds")


@dataclass(frozen=True)
class LayerProfile:
    """One layer of a unit at one micro-batch, as seen within the unit's own forward and backward."""

    name: str
    """Its operator, and inside a residual the way to it: `conv2d`, `residual.body.conv2d`."""
    parameter_bytes: int
    """Bytes of its parameters; their gradients have the same size."""
    buffer_bytes: int
    """Bytes of running statistics and counters."""
    optimizer_bytes: int
    """Bytes of the optimizer's state for its parameters."""
    saved_bytes: int
    """Storages that it saves for backward and no layer before it did; the unit's input is not among them."""
    output_bytes: int
    """Storage of its output; 0 where it writes into its input, or its output is a view."""
    forward_transient_bytes: int
    """Highest level during its forward above the level before."""
    backward_transient_bytes: int
    """Highest level during its backward above the level before."""
    scratch_bytes: int
    """Most that a library held at one time without a tensor owning it (reordered weights, workspaces)."""
    flops: int | None
    """Multiply-adds of one sample's forward; null in profiles from when fvcore counted them, and was not installed."""
    forward_seconds: float
    """Its share of the unit's forward."""
    backward_seconds: float
    """Its share of the unit's backward."""
    step_seconds: float
    """One optimizer step over its parameters."""

    def __post_init__(self) -> None:
        check_bytes(self, "parameter_bytes", "buffer_bytes", "optimizer_bytes", "saved_bytes", "output_bytes")
        check_bytes(self, "forward_transient_bytes", "backward_transient_bytes", "scratch_bytes")
        _check_flops(self)
        check_seconds(self, "forward_seconds", "backward_seconds", "step_seconds")


@dataclass(frozen=True)
class Layers:
    """The layers of one unit."""

    micro_batch: int
    """At which they were measured."""
    rows: tuple[LayerProfile, ...]
    """In the order of forward."""
    unattributed_bytes: int
    """Most that was held at one time by allocations which lie in no layer."""

    def __post_init__(self) -> None:
        check_bytes(self, "micro_batch", "unattributed_bytes")


@dataclass(frozen=True)
class ComponentProfile:
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
    flops: int | None
    """Multiply-adds of one sample's forward; null in profiles from when fvcore counted them, and was not installed."""
    output_bytes: int
    """Bytes of one sample's output."""
    minimum_micro_batch: int
    """Smallest micro-batch whose batch normalisations see more than one value per channel."""
    costs: tuple[Costs, ...]
    """Rising micro-batches."""
    layers: Layers | None = None
    """Its layers; null for heads, and where they were not looked at."""

    def __post_init__(self) -> None:
        check_bytes(self, "parameter_bytes", "buffer_bytes", "optimizer_bytes", "step_transient_bytes", "output_bytes")
        check_bytes(self, "parameters", "minimum_micro_batch")
        _check_flops(self)
        check_seconds(self, "step_seconds")
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
    """Filters of an auxiliary head; 0 for the classifier, and for a head that `described` tells of."""
    cost: ComponentProfile
    """What it costs, its loss included."""
    described: AuxiliaryHead | None = added(None)
    """An auxiliary head that has more to it than filters; null: it has no more, or is the classifier."""

    @classmethod
    def of(cls, boundary: int, head: AuxiliaryHead | None, cost: ComponentProfile) -> HeadProfile:
        """Of the head behind so many units; none: the model's own classifier."""
        if head is None:
            return cls(boundary, "classifier", 0, cost)
        filters = head.filter_count
        return cls(boundary, "auxiliary", filters, cost, None if filters else head)

    @property
    def head(self) -> AuxiliaryHead | None:
        """The head; none: the model's own classifier."""
        if self.kind == "classifier":
            return None
        return self.described or ConvHead("auxiliary", self.filters)

    def __post_init__(self) -> None:
        _ = self.head  # which refuses filters out of range
        if not 1 <= self.boundary <= MAX_UNITS:
            raise ValueError(f"boundary is {self.boundary}; it must lie between 1 and {MAX_UNITS}")


@dataclass(frozen=True)
class LeftOut:
    """A micro-batch that was wanted and not measured; larger ones are extrapolated from smaller ones."""

    piece: str
    """The unit or head."""
    micro_batch: int
    """Samples."""
    reason: Literal["does not fit", "out of time"]
    """Why: the memory limit, or the time limit."""


@dataclass(frozen=True)
class Limits:
    """What measuring was allowed to take, and what that left out."""

    max_bytes: int
    """Resident bytes of each measuring process."""
    max_seconds: float
    """Seconds of the whole measurement."""
    left_out: tuple[LeftOut, ...] = ()
    """Every micro-batch not measured for it."""

    def __post_init__(self) -> None:
        check_bytes(self, "max_bytes")
        check_seconds(self, "max_seconds")


@dataclass(frozen=True)
class Storage:
    """Sequential speed of the storage that caches live on."""

    write_bytes_per_second: int
    """Written and synced."""
    read_bytes_per_second: int
    """Read with the page cache out of the way."""
    file_system: str | None = added(None)
    """Its kind (`ext4`, `tmpfs`), where the kernel said so."""

    def __post_init__(self) -> None:
        check_bytes(self, "write_bytes_per_second", "read_bytes_per_second")
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
    dtype: Dtype
    """Type of parameters and activations."""
    optimizer: OptimizerConfig
    """The optimizer whose state and step were measured."""
    allocator: Policy
    """Allocator policy in force."""
    runtime: Runtime
    """The process around it."""
    storage: Storage
    """The storage measured."""
    units: tuple[ComponentProfile, ...]
    """One per unit of the model."""
    heads: tuple[HeadProfile, ...]
    """Every head that may stand behind a unit, the classifier last."""
    uncounted_operators: tuple[str, ...]
    """Operators that `flops` lacks, in profiles from when fvcore counted them."""
    calibration_seconds: float | None = None
    """A fixed kernel's time here (`planner.training.calibration`): what times are compared by; null: not timed."""
    machine: Machine | None = None
    """The device as `neuroflux doctor` describes it; null: not recorded."""
    policies: tuple[PolicyProfile, ...] = ()
    """Every allocator policy measured."""
    limits: Limits | None = None
    """What measuring was allowed to take; null: nothing was limited."""
    notes: tuple[str, ...] = added(())
    """What could not be measured as it should be, and why: an allocator policy, a unit's kernels, a
    unit whose measuring process ended as it may where memory is refused."""

    disturbance: Disturbance | None = added(None)
    """What else the device did meanwhile; null: nobody looked."""
    observed: Observed | None = added(None)
    """What runs have told of the times, which are multiplied by it; null: as they were measured."""

    def __post_init__(self) -> None:
        if self.calibration_seconds is not None and not 1e-9 <= self.calibration_seconds <= 1e9:
            raise ValueError(f"calibration_seconds is {self.calibration_seconds}; it must lie between 1e-9 and 1e9")
        count = len(self.model.units)
        if len(self.units) != count:
            raise ValueError(f"units: {len(self.units)} are profiled, but the model has {count}")
        behind = self.runtime.finishing
        if behind is not None and len(behind.units) not in (0, count):
            raise ValueError(f"finishing: {len(behind.units)} units are measured, but the model has {count}")
        if any(head.boundary > count for head in self.heads):
            raise ValueError(f"heads: a boundary lies beyond the model's {count} units")
        for head in self.heads:
            self.model.check_end(head.boundary, "heads")
        if not any(head.kind == "classifier" and head.boundary == count for head in self.heads):
            raise ValueError("heads: the classifier's loss behind the last unit is missing")

    @property
    def shared_micro_batches(self) -> set[int]:
        """The micro-batches at which every unit was measured."""
        return set.intersection(*({cost.micro_batch for cost in unit.costs} for unit in self.units))

    @property
    def shared_micro_batch(self) -> int:
        """The largest micro-batch measured of every unit; the smallest of the units' largest where they share none."""
        return max(self.shared_micro_batches, default=min(unit.costs[-1].micro_batch for unit in self.units))
