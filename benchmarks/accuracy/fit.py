"""The model of lost accuracy, fitted on the campaign's log: `python -m benchmarks.accuracy.fit [LOG]`.

Writes planner/solver/accuracy_figures.py and benchmarks/results/accuracy.md. What a run loses is backpropagation's
accuracy with the same network, seed and epochs, on the same images, less its own. What is fitted to that is
`points(kind) * log2(segments) ** exponent`, less the share `windows` of it where every cut has one: the exponent by
trying, points and share by least squares, pulled to the figures of papers by the weight of `_PRIOR_RUNS` runs, so that
few runs do not say more than they can. A kind's points are never below `_LEAST_POINTS`: no cut is counted on to help.

The spread is that of held-out networks: what a fit without a network misses its runs by.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log2
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple, get_args

from benchmarks.accuracy.case import EPOCHS, LOG, Case
from planner.heads.base import HeadKind

FIGURES = Path(__file__).parents[2] / "planner" / "solver" / "accuracy_figures.py"
RESULTS = Path(__file__).parents[1] / "results" / "accuracy.md"

PAPERS: dict[str, float] = {"pooled-conv": 1.3, "mlp": 1.3, "lookahead": 0.2, "reconstruct": 0.75}
"""Points that two segments lose on CIFAR-10 (error of 7 %): DGL and InfoPro as arXiv 2101.10832 has them, ResNet-32;
look-ahead so that 56 segments lose AugLocal's 0.65 (arXiv 2402.17318)."""

HPFF = 1 / 3
"""Share of the loss that overlapping by one unit spares (arXiv 2407.05638)."""

_PRIOR_RUNS = 2
_LEAST_POINTS = 0.05
_EXPONENTS = [step / 10 for step in range(10, 21)]
_GUESS_FACTOR = 2.0
_NINE_TENTHS = 0.9
_MOST_SPARED = 0.9
_MEAN_OF_NORMAL = 0.8
"""Mean absolute deviation of a normal distribution, in standard deviations."""


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
    overlap: int = 0

    @property
    def depth(self) -> float:
        """The logarithm of the segments."""
        return log2(self.segments)

    @property
    def plan(self) -> tuple[str, int, str, int, bool]:
        """What seeds have in common."""
        return self.network, self.segments, self.kind, self.overlap, self.is_together


class Fit(NamedTuple):
    """The model."""

    points: dict[str, float]
    """By kind of head: what two segments lose."""
    exponent: float
    """Of the logarithm of the segments."""
    windows: float
    """Share that a window at every cut spares."""

    def predicted(self, run: Run) -> float:
        """What it says of a run."""
        whole: float = self.points[run.kind] * run.depth**self.exponent
        return whole * (1 - self.windows * run.overlap)


