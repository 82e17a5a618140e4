from __future__ import annotations

from dataclasses import replace

import pytest

from planner.errors import DocumentError
from planner.schema.codec import decode, encode
from planner.schema.common import OptimizerConfig
from planner.schema.request import Budget, Request, Training

REQUEST = Request(Budget(10**7, "training"), Training(2, 1, 4, OptimizerConfig("sgd", 0.1)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("storage_bytes", -1),
        ("storage_bytes", 2**63),
        ("reserve_bytes", -1),
        ("head_time_share", -0.1),
        ("head_time_share", 1.1),
        ("head_time_share", float("nan")),
        ("grouping_threshold", 2.0),
        ("max_cuts", -1),
        ("overlap", -1),
        ("overlap", 2),
        ("max_accuracy_loss", -0.1),
        ("max_accuracy_loss", float("nan")),
    ],
)
def test_out_of_range(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^{name} is {value}; it must lie between 0 and "):
        replace(REQUEST, **{name: value})  # type: ignore[arg-type]


def test_an_overlap_is_a_number_or_left_to_the_planner() -> None:
    for overlap in (0, 1, "auto"):
        written = encode(REQUEST) | {"overlap": overlap}
        assert decode(Request, written).overlap == overlap
        assert encode(decode(Request, written)) == written
    for wrong, said in (("some", "\"some\" is not one of 'auto'"), (True, "a whole number is needed, not true")):
        with pytest.raises(DocumentError, match=said):
            decode(Request, encode(REQUEST) | {"overlap": wrong})


def test_blocks_that_end_early_train_for_fewer_epochs() -> None:
    """From 2 evenly up to 8 behind the last of 6 units: one more for each; none is frozen, then two are."""
    training = replace(REQUEST.training, epochs=8, early_epochs=2)
    assert [training.epochs_of(end, 6) for end in range(1, 7)] == [3, 4, 5, 6, 7, 8]
    frozen = replace(training, freeze=2)
    assert [frozen.epochs_of(end, 6) for end in range(3, 7)] == [4, 5, 7, 8]  # 3.5 and 6.5 are rounded up
    assert {replace(training, early_epochs=8).epochs_of(end, 6) for end in range(1, 7)} == {8}
    assert {REQUEST.training.epochs_of(end, 6) for end in range(1, 7)} == {1}


def test_early_epochs_are_no_more_than_all_and_read_every_view() -> None:
    with pytest.raises(ValueError, match=r"^early_epochs is 9; it must lie between 1 and 8$"):
        replace(REQUEST.training, epochs=8, early_epochs=9)
    with pytest.raises(ValueError, match=r"^views is 3; it must lie between 1 and the epochs, 2: each is read$"):
        replace(REQUEST.training, epochs=8, early_epochs=2, augment="flip", views=3)
