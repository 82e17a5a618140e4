"""Units of the rest of the network, copied in structure: what is learnt in front of a cut is what they can use.

AugLocal (arXiv 2402.17318): of the layers behind the cut some are taken at even distances, the last one always; how
many falls linearly with depth, to half of the additional ones. There copies are as wide as the originals; here they may
be thinner. What a copy is fed with is pooled and mixed to what its original was made for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import ClassVar, Literal, Self

from planner.heads.base import Head, HeadKind, Place
from planner.heads.dense import PixelHead, PlaceHead
from planner.heads.pooling import pool
from planner.heads.thinning import output_of, thinned
from planner.operators.base import Shape, between, show
from planner.operators.convolution import Conv2d
from planner.operators.layers import Layer, every_layer
from planner.operators.linear import Linear
from planner.operators.normalisation import BatchNorm2d
from planner.operators.pooling import AdaptivePool2d
from planner.operators.unit_graph import GraphTensor, UnitGraph

THINNINGS = (1, 2, 4)
"""How often fewer channels copies have that are measured, the widest first."""

_DEEPEST = 3
"""Units that are copied behind the first one, if there are as many: AugLocal's for ResNet-110."""
_DECAY = 0.5
"""Which part of them, beyond the first, is gone at the last cut (its tau)."""
_MOST_LAYERS = 48
"""Of copies; a unit may have no more than 64."""


@dataclass(frozen=True)
class LookaheadHead(Head):
    """Copies of units behind it, then pool and linear; for pixels and places what else they end in."""

    kind: Literal["lookahead"]
    thinning: int
    """How often fewer channels than their originals copies have, where there are such."""
    units: tuple[int, ...] = ()
    """The originals, rising."""
    copied: tuple[Layer, ...] = ()
    """The copies, with what brings each its input; none: it stands nowhere yet."""

    asked_as: ClassVar[HeadKind | None] = "lookahead"

    def __post_init__(self) -> None:
        between("thinning", self.thinning, 1, 64)

    def __hash__(self) -> int:
        """By what tells heads of one boundary apart: layers are many, and heads are looked up often."""
        return hash((self.kind, self.thinning, self.units))

    @property
    def depends_on_batch(self) -> bool:
        return any(layer.depends_on_batch for layer in every_layer(self.copied))

    @property
    def rank(self) -> int:
        return 64 // self.thinning

    @property
    def words(self) -> str:
        width = "" if self.thinning == 1 else f", 1/{self.thinning} wide"
        return f"{len(self.units)} ahead{width}"

    def fits(self, shape: Shape, output: Shape) -> bool:
        try:
            return bool(self.layers(shape, output))
        except ValueError:
            return False

    def placed(self, place: Place) -> Self | None:
        """After the network's units; of those that cannot be copied others are taken."""
        if self.copied:
            return super().placed(place)
        copied: list[Layer] = []
        shape, units = place.shape, []
        for unit in sampled_units(place):
            layers = _copy(place, unit, shape, self.thinning)
            if layers and sum(1 for _ in every_layer((*copied, *layers))) <= _MOST_LAYERS:
                units.append(unit)
                copied += layers
                shape = output_of(layers, shape)
        found = replace(self, units=tuple(units), copied=tuple(copied))
        return found if copied and found.fits(place.shape, place.output) else None

    def layers(self, shape: Shape, output: Shape) -> tuple[Layer, ...]:
        behind = output_of(self.copied, shape)
        for ending in (PixelHead("pixel"), PlaceHead("place")):
            if ending.fits(behind, output):
                return (*self.copied, *ending.layers(behind, output))
        if len(output) != 1:
            raise ValueError(f"a lookahead head ends in {show(behind)}, of which nothing gives {show(output)}")
        return (*self.copied, *pool(behind), Linear("linear", output[0]))


def sampled_units(place: Place) -> tuple[int, ...]:
    """The units that are copied at a place, by AugLocal's formulas: how many, and which."""
    count = len(place.units)
    extracting = [any(layer.extracts_features for layer in every_layer(layers)) for layers in place.units]
    rest = [unit for unit in range(place.boundary, count - 1) if extracting[unit] or not any(extracting)]
    gone = _DECAY * (place.boundary - 1) / max(1, count - 2)
    depth = max(1, round(_DEEPEST * (1 - gone) + gone))
    if depth >= len(rest):
        return tuple(rest)
    return tuple(rest[round(len(rest) * step / depth) - 1] for step in range(1, depth + 1))


def _copy(place: Place, unit: int, shape: Shape, thinning: int) -> tuple[Layer, ...]:
    """A unit fed with `shape`: as much thinner as is asked for, else as wide as the original; none: it cannot be."""
    layers, wanted = place.units[unit], place.shapes[unit]
    if any(isinstance(layer, UnitGraph) and _needs_others(layer) for layer in every_layer(layers)):
        return ()
    try:
        if thinning > 1:
            layers, wanted = thinned(layers, wanted, thinning)
    except ValueError:
        pass  # as wide as it is
    try:
        return (*_adapted(shape, wanted), *layers)
    except ValueError:
        return ()


def _needs_others(graph: UnitGraph) -> bool:
    """Whether nothing says what training would begin with, or skips are carried along in it."""
    joined = bool(graph.further_inputs or graph.further_results)
    return joined or any(tensor.start == "given" for tensor in graph.tensors)


def _adapted(shape: Shape, wanted: Shape) -> tuple[Layer, ...]:
    """Layers that make `wanted` of `shape`. Raises ValueError where there are none."""
    if shape == wanted:
        return ()
    if len(shape) == len(wanted) == 1:
        return (Linear("linear", wanted[0]),)
    if len(shape) == len(wanted) == 2 and shape[0] == wanted[0]:
        tensor = GraphTensor("weight", (wanted[1], shape[1]), start="uniform", scale=1 / sqrt(shape[1]))
        return (UnitGraph("graph", ("y = linear(x, $weight)",), "y", (tensor,)),)
    if len(shape) != 3 or len(wanted) != 3 or wanted[1] > shape[1] or wanted[2] > shape[2]:
        raise ValueError(f"{show(wanted)} is not made of {show(shape)}")
    found: list[Layer] = []
    if shape[1:] != wanted[1:]:
        found.append(AdaptivePool2d("adaptive_avg_pool2d", wanted[1], wanted[2]))
    if shape[0] != wanted[0]:
        found += [Conv2d("conv2d", wanted[0], 1, bias=False), BatchNorm2d("batchnorm2d")]
    return tuple(found)
