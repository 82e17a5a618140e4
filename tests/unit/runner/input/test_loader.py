"""Micro-batches arrive whole, in order, in two buffers, and errors arrive too."""

from __future__ import annotations

import threading

import pytest

from planner.errors import DataError
from planner.runner.input.loader import BUFFERS, Loaded, Loader, in_groups
from planner.tasks.base import CLASS_BYTES, Label, class_label, class_of


def _classes(loaded: Loaded) -> list[int]:
    return [class_of(bytes(loaded.labels[at : at + CLASS_BYTES])) for at in range(0, len(loaded.labels), CLASS_BYTES)]


class Numbers:
    """A split whose record `i` is four bytes of value i, its label 2 × i; it fails at one index."""

    samples = 100
    record_bytes = 4
    label_bytes = CLASS_BYTES

    def __init__(self, fails_at: int = -1) -> None:
        self.fails_at = fails_at
        self.threads: set[int] = set()
        self.read: list[int] = []

    def read_into(self, index: int, image: memoryview) -> Label:
        if index == self.fails_at:
            raise DataError("numbers", "is broken", index)
        self.threads.add(threading.get_ident())
        self.read.append(index)
        image[:] = bytes([index]) * 4
        return class_label(2 * index)

    def close(self) -> None:
        """Nothing is open."""


def test_samples_arrive_in_the_order_asked_for() -> None:
    wanted = [[3, 1, 2], [9, 8, 7], [5]]
    found = [(bytes(loaded.records), _classes(loaded)) for loaded in Loader(Numbers(), 3).load(wanted)]
    assert found == [(b"".join(bytes([i]) * 4 for i in group), [2 * i for i in group]) for group in wanted]


def test_reading_happens_on_one_other_thread_and_ends_with_the_pass() -> None:
    split = Numbers()
    before = threading.active_count()
    for _ in Loader(split, 2).load(in_groups(range(10), 2)):
        pass
    assert len(split.threads) == 1
    assert threading.get_ident() not in split.threads
    assert threading.active_count() == before


def test_no_more_than_two_buffers_are_filled_ahead() -> None:
    split = Numbers()
    load = Loader(split, 1).load([index] for index in range(100))
    first = next(load)
    # While the first is held, one more can be read; the third has no buffer to go to.
    load.close()
    assert len(split.read) <= BUFFERS
    assert bytes(first.records) == bytes(4)


def test_an_error_of_the_reading_thread_reaches_the_consumer() -> None:
    load = Loader(Numbers(fails_at=4), 2).load(in_groups(range(10), 2))
    assert [_classes(loaded) for loaded in (next(load), next(load))] == [[0, 2], [4, 6]]
    with pytest.raises(DataError, match="numbers, record 4: is broken"):
        next(load)


def test_a_pass_that_is_left_early_leaves_no_thread() -> None:
    before = threading.active_count()
    loader = Loader(Numbers(), 1)
    for _ in range(5):
        load = loader.load(in_groups(range(50), 1))
        next(load)
        load.close()
    assert threading.active_count() == before


def test_groups() -> None:
    assert list(in_groups(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(in_groups([], 3)) == []
