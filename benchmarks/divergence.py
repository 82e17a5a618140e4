"""How often the rule for diverging losses errs: `python -m benchmarks.divergence > benchmarks/results/divergence.md`.

Small networks on the bundled images, at learning rates from too small to far too large. Nothing is stopped: each run
goes on to its end behind an alarm, so it is known whether training would have recovered. One thread, minutes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn

from planner.runner.train.divergence import STEPS, TIMES, begins_at, loss_of_zeros
from planner.sample import SAMPLE_FILE
from planner.schema.common import OptimizerConfig, OptimizerKind
from planner.tasks.classification import Classification
from planner.tasks.kinds import AnyTask
from planner.tasks.regression import Regression
from planner.training.optimizers import make_optimizer
from planner.training.tasks import make_arithmetic

STEPS_IN_ALL = 400
BATCH = 32
RATES: dict[OptimizerKind, tuple[float, ...]] = {
    "sgd": tuple(10 ** (power / 2) for power in range(-4, 5)),
    "adam": tuple(10 ** (power / 2) for power in range(-6, 3)),
}
SEEDS = (0, 1)
MULTIPLES = (3.0, TIMES)
STREAKS = (1, 10, 50, 100, STEPS)


def _flat(*widths: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    for before, behind in zip((784, *widths), (*widths, 10), strict=True):
        layers += [nn.Linear(before, behind), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _convolutions(normalised: bool) -> nn.Module:
    layers: list[nn.Module] = []
    for before, behind in ((1, 8), (8, 16)):
        layers.append(nn.Conv2d(before, behind, 3, stride=2, padding=1))
        layers += [nn.BatchNorm2d(behind), nn.ReLU()] if normalised else [nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 49, 10))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "perceptron": lambda: _flat(64),
    "deep perceptron": lambda: _flat(64, 64, 64),
    "convolutions": lambda: _convolutions(False),
    "convolutions, normalised": lambda: _convolutions(True),
}
TASKS: dict[str, AnyTask] = {
    "classes": Classification("classification"),
    "numbers": Regression("regression"),
}


@cache
def _sample() -> tuple[Tensor, Tensor]:
    with np.load(SAMPLE_FILE) as file:
        images = torch.from_numpy(file["images"]).float().div_(255).sub_(0.5).div_(0.25).unsqueeze_(1)
        return images, torch.from_numpy(file["labels"]).long()


def losses_of(network: nn.Module, task: AnyTask, settings: OptimizerConfig, seed: int) -> Iterator[tuple[float, float]]:
    """Of every step the loss, and what it is held against."""
    images, labels = _sample()
    arithmetic, optimizer = make_arithmetic(task), make_optimizer(settings)
    is_regression = isinstance(task, Regression)
    generator = torch.Generator().manual_seed(seed)
    began: float | None = None
    for step in range(STEPS_IN_ALL):
        drawn = torch.randint(0, len(images), (BATCH,), generator=generator)
        wanted: Tensor = labels[drawn]
        if is_regression:
            wanted = 3 * torch.nn.functional.one_hot(wanted, 10).float() + 1
        loss = arithmetic.loss(network(images[drawn]), wanted)
        value = loss.item()
        if began is None:
            (began,) = begins_at((value,), loss_of_zeros(arithmetic, wanted, (10,)))
        yield value, began
        if not math.isfinite(value):
            return
        loss.backward()  # type: ignore[no-untyped-call]  # torch gives it no type
        optimizer.lr = settings.lr * 0.5 * (1 + math.cos(math.pi * step / STEPS_IN_ALL))
        optimizer.step(network.parameters())
        for parameter in network.parameters():
            parameter.grad = None


def alarm(losses: list[tuple[float, float]], times: float, streak: int) -> int | None:
    """The first step at which so many in a row have been above so many times what they are held against."""
    high = 0
    for step, (loss, began) in enumerate(losses):
        high = high + 1 if loss > times * began else 0
        if high == streak:
            return step
    return None


def main() -> None:
    """Print what every rule says of every run."""
    torch.set_num_threads(1)
    runs: list[list[tuple[float, float]]] = []
    for make, task, (kind, rates), seed in product(NETWORKS.values(), TASKS.values(), RATES.items(), SEEDS):
        for rate in rates:
            torch.manual_seed(seed)
            momentum = 0.9 if kind == "sgd" else 0.0
            settings = OptimizerConfig(kind, rate, momentum)
            runs.append(list(losses_of(make(), task, settings, seed)))
    unfinite = [run for run in runs if not math.isfinite(run[-1][0])]
    finite = [run for run in runs if math.isfinite(run[-1][0])]
    ends = {id(run): sum(loss for loss, _ in run[-20:]) / 20 / run[0][1] for run in finite}
    print("# Alarms of diverging losses\n")
    print("`python -m benchmarks.divergence > benchmarks/results/divergence.md`\n")
    ranges = " and ".join(f"{kind} from {rates[0]:g} to {rates[-1]:g}" for kind, rates in RATES.items())
    print(
        f"{len(runs)} runs of {STEPS_IN_ALL} steps of {BATCH} samples: {'; '.join(NETWORKS)}; {' and '.join(TASKS)}; "
        f"{ranges}, SGD with momentum, cosine, {len(SEEDS)} seeds. {len(unfinite)} end with a loss that is no number. "
        "An alarm is false where the last 20 steps lose no more than what losses are held against.\n"
    )
    print("| above | steps in a row | alarms | false | end above without an alarm |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for times, streak in product(MULTIPLES, STREAKS):
        told = [run for run in finite if alarm(run, times, streak) is not None]
        false = sum(ends[id(run)] <= 1 for run in told)
        missed = sum(ends[id(run)] > times for run in finite if alarm(run, times, streak) is None)
        own = " (the rule)" if (times, streak) == (TIMES, STEPS) else ""
        print(f"| {times:g} × | {streak}{own} | {len(told)} | {false} | {missed} |")


if __name__ == "__main__":
    main()
