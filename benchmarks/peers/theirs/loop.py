"""What the peers' scripts have in common: their arguments, images, the usual optimizer, and telling of each step.

They run in an environment of their own, with torch and without this project. A line on standard output says `ready`
once torch has taken a tiny step, and `step` behind every optimizer step; who listens reads the clocks.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from benchmarks.peers.theirs.networks import CLASSES, build


def arguments() -> argparse.Namespace:
    """See `benchmarks.peers.contestants`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("network")
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--batch", type=int, required=True, help="samples of an optimizer step")
    parser.add_argument("--micro", type=int, required=True, help="samples that are in memory at a time")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--budget", type=int, help="in bytes, for what can be told")
    parser.add_argument("--ratio", type=float, default=1.0, help="of activations that torch.compile may keep")
    return parser.parse_args()


def optimizer_of(parameters: Iterator[nn.Parameter] | list[nn.Parameter]) -> torch.optim.Optimizer:
    """SGD as it is usual."""
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)


def begin() -> None:
    """A tiny step, so that what torch loads late is there; then say so."""
    layer = nn.Linear(2, 2)
    optimizer = optimizer_of(layer.parameters())
    layer(torch.zeros(1, 2)).sum().backward()
    optimizer.step()
    say("ready")


def say(what: str) -> None:
    """A line at once."""
    print(what, flush=True)


def network_of(given: argparse.Namespace) -> nn.Sequential:
    """To be trained."""
    return build(given.network, given.side).train()


class Images:
    """One batch of pictures of noise, kept as bytes: what is measured does not depend on them."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._micro: int = given.micro
        self._images = torch.randint(0, 256, (given.batch, 3, given.side, given.side), dtype=torch.uint8)
        self._labels = torch.randint(0, CLASSES, (given.batch,))

    def whole(self) -> tuple[Tensor, Tensor]:
        """The batch at once."""
        return (self._images.float() - 127.5) / 63.75, self._labels

    def parts(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batch in micro-batches."""
        for images, labels in zip(self._images.split(self._micro), self._labels.split(self._micro), strict=True):
            yield (images.float() - 127.5) / 63.75, labels


def accumulate(given: argparse.Namespace, network: nn.Module, forward: Callable[[Tensor], Tensor]) -> None:
    """Optimizer steps over the whole batch, a micro-batch at a time."""
    images, optimizer = Images(given), optimizer_of(list(network.parameters()))
    for _ in range(given.steps):
        optimizer.zero_grad()
        for part, labels in images.parts():
            loss = nn.functional.cross_entropy(forward(part), labels)
            (loss * (len(labels) / given.batch)).backward()
        optimizer.step()
        say("step")
