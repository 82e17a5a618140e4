"""The model of lost accuracy, fitted on the campaign's log: `python -m benchmarks.accuracy.fit [LOG]`.

Writes planner/solver/accuracy_figures.py and benchmarks/results/accuracy.md. What a run loses is backpropagation's
accuracy with the same network, seed and epochs less its own. `points(kind) * log2(segments) ** exponent` is fitted to
that: the exponent by trying, the points of each kind as the median ratio's, pulled to the figures of papers by the
weight of `_PRIOR_RUNS` runs, so that few runs do not say more than they can. A kind's points are never below
`_LEAST_POINTS`: a cut is not counted on to help.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log2
from pathlib import Path
from statistics import mean, stdev
from typing import Any, get_args

from benchmarks.accuracy.case import EPOCHS, LOG
from planner.heads.base import HeadKind

FIGURES = Path(__file__).parents[2] / "planner" / "solver" / "accuracy_figures.py"
RESULTS = Path(__file__).parents[1] / "results" / "accuracy.md"

PAPERS: dict[str, float] = {"pooled-conv": 1.3, "mlp": 1.3, "lookahead": 0.2, "reconstruct": 0.75}
"""Points that two segments lose on CIFAR-10 (error of 7 %): DGL and InfoPro as arXiv 2101.10832 has them, ResNet-32;
look-ahead so that 56 segments lose AugLocal's 0.65 (arXiv 2402.17318)."""

_PRIOR_RUNS = 2
_LEAST_POINTS = 0.05
_EXPONENTS = [step / 10 for step in range(10, 21)]
_GUESS_FACTOR = 2.0
_NINE_TENTHS = 0.9


@dataclass(frozen=True)
class Run:
    """A run with cuts, and what it lost."""

    network: str
    segments: int
    kind: str
    is_together: bool
    seed: int
    units: int
    lost: float
    lost_by_best_exit: float

    @property
    def depth(self) -> float:
        """The logarithm of the segments."""
        return log2(self.segments)


def read(log: Path) -> list[dict[str, Any]]:
    """All of the log's runs."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def paired(lines: Iterable[dict[str, Any]]) -> list[Run]:
    """Runs with cuts beside backpropagation's of the same network, seed and epochs."""
    lines = [line for line in lines if line["epochs"] == EPOCHS]
    whole = {(line["network"], line["seed"]): line["accuracy"] for line in lines if line["segments"] == 1}
    found = []
    for line in lines:
        key = line["network"], line["seed"]
        if line["segments"] != 1 and key in whole:
            found.append(
                Run(
                    line["network"],
                    len(line["ends"]),
                    line["head"],
                    line["blocks"] == "together",
                    line["seed"],
                    line["units"],
                    whole[key] - line["accuracy"],
                    whole[key] - max(line["exits"]),
                )
            )
    return found


def points_of(runs: Sequence[Run], kind: str, exponent: float) -> float:
    """Least squares through nothing lost by one segment, with the prior as runs of four segments."""
    own = [(run.depth**exponent, run.lost) for run in runs if run.kind == kind]
    own += [(2**exponent, PAPERS[kind] * 2**exponent)] * _PRIOR_RUNS
    found: float = sum(x * y for x, y in own) / sum(x * x for x, _ in own)
    return max(_LEAST_POINTS, found)


def predicted(run: Run, points: dict[str, float], exponent: float) -> float:
    """What the model says of a run."""
    found: float = points[run.kind] * run.depth**exponent
    return found


def fit(runs: Sequence[Run]) -> tuple[dict[str, float], float]:
    """Points by kind and the exponent with the least squares of residuals."""

    def tried(exponent: float) -> tuple[float, dict[str, float], float]:
        points = {kind: points_of(runs, kind, exponent) for kind in get_args(HeadKind)}
        squares = sum((run.lost - predicted(run, points, exponent)) ** 2 for run in runs)
        return squares, points, exponent

    _, points, exponent = min((tried(exponent) for exponent in _EXPONENTS), key=lambda found: found[0])
    return {kind: round(value, 2) for kind, value in points.items()}, exponent


def spread(runs: Sequence[Run], points: dict[str, float], exponent: float) -> tuple[float, float]:
    """A share of the prediction and points, between which nine of ten residuals lie; of equals the fewest points."""
    share = 0.5
    beyond = sorted(
        abs(run.lost - predicted(run, points, exponent)) - share * predicted(run, points, exponent) for run in runs
    )
    return share, max(0.3, round(beyond[min(len(beyond) - 1, int(_NINE_TENTHS * len(beyond)))], 2))


def held_out(runs: Sequence[Run]) -> list[tuple[Run, float]]:
    """Every network predicted by a model that was fitted without it."""
    found = []
    for network in sorted({run.network for run in runs}):
        others = [run for run in runs if run.network != network]
        if others:
            points, exponent = fit(others)
            found += [(run, predicted(run, points, exponent)) for run in runs if run.network == network]
    return found


def ranks(values: Sequence[float]) -> list[float]:
    """Places of values, ties sharing one."""
    ordered = sorted(values)
    return [ordered.index(value) + (ordered.count(value) - 1) / 2 for value in values]


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float:
    """Spearman's."""
    first, second = (ranks([pair[side] for pair in pairs]) for side in (0, 1))
    low, high = mean(first), mean(second)
    product = sum((one - low) * (other - high) for one, other in zip(first, second, strict=True))
    squares = sum((one - low) ** 2 for one in first) * sum((other - high) ** 2 for other in second)
    return product / squares**0.5 if squares else 0.0


