"""`python -m benchmarks.accuracy [LOG [NETWORK …]]`: run what the log lacks of the campaign, a line of JSON each.

It goes on where it was stopped; networks may be trained side by side into one log, by default that of
benchmarks/accuracy/runs.jsonl. `python -m benchmarks.accuracy.fit` makes the model that ships with the product of it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.accuracy.case import LOG, Case, cases
from benchmarks.accuracy.networks import NETWORKS
from benchmarks.accuracy.train import train, write_data


def done(log: Path) -> set[Case]:
    """Cases that a log holds; what a line does not say was as usual then."""
    if not log.exists():
        return set()
    fields = Case.__dataclass_fields__
    lines = (json.loads(line) for line in log.read_text().splitlines())
    return {Case(**{name: line[name] for name in fields if name in line}) for line in lines}


def main(log: Path, networks: frozenset[str]) -> None:
    """Run all that is left of these networks."""
    import torch

    torch.set_num_threads(1)
    known = done(log)
    with tempfile.TemporaryDirectory() as folder:
        for case in cases():
            if case in known or case.network not in networks:
                continue
            known.add(case)
            data = Path(folder) / f"{case.held_out}.npz"
            if not data.exists():
                write_data(data, case.held_out)
            line = json.dumps({**asdict(case), **train(case, data)})
            with log.open("a") as file:
                file.write(line + "\n")
            print(line, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else LOG, frozenset(sys.argv[2:] or NETWORKS))
