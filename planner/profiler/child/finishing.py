"""Measuring resident bytes after training: a whole network does what a run does when a block has been trained."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, get_args

from planner.schema.common import CacheDtype
from planner.schema.inputs import sample_bytes
from planner.schema.preprocessing import usual_normalisation
from planner.schema.runtime import Finishing, UnitFinishing
from planner.system.proc import read_memory, reset_peak
from planner.training.runtime import release_memory, trim_after_each

if TYPE_CHECKING:
    from torch import Tensor, nn

    from planner.model.activations import Activations
    from planner.profiler.child.network import WholeNetwork

_REPEATED = 3
"""How often a pass is repeated after the one that compiles its kernels."""


def watch_finishing(network: WholeNetwork, data: tuple[Tensor, Tensor]) -> Finishing:
    """Do what a run does after training, in its order and each after releasing memory, and read peaks (VmHWM).

    Weights are saved, pooled exits fitted, heads and exits behind every unit measured, and outputs written to a cache,
    in every type that one may have. Kernels of the network's training stay loaded.

    Args:
        network: trained already.
        data: images and labels of one micro-batch.
    """
    work = _Work(network, data)
    static = network.weight_bytes + network.state_bytes + work.nbytes + data_bytes(data)
    phases = (work.fit, work.measure, work.write)
    try:
        with trim_after_each(work.modules):
            work.make_kernels()
        still = _watch(work.save)[0] - static
        peaks = [_watch(do) for do in phases]
        beyond = {stored: _beyond(work, partial(work.write, stored)) for stored in get_args(CacheDtype)}
        beyond["images"] = _beyond(work, work.centre)
        common, units = _alone(work, static)
        # Recorded last, for the recorder keeps memory of its own. What the highest moment held need not be most.
        fit, measured, written = (
            max(peak - _most_live(do), rest) - static for (peak, rest), do in zip(peaks, phases, strict=True)
        )
    finally:
        work.end()
    return replace(
        Finishing(written, max(written, measured), max(written, fit), still),
        common_bytes=common,
        common_heads_bytes=common,
        units=units,
        **{f"{stored}_bytes": size for stored, size in beyond.items()},
    )


def data_bytes(data: tuple[Tensor, Tensor]) -> int:
    """Bytes of inputs and labels, which may be the same tensor."""
    inputs, labels = data
    return inputs.nbytes + (0 if labels is inputs else labels.nbytes)


def _watch(do: Callable[[], None]) -> tuple[int, int]:
    """Peak resident bytes of a phase, and resident bytes after it; library pages are released before."""
    release_memory()
    do()
    release_memory()
    reset_peak()
    for _ in range(_REPEATED):
        do()
    memory = read_memory()
    return memory.peak_bytes, memory.resident_bytes


def _beyond(work: _Work, do: Callable[[], None]) -> int:
    """Resident bytes that a pass takes more because it does this as well."""
    release_memory()
    work.write()
    before = read_memory().resident_bytes
    for _ in range(_REPEATED):
        do()
    return max(0, read_memory().resident_bytes - before)


def _alone(work: _Work, static: int) -> tuple[int, tuple[UnitFinishing, ...]]:
    """Resident bytes of a pass that runs no unit, and what each unit adds to that when it runs alone."""
    common = _resident_after(work.store_images) - static
    found = []
    for input_bytes, run, run_heads in work.each():
        taken = static + input_bytes + common
        alone = _resident_after(run) - taken
        found.append(UnitFinishing(max(0, alone), max(0, alone, _resident_after(run, run_heads) - taken)))
    return common, tuple(found)


def _resident_after(*passes: Callable[[], None]) -> int:
    """Resident bytes after repeated passes, whose tensors are freed; memory is released before."""
    release_memory()
    for _ in range(_REPEATED):
        for do in passes:
            do()
    return read_memory().resident_bytes


def _most_live(do: Callable[[], None]) -> int:
    """Most bytes that the allocator had given out at one time, above the level before."""
    from planner.profiler.child.meter import is_allocation, meter_for

    level = highest = 0
    for node in meter_for("cpu").nodes(do, with_operands=False):
        if is_allocation(node):
            level += node.fields.alloc_size
            highest = max(highest, level)
    return highest


class _Work:
    """A network with an auxiliary head and a pooled exit behind every unit but the last, and a run's phases on it."""

    def __init__(self, network: WholeNetwork, data: tuple[Tensor, Tensor]) -> None:
        self._network = network
        self._images, self._labels = data
        self._heads = [network.heads(unit) for unit in range(1, len(network.units))]
        self._sink = os.open(os.devnull, os.O_WRONLY)
        self.modules: list[nn.Module] = [*network.units, *(head for heads in self._heads for head in heads)]
        """All of it."""
        heads = self.modules[len(network.units) :]
        self.nbytes = sum(t.nbytes for head in heads for t in (*head.parameters(), *head.buffers()))
        """What lies beside network and data."""

    def make_kernels(self) -> None:
        """Everything once, heads in training as well."""
        from planner.training.segment import train_segment

        for index, activations in self._outputs():
            for head in self._heads[index][:1] if index < len(self._heads) else ():
                train_segment([], head, self._network.task.loss, activations, self._labels)
                for parameter in head.parameters():
                    parameter.grad = None
        for module in self.modules:
            module.eval()
        self.fit()
        self.measure()
        self.write()

    def save(self) -> None:
        """Every parameter's bytes, summed up and written."""
        from planner.training.device import bytes_of

        for parameter in self._network.parameters:
            self._put(bytes_of(parameter.detach()))

    def fit(self) -> None:
        """Linear exits behind all units."""
        from planner.model.activations import first_of
        from planner.training.discriminant import pooled_features

        fits = []
        for _, activations in self._outputs() if self._network.fits_exits else ():
            features = pooled_features(first_of(activations))
            outputs = 2 if self._labels.dim() == 1 else self._labels.shape[1]
            fits.append(self._network.task.linear_fit(features.shape[1], outputs))
            fits[-1].add(features, self._labels)
        release_memory()
        while fits:
            fits.pop().solve()

    def measure(self) -> None:
        """What heads and exits get right, and outputs written."""
        for index, activations in self._outputs():
            self._count(index, activations)
            self._store(activations)
        self._pass_one(None)

    def write(self, stored: CacheDtype | None = None) -> None:
        """Outputs, as they are unless told otherwise."""
        for _, activations in self._outputs():
            self._store(activations, stored)
        self._pass_one(stored)

    def _pass_one(self, stored: CacheDtype | None) -> None:
        """A sample alone, as small budgets have it and as one may be left at a pass's end: other kernels run."""
        for _, activations in self._outputs(1):
            self._store(activations, stored)

    def store_images(self) -> None:
        """What is done with outputs, without any unit."""
        self._store(self._images)

    def each(self) -> Iterator[tuple[int, Callable[[], None], Callable[[], None]]]:
        """The bytes of every unit's inputs, a pass through it alone, and one through it and the heads behind it."""
        from planner.model.activations import bytes_of_all
        from planner.training.segment import pass_through

        inputs: Activations = self._images
        for index in range(len(self._network.units)):
            run, run_heads = partial(self._run_unit, index, inputs), partial(self._run_heads, index, inputs)
            yield bytes_of_all(inputs), run, run_heads
            inputs = pass_through([self._network.units[index]], inputs)

    def _run_unit(self, index: int, inputs: Activations) -> None:
        from planner.model.activations import each
        from planner.training.segment import pass_through

        for given in (inputs, each(inputs, lambda tensor: tensor[:1])):
            outputs = pass_through([self._network.units[index]], given)
            if self._network.may_end(index + 1):  # what else passes is never stored
                self._store(outputs)

    def _run_heads(self, index: int, inputs: Activations) -> None:
        from planner.training.segment import pass_through

        outputs = pass_through([self._network.units[index]], inputs)
        if self._network.may_end(index + 1):
            self._count(index, outputs)

    def _count(self, index: int, activations: Activations) -> None:
        """What heads and exits behind a unit get right; of the last unit's output what it does itself."""
        from planner.model.activations import first_of
        from planner.training.segment import infer

        last = first_of(activations)
        heads = self._heads[index] if index < len(self._heads) else ()
        for outputs in [infer([head], last) for head in heads] or [last]:
            self._network.task.meter().add(outputs, self._labels)

    def centre(self) -> None:
        """Inputs, from bytes."""
        from planner.training.encoding import input_tensor

        network = self._network
        size = sample_bytes(network.input_dtype, network.input) * len(self._images)
        input_tensor(
            memoryview(bytearray(size)),
            network.input_dtype,
            network.input,
            usual_normalisation(network.input_dtype),
        )

    def end(self) -> None:
        """Leave the network as it was."""
        os.close(self._sink)
        for unit in self._network.units:
            unit.train()

    def _outputs(self, samples: int | None = None) -> Iterator[tuple[int, Activations]]:
        """What leaves each unit, with its index, where a segment may end: others are neither stored nor measured."""
        from planner.training.segment import pass_through

        outputs: Activations = self._images[:samples]
        for index, unit in enumerate(self._network.units):
            outputs = pass_through([unit], outputs)
            if self._network.may_end(index + 1):
                yield index, outputs

    def _store(self, outputs: Activations, stored: CacheDtype | None = None) -> None:
        """One sample goes to a cache; where it is converted for that, it comes back as well."""
        from planner.model.activations import each, tensors_of
        from planner.training.encoding import decode_activations, encode_activations

        dtype = self._network.dtype
        (record,) = encode_activations(each(outputs, lambda tensor: tensor[:1]), stored or dtype)
        for part in record:
            self._put(part)
        if stored is not None:
            # A copy, for a reader's buffers can be written to.
            shapes = [tuple(tensor.shape[1:]) for tensor in tensors_of(outputs)]
            decode_activations(memoryview(bytearray(b"".join(record))), stored, shapes, dtype)

    def _put(self, data: memoryview) -> None:
        zlib.crc32(data)
        os.write(self._sink, data)
