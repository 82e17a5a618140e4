"""A class for every pixel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from planner.tasks.accuracy import Share
from planner.tasks.base import IGNORED, DataLabels, Label, LabelForm, Task
from planner.tasks.smoothing import check_smoothing

_MOST_CLASSES = 256


@dataclass(frozen=True)
class Segmentation(Task):
    """Cross-entropy over the classes of every pixel, measured by the mean over classes of intersection over union."""

    kind: Literal["segmentation"]
    ignore_index: int | None = IGNORED
    """What a mask says of pixels that are of no class and count nowhere; null: every pixel is of a class."""
    # As `planner.schema.codec.added`, which lies above: a task without it keeps the ids that it had.
    label_smoothing: float = field(default=0.0, metadata={"added": True})
    """Part of every pixel's target that is spread evenly over all classes, from 0 to below 1."""

    metric = Share("mean IoU")
    least_outputs = 2
    labels_from = "mask"
    fits_exits = False

    def __post_init__(self) -> None:
        if self.ignore_index is not None and not 0 <= self.ignore_index <= 255:
            raise ValueError(f"ignore_index is {self.ignore_index}; it must lie between 0 and 255, as masks do")
        check_smoothing(self.label_smoothing)

    def check_outputs(self, outputs: int, shape: tuple[int, ...]) -> None:
        if outputs > _MOST_CLASSES:
            raise ValueError(f"classes is {outputs}; masks tell at most {_MOST_CLASSES} apart")
        if len(shape) != 3:
            raise ValueError(f"input has {len(shape)} extents; segmentation is of images")

    @property
    def mask_side(self) -> int:
        """Nothing is known of what an image moves away from; without pixels of no class it is the first class."""
        return 0 if self.ignore_index is None else self.ignore_index

    def output_shape(self, outputs: int, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (outputs, *shape[1:])

    def label_form(self, outputs: int, shape: tuple[int, ...]) -> LabelForm:
        return LabelForm(shape[1:], "int64", "uint8")

    def words(self, outputs: int) -> str:
        return f"{outputs} classes for every pixel"

    def check_data(self, found: DataLabels, outputs: int, shape: tuple[int, ...], called: str) -> None:
        has, takes = ("×".join(map(str, extents)) for extents in (found.extents, shape[1:]))
        self.check_kind(found, called, f"masks of {takes}")
        if has != takes:
            raise ValueError(f"has masks of {has}, but {called} gives {takes}")
        if found.classes > outputs:
            where = f" ({found.highest_in})" if found.highest_in else ""
            raise ValueError(
                f"has masks with the class {found.classes - 1}{where}, but {called} tells 0 to {outputs - 1} apart"
                f"{'' if self.ignore_index is None else f'; {self.ignore_index} is ignored (--ignore-index)'}"
            )

    def label(self, value: Any, outputs: int, shape: tuple[int, ...]) -> Label:
        """A mask: the number of a class for every pixel, height × width."""
        given = value.tolist() if hasattr(value, "tolist") else value
        rows = given if isinstance(given, list | tuple) else ()
        if len(rows) == 1 and shape[1] != 1:
            rows = rows[0]
        if len(rows) != shape[1] or any(not isinstance(row, list | tuple) or len(row) != shape[2] for row in rows):
            raise ValueError(f"its label is no mask of {shape[1]}×{shape[2]}")
        found = [number for row in rows for number in row]
        for number in found:
            if number != self.ignore_index and not (isinstance(number, int) and 0 <= number < outputs):
                raise ValueError(f"its mask holds {number!r}; the plan's model tells 0 to {outputs - 1} apart")
        return bytes(found)
