"""A whole model with its optimizer, for training steps by ordinary backpropagation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from planner.heads.kinds import MEASURED_HEADS, AuxiliaryHead
from planner.heads.pooled import PooledHead
from planner.model.build import build_unit
from planner.model.heads import head_unit
from planner.model.shapes import Shape, model_sizes
from planner.profiler.job import Job
from planner.training.device import device_of, to_device
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
        self.input = job.model.input
        self.dtype = job.dtype
        self.device = device_of(job.device)
        self.task = make_arithmetic(job.model.task)
        self._model, self._shapes, self._head = job.model, shapes, narrowest_head(job)
        self.units: list[nn.Module] = [
            to_device(build_unit(unit, shape, generator, job.dtype), self.device)
            for unit, shape in zip(job.model.units, shapes, strict=False)
        ]
        self.optimizer: Optimizer = make_optimizer(job.optimizer)
        self.optimizer.lr = 0.0  # the same work, and weights stay where they are
        self.parameters = [parameter for unit in self.units for parameter in unit.parameters()]

    def data(self, micro_batch: int) -> tuple[Tensor, Tensor]:
        """Images (micro-batch, channels, height, width) and labels."""
        images = torch.rand(micro_batch, *self.input)
        labels = self.task.examples(micro_batch, self._model.classes, self.input)
        return images.to(self.device), labels.to(self.device)

    def step(self, inputs: Tensor, labels: Tensor) -> None:
        """One batch of one micro-batch, as the runner takes it."""
        train_segment(self.units, None, self.task.loss, inputs, labels)
        self.optimizer.step(self.parameters)
        for parameter in self.parameters:
            parameter.grad = None

    def heads(self, unit: int) -> tuple[nn.Module, nn.Module]:
        """An auxiliary head and a pooled exit behind so many units."""
        shape, classes = self._shapes[unit], self._model.classes
        generator = torch.Generator().manual_seed(unit)
        described = (head_unit(head, shape, classes) for head in (self._head, PooledHead("pooled")))
        head, pooled = (to_device(build_unit(one, shape, generator, self.dtype), self.device) for one in described)
        return head, pooled

    @property
    def weight_bytes(self) -> int:
        """Parameters and buffers."""
        return sum(t.nbytes for unit in self.units for t in (*unit.parameters(), *unit.buffers()))

    @property
    def state_bytes(self) -> int:
        """Optimizer state."""
        return sum(t.nbytes for p in self.parameters for t in self.optimizer.state(p).values())


def narrowest_head(job: Job) -> AuxiliaryHead:
    """The job's auxiliary head of the lowest rank."""
    return min(job.heads or MEASURED_HEADS, key=lambda head: head.rank)
