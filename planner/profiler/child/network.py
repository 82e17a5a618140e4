"""A whole model with its optimizer, for training steps by ordinary backpropagation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from planner.heads.kinds import MEASURED_HEADS, ExitHead
from planner.heads.pooled import PooledHead
from planner.model.build import build_unit
from planner.model.heads import heads_at
from planner.model.shapes import Shape, model_sizes
from planner.profiler.job import Job
from planner.training.device import device_of, to_device
from planner.training.examples import model_inputs
from planner.training.heads import build_head
from planner.training.optimizers import Optimizer, make_optimizer
from planner.training.segment import train_segment
from planner.training.tasks import make_arithmetic

if TYPE_CHECKING:
    from torch import Tensor, nn


class WholeNetwork:
    """The model of a job on its device. Steps have a learning rate of 0, so that weights stay as they are."""

    def __init__(self, job: Job) -> None:
        generator = torch.Generator().manual_seed(0)
        shapes: list[Shape] = [job.model.input, *(sizes.output for sizes in model_sizes(job.model))]
        self.input, self.input_dtype = job.model.input, job.model.input_dtype
        self.dtype = job.dtype
        self.device = device_of(job.device)
        self.task = make_arithmetic(job.model.task)
        self._job, self._model, self._shapes = job, job.model, shapes
        self.fits_exits = job.model.task.fits_exits
        self.units: list[nn.Module] = [
            to_device(build_unit(unit, shape, generator, job.dtype), self.device)
            for unit, shape in zip(job.model.units, shapes, strict=False)
        ]
        self.optimizer: Optimizer = make_optimizer(job.optimizer)
        self.optimizer.lr = 0.0  # the same work, and weights stay where they are
        self.parameters = [parameter for unit in self.units for parameter in unit.parameters()]

    def data(self, micro_batch: int) -> tuple[Tensor, Tensor]:
        """Inputs (micro-batch, …) and labels."""
        inputs = model_inputs(self._model, micro_batch).to(self.device)
        if self._model.label_form.is_input:
            return inputs, inputs
        labels = self.task.examples(micro_batch, self._model.classes, self.input)
        return inputs, labels.to(self.device)

    def step(self, inputs: Tensor, labels: Tensor) -> None:
        """One batch of one micro-batch, as the runner takes it."""
        train_segment(self.units, None, self.task.loss, inputs, labels)
        self.optimizer.step(self.parameters)
        for parameter in self.parameters:
            parameter.grad = None

    def may_end(self, boundary: int) -> bool:
        """Whether a segment may end behind so many units."""
        return self._model.may_end(boundary)

    def heads(self, unit: int) -> tuple[nn.Module, ...]:
        """An auxiliary head and a pooled exit behind so many units, as far as such fit there."""
        if not self._model.may_end(unit):
            return ()
        shape, generator = self._shapes[unit], torch.Generator().manual_seed(unit)
        return tuple(
            to_device(build_head(head, shape, self._model.output, generator, self.dtype), self.device)
            for head in heads_behind(self._job, unit, self._shapes)
        )

    @property
    def weight_bytes(self) -> int:
        """Parameters and buffers."""
        return sum(t.nbytes for unit in self.units for t in (*unit.parameters(), *unit.buffers()))

    @property
    def state_bytes(self) -> int:
        """Optimizer state."""
        return sum(t.nbytes for p in self.parameters for t in self.optimizer.state(p).values())


def heads_behind(job: Job, boundary: int, shapes: Sequence[Shape]) -> list[ExitHead]:
    """An auxiliary head that fits behind so many units, and a pooled exit. `shapes` are those of the network.

    Of the job's the one of the lowest rank; where a kind was asked for, which are the last, of that kind.
    """
    fitting = list(heads_at(job.heads or MEASURED_HEADS, job.model, boundary, shapes))
    same = [head for head in fitting if head.asked_as == fitting[-1].asked_as]
    found: list[ExitHead] = [min(same, key=lambda head: head.rank)] if same else []
    return [*found, PooledHead("pooled")] if job.model.task.fits_exits else found
