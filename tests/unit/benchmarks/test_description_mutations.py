"""A few of the damaged descriptions that `benchmarks.doors.description_mutations` makes."""

from __future__ import annotations

from benchmarks.doors.description_mutations import Outcome, judge, mutants, originals


def test_a_damaged_description_is_a_network_or_is_refused_with_the_place() -> None:
    outcome, given = Outcome(), originals()
    for text in mutants(120, 7, given):
        judge(text, outcome, tried=True)
    assert outcome.faults == []
    assert outcome.refused > outcome.taken > 0
