"""Cost of the machinery: `python -m benchmarks.machinery > benchmarks/results/machinery.md`.

A one-block, one-segment plan as the runner trains it (reader thread, own optimizer, guard, events) against a loop as
one writes it by hand: images in memory, torch.optim.SGD. Same network, batch, optimizer and thread count, in one
process under the same allocator policy, interleaved; the median of the rounds' ratios is the figure.
"""

from __future__ import annotations

import io
import math
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

ROUNDS = 15
STEPS = 12
BATCH = 32
NETWORKS = ("cnn6", "resnet18")


def main() -> None:
    """Print the table."""
    from planner.training.runtime import start_torch

    start_torch("fast", 2)
    print("Made by `python -m benchmarks.machinery`. Milliseconds of one step, medians.\n")
    print("| network | batch | by hand | runner | runner to hand, median of rounds | quartiles |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for name in NETWORKS:
        hand, ours = zip(*measure(name), strict=True)
        ratios = [mine / other for mine, other in zip(ours, hand, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f"| {name} | {BATCH} | {1000 * statistics.median(hand):.1f} | {1000 * statistics.median(ours):.1f} "
            f"| {100 * (middle - 1):+.1f} % | {100 * (low - 1):+.1f} … {100 * (high - 1):+.1f} % |",
            flush=True,
        )


def measure(name: str) -> list[tuple[float, float]]:
    """Seconds of one step by hand and by the runner, round after round; which comes first changes."""
    from planner.model.zoo import from_zoo
    from planner.schema.common import usual_optimizer
    from tests.prepared import open_prepared
    from tests.unit.runner.train.test_block import make_plan

    model = from_zoo(name, (1, 28, 28), 10)
    plan = make_plan((0, 6))
    block = plan.blocks[0]
    whole = (0, len(model.units))
    segment = replace(block.segments[0], units=whole)
    plan = replace(
        plan,
        model=model,
        blocks=(replace(block, units=whole, micro_batch=BATCH, segments=(segment,)),),
        training=replace(plan.training, batch=BATCH, optimizer=usual_optimizer("sgd")),
    )
    found = []
    with tempfile.TemporaryDirectory() as folder, open_prepared("sample", Path(folder), size=model.input) as data:
        for turn in range(ROUNDS + 1):
            kinds = (by_hand, by_runner) if turn % 2 else (by_runner, by_hand)
            times = {kind: kind(plan, data, Path(folder)) for kind in kinds}
            if turn:  # the first makes kernels
                found.append((times[by_hand], times[by_runner]))
    return found


def by_runner(plan, data, folder) -> float:  # type: ignore[no-untyped-def]  # torch must not be imported for names
    """Seconds of one step of the runner's trainer, telling every event as the child does."""
    from planner.runner.input.samples import Samples
    from planner.runner.protocol.events import Message, Step
    from planner.runner.protocol.job import RunLength
    from planner.runner.storage.checkpoint import Checkpoints
    from planner.runner.train.context import RunContext
    from planner.runner.train.guard import MemoryGuard
    from planner.runner.train.stop import StopSignal
    from planner.runner.train.train import BlockTrainer
    from planner.schema.codec import to_json
    from planner.schema.run_folder import RunFolder

    marks: list[float] = []
    sink = io.StringIO()

    def tell(event) -> None:  # type: ignore[no-untyped-def]  # as above
        sink.write(to_json(Message(event), indent=None) + "\n")
        if isinstance(event, Step):
            marks.append(time.perf_counter())

    shape, task, normalisation = plan.model.input, plan.model.task, plan.normalisation
    samples = partial(Samples, data.train, shape, None, task=task, normalisation=normalisation)
    checkpoints = Checkpoints(folder / "checkpoint", math.inf)
    block = RunContext(plan, RunFolder(folder), RunLength(1, STEPS + 1, 0)).blocks[0]
    BlockTrainer(block, samples, MemoryGuard(None), tell, checkpoints, StopSignal()).train()
    return (marks[-1] - marks[0]) / STEPS


def by_hand(plan, data, folder) -> float:  # type: ignore[no-untyped-def]  # as above
    """Seconds of one step of the obvious loop; its images are in memory before the clock starts."""
    import torch
    from torch.nn.functional import cross_entropy

    from planner.runner.protocol.job import RunLength
    from planner.runner.train.block import LoadedBlock
    from planner.runner.train.context import RunContext
    from planner.schema.run_folder import RunFolder
    from planner.tasks.base import class_of

    count = STEPS * BATCH + BATCH
    raw = bytearray(count * 784)
    labels = torch.tensor(
        [class_of(data.train.read_into(i, memoryview(raw)[i * 784 : (i + 1) * 784])) for i in range(count)]
    )
    images = torch.frombuffer(raw, dtype=torch.uint8).view(count, 1, 28, 28)
    block = RunContext(plan, RunFolder(folder), RunLength(1, None, 0)).blocks[0]
    network = torch.nn.Sequential(*LoadedBlock(block).segments[0].units)
    settings = plan.training.optimizer
    optimizer = torch.optim.SGD(
        network.parameters(), settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
    )
    order = torch.randperm(count)
    started = 0.0
    for step in range(STEPS + 1):
        if step == 1:
            started = time.perf_counter()
        chosen = order[step * BATCH : (step + 1) * BATCH]
        inputs = (images[chosen].float() - 127.5) / 63.75
        optimizer.zero_grad()
        loss = cross_entropy(network(inputs), labels[chosen])
        loss.backward()
        optimizer.step()
        loss.item()
    return (time.perf_counter() - started) / STEPS


if __name__ == "__main__":
    sys.exit(main())
