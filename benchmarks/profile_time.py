"""How long a complete profile takes: `python benchmarks/profile_time.py > benchmarks/results/profile_time.md`.

VGG-16 for Fashion-MNIST (1×28×28), every unit and head at five micro-batches up to 128, against ten epochs over 60,000
images by plain backpropagation without a tight budget, as the plan made from that very profile predicts them.
"""

from __future__ import annotations

import time

from planner.model.zoo import from_zoo
from planner.profiler.profile import ProfileRequest, take_profile
from planner.schema.common import usual_optimizer
from planner.schema.request import Budget, Request, Training
from planner.solver.plan import make_plan
from planner.system.machine import probe

OPTIMIZER = usual_optimizer("sgd")
BATCH, EPOCHS, SAMPLES = 128, 10, 60_000


def main() -> None:
    """Print the table."""
    cores = probe().cores
    model = from_zoo("vgg16", (1, 28, 28), 10)
    started = time.perf_counter()
    profile = take_profile(ProfileRequest(model, OPTIMIZER, BATCH, cores), lambda done, total, name: None)
    seconds = time.perf_counter() - started
    training = Training(BATCH, EPOCHS, SAMPLES, OPTIMIZER)
    plan = make_plan(profile, Request(Budget(2**40, "process"), training, strategy="backprop"))
    total = plan.predicted.seconds_total
    print("Made by `python benchmarks/profile_time.py`.\n")
    print("| network | cores | micro-batches | profile | ten epochs, predicted | share |")
    print("| --- | ---: | --- | ---: | ---: | ---: |")
    sizes = ", ".join(str(cost.micro_batch) for cost in profile.units[-1].costs)
    print(f"| vgg16 | {cores} | {sizes} | {seconds:.1f} s | {total:.0f} s | {100 * seconds / total:.2f} % |")


if __name__ == "__main__":
    main()
