"""What becomes of a sample before a network sees it. No torch here.

Part of a plan, and of the description of every trained network: who feeds one elsewhere has to do the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from planner.limits import MAX_EXTENT
from planner.schema.common import check_range
from planner.schema.inputs import InputDtype

Resize = Literal["bilinear"]
"""How an image is brought to another height and width. `bilinear`: both to what is wanted, so that proportions are not
kept, by the triangle filter, which is wider where the image becomes smaller: Pillow's BILINEAR, and what torchvision's
`Resize((height, width))` does with its antialiasing. It is done with 8-bit values, before they are normalised."""

_MOST = 1e6
_LEAST_STD = 1e-6


@dataclass(frozen=True)
class Normalisation:
    """8-bit images go in as (value / 255 - mean) / std, as torchvision's `ToTensor` and `Normalize` make them, float32
    as (value - mean) / std."""

    mean: tuple[float, ...]
    """Taken off: one number, or one for each channel, which is the first extent of a sample."""
    std: tuple[float, ...]
    """Divided by: one number, or one for each channel."""

    def __post_init__(self) -> None:
        for name, low, numbers in (("mean", -_MOST, self.mean), ("std", _LEAST_STD, self.std)):
            if not numbers:
                raise ValueError(f"{name} is empty; it is one number, or one for each channel")
            for number in numbers:
                check_range(name, number, low, _MOST)

    def check(self, input_shape: Sequence[int]) -> None:
        """Raise ValueError where there are neither one number nor one for each channel of such an input."""
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) not in (1, input_shape[0]):
                raise ValueError(
                    f"{name} has {len(numbers)} numbers; the input has {input_shape[0]} channels, so it is one number, "
                    "or one for each of them"
                )

    def words(self, dtype: InputDtype) -> str:
        """As a formula: `(value / 255 - 0.5) / 0.25`."""
        mean, std = (", ".join(f"{number:.6g}" for number in numbers) for numbers in (self.mean, self.std))
        mean, std = (f"[{each}]" if "," in each else each for each in (mean, std))
        return f"({'value / 255' if dtype == 'uint8' else 'value'} - {mean}) / {std}"


def check_shorter_side(shorter_side: int | None, resize: Resize | None, input_shape: Sequence[int]) -> None:
    """Raise ValueError where no middle of the input's size can be cut out of images with such a shorter side."""
    if shorter_side is None:
        return
    if resize is None:
        raise ValueError("shorter_side is of images that are resized; resize is null")
    check_range("shorter_side", shorter_side, 1, MAX_EXTENT)
    if len(input_shape) == 3 and max(input_shape[1:]) > shorter_side:
        raise ValueError(
            f"shorter_side is {shorter_side}; the middle {input_shape[1]}×{input_shape[2]} cannot be cut out of that"
        )


def resize_words(resize: Resize | None, input_shape: Sequence[int], shorter_side: int | None = None) -> str:
    """What is to be said of images of other sizes than the input's; nothing where they are not resized."""
    if resize is None:
        return ""
    if shorter_side is not None:
        middle = f"the middle {input_shape[1]}×{input_shape[2]} cut out"
        return f"; first resized to a shorter side of {shorter_side} ({resize}, proportions kept), {middle}"
    return f"; of other sizes first resized to {input_shape[1]}×{input_shape[2]} ({resize}, proportions not kept)"


def given_words(
    dtype: InputDtype,
    input_shape: Sequence[int],
    normalisation: Normalisation,
    resize: Resize | None,
    shorter_side: int | None = None,
) -> tuple[str, str]:
    """What samples are called, and as what a network is given them."""
    match dtype:
        case "uint8":
            called = "images" if len(input_shape) == 3 else "samples"
            return called, f"{normalisation.words(dtype)}{resize_words(resize, input_shape, shorter_side)}"
        case "float32" if normalisation == AS_THEY_ARE:
            return "samples", "numbers of float32, as they are"
        case "float32":
            return "samples", f"{normalisation.words(dtype)}, numbers of float32"
        case "int64":
            return "samples", "tokens, whole numbers from 0"


def given_normalisation(mean: Sequence[float] | None, std: Sequence[float] | None) -> Normalisation | None:
    """What a person asks for with these two; none where that is nothing.

    Raises ValueError where one of them is missing, or no such number.
    """
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise ValueError(f"{'mean' if mean is None else 'std'} is missing: mean and std are given together")
    return Normalisation(tuple(mean), tuple(std))


USUAL = Normalisation((0.5,), (0.25,))
"""How images are normalised where nothing else is said, and were before anything could be."""

AS_THEY_ARE = Normalisation((0.0,), (1.0,))
"""What is no image, where nothing else is said."""


def usual_normalisation(dtype: InputDtype) -> Normalisation:
    """What is meant where nothing is said."""
    return USUAL if dtype == "uint8" else AS_THEY_ARE
