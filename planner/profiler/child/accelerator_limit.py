"""Keeps a measuring process within its part of an accelerator, as `OwnLimit` does in the processor's memory."""

from __future__ import annotations

from planner.training.device import Accelerator


class OwnAcceleratorLimit:
    """Begin it when the device has been started; in force until the process ends."""

    def __init__(self, backend: Accelerator, max_bytes: int) -> None:
        self._backend = backend
        self._max_bytes = max_bytes

    def renew(self) -> int:
        """Give back what is kept, limit anew, and return what is taken at rest: by everybody, for it is not to be had.

        Where that is more than there may be, nothing can be allocated: whoever reads the returned bytes sees to that.
        """
        self._backend.release_cached()
        found = self._backend.memory()
        self._backend.limit(self._max_bytes - found.beside_bytes)
        return found.beside_bytes + found.reserved_bytes
