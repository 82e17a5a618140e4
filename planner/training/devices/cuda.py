"""A GPU's memory as one process has it, and the limit on it.

What a process takes of a GPU is what torch's caching allocator has reserved, peaks of which are exact, and beside it
the driver's context with the kernels loaded so far. The driver tells only how much of the device is used, by whomever.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class GpuMemory:
    """At one moment, all work done."""

    reserved_bytes: int
    """What the caching allocator has taken from the driver: tensors, and blocks that it keeps for the next ones."""
    peak_bytes: int
    """The most that `reserved_bytes` has been since `reset_gpu_peak`."""
    beside_bytes: int
    """What of the device is used beside that: contexts and kernels, this process's and all others' whole memory."""


def read_gpu(device: torch.device) -> GpuMemory:
    """Wait for the device and read."""
    torch.cuda.synchronize(device)
    free, total = torch.cuda.mem_get_info(device)
    reserved = torch.cuda.memory_reserved(device)
    return GpuMemory(reserved, torch.cuda.max_memory_reserved(device), total - free - reserved)


def reset_gpu_peak(device: torch.device) -> None:
    """Start the next peak."""
    torch.cuda.reset_peak_memory_stats(device)


def limit_gpu(device: torch.device, most_bytes: int | None) -> None:
    """Let the caching allocator reserve so much at most; none: all there is. Beyond, it gives back what it keeps, and
    then raises."""
    total = torch.cuda.get_device_properties(device).total_memory
    share = 1.0 if most_bytes is None else min(1.0, max(0, most_bytes) / total)
    torch.cuda.set_per_process_memory_fraction(share, device)
