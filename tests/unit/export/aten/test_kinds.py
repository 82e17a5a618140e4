"""The table of what is written: names that unit graphs know, each of them tried."""

from __future__ import annotations

from planner.export.aten.kinds import WRITERS, writer_name
from planner.operators.aten.kinds import ATEN
from tests.unit.export.aten import (
    test_creation,
    test_elementwise,
    test_layers,
    test_pooling,
    test_recurrent,
    test_reduction,
    test_reshaping,
    test_sampling,
)
from tests.unit.export.graphs import Case

CASES: dict[str, Case] = {
    name: each
    for family in (
        test_creation,
        test_elementwise,
        test_layers,
        test_pooling,
        test_recurrent,
        test_reduction,
        test_reshaping,
        test_sampling,
    )
    for name, each in family.CASES.items()
}


def test_every_operator_that_is_written_has_a_case() -> None:
    tried = {
        writer_name(node.operator, overwrites=ATEN[node.operator].overwrites is not None)
        for each in CASES.values()
        for node in each.graph.evaluation_nodes
    }
    assert set(WRITERS) == tried


def test_every_operator_that_is_written_may_stand_in_a_unit() -> None:
    known = {writer_name(name, overwrites=operator.overwrites is not None) for name, operator in ATEN.items()}
    assert set(WRITERS) <= known
