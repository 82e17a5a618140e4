"""Figures as tables write them, worked out another way, and what stands in a table."""

from __future__ import annotations

import re
from decimal import Decimal


def mib(count: int) -> str:
    """Bytes in MiB with one digit, by decimal arithmetic."""
    return str((Decimal(count) / 1048576).quantize(Decimal("0.1")))


def percent(value: int | float, reference: int | float) -> str:
    share = (Decimal(value) / Decimal(reference) - 1) * 100
    return f"{share.quantize(Decimal('0.1')):+f}%"


def cells(table: str, first: str, occurrence: int = 0) -> list[str]:
    """The cells of the row whose first cell is `first`."""
    rows = [re.split(r" {2,}", line.strip()) for line in table.splitlines() if line.strip()]
    return [row for row in rows if row[0] == first][occurrence]


def flat(table: str) -> str:
    return " ".join(table.split())
