"""Sequences (steps, features): linear layers, embeddings, attention, recurrence, and other shapes."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod, sqrt
from typing import Literal

from planner import limits
from planner.model.graph_builder import BATCH, TRAINING, GraphBuilder, Start, Var
from planner.model.graph_layers import ZEROS
from planner.model.written.base import Written, axes, check_sequence, sample
from planner.operators.base import Operator, Shape, between, show
from planner.operators.linear import Linear


def _linear(g: GraphBuilder, x: Var, weight: str, bias: str | None, width: int) -> Var:
    """As `planner.operators.linear.Linear` begins."""
    inside = x.shape[-1]
    tensors = [g.tensor(weight, (width, inside), ("uniform", 1 / sqrt(inside)))]
    tensors += [] if bias is None else [g.tensor(bias, (width,), ZEROS)]
    return g.call("linear", x, *tensors)


@dataclass(frozen=True)
class Dense(Written):
    """A fully connected layer over features, those of each step in a sequence."""

    op: Literal["linear"]
    out_features: int
    """Outputs."""
    bias: bool = True
    """Whether each output has a bias."""

    def __post_init__(self) -> None:
        between("out_features", self.out_features, 1, limits.MAX_CHANNELS)

    def plain(self, shape: Shape) -> Operator | None:
        return None if len(shape) == 2 else Linear("linear", self.out_features, self.bias)

    def write(self, g: GraphBuilder, x: Var, name: str, *, is_free: bool) -> Var:
        if len(x.shape) > 3:
            raise ValueError(f"needs features, or steps and features, has {show(sample(x))}; put a flatten before it")
        return _linear(g, x, f"{name}.weight", f"{name}.bias" if self.bias else None, self.out_features)


@dataclass(frozen=True)
class Embedding(Written):
    """A learned row of features for each token."""

    op: Literal["embedding"]
    entries: int
    """Tokens that there are: 0 to `entries` - 1."""
    features: int
    """Numbers of a row."""

    takes = "int64"

    def __post_init__(self) -> None:
        between("entries", self.entries, 1, limits.MAX_PARAMETERS)
        between("features", self.features, 1, limits.MAX_CHANNELS)

    def write(self, g: GraphBuilder, x: Var, name: str, *, is_free: bool) -> Var:
        if x.value.dtype != "int64":
            raise ValueError(f"needs tokens (int64), has {x.value.dtype}")
        return g.call("embedding", g.tensor(f"{name}.weight", (self.entries, self.features), ("normal", 0.02)), x)


@dataclass(frozen=True)
class Position(Written):
    """A learned number added at every place, the same for all samples."""

    op: Literal["position"]

    def write(self, g: GraphBuilder, x: Var, name: str, *, is_free: bool) -> Var:
        return g.call("add.Tensor", x, g.tensor(f"{name}.weight", sample(x), ("normal", 0.02)))


@dataclass(frozen=True)
class ClassToken(Written):
    """A learned step in front of the others."""

    op: Literal["class_token"]

    def write(self, g: GraphBuilder, x: Var, name: str, *, is_free: bool) -> Var:
        check_sequence(x)
        token = g.tensor(f"{name}.weight", (1, 1, x.shape[2]), ("normal", 0.02))
        return g.call("cat", [g.call("expand", token, [BATCH, 1, x.shape[2]]), x], 1)


@dataclass(frozen=True)
class Attention(Written):
    """Attention of every step to all, or to those before it: `torch.nn.MultiheadAttention`'s weights."""

    op: Literal["attention"]
    heads: int
    """Parts that the features fall into."""
    causal: bool = False
    """Whether steps see themselves and those before them alone."""
    bias: bool = True
    """Whether its linear layers have biases."""

    extracts_features = True

    def __post_init__(self) -> None:
        between("heads", self.heads, 1, limits.MAX_CHANNELS)

    def write(self, g: GraphBuilder, x: Var, name: str, *, is_free: bool) -> Var:
        check_sequence(x)
        _, steps, width = x.shape
        if width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide {width} features")
        all_three = _linear(g, x, f"{name}.in_proj_weight", f"{name}.in_proj_bias" if self.bias else None, 3 * width)
        parts = g.call("reshape", all_three, [BATCH, steps, 3, self.heads, width // self.heads])
        query, key, value = g.calls("unbind.int", g.call("permute", parts, [2, 0, 3, 1, 4]), 0)
        found = g.call("scaled_dot_product_attention", query, key, value, None, 0.0, self.causal)
        joined = g.call("reshape", g.call("permute", found, [0, 2, 1, 3]), [BATCH, steps, width])
        return _linear(g, joined, f"{name}.out_proj.weight", f"{name}.out_proj.bias" if self.bias else None, width)


@dataclass(frozen=True)
class Recurrent(Written):
    """A recurrent layer over steps: all of its outputs, a row of features for each step."""

    op: Literal["lstm", "gru"]
    hidden: int
    """Features of its state."""
    layers: int = 1
    """Layers one above another."""
    bidirectional: bool = False
    """Whether a second one reads backwards; their features stand side by side."""

    extracts_features = True

    def __post_init__(self) -> None:
        between("hidden", self.hidden, 1, limits.MAX_CHANNELS)
        between("layers", self.layers, 1, 16)

    def write(self, g: GraphBuilder, x: Var, name: str, *, is_free: bool) -> Var:
        check_sequence(x)
        gates, directions = {"lstm": 4, "gru": 3}[self.op], 1 + self.bidirectional
        start: Start = "uniform", 1 / sqrt(self.hidden)
        params = []
        for layer in range(self.layers):
            inside = self.hidden * directions if layer else x.shape[2]
            for suffix in ("", "_reverse")[:directions]:
                for kind, shape in (
                    ("weight_ih", (gates * self.hidden, inside)),
                    ("weight_hh", (gates * self.hidden, self.hidden)),
                    ("bias_ih", (gates * self.hidden,)),
                    ("bias_hh", (gates * self.hidden,)),
                ):
                    params.append(g.tensor(f"{name}.{kind}_l{layer}{suffix}", shape, start))
        state = g.call("new_zeros", x, [self.layers * directions, BATCH, self.hidden])
        given = [state, state] if self.op == "lstm" else state
        return g.calls(
            f"{self.op}.input", x, given, params, True, self.layers, 0.0, TRAINING, self.bidirectional, True
        )[0]


@dataclass(frozen=True)
class Reshape(Written):
    """The same numbers in another shape."""

    op: Literal["reshape"]
    shape: tuple[int, ...]
    """A sample's; one of its extents may be -1, which is what is left."""

    overwritable = False

    def __post_init__(self) -> None:
        between("shape: its length", len(self.shape), 1, limits.MAX_RANK - 1)
        if any(extent < 1 and extent != -1 for extent in self.shape) or self.shape.count(-1) > 1:
            raise ValueError(f"shape is {show(self.shape)}; extents above 0, and at most one -1, are needed")

    def write(self, g: GraphBuilder, x: Var, name: str, *, is_free: bool) -> Var:
        count = prod(sample(x))
        known = prod(extent for extent in self.shape if extent != -1)
        if count % known or (-1 not in self.shape and count != known):
            raise ValueError(f"{show(sample(x))} has {count} numbers, which do not make {show(self.shape)}")
        return g.call("reshape", x, [BATCH, *(count // known if extent == -1 else extent for extent in self.shape)])


@dataclass(frozen=True)
class Permute(Written):
    """The extents of a sample in another order."""

    op: Literal["permute"]
    order: tuple[int, ...]
    """Which of them comes first, and so on, counted from 0: [1, 0] for (features, steps)."""

    overwritable = False

    def write(self, g: GraphBuilder, x: Var, name: str, *, is_free: bool) -> Var:
        rank = len(x.shape) - 1
        if sorted(self.order) != list(range(rank)):
            raise ValueError(f"order is {list(self.order)}; each of 0 to {rank - 1} is needed once")
        return g.call("permute", x, [0, *(place + 1 for place in self.order)])


@dataclass(frozen=True)
class Reduce(Written):
    """The mean or the largest along extents, which are no more."""

    op: Literal["mean", "amax"]
    dims: tuple[int, ...]
    """Extents of a sample, counted from 0: [0] for the steps of a sequence."""

    overwritable = False

    def write(self, g: GraphBuilder, x: Var, name: str, *, is_free: bool) -> Var:
        places = axes(self.dims, len(x.shape) - 1, "dims")
        if not places:
            raise ValueError("dims is empty")
        return g.call("mean.dim" if self.op == "mean" else "amax", x, places)


@dataclass(frozen=True)
class Select(Written):
    """One of the places along an extent: the first step of a sequence, or the last."""

    op: Literal["select"]
    dim: int
    """Extent of a sample, counted from 0."""
    index: int
    """Which place, counted from 0; -1 is the last."""

    overwritable = False

    def write(self, g: GraphBuilder, x: Var, name: str, *, is_free: bool) -> Var:
        (place,) = axes([self.dim], len(x.shape) - 1, "dim")
        return g.call("select.int", x, place, self.index)
