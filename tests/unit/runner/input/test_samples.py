"""Epochs cover every sample once; tensors are what lies on storage."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from planner.runner.input.order import FeistelPermutation
from planner.runner.input.samples import Samples, count_batches, list_batches
from planner.schema.preprocessing import AS_THEY_ARE, USUAL, Normalisation
from planner.tasks.base import CLASS_BYTES, CLASS_NUMBER, Label, class_label
from planner.training.encoding import image_tensor, input_tensor


class Bytes:
    """A split of 1×1×1 images: image i has value i, label i."""

    record_bytes = 1

    label_bytes = CLASS_BYTES

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def read_into(self, index: int, image: memoryview) -> Label:
        image[0] = index
        return class_label(index)

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
    samples = Samples(Bytes(50), (1, 1, 1), cached=None, micro_batch=4, labels=CLASS_NUMBER, normalisation=USUAL)
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
    samples = Samples(
        Bytes(50), (1, 1, 1), cached=None, micro_batch=8, limit=10, labels=CLASS_NUMBER, normalisation=USUAL
    )
    labels = [label for _, some in samples.in_order() for label in some.tolist()]
    assert labels == list(range(10))


def test_images_are_centred() -> None:
    found = image_tensor(memoryview(bytearray([0, 255, 51, 204])), (1, 2, 2), USUAL)
    expected = torch.tensor([(value / 255 - 0.5) / 0.25 for value in (0, 255, 51, 204)]).view(1, 1, 2, 2)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)


def test_images_are_normalised_as_torchvision_has_it() -> None:
    """`ToTensor`: to float32, through 255. `Normalize`: less the mean, through the deviation, of each channel."""
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    raw = torch.randint(0, 256, (5, 3, 4, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = image_tensor(memoryview(bytearray(raw.numpy().tobytes())), (3, 4, 6), Normalisation(mean, std))
    by_channel = (torch.tensor(numbers).view(3, 1, 1) for numbers in (mean, std))
    expected = (raw.to(torch.float32) / 255).sub_(next(by_channel)).div_(next(by_channel))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(3,), (3, 5), (3, 4, 6), (3, 2, 2, 2)])
def test_numbers_are_normalised_where_they_were_read(shape: tuple[int, ...]) -> None:
    numbers = torch.randn(5, *shape, generator=torch.Generator().manual_seed(0))
    by = Normalisation((0.1, -2.0, 30.0), (0.4, 5.0, 0.6))
    mean, std = (torch.tensor(each).view(3, *(1,) * (len(shape) - 1)) for each in (by.mean, by.std))
    records = memoryview(bytearray(numbers.numpy().tobytes()))
    found = input_tensor(records, "float32", shape, by)
    assert torch.equal(found, (numbers - mean) / std)
    assert torch.equal(torch.frombuffer(records, dtype=torch.float32), found.flatten())
    records = memoryview(bytearray(numbers.numpy().tobytes()))
    assert torch.equal(input_tensor(records, "float32", shape, AS_THEY_ARE), numbers)


def test_normalising_by_channel_takes_no_tensor_more() -> None:
    """What the profile measures of images is one float32 tensor; beside it are the channels' few numbers."""
    images = memoryview(bytearray(2**20 * 3))
    with torch.profiler.profile(profile_memory=True) as profile:
        found = image_tensor(images, (3, 1024, 1024), Normalisation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)))
    events = profile.profiler.kineto_results.events()
    sizes = [event.nbytes() for event in events if event.name() == "[memory]"]
    taken = peak = 0
    for size in sizes:
        taken += size
        peak = max(peak, taken)
    assert 4 * found.nelement() <= peak <= 4 * found.nelement() + 4096


@pytest.mark.parametrize("skip", [0, 1, 3])
def test_an_epoch_can_be_begun_behind_its_first_batches(skip: int) -> None:
    samples = Samples(Bytes(50), (1, 1, 1), cached=None, micro_batch=4, labels=CLASS_NUMBER, normalisation=USUAL)

    def batches(skip: int) -> list[list[int]]:
        return [
            [label for _, labels in micro_batches for label in labels.tolist()]
            for _, micro_batches in samples.shuffled(16, 1, (9, 2), skip)
        ]

    assert batches(skip) == batches(0)[skip:]


def test_a_pass_in_order_begins_with_the_micro_batch_that_is_asked_for() -> None:
    samples = Samples(Bytes(11), (1, 1, 1), cached=None, micro_batch=4, labels=CLASS_NUMBER, normalisation=USUAL)
    assert [labels.tolist() for _, labels in samples.in_order(6)] == [[4, 5, 6, 7], [8, 9, 10]]
    drawn = [label for _, labels in samples.in_order(key=(3,)) for label in labels.tolist()]
    assert sorted(drawn) == list(range(11)) != drawn
    assert [label for _, labels in samples.in_order(8, (3,)) for label in labels.tolist()] == drawn[8:]


@given(st.integers(1, 120), st.integers(1, 5), st.integers(0, 9))
def test_a_data_set_gives_the_batches_of_the_cache_that_could_be_made_of_it(count: int, run: int, epoch: int) -> None:
    """Position i of the cache holds the sample that the key draws for it."""
    stored = (7, -2)
    place = FeistelPermutation(count, *stored)
    cache = Samples(Bytes(count), (1, 1, 1), None, 4, run=run, labels=CLASS_NUMBER, normalisation=USUAL)
    data = Samples(Bytes(count), (1, 1, 1), None, 4, run=run, stored=stored, labels=CLASS_NUMBER, normalisation=USUAL)
    for samples in (cache, data):
        assert samples.count == count
    read, drawn = (
        [labels.tolist() for _, parts in samples.shuffled(16, 1, (1, epoch)) for _, labels in parts]
        for samples in (cache, data)
    )
    assert drawn == [[place[index] for index in labels] for labels in read]
    assert sorted(index for labels in read for index in labels) == list(range(count))
