"""What the campaign says of lost accuracy; written by `python -m benchmarks.accuracy.fit`.

See docs/accuracy.md. A kind's figure is what it loses, in points, where the network is cut once; `n` segments lose
log2(n) ** EXPONENT times as much.
"""

from __future__ import annotations

from collections.abc import Mapping

POINTS: Mapping[str, float] = {"pooled-conv": 0.36, "mlp": 1.21, "lookahead": 0.24, "reconstruct": 0.75}
"""By kind of head."""

MEASURED_KINDS: frozenset[str] = frozenset({"lookahead", "pooled-conv"})
"""Kinds that the campaign has trained; of others the figures are those of papers."""

EXPONENT = 1.1
"""Of the logarithm of the number of segments."""

WINDOWS_SPARE, WINDOWS_MEASURED = 0.33, False
"""Share of the loss that a window at every cut spares, and whether the campaign has trained any."""

UNITS = (10, 12)
"""Fewest and most units that extract features, of the campaign's networks."""

SPREAD_SHARE, SPREAD_POINTS = 0.5, 0.9
"""Nine of ten runs of networks that were held out lie within so much of the prediction: a share of it, and points."""

GUESS_FACTOR = 2.0
"""How much wider that is where the network is unlike the campaign's."""
