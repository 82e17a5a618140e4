"""Where a run's tensors live: in the processor's memory, or in a GPU's. What differs between the two is said here."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor, nn

from planner.schema.common import DeviceKind

CPU = torch.device("cpu")


def device_of(kind: DeviceKind) -> torch.device:
    """The device of a plan's kind; of several GPUs the first."""
    return torch.device("cuda", 0) if kind == "cuda" else CPU


def wait_for(device: torch.device) -> None:
    """Return when the device has done what was asked of it; a GPU answers before that."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def generators_of(device: torch.device) -> list[torch.Generator]:
    """What random numbers (dropout) of operations on a device are drawn from."""
    if device.type != "cuda":
        return [torch.default_generator]
    return [torch.default_generator, torch.cuda.default_generators[device.index]]


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
