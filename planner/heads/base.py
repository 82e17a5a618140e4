"""What a head says of itself. No torch here."""

from __future__ import annotations

from planner.operators.base import Shape
from planner.operators.layers import Layer


class Head:
    """Base of the heads' dataclasses. The first field of each is `kind`, a `Literal` that documents tell them apart by.

    The model's own classifier is none of them: where it stands, documents and solver say null, or `None`.
    """

    depends_on_batch = False
    """Whether a sample's output depends on the samples beside it."""

    @property
    def rank(self) -> int:
        """Of several heads that training time allows at a place, the one with the largest is taken."""
        return 1

    @property
    def filter_count(self) -> int:
        """Its filters, where they say all of it, which is how profiles have told heads; 0: there is more to it."""
        return 0

    @property
    def words(self) -> str:
        """What a person calls it: `64 filters`."""
        raise NotImplementedError

    def fits(self, shape: Shape, output: Shape) -> bool:
        """Whether it can stand behind a unit whose output is `shape` (per sample), to give `output` of its own."""
        return len(output) == 1

    def layers(self, shape: Shape, output: Shape) -> tuple[Layer, ...]:
        """What it is made of behind a unit whose output is `shape` (per sample), to give `output`; where it `fits`."""
        raise NotImplementedError
