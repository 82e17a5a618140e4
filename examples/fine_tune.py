"""Begin with weights that you have, keep the first units as they are, and train the rest.

python examples/fine_tune.py
"""

from pathlib import Path

import torch
from network import Stripes, small_network

import planner


def main(out: Path = Path("runs/tuned"), epochs: int = 3) -> None:
    network = small_network()  # in your case: with weights that you have loaded into it
    first = network[0].weight.detach().clone()
    data = Stripes()

    # Unit 0 is the first convolution with what follows it (`planner.describe` lists the units). Frozen units take no
    # gradients and no optimizer state, so they need less memory.
    plan = planner.plan(network, torch.zeros(1, 16, 16), budget="300MiB", batch=32, epochs=epochs, freeze=1, data=data)
    report = planner.run(plan, data, init=network, out=out)
    report.load_into(network)

    assert report.init is not None  # what was given, and what began at random
    print("frozen weights are as they were:", torch.equal(network[0].weight, first))
    print(f"accuracy {report.accuracy:.0%}, {report.init.taken} tensors began as given")


if __name__ == "__main__":
    main()
