"""What profile, plan and training say alike: device, machine, how parameters move, types of numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, assert_never, get_args

from planner.limits import MAX_BATCH, MAX_BYTES, MAX_NAME_LENGTH
from planner.schema.codec import added

Allocator = Literal["glibc", "musl", "mimalloc", "unknown"]
"""Which library answers malloc for tensors."""

Policy = Literal["tight", "fast", "huge"]
"""How eagerly an allocator gives memory back (`planner.system.allocator.apply_policy`)."""

TorchStart = Literal["plain", "lean"]
"""How a child imports torch: whole, or without what training does not need (`planner.training.lean`)."""

HugePages = Literal["always", "madvise", "never"]
"""Which processes get transparent huge pages: all, those that ask (madvise), none (`planner.system.pages`)."""

DeviceKind = Literal["cpu", "cuda"]
"""Where tensors live, and so which memory a budget is of: the processor's, or an accelerator's own. What training does
differently on each is in `planner.training.devices`."""


def is_accelerator(kind: DeviceKind) -> bool:
    """Whether devices of a kind have memory of their own, so that a budget is of that and not of the processor's."""
    return kind != "cpu"


Dtype = Literal["float32", "bfloat16"]
"""What arithmetic and activations are in. `bfloat16`: convolutions, matrix products and every activation; parameters,
gradients, optimizer state and losses stay float32 (what torch calls autocast)."""

NUMBER_BYTES: Mapping[Dtype, int] = {"float32": 4, "bfloat16": 2}
"""Of one number of an activation."""

CacheDtype = Literal["uint8", "bfloat16", "float32"]
"""How caches hold activations; uint8 ones have a scale for every sample."""

CHECKSUM_BYTES = 4
"""Behind a record on storage and its label."""

SCALE_BYTES = 8
"""Before a sample's uint8 numbers: the least value and the step between two, float32 each."""


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError where a field lies outside its range; not a number lies outside every one."""
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; it must lie between {low} and {high}")


def check_class_names(names: tuple[str, ...], classes: int) -> None:
    """Raise ValueError where there are more names than classes, one that is too long, or one twice."""
    if len(names) > classes:
        raise ValueError(f"class_names: there are {len(names)} of them for {classes} classes")
    if len(set(names)) != len(names):
        raise ValueError("class_names: two classes share a name")
    for name in names:
        check_range("class_names: the length of a name", len(name), 1, MAX_NAME_LENGTH)


def stored_bytes(dtype: CacheDtype, numbers: int, tensors: int = 1) -> int:
    """One sample's activations, so many numbers in so many tensors, as a cache holds them."""
    return tensors * SCALE_BYTES + numbers if dtype == "uint8" else NUMBER_BYTES[dtype] * numbers


@dataclass(frozen=True)
class Device:
    """The device measured on."""

    name: str
    """What a person calls it."""
    fingerprint: str
    """sha256 of the facts that decide costs; another fingerprint means another profile."""
    kind: DeviceKind
    """Where tensors live."""
    threads: int
    """Threads used for arithmetic, in the measurement and in runs planned from it."""
    torch: str
    """Version of torch."""
    total_bytes: int
    """Memory of the device, container limits considered."""

    @property
    def is_accelerator(self) -> bool:
        """Whether tensors live in memory that is not the processor's."""
        return is_accelerator(self.kind)

    def __post_init__(self) -> None:
        if not 0 <= self.total_bytes <= MAX_BYTES:
            raise ValueError(f"total_bytes is {self.total_bytes}; bytes lie between 0 and 2^63 - 1")
        if not 1 <= self.threads <= 4096:
            raise ValueError(f"threads is {self.threads}; it must lie between 1 and 4096")


@dataclass(frozen=True)
class Machine:
    """One device as `doctor` finds it."""

    name: str
    """What the maker calls it (firmware, device tree), else the processor's name."""
    architecture: str
    """`x86_64`, `aarch64`, …"""
    cpu_model: str
    """The processor's name; on Arm its implementer and part numbers, where the kernel knows no name."""
    cores: int
    """Cores this process may use at once: its affinity, or fewer (rounded up) where a group's quota of time binds."""
    isa: tuple[str, ...]
    """Which of the instruction sets that matter here the processor has, sorted."""
    total_bytes: int
    """Installed memory."""
    available_bytes: int
    """Memory that could be had when this was probed, limits included."""
    limit_bytes: int | None
    """The memory limit of a container around this process; null without one."""
    swap_bytes: int
    """Size of all swap."""
    allocator: Allocator
    """Which allocator serves tensors."""
    kernel: str
    """Release of the Linux kernel."""
    python_version: str
    """Version of the interpreter."""
    torch_version: str | None
    """Version of the installed torch, build suffix included; null without torch."""
    unified_memory: bool
    """CPU and GPU share one memory."""
    gpu_name: str | None = None
    """The GPU's name as its driver gives it, several kinds joined by commas; where CPU and GPU share one memory the
    board's, for the GPU is part of it; null without a GPU."""
    gpu_total_bytes: int | None = None
    """Memory of the first GPU; null where torch reaches none, or was not asked."""
    gpu_context_bytes: int | None = None
    """What a process takes of that before its first tensor (driver context, loaded kernels); null likewise."""
    torch_threads: int | None = None
    """Threads torch computes with unless told otherwise; null where it was not asked."""
    huge_pages: HugePages | None = added(None)
    """Which processes get transparent huge pages; null: the kernel has none, or it was not recorded."""
    page_bytes: int | None = added(None)
    """Size of the kernel's pages: 4 KiB, on some Arm boards 16 or 64; null: not recorded."""


