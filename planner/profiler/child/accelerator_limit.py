"""Limiting what a measuring process takes of an accelerator's memory, as `OwnLimit` does in the processor's."""

from __future__ import annotations

from planner.training.device import Accelerator


class OwnAcceleratorLimit:
    """Keeps this process below `max_bytes` of the device, until it ends. Make it once the device has been started."""

    def __init__(self, backend: Accelerator, max_bytes: int) -> None:
        self._backend = backend
        self._max_bytes = max_bytes

    def renew(self) -> int:
        """Release cached memory and set the limit again.

        Returns:
            Bytes of the device in use at rest, other processes' included. Where they reach `max_bytes` nothing can be
            allocated, and the caller has to act.
        """
        self._backend.release_cached()
        found = self._backend.memory()
        self._backend.limit(self._max_bytes - found.beside_bytes)
        return found.beside_bytes + found.reserved_bytes
