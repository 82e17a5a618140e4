"""The obvious loop: every optimizer step over one batch, which is as large as fits."""

from __future__ import annotations

from torch import nn

from benchmarks.peers.theirs.loop import Images, arguments, begin, network_of, optimizer_of, say


def main() -> None:
    """Train."""
    given = arguments()
    begin()
    network, images = network_of(given), Images(given)
    optimizer = optimizer_of(network.parameters())
    for _ in range(given.steps):
        inputs, labels = images.whole()
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(inputs), labels).backward()
        optimizer.step()
        say("step")


if __name__ == "__main__":
    main()
