"""How many pixels of masks are of which class."""

from __future__ import annotations

from dataclasses import dataclass

from planner.errors import DataError

_VALUES = 256


@dataclass(frozen=True)
class MaskPixels:
    """Pixels of all masks of a data set, as they lie there."""

    by_value: tuple[int, ...]
    """How many have each of the values 0 to 255."""
    ignored: int | None
    """The value that is of no class."""
    highest_in: str
    """The mask in which the highest class was seen first."""

    @property
    def classes(self) -> int:
        """One more than the highest class."""
        seen = (value for value, count in enumerate(self.by_value) if count and value != self.ignored)
        return max(seen, default=-1) + 1

    @property
    def ignored_pixels(self) -> int:
        """How many are of no class."""
        return 0 if self.ignored is None else self.by_value[self.ignored]

    def by_class(self, classes: int) -> tuple[int, ...]:
        """How many are of each of so many classes."""
        return tuple(0 if value == self.ignored else self.by_value[value] for value in range(min(classes, _VALUES)))

    def __add__(self, other: MaskPixels) -> MaskPixels:
        """Of both."""
        counts = tuple(ours + theirs for ours, theirs in zip(self.by_value, other.by_value, strict=True))
        highest = max(self, other, key=lambda each: each.classes)
        return MaskPixels(counts, self.ignored, highest.highest_in)

    def check(self, name: str) -> None:
        """Raise DataError, which calls the data set so, where masks tell no two classes apart."""
        seen = [value for value, count in enumerate(self.by_value) if count]
        if len(set(seen) - {self.ignored}) > 1 or self.classes > 1:
            return
        values = " and ".join(map(str, seen))
        if self.ignored in seen:
            remedy = "of masks of 0 and 255 save masks // 255" if seen == [0, _VALUES - 1] else "save others"
            raise DataError(
                name,
                f"its masks hold {values} alone, and {self.ignored} is of no class (--ignore-index): training needs at "
                f"least 2 classes, numbered from 0; {remedy}",
            )
        raise DataError(name, f"its masks hold {values} alone: training needs at least 2 classes, numbered from 0")


class PixelCounter:
    """Counts the pixels of one mask after another."""

    def __init__(self, ignored: int | None) -> None:
        self._ignored = ignored
        self._counts = [0] * _VALUES
        self._highest, self._highest_in = -1, ""

    def add(self, mask: bytes, where: str) -> None:
        """Count a mask, which errors call `where`."""
        for value in set(mask):
            self._counts[value] += mask.count(value)
            if value > self._highest and value != self._ignored:
                self._highest, self._highest_in = value, where

    def found(self) -> MaskPixels:
        """Of all that were counted."""
        return MaskPixels(tuple(self._counts), self._ignored, self._highest_in)
