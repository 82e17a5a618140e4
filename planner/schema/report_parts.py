"""What a training child tells and `report/1` holds as well: apart, so that the child need not load the report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from planner.schema.codec import added

Phase = Literal["data", "start", "prepare", "train", "save", "fit", "validate", "cache", "repair"]
"""What a run does: prepare its data, start torch; and for each block prepare it, train it, save its weights, fit its
pooled exits, measure its heads, write the cache behind it, or compute a damaged part of the cache before it anew."""


@dataclass(frozen=True)
class Figure:
    """A number that says more of how good a network is than the metric that exits are chosen by."""

    name: str
    """What it is called: `top-5`, `R²`."""
    value: float
    """What it is."""
    is_share: bool
    """Whether it is a share from 0 to 1, told in per cent."""


@dataclass(frozen=True)
class ExitReport:
    """A head, measured on test data."""

    unit: int
    """Units before it."""
    parameters: int
    """Parameters of the model that ends here, its head included."""
    accuracy: float
    """The metric of the task on test samples: of a classification the share it gets right."""
    samples_per_second: float
    """Test samples through the model that ends here, per second: forward alone, from its first unit to its head."""
    validation_accuracy: float | None = None
    """Share of the samples held out of training data that it gets right; null: none were held out."""
    samples: int | None = None
    """How many test samples `accuracy` is a share of; null: an earlier release did not tell."""
    validation_samples: int | None = None
    """How many samples `validation_accuracy` is a share of; null: none were held out, or it was not told."""
    further: tuple[Figure, ...] = ()
    """What its task tells besides, of test samples."""


_MOST_NAMES = 1000


@dataclass(frozen=True)
class InitReport:
    """The weights that training began with, as far as they were given (`--init`)."""

    taken: int
    """Tensors of the network and its auxiliary heads that were given, in name and shape."""
    left: tuple[str, ...]
    """Those that were not, and began at random."""
    unused: tuple[str, ...]
    """What was given besides."""
    converted: int = added(0)
    """Tensors that were given in 16 bits (F16, BF16) and made float32."""
    left_more: int = added(0)
    """How many more than `left` names began at random."""
    unused_more: int = added(0)
    """How many more than `unused` names were given besides."""

    def shortened(self) -> InitReport:
        """The same with as many names as a person reads, and a document may hold."""
        more = {f"{name}_more": max(0, len(getattr(self, name)) - _MOST_NAMES) for name in ("left", "unused")}
        return replace(self, left=self.left[:_MOST_NAMES], unused=self.unused[:_MOST_NAMES], **more)
