"""NVIDIA's GPUs, and AMD's, which torch's ROCm builds call by the same name. Not run on hardware yet."""

from __future__ import annotations

import torch

from planner.training.device import Accelerator, DeviceMemory


class _Cuda:
    """The first GPU."""

    name = "GPU"
    device = torch.device("cuda", 0)

    def is_available(self) -> bool:
        return torch.cuda.is_available()

    def prepare(self) -> None:
        torch.backends.cudnn.deterministic = True

    def computes_bfloat16(self) -> bool:
        supported: bool = torch.cuda.is_bf16_supported(False)
        return supported

    def synchronize(self) -> None:
        torch.cuda.synchronize(self.device)

    def generators(self) -> list[torch.Generator]:
        return [torch.default_generator, torch.cuda.default_generators[self.device.index]]

    def memory(self) -> DeviceMemory:
        self.synchronize()
        free, total = torch.cuda.mem_get_info(self.device)
        reserved = torch.cuda.memory_reserved(self.device)
        return DeviceMemory(
            total_bytes=total,
            reserved_bytes=reserved,
            peak_bytes=torch.cuda.max_memory_reserved(self.device),
            allocated_peak_bytes=torch.cuda.max_memory_allocated(self.device),
            beside_bytes=total - free - reserved,
        )

    def reset_peak(self) -> None:
        torch.cuda.reset_peak_memory_stats(self.device)

    def limit(self, most_bytes: int | None) -> None:
        total = torch.cuda.get_device_properties(self.device).total_memory
        share = 1.0 if most_bytes is None else min(1.0, max(0, most_bytes) / total)
        torch.cuda.set_per_process_memory_fraction(share, self.device)

    def release_cached(self) -> None:
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch gives it no type
            torch.cuda.empty_cache()


BACKEND: Accelerator = _Cuda()
