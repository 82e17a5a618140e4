"""Every layer that may be written, in one closed union, and those that are made of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, get_args

from planner import limits
from planner.errors import DocumentError
from planner.model.graph_builder import GraphBuilder, LineFault, Var
from planner.model.graph_layers import squeeze_excitation
from planner.model.written import elementwise, sequences, windows
from planner.model.written.base import Written, check_rank
from planner.model.written.plain import write_operator
from planner.operators import activation, dropout, normalisation, pooling, reshaping
from planner.operators.base import between, show
from planner.operators.unit_graph import UnitGraph

_MOST_BRANCHES = 16


@dataclass(frozen=True)
class Residual(Written):
    """`body(x) + shortcut(x)`; an empty shortcut is the identity."""

    op: Literal["residual"]
    body: tuple[WrittenLayer, ...]
    """The layers of the long way."""
    shortcut: tuple[WrittenLayer, ...] = ()
    """The layers of the short way."""

    def __post_init__(self) -> None:
        if not self.body:
            raise ValueError("body is empty; a residual needs at least one layer")

    def chains(self) -> Mapping[str, tuple[Any, ...]]:
        return {"body": self.body, "shortcut": self.shortcut}


@dataclass(frozen=True)
class Branches(Written):
    """Several ways side by side, and their outputs joined."""

    op: Literal["branches"]
    branches: tuple[tuple[WrittenLayer, ...], ...]
    """The layers of each way; none: what comes in."""
    join: Literal["cat", "add", "mul"] = "cat"
    """Channels side by side, or sums, or products."""

    def __post_init__(self) -> None:
        between("branches: their number", len(self.branches), 2, _MOST_BRANCHES)

    def chains(self) -> Mapping[str, tuple[Any, ...]]:
        return {f"branches[{index}]": branch for index, branch in enumerate(self.branches)}


@dataclass(frozen=True)
class SqueezeExcitation(Written):
    """An image times a number for each channel, which is made of all channels' means by two small layers."""

    op: Literal["squeeze_excitation"]
    channels: int
    """Outputs of the first of these layers."""
    activation: Literal["relu", "silu"] = "relu"
    """What follows the first."""
    gate: Literal["sigmoid", "hardsigmoid"] = "sigmoid"
    """What follows the second."""

    def __post_init__(self) -> None:
        between("channels", self.channels, 1, limits.MAX_CHANNELS)

    def write(self, g: GraphBuilder, x: Var, name: str, *, is_free: bool) -> Var:
        check_rank(x, 2)
        return squeeze_excitation(g, x, (f"{name}.fc1", f"{name}.fc2"), self.channels, self.activation, self.gate)


WrittenLayer = (
    windows.Convolution
    | windows.TransposedConvolution
    | sequences.Dense
    | normalisation.Family
    | elementwise.BatchNorm
    | elementwise.GroupNorm
    | elementwise.InstanceNorm
    | elementwise.LayerNorm
    | activation.Family
    | elementwise.MoreActivation
    | elementwise.LeakyRelu
    | elementwise.Prelu
    | windows.Pool
    | pooling.AdaptivePool2d
    | windows.GlobalPool
    | windows.Upsample
    | dropout.Family
    | elementwise.DropPath
    | elementwise.Scale
    | reshaping.Family
    | sequences.Reshape
    | sequences.Permute
    | sequences.Reduce
    | sequences.Select
    | sequences.Embedding
    | sequences.Position
    | sequences.ClassToken
    | sequences.Attention
    | sequences.Recurrent
    | Residual
    | Branches
    | SqueezeExcitation
    | UnitGraph
)

LAYERS: tuple[type[WrittenLayer], ...] = get_args(WrittenLayer)


def write_chain(g: GraphBuilder, chain: Sequence[tuple[str, WrittenLayer]], x: Var, name: str, path: str) -> Var:
    """Write layers one behind another: the last one's output.

    Args:
        g: the unit.
        chain: the layers, each with what it is called within its chain.
        x: what comes in; it is not overwritten.
        name: what the names of their tensors begin with.
        path: where the chain stands in the document.

    Raises:
        DocumentError: a layer does not fit what comes in, with its place.
    """
    return _Writer(g).chain(chain, x, name, path, 0)


def numbered(layers: Sequence[WrittenLayer]) -> list[tuple[str, WrittenLayer]]:
    """Layers called by their places."""
    return [(str(index), layer) for index, layer in enumerate(layers)]


class _Writer:
    """Writes layers, and those within them."""

    def __init__(self, g: GraphBuilder) -> None:
        self._g = g

    def chain(self, chain: Sequence[tuple[str, WrittenLayer]], x: Var, name: str, path: str, depth: int) -> Var:
        is_free = False
        for called, layer in chain:
            here = f"{path}[{called}]"
            if layer.chains() and depth >= limits.MAX_RESIDUAL_DEPTH:
                raise DocumentError(here, f"layers nested deeper than {limits.MAX_RESIDUAL_DEPTH}")
            try:
                x = self._layer(layer, x, f"{name}.{called}", here, depth, is_free)
                _check_size(x)
            except LineFault as fault:
                raise DocumentError(here, f"{layer.op}: {fault.problem}") from None
            except ValueError as error:
                raise DocumentError(here, f"{layer.op}: {error}") from None
            is_free = layer.overwritable
        return x

    def _layer(self, layer: WrittenLayer, x: Var, name: str, path: str, depth: int, is_free: bool) -> Var:
        match layer:
            case Residual():
                ways = {"body": layer.body, "shortcut": layer.shortcut}
                return self._joined(ways, "add", x, name, path, depth)
            case Branches():
                branches = {f"branches[{index}]": branch for index, branch in enumerate(layer.branches)}
                return self._joined(branches, layer.join, x, name, path, depth)
            case UnitGraph():
                raise ValueError("a graph stands in a unit's own list, or in a residual of layers that model/1 has")
            case Written():
                return layer.write(self._g, x, name, is_free=is_free)
        return write_operator(self._g, layer, x, name, is_free=is_free)

    def _joined(
        self, ways: Mapping[str, tuple[WrittenLayer, ...]], join: str, x: Var, name: str, path: str, depth: int
    ) -> Var:
        written = [
            (way, self.chain(numbered(way), x, f"{name}.{_dotted(part)}", f"{path}.{part}", depth + 1))
            for part, way in ways.items()
        ]
        values = [value for _, value in written]
        if join == "cat":
            return self._g.call("cat", values, 1)
        shapes = [value.shape[1:] for value in values]
        if len(set(shapes)) > 1:
            given = ", ".join(f"{part} gives {show(shape)}" for part, shape in zip(ways, shapes, strict=True))
            raise ValueError(f"{given}; they must agree")
        found, *others = values
        is_free = bool(written[0][0]) and written[0][0][-1].overwritable
        for other in others:
            found = self._g.call(f"{join}_.Tensor" if is_free and join == "add" else f"{join}.Tensor", found, other)
            is_free = True
        return found


def _dotted(part: str) -> str:
    """`branches[1]` as names of tensors have it."""
    return part.replace("[", ".").rstrip("]")


def _check_size(x: Var) -> None:
    """Raise ValueError for an output that is empty, or beyond the limits."""
    shape = x.shape[1:]
    if not shape:
        raise ValueError("no extent is left of a sample; features are needed")
    if min(shape, default=1) < 1:
        raise ValueError(f"nothing is left of its input ({show(shape)}); the window is larger than it")
    if len(x.shape) > limits.MAX_RANK or prod(shape) > limits.MAX_ACTIVATION_NUMEL:
        raise ValueError(f"an output of {show(shape)} per sample is beyond the limits")
