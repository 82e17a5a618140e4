"""The components of a model that are measured one by one: units, and heads behind them. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Literal

from planner.heads.base import HeadKind
from planner.heads.kinds import AuxiliaryHead
from planner.model.heads import head_sizes, head_unit, heads_at
from planner.model.shapes import Shape, Sizes, model_sizes
from planner.model.tokens import token_limit
from planner.profiler.job import Job
from planner.schema.common import NUMBER_BYTES, Dtype
from planner.schema.inputs import GIVEN_NUMBER_BYTES
from planner.schema.model import Unit

_NO_MODULE = Sizes((), 0, 0, 0, 1)


@dataclass(frozen=True)
class Component:
    """A unit, an auxiliary head, or the loss behind the classifier."""

    name: str
    """Its name in messages and `Limits.left_out`."""
    spec: Unit | None
    """Its layers; of a head those that answer; None for the classifier's loss."""
    shape: Shape
    """Shape of its input, without the batch."""
    sizes: Sizes
    """Its output shape, parameters, buffers and smallest micro-batch."""
    boundary: int
    """Number of units up to here, itself included where it is one."""
    head: AuxiliaryHead | None
    """The auxiliary head that it is; None for a unit and the classifier's loss."""
    is_head: bool
    """Whether it ends in a loss."""
    micro_batches: tuple[int, ...]
    """Micro-batches to measure it at, rising; never empty."""
    dtype: Dtype
    """Type of its activations."""
    tokens: int = 0
    """The number of tokens that it tells apart; 0: it takes numbers."""
    further: tuple[Shape, ...] = ()
    """Shapes of what comes in beside its input, without the batch."""

    @property
    def unit(self) -> int | None:
        """Its index in the chain; None for heads."""
        return None if self.is_head else self.boundary - 1

    @property
    def output_bytes(self) -> int:
        """Bytes of one sample's output."""
        return NUMBER_BYTES[self.dtype] * self.sizes.output_numbers if self.spec else 0

    @property
    def input_dtype(self) -> Dtype | Literal["int64"]:
        """Type of its input: what comes from the data is float32 or tokens, whatever units compute in."""
        if self.tokens:
            return "int64"
        return "float32" if self.unit == 0 else self.dtype

    def least_bytes(self, micro_batch: int, state_copies: int) -> int:
        """Least bytes that measuring it takes: weights, gradients, optimizer state, input and output.

        `state_copies` is how many numbers the optimizer keeps per parameter.
        """
        weights = NUMBER_BYTES["float32"] * (self.sizes.parameters * (2 + state_copies) + self.sizes.buffers)
        number_bytes = GIVEN_NUMBER_BYTES["int64"] if self.input_dtype == "int64" else NUMBER_BYTES[self.input_dtype]
        beside = NUMBER_BYTES[self.dtype] * sum(map(prod, self.further))
        return weights + micro_batch * (number_bytes * prod(self.shape) + beside + self.output_bytes)


def components_of(job: Job) -> tuple[Component, ...]:
    """All components of a job's model, in the order of the chain. Raises ModelError where shapes do not fit."""
    return tuple(_components(job))


def _components(job: Job) -> Iterator[Component]:
    shape: Shape = job.model.input
    further: tuple[Shape, ...] = ()
    last = len(job.model.units)
    every = model_sizes(job.model)
    shapes = (shape, *(sizes.output for sizes in every))
    for index, (unit, sizes) in enumerate(zip(job.model.units, every, strict=True), start=1):
        wanted = _wanted(job.micro_batches, sizes)
        tokens = token_limit(job.model) if index == 1 else 0
        yield Component(unit.name, unit, shape, sizes, index, None, False, wanted, job.dtype, tokens, further)
        shape, further = sizes.output, sizes.further
        if index == last:
            wanted = _wanted(_for_heads(job.micro_batches), _NO_MODULE)
            yield Component("classifier's loss", None, shape, _NO_MODULE, index, None, True, wanted, job.dtype)
            continue
        for head, spec in _distinct_heads(job, index, shapes):
            sizes = head_sizes(head, shape, job.model.output)
            wanted = _wanted(_for_heads(job.micro_batches), sizes)
            name = f"head behind {unit.name}, {head.words}"
            yield Component(name, spec, shape, sizes, index, head, True, wanted, job.dtype)


def _distinct_heads(job: Job, boundary: int, shapes: tuple[Shape, ...]) -> Iterator[tuple[AuxiliaryHead, Unit]]:
    """The job's heads behind so many units, with their layers; of a kind's heads with equal layers only the first."""
    found: list[tuple[HeadKind | None, Unit]] = []
    for head in heads_at(job.heads, job.model, boundary, shapes):
        spec = head_unit(head, shapes[boundary], job.model.output)
        if (head.asked_as, spec) not in found:
            found.append((head.asked_as, spec))
            yield head, spec


def _for_heads(micro_batches: tuple[int, ...]) -> tuple[int, ...]:
    """Every other one, smallest and largest included: heads are many, and nearly linear in the micro-batch."""
    return micro_batches[:: 2 if len(micro_batches) % 2 else 1]


def _wanted(micro_batches: tuple[int, ...], sizes: Sizes) -> tuple[int, ...]:
    least = sizes.minimum_micro_batch
    return tuple(size for size in micro_batches if size >= least) or (max(2, micro_batches[-1]),)