def read(log: Path) -> list[dict[str, Any]]:
    """All of the log's runs."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def paired(lines: Iterable[dict[str, Any]]) -> list[Run]:
    """Runs with cuts beside backpropagation's of the same network, seed, epochs and held-out images.

    Of one that was measured on more and on fewer images that on more.
    """
    lines = [line for line in lines if line["epochs"] == EPOCHS]
    usual = Case.__dataclass_fields__["held_out"].default

    def pair(line: dict[str, Any]) -> tuple[str, int, int]:
        return line["network"], line["seed"], line.get("held_out", usual)

    whole = {pair(line): line["accuracy"] for line in lines if line["segments"] == 1}
    found = (
        Run(
            line["network"],
            len(line["ends"]),
            line["head"],
            line["blocks"] == "together",
            line["seed"],
            line["units"],
            whole[pair(line)] - line["accuracy"],
            whole[pair(line)] - max(line["exits"]),
            line.get("overlap", 0),
        )
        for line in sorted(lines, key=lambda line: pair(line)[-1])
        if line["segments"] != 1 and pair(line) in whole
    )
    return list({(run.plan, run.seed): run for run in found}.values())


def points_of(runs: Sequence[Run], kind: str, exponent: float) -> float:
    """Least squares through nothing lost by one segment, with the prior as runs of four segments."""
    own = [(run.depth**exponent, run.lost) for run in runs if run.kind == kind and not run.overlap]
    own += [(2**exponent, PAPERS[kind] * 2**exponent)] * _PRIOR_RUNS
    return max(_LEAST_POINTS, _slope(own))


def windows_of(runs: Sequence[Run], points: dict[str, float], exponent: float) -> float:
    """The share that windows spare, by least squares, with the prior as runs of four segments."""
    whole = Fit(points, exponent, 0.0)
    own = [(whole.predicted(run), whole.predicted(run) - run.lost) for run in runs if run.overlap]
    usual = points["pooled-conv"] * 2**exponent
    return min(_MOST_SPARED, max(0.0, _slope(own + [(usual, HPFF * usual)] * _PRIOR_RUNS)))


def _slope(pairs: Sequence[tuple[float, float]]) -> float:
    return sum(x * y for x, y in pairs) / sum(x * x for x, _ in pairs)


def fit(runs: Sequence[Run]) -> Fit:
    """Points by kind, the exponent with the least squares of residuals, and what windows spare."""

    def tried(exponent: float) -> tuple[float, Fit]:
        points = {kind: points_of(runs, kind, exponent) for kind in get_args(HeadKind)}
        found = Fit(points, exponent, windows_of(runs, points, exponent))
        return sum((run.lost - found.predicted(run)) ** 2 for run in runs), found

    _, found = min((tried(exponent) for exponent in _EXPONENTS), key=lambda tried: tried[0])
    return Fit({kind: round(value, 2) for kind, value in found.points.items()}, found.exponent, round(found.windows, 2))


def spread(pairs: Sequence[tuple[Run, float]]) -> tuple[float, float]:
    """A share of the prediction and points, between which nine of ten residuals lie; of equals the fewest points."""
    share = 0.5
    beyond = sorted(abs(run.lost - said) - share * said for run, said in pairs)
    return share, max(0.3, round(beyond[min(len(beyond) - 1, int(_NINE_TENTHS * len(beyond)))], 2))


def held_out(runs: Sequence[Run]) -> list[tuple[Run, float]]:
    """Every network predicted by a model that was fitted without it; of a single one, by the model of it."""
    found = []
    for network in sorted({run.network for run in runs}):
        fitted = fit([run for run in runs if run.network != network] or runs)
        found += [(run, fitted.predicted(run)) for run in runs if run.network == network]
    return found


def by_plan(pairs: Sequence[tuple[Run, float]]) -> list[tuple[float, float]]:
    """What was lost and predicted, of all seeds of a plan together: chance counts for less."""
    groups: dict[object, list[tuple[float, float]]] = {}
    for run, said in pairs:
        groups.setdefault(run.plan, []).append((run.lost, said))
    return [(mean(lost for lost, _ in own), mean(said for _, said in own)) for own in groups.values()]


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


def write_figures(found: Fit, runs: Sequence[Run]) -> None:
    """The module that ships."""
    share, wide = spread(held_out(runs))
    counted = {kind: sum(run.kind == kind for run in runs) for kind in found.points}
    kinds = ", ".join(f'"{kind}"' for kind, count in sorted(counted.items()) if count >= _PRIOR_RUNS)
    units = [run.units for run in runs]
    is_measured = sum(run.overlap > 0 for run in runs) >= _PRIOR_RUNS
    text = f'''"""What the campaign says of lost accuracy; written by `python -m benchmarks.accuracy.fit`.

See docs/accuracy.md. A kind's figure is what it loses, in points, where the network is cut once; `n` segments lose
log2(n) ** EXPONENT times as much.
"""

from __future__ import annotations

from collections.abc import Mapping

POINTS: Mapping[str, float] = {{{", ".join(f'"{kind}": {value}' for kind, value in found.points.items())}}}
"""By kind of head."""

MEASURED_KINDS: frozenset[str] = frozenset({{{kinds}}})
"""Kinds that the campaign has trained; of others the figures are those of papers."""

EXPONENT = {found.exponent}
"""Of the logarithm of the number of segments."""

WINDOWS_SPARE, WINDOWS_MEASURED = {found.windows}, {is_measured}
"""Share of the loss that a window at every cut spares, and whether the campaign has trained any."""

UNITS = ({min(units)}, {max(units)})
"""Fewest and most units that extract features, of the campaign's networks."""

SPREAD_SHARE, SPREAD_POINTS = {share}, {wide}
"""Nine of ten runs of networks that were held out lie within so much of the prediction: a share of it, and points."""

