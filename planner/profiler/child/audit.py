"""The profiler checks itself: what the allocator holds after forward against what autograd says is saved."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from planner.profiler.child.meter import Meter
from planner.profiler.child.trace import set_gradients


class SavedStorages:
    """Collects storages saved for backward, each once; those given to `known` are somebody else's."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        self._known = {_address(tensor) for tensor in known}
        self.sizes: dict[int, int] = {}

    def pack(self, tensor: Tensor) -> Tensor:
        """Autograd's hook: note the storage, and hand on a tensor without a graph (one with it would hold itself)."""
        address = _address(tensor)
        if address not in self._known:
            self.sizes.setdefault(address, tensor.untyped_storage().nbytes())
        return tensor.detach()


def _address(tensor: Tensor) -> int:
    address: int = tensor.untyped_storage().data_ptr()
    return address


def unexplained_bytes(meter: Meter, unit: nn.Module, inputs: Tensor) -> int:
    """Bytes held after the unit's forward, its output let go, that no saved tensor explains; 0 where all is known.

    The unit's input, parameters and buffers were there before and count on neither side. `inputs` is (micro-batch, …).
    Source: `torch.autograd.graph.saved_tensors_hooks` on one side, allocator events on the other. On CUDA the
    allocator's rounding to 512 bytes counts as unexplained.
    """
    set_gradients(unit.parameters(), existing=False)
    x = inputs.detach().requires_grad_()
    saved = SavedStorages([x, *unit.parameters(), *unit.buffers()])

    def run() -> None:
        saved.sizes.clear()  # a meter may run this again, to see what is never written
        meter.mark()
        with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor):
            output = unit(x)
        graph = output.grad_fn  # keeps alive what is saved, and not the output
        del output
        meter.mark()
        del graph

    start, forward = meter.record(run)
    return forward.bytes - start.bytes - sum(saved.sizes.values())