OptimizerKind = Literal["sgd", "adam", "adamw"]
"""The optimizers there are."""

OPTIMIZER_WORDS: Mapping[OptimizerKind, str] = {"sgd": "SGD with momentum", "adam": "Adam", "adamw": "AdamW"}
"""What each is, for people who choose."""

DecayScope = Literal["all", "weights"]
"""What decays: every parameter, or kernels and matrices alone (`planner.model.decay` says which these are)."""


@dataclass(frozen=True)
class OptimizerConfig:
    """How parameters move."""

    kind: OptimizerKind
    """SGD with momentum, Adam, or AdamW."""
    lr: float
    """Learning rate at the start."""
    momentum: float = 0.0
    """SGD's momentum; 0 keeps no state."""
    nesterov: bool = False
    """SGD's Nesterov momentum."""
    weight_decay: float = 0.0
    """Weight decay (decoupled for AdamW)."""
    weight_decay_on: DecayScope = added("all")
    """Whether all parameters decay, or `weights` alone: kernels and matrices, no norms and biases."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(OptimizerKind):
            raise ValueError(f"kind is {self.kind!r}; it is one of {', '.join(get_args(OptimizerKind))}")
        if not 0 < self.lr <= 1000:
            raise ValueError(f"lr is {self.lr}; it must lie above 0, at most 1000")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum is {self.momentum}; it must lie in [0, 1)")
        if not 0 <= self.weight_decay <= 1:
            raise ValueError(f"weight_decay is {self.weight_decay}; it must lie between 0 and 1")
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")

    @property
    def state_copies(self) -> int:
        """Copies of the parameters that the optimizer keeps."""
        match self.kind:
            case "sgd":
                return 1 if self.momentum else 0
            case "adam" | "adamw":
                return 2
        assert_never(self.kind)


USUAL_BATCH = 128
"""Samples of one optimizer step, where nobody says how many."""

_SGD_BASE = (256, 0.1)
_ADAM_BASE = (128, 0.001)
"""A batch, and the learning rate that goes with it."""


def usual_rate(kind: OptimizerKind, batch: int) -> float:
    """The learning rate of an optimizer that nobody gave one, which follows the batch (docs/training.md has sources).

    SGD's is proportional to it, Adam's and AdamW's to its root. Raises ValueError where the batch lies outside its
    range: what is wrong is the batch then, not the rate that follows from it.
    """
    check_range("batch", batch, 1, MAX_BATCH)
    match kind:
        case "sgd":
            base, rate = _SGD_BASE
            return rate * batch / base
        case "adam" | "adamw":
            base, rate = _ADAM_BASE
            return rate * math.sqrt(batch / base)
    assert_never(kind)


def usual_optimizer(kind: OptimizerKind, lr: float | None = None, batch: int = USUAL_BATCH) -> OptimizerConfig:
    """What a person means who names an optimizer and no more (docs/training.md has a table, with sources).

    Raises ValueError where `lr` lies outside its range.
    """
    rate = usual_rate(kind, batch) if lr is None else lr
    match kind:
        case "sgd":
            return OptimizerConfig(kind, rate, 0.9, nesterov=True, weight_decay=5e-4, weight_decay_on="weights")
        case "adam":
            return OptimizerConfig(kind, rate, weight_decay_on="weights")
        case "adamw":
            return OptimizerConfig(kind, rate, weight_decay=0.01, weight_decay_on="weights")
    assert_never(kind)


def check_bytes(document: object, *names: str) -> None:
    """Raise ValueError where a field of a document, by its name, is no number of bytes."""
    for name in names:
        value = getattr(document, name)
        if not 0 <= value <= MAX_BYTES:
            raise ValueError(f"{name} is {value}; bytes lie between 0 and 2^63 - 1")


def check_seconds(document: object, *names: str) -> None:
    """Raise ValueError where a field of a document, by its name, is no number of seconds."""
    for name in names:
        value = getattr(document, name)
        if not 0 <= value <= 1e9:
            raise ValueError(f"{name} is {value}; seconds lie between 0 and 1e9")
