"""Numbers of a person's own labels, and what fitting linear exits to numbers takes."""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Iterable
from typing import Any

LARGEST = 3.4028234663852886e38
"""The largest float32."""


def flat_numbers(value: Any, count: int) -> list[float]:
    """`count` numbers of a label: a number, or a list, an array or a tensor of them.

    Raises ValueError: what it is, and what would be right.
    """
    given = value.tolist() if hasattr(value, "tolist") else value
    items: Iterable[Any] = given if isinstance(given, list | tuple) else (given,)
    wanted = "a number is" if count == 1 else f"{count} numbers are"
    try:
        found = [float(item) for item in items]
    except (TypeError, ValueError):
        raise ValueError(f"its label is a {type(value).__name__}; {wanted} needed") from None
    if len(found) != count:
        has = "1 number" if len(found) == 1 else f"{len(found)} numbers"
        raise ValueError(f"its label has {has}; {wanted} needed")
    for number in found:
        if not math.isfinite(number) or abs(number) > LARGEST:
            raise ValueError(f"its label holds {number}; numbers that float32 holds are needed")
    return found


def packed(code: str, numbers: Iterable[float]) -> bytes:
    """Numbers of array's type `code` one behind the other, lowest byte first."""
    found = array(code, numbers)
    if sys.byteorder == "big":
        found.byteswap()
    return found.tobytes()


def ridge_bytes(features: int, outputs: int, micro_batch: int) -> int:
    """The most that `planner.training.ridge` takes: sums, what solving needs beside them, features and targets as they
    come and shifted."""
    return 4 * (features * (features + 8 * outputs + 2 * micro_batch) + 3 * outputs * micro_batch)
