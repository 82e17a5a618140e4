"""How `profile/1` tells heads: by filters where these say all of it, in full where they do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.errors import DocumentError
from planner.heads.convolution import ConvHead
from planner.schema.codec import content_id, decode, encode
from planner.schema.profile import HeadProfile
from tests.unit.solver.two_units import HEAD


def test_filters_say_all_of_a_convolution() -> None:
    head = ConvHead("auxiliary", 8)
    found = HeadProfile.of(2, head, HEAD)
    assert found == HeadProfile(2, "auxiliary", 8, HEAD)
    assert found.head == head


def test_the_models_own_classifier_has_none() -> None:
    found = HeadProfile.of(2, None, HEAD)
    assert found == HeadProfile(2, "classifier", 0, HEAD)
    assert found.head is None


def test_a_head_told_in_full_is_that() -> None:
    found = HeadProfile(2, "auxiliary", 0, HEAD, ConvHead("auxiliary", 16))
    assert found.head == ConvHead("auxiliary", 16)
    assert decode(HeadProfile, encode(found)) == found
    assert content_id(found) != content_id(replace(found, described=None, filters=16))


def test_what_was_written_before_reads_the_same_and_keeps_its_id() -> None:
    found = HeadProfile.of(2, ConvHead("auxiliary", 8), HEAD)
    written = encode(found)
    del written["described"]
    assert decode(HeadProfile, written) == found
    assert content_id(found) == content_id(written)


def test_an_auxiliary_head_without_filters_is_refused() -> None:
    written = encode(HeadProfile.of(2, ConvHead("auxiliary", 8), HEAD)) | {"filters": 0}
    with pytest.raises(DocumentError, match="filters is 0; it must lie between 1 and 4096"):
        decode(HeadProfile, written)
