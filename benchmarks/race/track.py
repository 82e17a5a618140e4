"""Plans raced against one another: their optimizer steps are taken in turn, so that all meet the same machine."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from planner.schema.codec import to_json
from planner.schema.plan import Block, Plan

ROUNDS = 2


def training_seconds(plan: Plan, step_seconds: Sequence[float]) -> float:
    """Seconds to the end of training: every block's steps as measured, and what follows them as predicted.

    What follows (writing caches, validation) is a forward pass or two in all, beside tens of epochs of training.
    """
    training = plan.training
    steps = training.epochs * -(-training.samples // training.batch)
    finish = sum(block.predicted.finish_seconds for block in plan.blocks)
    return finish + steps * sum(step_seconds)


def race(plans: Sequence[Plan], rounds: int = ROUNDS) -> list[float]:
    """Measured seconds to the end of training of each plan: the least of a few rounds, step by step."""
    with ExitStack() as stack:
        workers = [stack.enter_context(_worker(plan)) for plan in plans]
        fastest = [[float("inf")] * len(plan.blocks) for plan in plans]
        for _ in range(rounds):
            for index in range(max(len(plan.blocks) for plan in plans)):
                for plan, worker, found in zip(plans, workers, fastest, strict=True):
                    if index < len(plan.blocks):
                        found[index] = min(found[index], _step(worker, index))
    return [training_seconds(plan, found) for plan, found in zip(plans, fastest, strict=True)]


def is_same_training(one: Plan, other: Plan) -> bool:
    """Whether two plans do the same work."""
    return one.allocator == other.allocator and _work(one.blocks) == _work(other.blocks)


def _work(blocks: tuple[Block, ...]) -> list[object]:
    return [(b.units, b.micro_batch, b.optimizer_in_backward, b.input.kind, b.segments) for b in blocks]


@contextmanager
def _worker(plan: Plan) -> Iterator[subprocess.Popen[str]]:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(to_json(plan))
        file.flush()
        command = [sys.executable, "-m", "benchmarks.race.worker", str(Path(file.name))]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                _line(process)
                yield process
            finally:
                process.kill()


def _step(worker: subprocess.Popen[str], index: int) -> float:
    assert worker.stdin is not None
    worker.stdin.write(f"{index}\n")
    worker.stdin.flush()
    return float(_line(worker))


def _line(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    line = worker.stdout.readline()
    if not line:
        raise SystemExit("a racing process ended early")
    return line
