"""What surrounds a training step on a device, as `profile/1` holds it: process, allocator policies, library code."""

from __future__ import annotations

from dataclasses import dataclass

from planner.limits import MAX_BATCH
from planner.schema.codec import added
from planner.schema.common import Policy, TorchStart, check_bytes, check_seconds


@dataclass(frozen=True)
class UnitFinishing:
    """Resident bytes that a unit adds to a pass without gradients which runs no unit: code that only it calls for."""

    pass_bytes: int
    """When it runs."""
    heads_bytes: int
    """When it runs with the heads behind it."""
    kernel_bytes: int = added(0)
    """What its kernels keep once they are made. All other figures hold those of every unit; blocks before lack it."""

    def __post_init__(self) -> None:
        check_bytes(self, "pass_bytes", "heads_bytes", "kernel_bytes")


@dataclass(frozen=True)
class Finishing:
    """The training child behind a block's training, once library pages of that are given back: its resident bytes
    without the tensors, baseline included."""

    pass_bytes: int
    """Highest in a pass through all units without gradients."""
    heads_bytes: int
    """Highest in one in which auxiliary heads run and are counted as well."""
    fit_bytes: int
    """Highest in one in which linear exits are fitted as well."""
    still_bytes: int
    """Highest while no tensor is computed, as when weights are saved."""
    images_bytes: int = added(0)
    """On top of a pass that reads images, which are made numbers and centred."""
    float32_bytes: int = added(0)
    """On top of a pass that writes a cache of this type, where units compute in another."""
    bfloat16_bytes: int = added(0)
    """The same of this type."""
    uint8_bytes: int = added(0)
    """The same of this type."""
    common_bytes: int = added(0)
    """Of `pass_bytes`, what is there where no unit runs; a pass through some units adds theirs."""
    common_heads_bytes: int = added(0)
    """The same of `heads_bytes`."""
    units: tuple[UnitFinishing, ...] = added(())
    """What each unit adds; empty: not measured, a pass through some of them takes as much as one through all."""

    def __post_init__(self) -> None:
        check_bytes(self, "pass_bytes", "heads_bytes", "fit_bytes", "still_bytes")
        check_bytes(self, "images_bytes", "float32_bytes", "bfloat16_bytes", "uint8_bytes")
        check_bytes(self, "common_bytes", "common_heads_bytes")


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
    small_micro_batch: int = 1
    """Up to this micro-batch `overhead_bytes` is the whole constant part."""
    large_micro_batch: int = 1
    """From this micro-batch on `growing_bytes` come on top, and in between a part of them."""
    growing_bytes: int = 0
    """What libraries set up for matrix products that are large enough, beside torch's allocator."""
    run_bytes: int = 0
    """What a whole run holds beyond its steps: data readers, the cache's writer, objects that come with a block."""
    finishing: Finishing | None = added(None)
    """What is resident behind training, up to `small_micro_batch`; null: not measured, no more than in training."""
    start: TorchStart = added("plain")
    """How the children measured here imported torch; a run's child does the same, or its bytes would be others."""

    def __post_init__(self) -> None:
        self._check_finishing()
        check_bytes(self, "baseline_bytes", "start_peak_bytes", "supervisor_bytes")
        check_bytes(self, "overhead_bytes", "overhead_permille", "run_bytes", "growing_bytes")
        if not 1 <= self.small_micro_batch <= self.large_micro_batch <= MAX_BATCH:
            sizes = f"{self.small_micro_batch} and {self.large_micro_batch}"
            raise ValueError(f"small_micro_batch and large_micro_batch are {sizes}; they lie between 1 and {MAX_BATCH}")

    def _check_finishing(self) -> None:
        most = self.baseline_bytes + self.overhead_bytes
        found = self.finishing
        if found is not None and max(found.pass_bytes, found.heads_bytes, found.fit_bytes, found.still_bytes) > most:
            raise ValueError(f"finishing: takes more than baseline_bytes and overhead_bytes in training, {most}")


@dataclass(frozen=True)
class Account:
    """Why a process is at `peak_bytes`: one whole training step by backpropagation, each part measured by itself."""

    micro_batch: int
    """Samples of the step."""
    peak_bytes: int
    """Highest resident bytes of the process (VmHWM)."""
    interpreter_bytes: int
    """Python before it imports anything of ours, thread stacks left out."""
    libraries_bytes: int
    """File pages of torch and the libraries it brings, after the first tiny step."""
    heap_bytes: int
    """What importing left on the heap and in anonymous pages."""
    stacks_bytes: int
    """Stacks of all threads, as far as they are resident."""
    code_bytes: int
    """What the model's kernels add while they are in use: compiled code, primitives, library pages."""
    data_bytes: int
    """Images and labels of the micro-batch."""
    parameters_bytes: int
    """Parameters and buffers."""
    gradients_bytes: int
    """At the moment of the peak."""
    optimizer_bytes: int
    """Optimizer state."""
    activations_bytes: int
    """Everything else that is resident at the peak: saved, outputs, their gradients, library scratch where written."""
    retention_bytes: int
    """Resident in the allocator without being allocated: rounding to pages, free blocks that it retains."""
    rest_bytes: int
    """What the parts above do not explain; negative where they explain too much."""

    def __post_init__(self) -> None:
        check_bytes(self, "micro_batch", "peak_bytes", "interpreter_bytes", "libraries_bytes", "heap_bytes")
        check_bytes(self, "stacks_bytes", "code_bytes", "data_bytes", "parameters_bytes", "gradients_bytes")
        check_bytes(self, "optimizer_bytes", "activations_bytes", "retention_bytes")


@dataclass(frozen=True)
class StepTime:
    """One whole training step of the model, by backpropagation."""

    micro_batch: int
    """Samples of the step."""
    seconds: float
    """The fastest of a few."""

    def __post_init__(self) -> None:
        check_bytes(self, "micro_batch")
        check_seconds(self, "seconds")


@dataclass(frozen=True)
class PolicyProfile:
    """What an allocator policy costs on this device with this model."""

    policy: Policy
    """The policy."""
    baseline_bytes: int
    """Resident bytes of the training child after its first tiny step."""
    overhead_bytes: int
    """Resident bytes of a real step beyond its allocator peak, constant part."""
    overhead_permille: int
    """The part of it that grows with the allocator peak, in thousandths, rounded up."""
    steps: tuple[StepTime, ...]
    """Whole steps at rising micro-batches, the account's among them."""
    account: Account
    """Where the bytes of a step are."""
    start_peak_bytes: int = added(0)
    """Highest resident bytes of the child until then, where that is more than the profile's own policy takes."""

    def __post_init__(self) -> None:
        check_bytes(self, "baseline_bytes", "overhead_bytes", "overhead_permille", "start_peak_bytes")
        sizes = [step.micro_batch for step in self.steps]
        if not sizes or sizes != sorted(set(sizes)):
            raise ValueError(f"steps are at micro-batches {sizes}; at least one is needed, and they have to rise")
