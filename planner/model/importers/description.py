"""What `planner.describe` finds: the model that a network is, or everything that is in its way. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from planner.model.importers.obstacles import Obstacle
from planner.model.shapes import model_sizes
from planner.operators.base import show
from planner.operators.unit_graph import UnitGraph
from planner.schema.model import Model

_MOST = 0.5
"""Share of all operators from which on one unit is told of."""


def _long_units(model: Model) -> Iterator[str]:
    """What is said of a unit that holds most of the network, though it is made of several layers with weights."""
    graphs = [[layer for layer in unit.layers if isinstance(layer, UnitGraph)] for unit in model.units]
    counts = [sum(len(graph.nodes) for graph in each) for each in graphs]
    for unit, each, count in zip(model.units, graphs, counts, strict=True):
        weights = [tensor for graph in each for tensor in graph.tensors if len(tensor.shape) > 1]
        if len(weights) > 2 and count > _MOST * sum(counts):
            yield (
                f"{unit.name} is one unit with {count} of the {sum(counts)} operators, which is never split: long "
                "skips or shared weights span it"
            )


@dataclass(frozen=True)
class Description:
    """Whether a network comes in. `str()` of it is fit to be shown."""

    model: Model | None
    """The network as a chain of units; None where something is in the way."""
    obstacles: tuple[Obstacle, ...] = ()
    """Everything that is known to be in the way, each with its place and what to do."""
    notes: tuple[str, ...] = ()
    """What one should know of the model."""

    @classmethod
    def of(cls, model: Model, lazy: Sequence[str] = ()) -> Description:
        """Of a network that comes in; `lazy` are the tensors of the module that had no shape until it was run."""
        notes = list(_long_units(model))
        if lazy:
            notes.append(
                f"{lazy[0]} has no shape before the module is run; run it once on a sample before its weights are used"
            )
        return cls(model, (), tuple(notes))

    @property
    def accepted(self) -> bool:
        """Whether the network comes in."""
        return self.model is not None

    @property
    def parameters(self) -> int:
        """Numbers that are trained; 0 where the network does not come in."""
        return 0 if self.model is None else sum(sizes.parameters for sizes in model_sizes(self.model))

    def __str__(self) -> str:
        if self.model is None:
            count = len(self.obstacles)
            title = f"The network does not come in; {count} thing{'s are' if count > 1 else ' is'} in the way:"
            return "\n".join((title, *(f"  - {obstacle}" for obstacle in self.obstacles)))
        model, sizes = self.model, model_sizes(self.model)
        width = max(len(unit.name) for unit in model.units)
        rows = (
            f"  {unit.name:<{width}}  {size.parameters:>13,} parameters  gives "
            + " and ".join(map(show, (size.output, *size.further)))
            for unit, size in zip(model.units, sizes, strict=True)
        )
        title = (
            f"{model.name} comes in: {show(model.input)} in, {model.task.words(model.classes)}, "
            f"{self.parameters:,} parameters in {len(model.units)} units"
        )
        return "\n".join((title, *rows, *(f"note: {note}" for note in self.notes)))
