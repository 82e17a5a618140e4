"""What other tools say of a case: `python -m benchmarks.exactness.trackers CASE`; prints a line of JSON (`Tracked`).

`torch.distributed._tools.MemTracker` follows a real step at dispatch level. torchinfo adds up outputs of one forward;
its estimate of parameters and of forward and backward is taken as it stands, and gradients and momentum, of which it
knows nothing, are added to be fair. Both are asked about the network with the heads of the case.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.exactness.case import OPTIMIZER, Case
from benchmarks.exactness.step import Network
from planner.schema.codec import read_document, to_json


@dataclass(frozen=True)
class Tracked:
    """Predicted bytes of tensors at the peak."""

    mem_tracker_bytes: int | None
    """MemTracker's total; null where it does not support the case (accumulation)."""
    torchinfo_bytes: int
    """torchinfo's, gradients and momentum added."""


class _TorchOptimizer:
    """torch's own optimizer behind our interface, since MemTracker knows only that."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.lr = 0.0
        self.torch = torch.optim.SGD(parameters, 0.0, OPTIMIZER.momentum, weight_decay=5e-4, foreach=False)

    def step(self, parameters: object) -> None:
        self.torch.step()

    def state(self, parameter: Tensor) -> dict[str, Tensor]:
        return {}


class _Forward(nn.Module):
    """All units and heads in one forward, for torchinfo."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.units = nn.ModuleList(network.units)
        self.heads = nn.ModuleList([head or nn.Identity() for head in network.heads])
        self._ends = network.case.ends

    def forward(self, x: Tensor) -> Tensor:
        start, logits = 0, x
        for end, head in zip(self._ends, self.heads, strict=True):
            for unit in self.units[start:end]:
                x = unit(x)
            logits, start = head(x), end
        return logits


def track(case: Case) -> Tracked:
    """Ask both."""
    from torch.distributed._tools.mem_tracker import MemTracker
    from torchinfo import summary

    network = Network(case)
    root = nn.ModuleList(network.modules)
    optimizer = _TorchOptimizer(list(root.parameters()))
    inputs = torch.rand(case.micro_batch, *case.model.input)
    batches = [(inputs, torch.zeros(case.micro_batch, dtype=torch.int64))] * case.accumulate
    network.step(optimizer, batches)
    tracker = MemTracker()
    tracker.track_external(root, optimizer.torch, *batches[0])
    total: int | None = None
    with contextlib.suppress(NotImplementedError), tracker:
        network.step(optimizer, batches)
        total = sum(kinds["Total"] for kinds in tracker.get_tracker_snapshot("peak").values())
    found = summary(_Forward(network), input_data=inputs, verbose=0)
    static = 4 * sum(parameter.numel() for parameter in root.parameters())
    return Tracked(total, found.total_input + found.total_output_bytes + found.total_param_bytes + 2 * static)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.stdout.write(to_json(track(read_document(Path(sys.argv[1]), Case)), indent=None) + "\n")
