"""Images are moved and mirrored as torch would do it, by a stream that knows no history."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from planner.runner.input.augment import Augmented, transform
from planner.schema.request import Augment
from planner.tasks.base import CLASS_BYTES, Label, class_label

SHAPE = (2, 16, 8)


class Pictures:
    """A split of random images; image i has label i."""

    samples = 300
    record_bytes = 2 * 16 * 8
    label_bytes = CLASS_BYTES

    def __init__(self) -> None:
        self.pixels = torch.randint(1, 256, (self.samples, *SHAPE), dtype=torch.uint8)
        self.closed = False

    def read_into(self, index: int, image: memoryview) -> Label:
        image[:] = bytes(self.pixels[index].flatten().tolist())
        return class_label(index)

    def close(self) -> None:
        self.closed = True


def _read(split: Augmented, index: int) -> tuple[torch.Tensor, Label]:
    buffer = bytearray(split.record_bytes)
    label = split.read_into(index, memoryview(buffer))
    return torch.frombuffer(buffer, dtype=torch.uint8).view(SHAPE), label


def _expected(image: torch.Tensor, down: int, right: int, flip: bool) -> torch.Tensor:
    """Mirrored, then padded with zeros as far as it moves, then cropped: by torch."""
    _, height, width = image.shape
    most = max(abs(down), abs(right))
    padded = F.pad(image.flip(2) if flip else image, (most,) * 4)
    return padded[:, most - down : most - down + height, most - right : most - right + width]


@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.integers(-7, 7), st.integers(-7, 7), st.booleans())
def test_an_image_moves_and_is_mirrored_as_torch_does_it(
    channels: int, height: int, width: int, down: int, right: int, flip: bool
) -> None:
    down, right = max(-height, min(down, height)), max(-width, min(right, width))
    image = torch.arange(1, channels * height * width + 1, dtype=torch.uint8).view(channels, height, width)
    buffer = bytearray(image.flatten().tolist())
    transform(memoryview(buffer), (channels, height, width), down, right, flip)
    found = torch.frombuffer(buffer, dtype=torch.uint8).view(channels, height, width)
    assert torch.equal(found, _expected(image, down, right, flip))


@pytest.mark.parametrize(
    ("augment", "downs", "rights", "flips"),
    [
        ("crop", range(-2, 3), range(-1, 2), (False,)),
        ("flip", (0,), (0,), (False, True)),
        ("crop-flip", range(-2, 3), range(-1, 2), (False, True)),
    ],
)
def test_every_move_by_up_to_an_eighth_is_as_likely_as_any(
    augment: Augment, downs: range, rights: range, flips: tuple[bool, ...]
) -> None:
    pictures = Pictures()
    split = Augmented(pictures, augment, SHAPE, seed=3)
    moves = [(down, right, flip) for down in downs for right in rights for flip in flips]
    seen: Counter[tuple[int, int, bool]] = Counter()
    for index in range(pictures.samples):
        found, label = _read(split, index)
        assert label == class_label(index)
        (move,) = [move for move in moves if torch.equal(found, _expected(pictures.pixels[index], *move))]
        seen[move] += 1
    assert set(seen) == set(moves)
    likely = pictures.samples / len(moves)
    # Within five standard deviations of a binomial: the draws are fixed by the seed.
    assert all(abs(count - likely) < 5 * likely**0.5 for count in seen.values())


def test_a_view_is_a_function_of_seed_view_and_sample_and_of_nothing_before() -> None:
    pictures = Pictures()
    split = Augmented(pictures, "crop-flip", SHAPE, seed=3)
    assert split.samples == pictures.samples
    forward = [_read(split, index)[0] for index in range(2 * split.samples)]
    backward = [_read(split, index)[0] for index in reversed(range(2 * split.samples))][::-1]
    assert all(map(torch.equal, forward, backward))
    views = list(zip(forward[: split.samples], forward[split.samples :], strict=True))
    # 30 ways of a view: hardly more than one sample in thirty looks the same in the next.
    assert sum(torch.equal(first, second) for first, second in views) < split.samples / 10
    other = Augmented(pictures, "crop-flip", SHAPE, seed=4)
    assert sum(torch.equal(_read(other, index)[0], forward[index]) for index in range(split.samples)) < 30


def test_what_cannot_be_read_is_said_by_the_split_and_it_is_closed_with_its_views() -> None:
    pictures = Pictures()
    pictures.pixels = pictures.pixels[:10]
    split = Augmented(pictures, "flip", SHAPE, seed=3)
    with pytest.raises(IndexError):
        _read(split, 10)
    split.close()
    assert pictures.closed


class _Masked(Pictures):
    """The same images, each labelled with its first channel as a mask."""

    label_bytes = 16 * 8

    def read_into(self, index: int, image: memoryview) -> Label:
        super().read_into(index, image)
        return bytes(image[: self.label_bytes])


def test_a_mask_moves_with_its_image() -> None:
    pictures = _Masked()
    split = Augmented(pictures, "crop-flip", SHAPE, seed=3, mask=0)
    assert split.label_bytes == 16 * 8
    other = Augmented(pictures, "crop-flip", SHAPE, seed=3, mask=255)
    for index in range(60):
        image, mask = _read(split, index)
        plane = image[0].flatten().tolist()  # which holds no 0 but what came in
        assert list(mask) == plane
        assert list(_read(other, index)[1]) == [number or 255 for number in plane]
