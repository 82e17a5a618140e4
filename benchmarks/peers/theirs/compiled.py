"""`torch.compile` with a budget for activations: the share of them that its partitioner keeps; with accumulation."""

from __future__ import annotations

import torch
import torch._functorch.config

from benchmarks.peers.theirs.loop import accumulate, arguments, begin, network_of


def main() -> None:
    """Train."""
    given = arguments()
    torch._functorch.config.activation_memory_budget = given.ratio
    begin()
    network = network_of(given)
    accumulate(given, network, torch.compile(network))


if __name__ == "__main__":
    main()
