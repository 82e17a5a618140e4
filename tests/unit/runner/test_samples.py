"""Epochs cover every sample once; tensors are what lies on storage."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from planner.runner.samples import Samples, activation_tensor, image_tensor, list_batches


class Bytes:
    """A split of 1×1×1 images: image i has value i, label i."""

    record_bytes = 1

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def read_into(self, index: int, image: memoryview) -> int:
        image[0] = index
        return index

    def close(self) -> None:
        """Nothing is open."""


@given(st.integers(1, 200), st.integers(1, 16), st.integers(1, 8), st.integers(1, 4))
def test_batches_cover_the_range_but_for_a_remainder_that_is_too_small(
    count: int, accumulate: int, micro_batch: int, least: int
) -> None:
    batch = accumulate * micro_batch
    spans = [list(spans) for spans in list_batches(count, batch, micro_batch, least)]
    flat = [index for group in spans for span in group for index in range(*span)]
    dropped = set(range(count)) - set(flat)
    assert len(flat) == len(set(flat))
    assert all(least <= last - first <= micro_batch for group in spans for first, last in group)
    remainders = {count % batch % micro_batch, micro_batch if micro_batch < least else 0}
    if micro_batch >= least:
        assert len(dropped) in {0, *remainders}
        assert len(dropped) < least


def test_an_epoch_has_every_sample_once_in_an_order_of_its_own() -> None:
    samples = Samples(Bytes(50), (1, 1, 1), cached=False, micro_batch=4)
    epochs = []
    for epoch in (0, 1, 0):
        seen: list[int] = []
        sizes = []
        for count, micro_batches in samples.shuffled(16, 1, 9, epoch):
            labels = [labels.tolist() for _, labels in micro_batches]
            assert sum(map(len, labels)) == count
            sizes.append([len(some) for some in labels])
            seen += [label for some in labels for label in some]
        assert sorted(seen) == list(range(50))
        assert sizes == [[4, 4, 4, 4]] * 3 + [[2]]
        epochs.append(seen)
    assert epochs[0] == epochs[2] != epochs[1]


def test_a_limit_keeps_to_the_first_samples() -> None:
    samples = Samples(Bytes(50), (1, 1, 1), cached=False, micro_batch=8, limit=10)
    labels = [label for _, some in samples.in_order() for label in some.tolist()]
    assert labels == list(range(10))


def test_images_are_centred() -> None:
    found = image_tensor(memoryview(bytearray([0, 255, 51, 204])), (1, 2, 2))
    expected = torch.tensor([(value / 255 - 0.5) / 0.25 for value in (0, 255, 51, 204)]).view(1, 1, 2, 2)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)


def test_activations_are_not_copied() -> None:
    memory = bytearray(torch.arange(6, dtype=torch.float32).numpy().tobytes())
    found = activation_tensor(memoryview(memory), (3,))
    assert torch.equal(found, torch.arange(6, dtype=torch.float32).view(2, 3))
    memory[0:4] = b"\x00\x00\x80\x3f"
    assert found[0, 0].item() == pytest.approx(1.0)
