"""The optimizer in backward, by hooks: a gradient goes as soon as it is used, so there is no accumulation.

After PyTorch's tutorial "How to save memory by fusing the optimizer step into the backward pass".
"""

from __future__ import annotations

from torch import nn

from benchmarks.peers.theirs.loop import Images, arguments, begin, network_of, optimizer_of, say


def main() -> None:
    """Train."""
    given = arguments()
    begin()
    network, images = network_of(given), Images(given)
    optimizers = {parameter: optimizer_of([parameter]) for parameter in network.parameters()}

    def step(parameter: nn.Parameter) -> None:
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for parameter in network.parameters():
        parameter.register_post_accumulate_grad_hook(step)
    for _ in range(given.steps):
        inputs, labels = images.whole()
        nn.functional.cross_entropy(network(inputs), labels).backward()
        say("step")


if __name__ == "__main__":
    main()
