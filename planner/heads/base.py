"""What a head says of itself. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from planner.operators.base import Shape
from planner.operators.layers import Layer

HeadKind = Literal["pooled-conv", "mlp", "lookahead", "reconstruct"]
"""What a person may ask to stand at every cut."""

HeadChoice = Literal["auto", "pooled-conv", "mlp", "lookahead", "reconstruct"]
"""The same, or that the planner chooses among those that the profile has measured."""


@dataclass(frozen=True)
class Place:
    """A boundary of a network that a head may stand at."""

    boundary: int
    """Units before it."""
    units: tuple[tuple[Layer, ...], ...]
    """The layers of every unit of the network."""
    shapes: tuple[Shape, ...]
    """What enters each unit, per sample, and behind the last what leaves the network."""
    output: Shape
    """What the network's output is, per sample."""

    @property
    def shape(self) -> Shape:
        """Of the output of the unit in front of it."""
        return self.shapes[self.boundary]


class Head:
    """Base of the heads' dataclasses. The first field of each is `kind`, a `Literal` that documents tell them apart by.

    The model's own classifier is none of them: where it stands, documents and solver say null, or `None`.
    """

    asked_as: ClassVar[HeadKind | None] = None
    """What a person asks for it by; none: it stands where a model's outputs allow no other."""

    @property
    def depends_on_batch(self) -> bool:
        """Whether a sample's output depends on the samples beside it."""
        return False

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

    def placed(self, place: Place) -> Self | None:
        """It, as it is at a place, which heads that are made after the network differ by; none: it does not fit."""
        return self if self.fits(place.shape, place.output) else None

    def decoder(self, shape: Shape) -> tuple[Layer, ...]:
        """What is trained beside these layers, and is no part of what answers; none."""
        return ()

    def layers(self, shape: Shape, output: Shape) -> tuple[Layer, ...]:
        """What it is made of behind a unit whose output is `shape` (per sample), to give `output`; where it `fits`.

        Raises ValueError where a document says that it stands where it does not fit.
        """
        raise NotImplementedError
