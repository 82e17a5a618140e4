from __future__ import annotations

from dataclasses import replace

import pytest

from planner.errors import InputError
from planner.schema.device_checks import check_device
from tests.unit.solver.chains import DEVICE


def test_a_budget_above_the_device_is_refused_with_both() -> None:
    with pytest.raises(InputError) as raised:
        check_device(DEVICE, 2**34 + 1)
    assert "(17179869185 bytes)" in str(raised.value)
    assert "test, the profile's device, has 16.00 GiB (17179869184 bytes)" in str(raised.value)


def test_the_whole_device_and_an_unknown_one_are_allowed() -> None:
    check_device(DEVICE, 2**34)
    check_device(replace(DEVICE, total_bytes=0), 2**62)
