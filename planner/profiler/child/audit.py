"""A check of the profiler: bytes allocated after forward against what autograd says that it has saved."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from planner.model.activations import Activations, tensors_of
from planner.profiler.child.meter import Meter
from planner.profiler.child.trace import as_leaves, set_gradients


class SavedStorages:
    """Collects the storages that autograd saves for backward, each once; those of `known` tensors are left out."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        self._known = {_address(tensor) for tensor in known}
        self.sizes: dict[int, int] = {}

    def pack(self, tensor: Tensor) -> Tensor:
        """The pack hook: note the storage, and return the tensor without its graph (which would keep itself alive)."""
        address = _address(tensor)
        if address not in self._known:
            self.sizes.setdefault(address, tensor.untyped_storage().nbytes())
        return tensor.detach()


def _address(tensor: Tensor) -> int:
    address: int = tensor.untyped_storage().data_ptr()
    return address


def unexplained_bytes(meter: Meter, unit: nn.Module, inputs: Activations) -> int:
    """Bytes still allocated after a unit's forward, its output deleted, that are no saved tensor's; ideally 0.

    Compares allocator events with `torch.autograd.graph.saved_tensors_hooks`. The unit's input, parameters and buffers
    exist before and count on neither side. On CUDA the allocator's rounding to 512 bytes counts as unexplained.

    Args:
        meter: of the unit's device.
        unit: in training mode.
        inputs: (micro-batch, …).
    """
    set_gradients(unit.parameters(), existing=False)
    x = as_leaves(inputs)
    saved = SavedStorages([*tensors_of(x), *unit.parameters(), *unit.buffers()])

    def run() -> None:
        saved.sizes.clear()  # a meter may run this again, to see what is never written
        meter.mark()
        with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor):
            output = unit(x)
        graph = [tensor.grad_fn for tensor in tensors_of(output)]  # keeps alive what is saved, and not the output
        del output
        meter.mark()
        del graph

    start, forward = meter.record(run)
    return forward.bytes - start.bytes - sum(saved.sizes.values())
