"""What the training child has resident behind training: a whole network does what finishing a block does."""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from planner.schema.profile import Finishing
from planner.system.proc import read_memory, reset_peak
from planner.training.runtime import release_memory, trim_after_each

if TYPE_CHECKING:
    from torch import Tensor

    from planner.profiler.child.network import WholeNetwork


def watch_finishing(network: WholeNetwork, data: tuple[Tensor, Tensor]) -> Finishing:
    """Run the network without gradients, fit exits behind its units, and read its weights, each from a fresh start."""
    from planner.training.segment import infer

    static = network.weight_bytes + network.state_bytes + sum(tensor.nbytes for tensor in data)

    def run() -> None:
        infer(network.units, data[0])

    def fit() -> None:
        _fit(network, *data)

    for unit in network.units:
        unit.eval()
    try:
        with trim_after_each(network.units):
            fit()
        still = _watch(lambda: _read(network))
        peaks = [_watch(run), _watch(fit)]
        # Recorded last, for the recorder keeps memory of its own.
        passing, fitting = (
            max(peak - _most_live(do), rest) - static for (peak, rest), do in zip(peaks, (run, fit), strict=True)
        )
    finally:
        for unit in network.units:
            unit.train()
    return Finishing(passing, passing, fitting, still[0] - static)


def _watch(do: Callable[[], None]) -> tuple[int, int]:
    """Resident bytes at the highest moment, and afterwards; nothing is there that an earlier phase touched."""
    release_memory()
    do()
    release_memory()
    reset_peak()
    do()
    memory = read_memory()
    return memory.peak_bytes, memory.resident_bytes


def _most_live(do: Callable[[], None]) -> int:
    """Most that the allocator had given out at one time, above what it had before."""
    from planner.profiler.child.meter import is_allocation, meter_for

    level = highest = 0
    for node in meter_for("cpu").nodes(do, with_operands=False):
        if is_allocation(node):
            level += node.fields.alloc_size
            highest = max(highest, level)
    return highest


def _fit(network: WholeNetwork, images: Tensor, labels: Tensor) -> None:
    from planner.training.discriminant import Discriminant
    from planner.training.segment import infer

    activations, fits = images, []
    for unit in network.units:
        activations = infer([unit], activations)
        pooled = activations if activations.dim() == 2 else activations.mean((2, 3))
        fits.append(Discriminant(pooled.shape[1], 2))
        fits[-1].add(pooled.float(), labels)
    release_memory()
    while fits:
        fits.pop().solve()


def _read(network: WholeNetwork) -> None:
    """Every tensor's bytes, as they are summed up and written; a storage is read through the buffer protocol."""
    for parameter in network.parameters:
        address, size = parameter.data_ptr(), parameter.nbytes
        zlib.crc32((ctypes.c_char * size).from_address(address))
