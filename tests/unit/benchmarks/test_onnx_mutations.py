"""A few of the damaged ONNX files that `benchmarks.doors.onnx_mutations` makes."""

from __future__ import annotations

from benchmarks.doors.onnx_mutations import Outcome, judge, mutants, originals


def test_a_damaged_file_is_a_network_or_is_refused_with_the_place() -> None:
    outcome = Outcome()
    for content in mutants(60, 7, originals()):
        judge(content, outcome)
    assert outcome.faults == []
    assert outcome.refused > outcome.taken > 0