def write_figures(points: dict[str, float], exponent: float, runs: Sequence[Run]) -> None:
    """The module that ships."""
    share, wide = spread(runs, points, exponent)
    counted = {kind: sum(run.kind == kind for run in runs) for kind in points}
    kinds = ", ".join(f'"{kind}"' for kind, count in sorted(counted.items()) if count >= _PRIOR_RUNS)
    units = [run.units for run in runs]
    text = f'''"""What the campaign says of lost accuracy; written by `python -m benchmarks.accuracy.fit`.

See docs/accuracy.md. A kind's figure is what it loses, in points, where the network is cut once; `n` segments lose
log2(n) ** EXPONENT times as much.
"""

from __future__ import annotations

from collections.abc import Mapping

POINTS: Mapping[str, float] = {{{", ".join(f'"{kind}": {value}' for kind, value in points.items())}}}
"""By kind of head."""

MEASURED_KINDS: frozenset[str] = frozenset({{{kinds}}})
"""Kinds that the campaign has trained; of others the figures are those of papers."""

EXPONENT = {exponent}
"""Of the logarithm of the number of segments."""

UNITS = ({min(units)}, {max(units)})
"""Fewest and most units that extract features, of the campaign's networks."""

SPREAD_SHARE, SPREAD_POINTS = {share}, {wide}
"""Nine of ten runs lie within so much of the prediction: a share of it, and points."""

GUESS_FACTOR = {_GUESS_FACTOR}
"""How much wider that is where the network is unlike the campaign's."""
'''
    FIGURES.write_text(text)


def table(lines: Sequence[dict[str, Any]], runs: Sequence[Run], points: dict[str, float], exponent: float) -> str:
    """All that was measured, beside the prediction."""
    text = [_HEADER.format(len(lines), len(runs))]
    text.append("| network | epochs | seed | test accuracy % | training loss |\n| --- | ---: | ---: | ---: | ---: |")
    whole = [line for line in lines if line["segments"] == 1]
    for line in sorted(whole, key=lambda line: (line["network"], line["epochs"], line["seed"])):
        text.append(
            f"| {line['network']} | {line['epochs']} | {line['seed']} | {line['accuracy']:.2f} "
            f"| {line['losses'][-1]:.3f} |"
        )
    text.append(_LOST)
    groups: dict[tuple[str, int, str, bool], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.network, run.segments, run.kind, run.is_together), []).append(run)
    for (network, segments, kind, together), own in sorted(groups.items()):
        lost = [run.lost for run in own]
        wide = f" ± {stdev(lost):.2f}" if len(lost) > 1 else ""
        best = mean(run.lost_by_best_exit for run in own)
        said = points[kind] * log2(segments) ** exponent
        text.append(
            f"| {network} | {segments} | {kind} | {'together' if together else 'apart'} | {len(own)} "
            f"| {mean(lost):+.2f}{wide} | {best:+.2f} | {said:.2f} | {mean(lost) - said:+.2f} |"
        )
    pairs = [(run.lost, predicted(run, points, exponent)) for run in runs]
    text.append(_summary("In all", pairs))
    aside = [(run.lost, said) for run, said in held_out(runs)]
    if aside:
        text.append(_summary("Each network predicted by a fit without it", aside))
    both = _together_costs(runs)
    if both:
        text.append(
            f"Segments trained together lose {mean(both):+.2f} points more than the same one after another "
            f"({len(both)} pairs, from {min(both):+.2f} to {max(both):+.2f}); each block has all epochs to itself, and "
            "its cache four augmented passes.\n"
        )
    return "\n".join(text)


def _together_costs(runs: Sequence[Run]) -> list[float]:
    apart = {(run.network, run.segments, run.kind, run.seed): run.lost for run in runs if not run.is_together}
    together = {(run.network, run.segments, run.kind, run.seed): run.lost for run in runs if run.is_together}
    return [lost - apart[key] for key, lost in together.items() if key in apart]


def _summary(what: str, pairs: Sequence[tuple[float, float]]) -> str:
    error = mean(abs(lost - said) for lost, said in pairs)
    none = mean(abs(lost) for lost, _ in pairs)
    return (
        f"\n{what}: {len(pairs)} runs, mean error {error:.2f} points (of a prediction of 0 always: {none:.2f}), rank "
        f"correlation {rank_correlation(pairs):.2f}.\n"
    )


_HEADER = """\
Made by `python -m benchmarks.accuracy` and `python -m benchmarks.accuracy.fit`: {0} runs, {1} of them with cuts and
with backpropagation of the same network and seed beside them. Fashion-MNIST averaged to 1×14×14, its first 4,000
training and 5,000 test images, crop and flip, batch 32, SGD 0.05 to zero along a cosine, momentum 0.9, decay 5e-4, 20
epochs of every block, float32. Networks: `benchmarks/accuracy/networks.py`. Real training by the runner's own session.

Backpropagation, and its curve:
"""

_LOST = """
Points lost to backpropagation of the same seed, by the whole network and by its best exit. Apart: segments one after
another, each a block; heads of 16 filters (`pooled-conv`, `reconstruct`, `mlp`) or as wide as the originals
(`lookahead`).

| network | segments | head | blocks | seeds | lost | by the best exit | predicted | residual |
| --- | ---: | --- | --- | ---: | ---: | ---: | ---: | ---: |"""


def main(log: Path) -> None:
    """Fit, and write both."""
    lines = read(log)
    runs = paired(lines)
    # A run is a plan's: its blocks one after another, as plans under a tight budget have them, or together.
    points, exponent = fit(runs)
    write_figures(points, exponent, runs)
    RESULTS.write_text(table(lines, runs, points, exponent))
    print(RESULTS.read_text())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else LOG)
