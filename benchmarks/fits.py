"""What fits in what: `python benchmarks/fits.py > benchmarks/results/fits.md`.

The smallest budget of every strategy, scope `process`, for networks at 1×28×28, batch 128, SGD with momentum, from
profiles measured on this device.
"""

from __future__ import annotations

from planner.cli.measure import measured_profile
from planner.model.zoo import from_zoo
from planner.schema.common import usual_optimizer
from planner.schema.request import Budget, Request, Strategy, Training
from planner.solver.plan import least_memory
from planner.units import MIB

NETWORKS = ("vgg11", "vgg16", "resnet18")
STRATEGIES: tuple[Strategy, ...] = ("auto", "neuroflux", "checkpoint", "backprop", "classic-local")
OPTIMIZER = usual_optimizer("sgd")


def main() -> None:
    """Print the table."""
    print("Made by `python benchmarks/fits.py`. The smallest budget in MiB, everything resident included.\n")
    print(f"| network | {' | '.join(STRATEGIES)} |")
    print(f"| --- |{' ---: |' * len(STRATEGIES)}")
    training = Training(128, 10, 60_000, OPTIMIZER)
    for name in NETWORKS:
        profile = measured_profile(from_zoo(name, (1, 28, 28), 10), OPTIMIZER, 128)
        least = [
            least_memory(profile, Request(Budget(2**40, "process"), training, strategy=strategy))
            for strategy in STRATEGIES
        ]
        print(f"| {name} | {' | '.join(f'{size / MIB:.0f}' for size in least)} |")


if __name__ == "__main__":
    main()
