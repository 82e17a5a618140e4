"""`memopro.train_session`: it chooses micro-batches for a budget, which is of what is free once torch is there."""

from __future__ import annotations

from pathlib import Path

import memopro
from torch import Tensor, nn

from benchmarks.peers.theirs.loop import Images, arguments, begin, network_of, optimizer_of, say


def resident_bytes() -> int:
    """Of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def main() -> None:
    """Train."""
    given = arguments()
    begin()
    free = given.budget - resident_bytes()
    network, images = network_of(given), Images(given)
    optimizer = optimizer_of(network.parameters())

    def loss_of(batch: tuple[Tensor, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(network(batch[0]), batch[1])

    with memopro.train_session(network, optimizer, budget=f"{free // 1024}KiB") as session:
        for _ in range(given.steps):
            session.step(images.whole(), loss_of)
            say("step")


if __name__ == "__main__":
    main()
