from __future__ import annotations

from dataclasses import replace

import pytest

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
    ],
)
def test_out_of_range(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^{name} is {value}; it must lie between 0 and "):
        replace(REQUEST, **{name: value})  # type: ignore[arg-type]
