"""Train a module of your own, on data of your own, within a budget, and get the weights back.

python examples/own_module.py
"""

from pathlib import Path

import torch
from network import Stripes, small_network

import planner


def main(out: Path = Path("runs/stripes"), epochs: int = 3) -> None:
    network = small_network()
    sample = torch.zeros(1, 16, 16)  # what one input looks like; values do not matter
    data = Stripes()

    print(planner.describe(network, sample))  # seconds: does it come in, and as which units?

    plan = planner.plan(network, sample, budget="300MiB", batch=32, epochs=epochs, data=data)  # measures: a minute
    print(f"predicted peak: {plan.predicted.peak_bytes / 2**20:.0f} MiB in {len(plan.blocks)} block(s)")

    report = planner.run(plan, data, init=network, out=out)
    print(f"measured peak:  {report.peak_bytes / 2**20:.0f} MiB, accuracy {report.accuracy:.0%}")

    report.load_into(network)  # until here, the module was left alone
    network.eval()
    image, label = data[0]
    guess = int(network((image[None] - 0.5) / 0.25).argmax())  # a run normalises images like this
    print(f"the first image is {data.classes[label]}, and taken for {data.classes[guess]}")


if __name__ == "__main__":
    main()
