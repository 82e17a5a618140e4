"""`torch.utils.checkpoint` over √n spans of n parts, with accumulation."""

from __future__ import annotations

import math

from torch import Tensor
from torch.utils.checkpoint import checkpoint_sequential

from benchmarks.peers.theirs.loop import accumulate, arguments, begin, network_of


def main() -> None:
    """Train."""
    given = arguments()
    begin()
    network = network_of(given)
    spans = round(math.sqrt(len(network)))

    def forward(inputs: Tensor) -> Tensor:
        out: Tensor = checkpoint_sequential(network, spans, inputs, use_reentrant=False)
        return out

    accumulate(given, network, forward)


if __name__ == "__main__":
    main()