GUESS_FACTOR = {_GUESS_FACTOR}
"""How much wider that is where the network is unlike the campaign's."""
'''
    FIGURES.write_text(text)


def table(lines: Sequence[dict[str, Any]], runs: Sequence[Run], found: Fit) -> str:
    """All that was measured, beside the prediction."""
    text = [_HEADER.format(len(lines), len(runs))]
    text.append(
        "| network | epochs | seed | measured on | test accuracy % | training loss |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: |"
    )
    whole = [line for line in lines if line["segments"] == 1]
    for line in sorted(whole, key=lambda line: (line["network"], line["epochs"], line["seed"])):
        text.append(
            f"| {line['network']} | {line['epochs']} | {line['seed']} | {line.get('held_out', 5000)} "
            f"| {line['accuracy']:.2f} | {line['losses'][-1]:.3f} |"
        )
    text.append(_LOST)
    groups: dict[tuple[str, int, str, int, bool], list[Run]] = {}
    for run in runs:
        groups.setdefault(run.plan, []).append(run)
    for (network, segments, kind, overlap, together), own in sorted(groups.items()):
        lost = [run.lost for run in own]
        wide = f" ± {stdev(lost):.2f}" if len(lost) > 1 else ""
        best = mean(run.lost_by_best_exit for run in own)
        said = found.predicted(own[0])
        text.append(
            f"| {network} | {segments} | {kind} | {overlap} | {'together' if together else 'apart'} | {len(own)} "
            f"| {mean(lost):+.2f}{wide} | {best:+.2f} | {said:.2f} | {mean(lost) - said:+.2f} |"
        )
    fitted = [(run, found.predicted(run)) for run in runs]
    aside = held_out(runs)
    for what, pairs in (("In all", fitted), ("Each network predicted by a fit without it", aside)):
        text.append(_summary(f"{what}, run by run", "runs", [(run.lost, said) for run, said in pairs]))
        text.append(_summary(f"{what}, the mean of a plan's seeds", "plans", by_plan(pairs)))
    noise = _chance(runs)
    if noise is not None:
        text.append(
            f"Between seeds the same plan's loss varies by {noise:.2f} points (standard deviation): no prediction of a "
            f"single run can err by less than about {_MEAN_OF_NORMAL * noise:.2f} on average.\n"
        )
    both = _together_costs(runs)
    if both:
        text.append(
            f"Segments trained together lose {mean(both):+.2f} points more than the same one after another "
            f"({len(both)} pairs, from {min(both):+.2f} to {max(both):+.2f}); each block has all epochs to itself, and "
            "its cache four augmented passes.\n"
        )
    return "\n".join(text)


def _chance(runs: Sequence[Run]) -> float | None:
    """The standard deviation of what one plan loses, over seeds; none where no plan has two."""
    groups: dict[object, list[float]] = {}
    for run in runs:
        groups.setdefault(run.plan, []).append(run.lost)
    squares = [((lost - mean(own)) ** 2, (len(own) - 1) / len(own)) for own in groups.values() for lost in own]
    freedom = sum(share for _, share in squares)
    return (sum(square for square, _ in squares) / freedom) ** 0.5 if freedom > 0 else None


def _together_costs(runs: Sequence[Run]) -> list[float]:
    apart = {(*run.plan[:-1], run.seed): run.lost for run in runs if not run.is_together}
    together = {(*run.plan[:-1], run.seed): run.lost for run in runs if run.is_together}
    return [lost - apart[key] for key, lost in together.items() if key in apart]


def _summary(what: str, counted: str, pairs: Sequence[tuple[float, float]]) -> str:
    error = mean(abs(lost - said) for lost, said in pairs)
    none = mean(abs(lost) for lost, _ in pairs)
    return (
        f"\n{what}: {len(pairs)} {counted}, mean error {error:.2f} points (of a prediction of 0 always: {none:.2f}), "
        f"rank correlation {rank_correlation(pairs):.2f}.\n"
    )


_HEADER = """\
Made by `python -m benchmarks.accuracy` and `python -m benchmarks.accuracy.fit`: {0} runs, {1} of them with cuts and
with backpropagation of the same network and seed beside them. Fashion-MNIST averaged to 1×14×14, its first 4,000
training images, crop and flip, batch 32, SGD 0.05 to zero along a cosine, momentum 0.9, decay 5e-4, 20 epochs of every
block, float32; measured on its first 5,000 test images, or on all 10,000 and as many of the training part that nothing
was trained on. Networks: `benchmarks/accuracy/networks.py`. Real training by the runner's own session.

Backpropagation, and its curve:
"""

_LOST = """
Points lost to backpropagation of the same seed, by the whole network and by its best exit. Apart: segments one after
another, each a block; heads of 16 filters (`pooled-conv`, `reconstruct`, `mlp`) or as wide as the originals
(`lookahead`); overlap: units behind a segment that it trains as well.

| network | segments | head | overlap | blocks | seeds | lost | by the best exit | predicted | residual |
| --- | ---: | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |"""


def main(log: Path) -> None:
    """Fit, and write both."""
    lines = read(log)
    runs = paired(lines)
    # A run is a plan's: its blocks one after another, as plans under a tight budget have them, or together.
    found = fit(runs)
    write_figures(found, runs)
    RESULTS.write_text(table(lines, runs, found))
    print(RESULTS.read_text())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else LOG)
