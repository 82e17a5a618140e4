"""Where a run's tensors live: in the processor's memory, or in an accelerator's.

What kinds of device do differently is said by `DeviceBackend`, once for each: the processor's here, every other kind's
in the module of `planner.training.devices` that has its name. That module is the one file of a new kind.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, get_args

import torch
from torch import Tensor, nn

from planner.schema.common import DeviceKind

CPU = torch.device("cpu")

_KINDS = "planner.training.devices"


class DeviceBackend(Protocol):
    """What a kind of device does in a way of its own."""

    name: str
    """What a person calls a device of this kind."""
    device: torch.device
    """Where its tensors lie; of several devices the first."""

    def computes_bfloat16(self) -> bool:
        """Whether it has instructions for bfloat16, so that torch does not go number by number."""

    def synchronize(self) -> None:
        """Return when the device has done what was asked of it."""

    def generators(self) -> list[torch.Generator]:
        """What random numbers (dropout) of operations on it are drawn from."""


@dataclass(frozen=True)
class DeviceMemory:
    """An accelerator's memory at one moment, all work done.

    What a process takes is what torch's caching allocator has reserved, peaks of which are exact, and beside it the
    driver's context with the kernels loaded so far. A driver tells only how much of the device is used, by whomever.
    """

    total_bytes: int
    """Of the device."""
    reserved_bytes: int
    """What the caching allocator has taken from the driver: tensors, and blocks that it keeps for the next ones."""
    peak_bytes: int
    """The most that `reserved_bytes` has been since `reset_peak`."""
    allocated_peak_bytes: int
    """The most of it that tensors have had since then."""
    beside_bytes: int
    """What of the device is used beside that: contexts and kernels, this process's and all others' whole memory."""

    @property
    def used_bytes(self) -> int:
        """Of the device, by whomever."""
        return self.reserved_bytes + self.beside_bytes


class Accelerator(DeviceBackend, Protocol):
    """A kind whose memory is its own, behind a caching allocator of torch's."""

    def is_available(self) -> bool:
        """Whether torch reaches a device of this kind here."""

    def prepare(self) -> None:
        """Settings without which two runs of the same plan would end in different weights."""

    def memory(self) -> DeviceMemory:
        """Wait for the device and read."""

    def reset_peak(self) -> None:
        """Start the next peak."""

    def limit(self, most_bytes: int | None) -> None:
        """Let the caching allocator reserve so much at most; none: all there is. Beyond, it gives back what it keeps,
        and then raises torch's error for lack of memory."""

    def release_cached(self) -> None:
        """Have the caching allocator give back what no tensor has; nothing where the device was not opened."""


class _Processor:
    """The processor. Its memory is the kernel's to tell and to limit (`planner.system`)."""

    name = "processor"
    device = CPU

    def computes_bfloat16(self) -> bool:
        supported: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return supported

    def synchronize(self) -> None:
        """An operation has been done when it returns."""

    def generators(self) -> list[torch.Generator]:
        return [torch.default_generator]


_PROCESSOR = _Processor()


def backend_of(kind: str) -> DeviceBackend:
    """The backend of a kind of device (`DeviceKind`, `torch.device.type`)."""
    return _PROCESSOR if kind == "cpu" else accelerator_of(kind)


def accelerator_of(kind: str) -> Accelerator:
    """The backend of a kind that has memory of its own."""
    # Imported where it is wanted: a run by the processor pays for every module in its budget.
    backend: Accelerator = import_module(f"{_KINDS}.{kind}").BACKEND
    return backend


def release_cached() -> None:
    """Have the caching allocators of this process give back what no tensor has."""
    for kind in get_args(DeviceKind):
        if f"{_KINDS}.{kind}" in sys.modules:  # no device was opened of a kind whose module nobody has asked for
            accelerator_of(kind).release_cached()


def device_of(kind: DeviceKind) -> torch.device:
    """The device of a plan's kind."""
    return backend_of(kind).device


def wait_for(device: torch.device) -> None:
    """Return when the device has done what was asked of it; an accelerator answers before that."""
    backend_of(device.type).synchronize()


def generators_of(device: torch.device) -> list[torch.Generator]:
    """What random numbers (dropout) of operations on a device are drawn from."""
    return backend_of(device.type).generators()


def to_device(module: nn.Module, device: torch.device) -> nn.Module:
    """A module that the processor has made, on `device`."""
    # `Module.to` imports much that has no room where the processor's memory is what is counted.
    return module if device == CPU else module.to(device)


def bytes_of(tensor: Tensor) -> memoryview:
    """The memory of a contiguous CPU tensor, as writable bytes that keep the tensor alive."""
    assert tensor.is_contiguous() and tensor.device.type == "cpu"
    if tensor.nbytes == 0:
        return memoryview(bytearray())
    block = (ctypes.c_char * tensor.nbytes).from_address(tensor.data_ptr())
    block.owner = tensor  # type: ignore[attr-defined]  # the view holds the block, the block holds the tensor
    return memoryview(block).cast("B")
