"""What is measured for a model: its units, the heads that may stand behind them, their micro-batches. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from planner.heads.kinds import AuxiliaryHead
from planner.model.heads import head_unit
from planner.model.shapes import Shape, Sizes, model_sizes, unit_sizes
from planner.profiler.job import Job
from planner.schema.common import NUMBER_BYTES, Dtype
from planner.schema.model import Unit

_NO_MODULE = Sizes((), 0, 0, 0, 1)


@dataclass(frozen=True)
class Component:
    """A unit, an auxiliary head, or the loss behind the classifier."""

    name: str
    """What a person calls it."""
    spec: Unit | None
    """Its layers; none for the classifier's loss."""
    shape: Shape
    """Its input, one sample."""
    sizes: Sizes
    """What it adds to the chain."""
    boundary: int
    """Units before it, itself included where it is one."""
    head: AuxiliaryHead | None
    """The auxiliary head that it is; none for a unit and the classifier's loss."""
    is_head: bool
    """Whether it ends in a loss."""
    micro_batches: tuple[int, ...]
    """Wanted, rising; never empty."""
    dtype: Dtype
    """What it computes in."""

    @property
    def unit(self) -> int | None:
        """Its index in the chain, where it is a unit."""
        return None if self.is_head else self.boundary - 1

    @property
    def output_bytes(self) -> int:
        """One sample's output."""
        return NUMBER_BYTES[self.dtype] * prod(self.sizes.output) if self.spec else 0

    @property
    def input_dtype(self) -> Dtype:
        """Of what comes in: images are float32 whatever units compute in."""
        return "float32" if self.unit == 0 else self.dtype

    def least_bytes(self, micro_batch: int, state_copies: int) -> int:
        """What measuring it takes at the very least: weights, gradients, optimizer state, input, output."""
        weights = NUMBER_BYTES["float32"] * (self.sizes.parameters * (2 + state_copies) + self.sizes.buffers)
        return weights + micro_batch * (NUMBER_BYTES[self.input_dtype] * prod(self.shape) + self.output_bytes)


def components_of(job: Job) -> tuple[Component, ...]:
    """All components of the job's model, in the order of the chain. Raises ModelError where that does not hold."""
    return tuple(_components(job))


def _components(job: Job) -> Iterator[Component]:
    shape: Shape = job.model.input
    last = len(job.model.units)
    for index, (unit, sizes) in enumerate(zip(job.model.units, model_sizes(job.model), strict=True), start=1):
        yield Component(unit.name, unit, shape, sizes, index, None, False, _wanted(job.micro_batches, sizes), job.dtype)
        shape = sizes.output
        if index == last:
            wanted = _wanted(_for_heads(job.micro_batches), _NO_MODULE)
            yield Component("classifier's loss", None, shape, _NO_MODULE, index, None, True, wanted, job.dtype)
            continue
        for head, spec in _distinct_heads(job, shape):
            head_sizes = unit_sizes(spec, shape)
            wanted = _wanted(_for_heads(job.micro_batches), head_sizes)
            name = f"head behind {unit.name}, {head.words}"
            yield Component(name, spec, shape, head_sizes, index, head, True, wanted, job.dtype)


def _distinct_heads(job: Job, shape: Shape) -> Iterator[tuple[AuxiliaryHead, Unit]]:
    """The job's heads behind an output, each with its layers; of those that are the same there the first."""
    found: list[Unit] = []
    for head in job.heads:
        spec = head_unit(head, shape, job.model.classes)
        if spec not in found:
            found.append(spec)
            yield head, spec


def _for_heads(micro_batches: tuple[int, ...]) -> tuple[int, ...]:
    """Every other one, smallest and largest included: heads are many, and nearly linear in the micro-batch."""
    return micro_batches[:: 2 if len(micro_batches) % 2 else 1]


def _wanted(micro_batches: tuple[int, ...], sizes: Sizes) -> tuple[int, ...]:
    least = sizes.minimum_micro_batch
    return tuple(size for size in micro_batches if size >= least) or (max(2, micro_batches[-1]),)
