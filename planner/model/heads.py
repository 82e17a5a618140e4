"""A head as a unit behind others: described, sized, built and exported like any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from planner.errors import ModelError
from planner.heads.base import Head, Place
from planner.heads.kinds import AuxiliaryHead
from planner.model.shapes import Shape, Sizes, unit_sizes
from planner.schema.model import Model, Unit


def head_unit(head: Head, shape: Shape, output: Shape) -> Unit:
    """The unit that `head` is behind one whose output is `shape` (per sample), to give `output`.

    Raises ModelError where it does not fit there.
    """
    try:
        return Unit("head", head.layers(shape, output))
    except ValueError as error:
        raise ModelError(f"head: {error}") from None


def decoder_unit(head: Head, shape: Shape) -> Unit | None:
    """What is trained beside `head`, as a unit; none for most. Raises ModelError where it does not fit."""
    try:
        layers = head.decoder(shape)
    except ValueError as error:
        raise ModelError(f"head: {error}") from None
    return Unit("decoder", layers) if layers else None


def head_sizes(head: Head, shape: Shape, output: Shape) -> Sizes:
    """Sizes of all that is trained of `head`; its output is that of what answers."""
    found, decoder = unit_sizes(head_unit(head, shape, output), shape), decoder_unit(head, shape)
    if decoder is None:
        return found
    beside = unit_sizes(decoder, shape)
    return Sizes(
        output=found.output,
        parameters=found.parameters + beside.parameters,
        buffers=found.buffers + beside.buffers,
        counters=found.counters + beside.counters,
        minimum_micro_batch=max(found.minimum_micro_batch, beside.minimum_micro_batch),
    )


def heads_at(
    heads: Iterable[AuxiliaryHead], model: Model, boundary: int, shapes: Sequence[Shape]
) -> Iterator[AuxiliaryHead]:
    """Of `heads` those that fit behind so many units, as they are there. `shapes` are those of `Place`.

    Of several tensors that pass there they read the first; none where no segment may end.
    """
    if not model.may_end(boundary):
        return
    place = Place(boundary, tuple(unit.layers for unit in model.units), tuple(shapes), model.output)
    for head in heads:
        found = head.placed(place)
        if found is not None:
            yield found
