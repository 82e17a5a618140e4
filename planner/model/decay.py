"""Which parameters weight decay is for, where it is not for all: one rule, from the description alone. No torch here.

Kernels and matrices decay: what convolutions, linear layers, products of matrices, recurrences and embeddings multiply
with or look up in, as long as it has two dimensions or more. Scales and shifts of normalisations, biases, and what else
is added or multiplied number by number (a layer's scale, positions, a class token, slopes of activations) do not.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.heads.base import Head
from planner.model.heads import decoder_unit, head_unit
from planner.model.shapes import Shape, layer_output
from planner.operators.layers import Layer
from planner.schema.model import Unit


def decaying_of_unit(unit: Unit, shape: Shape) -> frozenset[str]:
    """The names, in its module's state, of a unit's parameters that decay. `shape` is what enters it, per sample."""
    return frozenset(_decaying(unit.layers, shape))


def decaying_of_head(head: Head, shape: Shape, output: Shape) -> frozenset[str]:
    """The same of a head, behind an output of `shape` to give `output`."""
    found, decoder = decaying_of_unit(head_unit(head, shape, output), shape), decoder_unit(head, shape)
    if decoder is None:
        return found
    parts = {"classifier": found, "decoder": decaying_of_unit(decoder, shape)}
    return frozenset(f"{part}.{name}" for part, names in parts.items() for name in names)


def _decaying(layers: tuple[Layer, ...], shape: Shape) -> Iterator[str]:
    for index, layer in enumerate(layers):
        yield from (f"{index}.{weight.name}" for weight in layer.weights(shape) if weight.decays)
        for part, chain in layer.chains().items():
            yield from (f"{index}.{part}.{name}" for name in _decaying(chain, shape))
        shape = layer_output(layer, shape)
