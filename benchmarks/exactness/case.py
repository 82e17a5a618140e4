"""The cases: networks, micro-batches, and manners of training a whole network in memory at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from planner.model.zoo import from_zoo
from planner.schema.common import Dtype, usual_optimizer
from planner.schema.model import (
    Activation,
    AdaptivePool2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    Model,
    Pool2d,
    Unit,
)

SHAPE, CLASSES = (3, 32, 32), 10
OPTIMIZER = usual_optimizer("sgd")
BATCH = 32
"""Asked of the profile, which then traces the micro-batches 1, 2, 8 and 32."""

MICRO_BATCHES = (2, 3, 6, 16, 32, 48)
"""Of these 3, 6, 16 were never traced, and 48 lies beyond what was traced."""

OTHERWISE = 16
"""Micro-batch of accumulation, recomputation and stepping in backward."""

FILTERS = 64


@dataclass(frozen=True)
class Case:
    """One way to train one network."""

    model: Model
    """The network."""
    micro_batch: int
    """Samples in one forward and backward."""
    accumulate: int
    """Micro-batches in one optimizer step."""
    ends: tuple[int, ...]
    """Where segments end."""
    filters: tuple[int, ...]
    """Of the head at each end; 0 for the model's own classifier."""
    recompute: tuple[tuple[int, int], ...] = ()
    """Spans of units that run forward again in backward."""
    optimizer_in_backward: bool = False
    """Whether parameters step within backward."""
    threads: int = 2
    """For arithmetic."""
    dtype: Dtype = "float32"
    """What units compute in."""

    @property
    def manner(self) -> str:
        """In a word or two."""
        if self.recompute:
            return "recomputation"
        if self.optimizer_in_backward:
            return "optimizer in backward"
        if self.accumulate > 1:
            return "accumulation"
        return "1 segment" if len(self.ends) == 1 else f"{len(self.ends)} segments"


def _plain() -> Model:
    """Without batch normalisation, with biases."""
    units: list[Unit] = []
    for index, width in enumerate((64, 64, 128, 128, 256, 256, 512)):
        layers: tuple[Layer, ...] = (Conv2d("conv2d", width, 3, padding=1), Activation("gelu" if index % 2 else "relu"))
        if index % 2:
            layers = (*layers, Pool2d("max_pool2d", 2, 2))
        units.append(Unit(f"conv{index + 1}", layers))
    top: tuple[Layer, ...] = (Flatten("flatten"), Linear("linear", 512), Activation("relu"))
    return Model("model/1", "plain", SHAPE, CLASSES, (*units, Unit("hidden", top), _classifier()))


def _wide_pooling() -> Model:
    """Overlapping 3×3 and 5×5 pooling, and dropout in every unit."""
    units: list[Unit] = []
    for index, (width, kernel) in enumerate(((96, 3), (192, 5), (384, 3), (384, 3), (256, 3))):
        layers: tuple[Layer, ...] = (
            Conv2d("conv2d", width, 5 if index < 2 else 3, padding=2 if index < 2 else 1),
            Activation("relu"),
            Pool2d("max_pool2d", kernel, 2 if index < 3 else 1, padding=kernel // 2),
            Dropout("dropout", 0.3),
        )
        units.append(Unit(f"conv{index + 1}", layers))
    pooled: tuple[Layer, ...] = (AdaptivePool2d("adaptive_avg_pool2d", 4, 4), Flatten("flatten"))
    hidden = Unit("hidden", (*pooled, Linear("linear", 1024), Activation("relu"), Dropout("dropout", 0.5)))
    return Model("model/1", "wide-pooling", SHAPE, CLASSES, (*units, hidden, _classifier()))


def _classifier() -> Unit:
    return Unit("classifier", (Linear("linear", CLASSES),))


def networks() -> dict[str, Model]:
    """All of them by name."""
    zoo = ("vgg11", "vgg16", "resnet18", "resnet34", "mobilenetv2")
    described = {model.name: model for model in (_plain(), _wide_pooling())}
    return {**{name: from_zoo(name, SHAPE, CLASSES) for name in zoo}, **described}


def cases(model: Model) -> Iterator[Case]:
    """Every micro-batch in one segment and in four; accumulation, recomputation and stepping in backward at one."""
    count = len(model.units)
    quarters = tuple(dict.fromkeys(max(1, count * part // 4) for part in (1, 2, 3, 4)))
    filters = (*(FILTERS,) * (len(quarters) - 1), 0)
    for micro_batch in MICRO_BATCHES:
        yield Case(model, micro_batch, 1, (count,), (0,))
        yield Case(model, micro_batch, 1, quarters, filters)
    yield Case(model, OTHERWISE, 3, (count,), (0,))
    yield Case(model, OTHERWISE, 1, (count,), (0,), recompute=((1, count // 2), (count // 2, count - 1)))
    yield Case(model, OTHERWISE, 1, (count,), (0,), optimizer_in_backward=True)
