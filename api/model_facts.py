"""What is known of a model that a solver's process has read."""

from __future__ import annotations

from dataclasses import dataclass

from planner.schema.inputs import InputDtype
from planner.schema.preprocessing import Normalisation


@dataclass(frozen=True)
class ModelFacts:
    """What planning and measuring ask about a model."""

    id: str
    """sha256 of its canonical description."""
    name: str
    """Shown to people."""
    input: tuple[int, ...]
    """Extents of one sample."""
    input_dtype: InputDtype
    """What its numbers are."""
    normalised_by: Normalisation
    """How its input is normalised."""
    classes: int
    """Width of the last unit's output."""
    units: int
    """Units of the chain."""
    is_of_zoo: bool
    """Whether it is what the zoo makes under its name at its input."""
