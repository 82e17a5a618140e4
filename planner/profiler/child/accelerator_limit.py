"""Keeps a measuring process within its part of a GPU (see `planner.profiler.bounded` for the processor's memory)."""

from __future__ import annotations

import torch

from planner.training.gpu import limit_gpu, read_gpu


class OwnGpuLimit:
    """Begin it when the GPU has been started; in force until the process ends."""

    def __init__(self, device: torch.device, max_bytes: int) -> None:
        self._device = device
        self._max_bytes = max_bytes

    def renew(self) -> int:
        """Give back what is kept, limit anew, and return what is taken at rest: by everybody, for it is not to be had.

        Where that is more than there may be, nothing can be allocated: whoever reads the returned bytes sees to that.
        """
        torch.cuda.empty_cache()
        found = read_gpu(self._device)
        limit_gpu(self._device, self._max_bytes - found.beside_bytes)
        return found.beside_bytes + found.reserved_bytes
