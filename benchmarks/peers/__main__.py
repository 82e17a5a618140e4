"""Our plans beside what people would run instead: `python -m benchmarks.peers [bench|full|table]`.

Every contestant runs in processes of its own inside a memory group (usually root makes one) whose limit is the budget;
peers in an environment of their own (`make bench` makes it). Before it is timed, each is given the largest micro-batch
with which it is not killed. Then all run in turn, round after round; clocks are read from outside, by the lines that
tell of steps. A call goes on behind the runs that the results hold. `table` prints
Markdown and draws an SVG beside them.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks.peers.contestants import OURS, PEERS, Ours, Peer, Work
from benchmarks.peers.race import Race
from benchmarks.peers.results import Case, Results, read_results
from benchmarks.peers.table import draw, tables
from planner.schema.request import Scope
from planner.system.machine import probe
from planner.units import MIB

RESULTS = Path("benchmarks/results/peers.json")
PYTHON = Path(".venv-peers/bin/python")

VGG16 = Work("vgg16", 32, 128)
Sets = tuple[tuple[Work, Scope, tuple[int, ...]], ...]
SHORT: Sets = ((VGG16, "training", (198,)), (VGG16, "process", (320, 1200)))
"""Budgets in MiB. 198 above its process is the least that backpropagation trains VGG-16 in."""
SHORT_CONTESTANTS = (
    "plain loop",
    "accumulation",
    "checkpoint",
    "optimizer in backward",
    "memopro",
    "neuroflux",
    "auto --prefer speed",
    "auto --prefer balanced",
)
"""Those that take part in it, by the beginnings of their names."""
FULL: Sets = (
    (VGG16, "training", (99, 198)),
    (VGG16, "process", (320, 420, 560, 1200)),
    (Work("resnet18", 32, 128), "process", (300, 400, 550, 1600)),
    (Work("mobilenetv2", 32, 128), "process", (250, 350, 500, 2000)),
    (Work("resnet18", 224, 32), "process", (300, 450, 1600)),
    (Work("vit-tiny", 32, 128), "process", (300, 400, 1600)),
)


def cases(sets: Sets, threads: tuple[int, ...]) -> list[Case]:
    """All of them."""
    return [
        Case(work, count, scope, budget * MIB)
        for count in threads
        for work, scope, budgets in sets
        for budget in budgets
    ]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("bench", "full", "table"), nargs="?", default="bench")
    parser.add_argument("--python", type=Path, default=PYTHON, help="of the peers' environment")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", help="default 1; 1 and 2 for `full`")
    parser.add_argument("--network", help="only this one")
    parser.add_argument("--budget", type=int, nargs="+", help="only these, in MiB")
    parser.add_argument("--only", nargs="+", help="contestants whose names begin with one of these")
    given = parser.parse_args()
    results = read_results(given.results) if given.results.exists() else Results(probe())
    if given.what != "table":
        everyone: tuple[Peer | Ours, ...] = (*PEERS, *OURS)
        is_short = given.what == "bench"
        names = tuple(given.only or (SHORT_CONTESTANTS if is_short else ("",)))
        chosen = [one for one in everyone if one.name.startswith(names)]
        threads = tuple(given.threads or ((1,) if is_short else (1, 2)))
        sets = SHORT if is_short else FULL
        sets = tuple(one for one in sets if given.network in (None, one[0].network))
        race = Race(given.python, results, given.results)
        wanted = cases(sets, threads)
        if given.budget:
            wanted = [case for case in wanted if case.budget_bytes // MIB in given.budget]
        race.run(wanted, chosen, given.rounds)
        for work in dict.fromkeys(one[0] for one in sets):
            race.floors(work, chosen)
    sys.stdout.write(tables(results))
    draw(results, given.results.with_suffix(".svg"))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
