"""Normalisations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from planner.operators.base import Graph, Operator, Shape, Weight, between, image


@dataclass(frozen=True)
class BatchNorm2d(Operator):
    """Batch normalisation over channels, with scale, shift and running statistics."""

    op: Literal["batchnorm2d"]
    eps: float = 1e-5
    """Added to the variance."""
    momentum: float = 0.1
    """Weight of a micro-batch in the running statistics."""

    in_torch = (("batchnorm2d", "BatchNorm2d"),)
    depends_on_batch = overwritable = True

    def __post_init__(self) -> None:
        between("eps", self.eps, 1e-12, 1.0)
        between("momentum", self.momentum, 0.0, 1.0)

    def output(self, shape: Shape, *inside: Shape) -> Shape:
        return image(shape)

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        channels = shape[:1]
        buffers = (Weight(name, channels, kind="buffer") for name in ("running_mean", "running_var"))
        counter = Weight("num_batches_tracked", (), kind="counter")
        return (Weight("weight", channels), Weight("bias", channels), *buffers, counter)

    def minimum_micro_batch(self, shape: Shape) -> int:
        """More than one value per channel."""
        return 1 if shape[1] * shape[2] > 1 else 2

    def arguments(self, shape: Shape) -> Mapping[str, Any]:
        return {"num_features": shape[0], **super().arguments(shape)}

    def to_onnx(self, graph: Graph, inputs: Sequence[str], shape: Shape) -> str:
        # ONNX weighs the old statistics where model/1 weighs the new ones.
        return graph.node("BatchNormalization", inputs, epsilon=self.eps, momentum=1 - self.momentum)


Family = BatchNorm2d
