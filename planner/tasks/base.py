"""What a task says of itself. No torch here."""

from __future__ import annotations

from typing import Any

Label = int
"""What one sample is labelled with, as data sets give it."""


class Metric:
    """One number over test samples that says how good a network is, and how people read it."""

    name = ""
    """What it is called."""
    higher_is_better = True
    points = 1.0
    """How many points of `--exit-tolerance` a difference of 1 is."""

    def goodness(self, value: float) -> float:
        """A number that is the larger, the better `value` is."""
        return value if self.higher_is_better else -value

    def is_better(self, value: float, other: float) -> bool:
        """Whether `value` is better than `other`."""
        return self.goodness(value) > self.goodness(other)

    def is_within(self, points: float, value: float, best: float) -> bool:
        """Whether `value` loses at most so many points to `best`, whatever the subtraction has rounded."""
        return self.goodness(value) >= self.goodness(best) - points / self.points - 1e-9

    def interval(self, value: float, samples: int) -> tuple[float, float] | None:
        """Between which bounds the true value lies with 95 % confidence; none: not known."""
        return None

    def cell(self, value: float, samples: int | None) -> str:
        """What stands in a table beside others of as many samples."""
        raise NotImplementedError

    def share(self, value: float, samples: int | None) -> str:
        """The same within a sentence, and of how many samples; none: nobody has told of how many."""
        raise NotImplementedError

    def sentence(self, value: float, samples: int | None) -> str:
        """All of it: of how many test samples, and between which bounds where these are far apart."""
        raise NotImplementedError


class Task:
    """Base of the tasks' dataclasses. The first field of each is `kind`, a `Literal` that documents tell them apart by.

    Facts stand here without annotation: with one they would be fields of the document. `outputs` are the numbers that
    a network gives for a sample (`classes` in `model/1`).
    """

    metric = Metric()
    """What networks are measured, exits chosen by."""
    least_outputs = 1
    """Outputs that a network needs."""
    label_dtype = "int64"
    """torch's name for the type of the labels of a micro-batch."""
    stored_label_bytes = 4
    """A label on storage, behind its record."""

    def label_bytes(self, outputs: int) -> int:
        """A sample's label in a micro-batch."""
        raise NotImplementedError

    def fit_bytes(self, features: int, outputs: int, micro_batch: int) -> int:
        """The most that fitting one linear exit takes beside the pass of samples."""
        raise NotImplementedError

    def words(self, outputs: int) -> str:
        """What the outputs are: `10 classes`."""
        raise NotImplementedError

    def check_data(self, classes: int, outputs: int, called: str) -> None:
        """Raise ValueError where the labels of a data set do not fit the outputs of a network, which errors call so."""
        raise NotImplementedError

    def label(self, value: Any, outputs: int) -> Label:
        """A person's own label as one of ours. Raises ValueError: what it is, and what would be right."""
        raise NotImplementedError

    def store(self, label: Label) -> bytes:
        """A label as it lies on storage: `stored_label_bytes` of them."""
        raise NotImplementedError

    def stored(self, data: bytes | memoryview) -> Label:
        """The label that `store` has written."""
        raise NotImplementedError
