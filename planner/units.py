"""Bytes and seconds as people write and read them. Everywhere else bytes are integers, time is float seconds."""

from __future__ import annotations

import math
import re

from planner.errors import InputError

KIB = 2**10
MIB = 2**20
GIB = 2**30
TIB = 2**40

_FACTORS = {
    "": 1, "B": 1,
    "K": 10**3, "KB": 10**3, "KIB": KIB,
    "M": 10**6, "MB": 10**6, "MIB": MIB,
    "G": 10**9, "GB": 10**9, "GIB": GIB,
    "T": 10**12, "TB": 10**12, "TIB": TIB,
}  # fmt: skip
_SIZE = re.compile(r"(\d{1,18})(?:\.(\d{1,9}))?\s*([A-Za-z]{0,3})", re.ASCII)
_EXAMPLES = "write bytes or a unit, for instance 300MiB, 1.5GiB or 314572800"


def parse_bytes(text: str, name: str = "size") -> int:
    """Read `300MiB`, `1.5GiB`, `250M` or a plain count of bytes; the result is ≥ 1 and below 2**63.

    Decimal fractions are exact (no float is involved) and round down to a whole byte.
    Raises InputError that names `name`, the value and what would be right.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InputError(f"{name}: {text[:60]!r} is not a size; {_EXAMPLES}")
    whole, fraction, unit = match.groups()
    factor = _FACTORS.get(unit.upper())
    if factor is None:
        raise InputError(f"{name}: unknown unit {unit!r} in {text[:60]!r}; {_EXAMPLES}")
    value = int(whole) * factor
    if fraction:
        value += int(fraction) * factor // 10 ** len(fraction)
    if value < 1:
        raise InputError(f"{name}: {text[:60]!r} is not above zero; {_EXAMPLES}")
    if value >= 2**63:
        raise InputError(f"{name}: {text[:60]!r} is beyond 2^63 bytes; {_EXAMPLES}")
    return value


def format_bytes(count: int) -> str:
    """Show bytes in the binary unit that keeps the number below 1024: `512 B`, `231.4 MiB`, `2.00 GiB`, `1.82 TiB`."""
    if abs(count) < KIB:
        return f"{count} B"
    for unit, factor, digits in (("KiB", KIB, 1), ("MiB", MIB, 1), ("GiB", GIB, 2)):
        if round(abs(count) / factor, digits) < 1024:
            return f"{count / factor:.{digits}f} {unit}"
    return f"{count / TIB:.2f} TiB"


def format_seconds(seconds: float) -> str:
    """Show a duration: `1.3 ms`, `4.2 s`, `3 min 05 s`, `2 h 07 min`."""
    if not math.isfinite(seconds):
        return "unknown"
    if round(seconds * 1000, 1) < 1000:
        return f"{seconds * 1000:.1f} ms"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def counted_cuts(count: int) -> str:
    """`1 cut`, `2 cuts`."""
    return "1 cut" if count == 1 else f"{count} cuts"


def exact(count: int) -> str:
    """`300.0 MiB (314572800 bytes)`."""
    return f"{format_bytes(count)} ({count} bytes)"
