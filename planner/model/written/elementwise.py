"""Normalisations and activations, and what else leaves the shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from planner import limits
from planner.model.graph_builder import GraphBuilder, Var
from planner.model.graph_layers import ONES, ZEROS, batch_norm, group_norm, layer_norm, stochastic_depth
from planner.model.written.base import Written, check_rank
from planner.operators.base import between


@dataclass(frozen=True)
class BatchNorm(Written):
    """Batch normalisation over channels, with scale, shift and running statistics."""

    op: Literal["batchnorm1d", "batchnorm3d"]
    eps: float = 1e-5
    """Added to the variance."""
    momentum: float = 0.1
    """Weight of a micro-batch in the running statistics."""

    depends_on_batch = True

    def __post_init__(self) -> None:
        between("eps", self.eps, 1e-12, 1.0)
        between("momentum", self.momentum, 0.0, 1.0)

    def write(self, g: GraphBuilder, x: Var, name: str, *, is_free: bool) -> Var:
        if self.op == "batchnorm3d" or len(x.shape) != 2:  # features have no length
            check_rank(x, int(self.op[-2]))
        return batch_norm(g, x, name, momentum=self.momentum, eps=self.eps)


@dataclass(frozen=True)
class GroupNorm(Written):
    """Normalisation of each sample over groups of channels, with scale and shift."""

    op: Literal["groupnorm"]
    groups: int
    """Groups of channels; 1: all of them together, as many as channels: each by itself."""
    eps: float = 1e-5
    """Added to the variance."""

    def __post_init__(self) -> None:
        between("groups", self.groups, 1, limits.MAX_CHANNELS)
        between("eps", self.eps, 1e-12, 1.0)

    def write(self, g: GraphBuilder, x: Var, name: str, *, is_free: bool) -> Var:
        return group_norm(g, x, name, self.groups, eps=self.eps)


@dataclass(frozen=True)
class InstanceNorm(Written):
    """Normalisation of each sample and channel by itself, with scale and shift."""

    op: Literal["instancenorm"]
    eps: float = 1e-5
    """Added to the variance."""

    def __post_init__(self) -> None:
        between("eps", self.eps, 1e-12, 1.0)

    def write(self, g: GraphBuilder, x: Var, name: str, *, is_free: bool) -> Var:
        width = (x.shape[1],)
        weight, bias = g.tensor(f"{name}.weight", width, ONES), g.tensor(f"{name}.bias", width, ZEROS)
        return g.call("instance_norm", x, weight, bias, None, None, True, 0.1, self.eps, True)


@dataclass(frozen=True)
class LayerNorm(Written):
    """Normalisation of each sample over its features, with scale and shift."""

    op: Literal["layernorm", "rmsnorm"]
    """`rmsnorm` takes no mean and has no shift."""
    over: Literal["last", "channels"] = "last"
    """The last extent, which is the features' in a sequence, or the first, which is the channels' in an image."""
    eps: float = 1e-5
    """Added to the variance."""

    def __post_init__(self) -> None:
        between("eps", self.eps, 1e-12, 1.0)

    def write(self, g: GraphBuilder, x: Var, name: str, *, is_free: bool) -> Var:
        rank = len(x.shape)
        if self.over == "last" or rank < 3:
            return self._last(g, x, name)
        moved = self._last(g, g.call("permute", x, [0, *range(2, rank), 1]), name)
        return g.call("permute", moved, [0, rank - 1, *range(1, rank - 1)])

    def _last(self, g: GraphBuilder, x: Var, name: str) -> Var:
        if self.op == "layernorm":
            return layer_norm(g, x, name, eps=self.eps)
        weight = g.tensor(f"{name}.weight", x.shape[-1:], ONES)
        return g.call("rms_norm", x, [x.shape[-1]], weight, self.eps)


@dataclass(frozen=True)
class MoreActivation(Written):
    """An elementwise non-linearity without parameters."""

    op: Literal[
        "celu", "elu", "hardsigmoid", "hardswish", "hardtanh", "log_sigmoid", "mish", "selu", "sigmoid", "softplus",
        "tanh",
    ]  # fmt: skip

    overwritable = False

    def write(self, g: GraphBuilder, x: Var, name: str, *, is_free: bool) -> Var:
        # The backward of these looks at their output alone.
        overwrites = is_free and self.op in ("elu", "hardtanh", "sigmoid", "tanh")
        return g.call(f"{self.op}_" if overwrites else self.op, x)


@dataclass(frozen=True)
class LeakyRelu(Written):
    """A rectifier that lets a share of what is negative through."""

    op: Literal["leaky_relu"]
    slope: float = 0.01
    """That share."""

    overwritable = False

    def __post_init__(self) -> None:
        between("slope", self.slope, 0.0, 1.0)

    def write(self, g: GraphBuilder, x: Var, name: str, *, is_free: bool) -> Var:
        return g.call("leaky_relu_" if is_free and self.slope > 0 else "leaky_relu", x, self.slope)


@dataclass(frozen=True)
class Prelu(Written):
    """A rectifier that lets a learned share of what is negative through, one for each channel."""

    op: Literal["prelu"]

    overwritable = False

    def write(self, g: GraphBuilder, x: Var, name: str, *, is_free: bool) -> Var:
        return g.call("prelu", x, g.tensor(f"{name}.weight", (x.shape[1],), ("constant", 0.25)))


@dataclass(frozen=True)
class Scale(Written):
    """A learned factor for each channel or feature (LayerScale)."""

    op: Literal["scale"]
    start: float = 1e-6
    """What the factors begin with."""
    over: Literal["last", "channels"] = "last"
    """The last extent, which is the features' in a sequence, or the first, which is the channels' in an image."""

    def __post_init__(self) -> None:
        between("start", self.start, -1e6, 1e6)

    def write(self, g: GraphBuilder, x: Var, name: str, *, is_free: bool) -> Var:
        shape = x.shape[-1:] if self.over == "last" else (x.shape[1], *[1] * (len(x.shape) - 2))
        return g.call("mul.Tensor", x, g.tensor(f"{name}.weight", shape, ("constant", self.start)))


@dataclass(frozen=True)
class DropPath(Written):
    """Zeros for whole samples at random while training (stochastic depth); the last layer of a residual's body."""

    op: Literal["drop_path"]
    p: float = 0.1
    """Probability for a sample."""

    def __post_init__(self) -> None:
        between("p", self.p, 0.0, 0.99)

    def write(self, g: GraphBuilder, x: Var, name: str, *, is_free: bool) -> Var:
        return stochastic_depth(g, x if is_free else g.call("clone", x), self.p)
