"""What pooled exits cost: `python -m benchmarks.exits > benchmarks/results/exits.md`.

Runs of the bundled images in this process, with the runner's own session; seconds of fitting and writing exits against
seconds of training steps. Each run holds a tenth of the training samples out, as usual.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NETWORKS = ("cnn6", "vgg11")
BATCH = 64
EPOCHS = (1, 3)


@dataclass
class Spent:
    """Seconds of one run."""

    training: float = 0.0
    exits: float = 0.0
    count: int = 0
    """Exits that were fitted."""


def run(name: str, epochs: int) -> Spent:
    """Train by a plan of several blocks and add up what was spent where."""
    from planner.cli.measure import measured_profile
    from planner.model.zoo import from_zoo
    from planner.runner.protocol.events import BlockDone, Event
    from planner.runner.protocol.job import TrainingJob
    from planner.runner.train import finishing, session
    from planner.runner.train.guard import MemoryGuard
    from planner.runner.train.stop import StopSignal
    from planner.schema.codec import to_json
    from planner.schema.common import usual_optimizer
    from planner.schema.request import Budget, Request, Training
    from planner.schema.run_folder import RunFolder
    from planner.solver.plan import least_memory, make_plan
    from planner.units import MIB
    from tests.prepared import open_prepared

    profile = measured_profile(from_zoo(name, (1, 28, 28), 10), usual_optimizer("sgd"), BATCH)
    request = Request(Budget(2**40, "process"), Training(BATCH, epochs, 4000, usual_optimizer("sgd")))
    plan = make_plan(profile, Request(Budget(least_memory(profile, request) + 16 * MIB, "process"), request.training))
    spent, fit = Spent(), finishing.fit_exits

    def timed(*arguments: Any) -> Any:
        started = time.perf_counter()
        found = fit(*arguments)
        spent.exits += time.perf_counter() - started
        spent.count += len(found)
        return found

    def tell(event: Event) -> None:
        if isinstance(event, BlockDone):
            spent.training += 0.9 * event.seconds_per_epoch * event.epochs  # told for what is held out as well

    finishing.fit_exits = timed
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        (out / "weights").mkdir()
        RunFolder(out).plan.write_text(to_json(plan))
        with open_prepared("sample", out, size=plan.model.input) as data:
            job = TrainingJob(str(out), "sample", exit_tolerance=0.5, checkpoint_seconds=1e6)
            session.Session(job, plan, data, MemoryGuard(None), tell, StopSignal()).run()
    finishing.fit_exits = fit
    return spent


def main() -> None:
    """Print the table."""
    import torch

    torch.set_num_threads(2)
    print("Made by `python -m benchmarks.exits`: 3,600 of the bundled images, batch 64; seconds.\n")
    print("| network | epochs | pooled exits | training | fitting them | share |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in NETWORKS:
        for epochs in EPOCHS:
            spent = run(name, epochs)
            share = 100 * spent.exits / spent.training
            print(
                f"| {name} | {epochs} | {spent.count} | {spent.training:.1f} | {spent.exits:.2f} | {share:.1f} % |",
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(main())
