"""ckptplan: measure each part, and have it choose which ones to recompute for a budget of activations."""

from __future__ import annotations

import ckptplan
import torch
from torch import nn

from benchmarks.peers.theirs.loop import Images, arguments, begin, network_of, optimizer_of, say


def main() -> None:
    """Plan and train."""
    given = arguments()
    begin()
    network, images = network_of(given), Images(given)
    example = (next(images.parts())[0],)
    blocks = ckptplan.declare_blocks(network, [(f"part{i}", part) for i, part in enumerate(network)])
    profiles = ckptplan.profile_blocks(blocks, example, device="cpu", dtype=torch.float32)
    plan = ckptplan.plan_checkpoints(
        profiles,
        blocks,
        target_kind="activation_budget_bytes",
        target_value=given.budget,
        planner="dynamic_programming",
    )
    planned = ckptplan.apply_plan(blocks, plan, example, None)
    optimizer = optimizer_of(network.parameters())
    for _ in range(given.steps):
        optimizer.zero_grad()
        for inputs, labels in images.parts():
            loss = nn.functional.cross_entropy(planned(inputs), labels)
            (loss * (len(labels) / given.batch)).backward()
        optimizer.step()
        say("step")


if __name__ == "__main__":
    main()
