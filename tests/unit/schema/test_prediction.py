from __future__ import annotations

from planner.schema.prediction import Breakdown


def test_kinds_are_a_breakdown_and_lose_nothing() -> None:
    parts = Breakdown(1, 2, 4, 8, 16, 32, 64, 128)
    assert parts.by_kind() == {"weights": 4 + 8 + 16, "activations": 32 + 64, "runtime": 1, "samples": 2 + 128}
    assert sum(parts.by_kind().values()) == parts.total
