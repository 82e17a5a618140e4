"""What an operator says of itself. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from planner.operators.graph import Graph as Graph
else:
    Graph = Any  # spoken of, never loaded: the training child writes no ONNX

Shape = tuple[int, ...]
"""One sample: (channels, height, width) or (features,)."""


class FaultsWithin(ValueError):
    """What is wrong within a field of a document, each fault with its place there: `nodes[3]`."""

    def __init__(self, *faults: tuple[str, str]) -> None:
        """Its message is that of the first."""
        super().__init__(": ".join(faults[0]))
        self.faults = faults


class Weight:
    """A tensor that belongs to an operator. (As a dataclass it would cost the training child four times as much.)"""

    __slots__ = ("decays", "kind", "name", "shape", "start")

    def __init__(
        self,
        name: str,
        shape: Shape,
        start: tuple[str, float | tuple[float, ...]] | None = None,
        kind: Literal["parameter", "buffer", "counter"] = "parameter",
        *,
        decays: bool = False,
    ) -> None:
        """`name` is that in its torch module, and a `counter` has 64 bits.

        `start` says where training begins: `normal` and a deviation, `uniform` and a bound, `constant` and its value,
        or `values`; None is what torch makes. `decays`: whether weight decay is for it, where that is not for all.
        """
        self.name, self.shape, self.start, self.kind, self.decays = name, shape, start, kind, decays


class Operator:
    """Base of the operators' dataclasses; what is not overridden is so for most of them.

    Facts stand here without annotation: with one they would be fields of the document.
    """

    in_torch = ()  # type: tuple[tuple[str, str], ...]
    """Each `op`, and its class in `torch.nn`; `planner.model.build` may have one of ours in its place."""
    extracts_features = False
    """Whether a unit with it can be trained behind a cut with profit; recurrence and attention belong here too."""
    depends_on_batch = False
    """Whether a sample's output depends on the samples beside it."""
    overwritable = False
    """Whether its output is a tensor of its own that its backward does not look at: the next one may overwrite it."""

    def chains(self) -> Mapping[str, tuple[Any, ...]]:
        """The layers within it, by their name in its module."""
        return {}

    def output(self, shape: Shape, *inside: Shape) -> Shape:
        """Shape of one sample behind it. `inside` are the outputs of its chains.

        Raises ValueError where the input does not fit: what is wrong, without the place.
        """
        return shape

    def overwrites(self) -> bool:
        """Whether its torch class takes `inplace`, and its backward looks at nothing but the output."""
        return False

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        """Its own tensors, in the order of the torch module's state."""
        return ()

    def minimum_micro_batch(self, shape: Shape) -> int:
        """Smallest micro-batch that it can be trained with."""
        return 1

    def arguments(self, shape: Shape) -> Mapping[str, Any]:
        """What its torch class is made with, besides `inplace` and its chains: its fields, if not overridden."""
        return {name: value for name, value in vars(self).items() if name != "op"}

    def to_onnx(self, graph: Graph, inputs: Sequence[str], shape: Shape) -> str:
        """Write it into an ONNX graph; the name of its output. `inputs` are its tensor, or the outputs of its
        chains, and then its weights but for counters.
        """
        raise NotImplementedError


def between(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError unless `value` lies there."""
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; it must lie between {low} and {high}")


def show(shape: Shape) -> str:
    """`3×32×32`."""
    return "×".join(str(extent) for extent in shape)


def image(shape: Shape) -> tuple[int, int, int]:
    """Channels, rows and columns. Raises ValueError for anything else."""
    if len(shape) != 3:
        raise ValueError(f"needs channels, rows and columns, has {show(shape)}")
    return shape[0], shape[1], shape[2]
