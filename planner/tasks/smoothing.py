"""Label smoothing: part of a target that is spread over all that it might be (Szegedy and others, 2015)."""

from __future__ import annotations


def check_smoothing(label_smoothing: float) -> None:
    """Raise ValueError where it is no such part."""
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"label_smoothing is {label_smoothing}; it must lie between 0 and 1, 1 left out")
