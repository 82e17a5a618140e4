"""Epochs cover every sample once; tensors are what lies on storage."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from planner.runner.input.order import FeistelPermutation
from planner.runner.input.samples import Samples, count_batches, list_batches
from planner.tasks.kinds import CLASSIFICATION
from planner.training.encoding import image_tensor


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
    assert count_batches(count, batch, micro_batch, least) == len(spans)
    for skip in range(len(spans) + 1):
        assert [list(rest) for rest in list_batches(count, batch, micro_batch, least, skip)] == spans[skip:]
    assert all(least <= last - first <= micro_batch for group in spans for first, last in group)
    remainders = {count % batch % micro_batch, micro_batch if micro_batch < least else 0}
    if micro_batch >= least:
        assert len(dropped) in {0, *remainders}
        assert len(dropped) < least


def test_an_epoch_has_every_sample_once_in_an_order_of_its_own() -> None:
    samples = Samples(Bytes(50), (1, 1, 1), cached=None, micro_batch=4, task=CLASSIFICATION)
    epochs = []
    for epoch in (0, 1, 0):
        seen: list[int] = []
        sizes = []
        for count, micro_batches in samples.shuffled(16, 1, (9, epoch)):
            labels = [labels.tolist() for _, labels in micro_batches]
            assert sum(map(len, labels)) == count
            sizes.append([len(some) for some in labels])
            seen += [label for some in labels for label in some]
        assert sorted(seen) == list(range(50))
        assert sizes == [[4, 4, 4, 4]] * 3 + [[2]]
        epochs.append(seen)
    assert epochs[0] == epochs[2] != epochs[1]


def test_a_limit_keeps_to_the_first_samples() -> None:
    samples = Samples(Bytes(50), (1, 1, 1), cached=None, micro_batch=8, limit=10, task=CLASSIFICATION)
    labels = [label for _, some in samples.in_order() for label in some.tolist()]
    assert labels == list(range(10))


def test_images_are_centred() -> None:
    found = image_tensor(memoryview(bytearray([0, 255, 51, 204])), (1, 2, 2))
    expected = torch.tensor([(value / 255 - 0.5) / 0.25 for value in (0, 255, 51, 204)]).view(1, 1, 2, 2)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("skip", [0, 1, 3])
def test_an_epoch_can_be_begun_behind_its_first_batches(skip: int) -> None:
    samples = Samples(Bytes(50), (1, 1, 1), cached=None, micro_batch=4, task=CLASSIFICATION)

    def batches(skip: int) -> list[list[int]]:
        return [
            [label for _, labels in micro_batches for label in labels.tolist()]
            for _, micro_batches in samples.shuffled(16, 1, (9, 2), skip)
        ]

    assert batches(skip) == batches(0)[skip:]


def test_a_pass_in_order_begins_with_the_micro_batch_that_is_asked_for() -> None:
    samples = Samples(Bytes(11), (1, 1, 1), cached=None, micro_batch=4, task=CLASSIFICATION)
    assert [labels.tolist() for _, labels in samples.in_order(6)] == [[4, 5, 6, 7], [8, 9, 10]]
    drawn = [label for _, labels in samples.in_order(key=(3,)) for label in labels.tolist()]
    assert sorted(drawn) == list(range(11)) != drawn
    assert [label for _, labels in samples.in_order(8, (3,)) for label in labels.tolist()] == drawn[8:]


@given(st.integers(1, 120), st.integers(1, 5), st.integers(0, 9))
def test_a_data_set_gives_the_batches_of_the_cache_that_could_be_made_of_it(count: int, run: int, epoch: int) -> None:
    """Position i of the cache holds the sample that the key draws for it."""
    stored = (7, -2)
    place = FeistelPermutation(count, *stored)
    cache = Samples(Bytes(count), (1, 1, 1), None, 4, run=run, task=CLASSIFICATION)
    data = Samples(Bytes(count), (1, 1, 1), None, 4, run=run, stored=stored, task=CLASSIFICATION)
    for samples in (cache, data):
        assert samples.count == count
    read, drawn = (
        [labels.tolist() for _, parts in samples.shuffled(16, 1, (1, epoch)) for _, labels in parts]
        for samples in (cache, data)
    )
    assert drawn == [[place[index] for index in labels] for labels in read]
    assert sorted(index for labels in read for index in labels) == list(range(count))
