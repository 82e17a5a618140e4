"""Networks smaller than what a run takes beside them: `python -m benchmarks.doors.tiny`.

A multi-layer perceptron, convolutions over a length and a transformer's layer over tokens, samples of 8 or 8×8 numbers:
profiled here, planned by two strategies, and run. Prints Markdown: each block's peak against its prediction.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import planner

SAMPLES, BATCH, CLASSES = 512, 32, 4


class Words(nn.Module):
    """A class for a row of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(50, 32), nn.Linear(32, CLASSES)
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of each row."""
        scores: Tensor = self.head(self.layer(self.table(x)).mean(1))
        return scores


def perceptron() -> nn.Module:
    """Three linear layers over an image."""
    widths = (64, 128, 64)
    layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(widths[-1], CLASSES))


def sequence() -> nn.Module:
    """Two convolutions over a length."""
    first = nn.Conv1d(8, 16, 3, padding=1), nn.BatchNorm1d(16), nn.ReLU()
    second = nn.Conv1d(16, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool1d(1)
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(16, CLASSES))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "perceptron": (perceptron, torch.zeros(1, 1, 8, 8)),
    "sequence": (sequence, torch.zeros(2, 8, 8)),
    "tokens": (Words, torch.zeros(2, 8, dtype=torch.int64)),
}


def main() -> None:
    """See the module."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, SAMPLES)
    print("| network | strategy | predicted (MiB) | measured (MiB) | above |\n| --- | --- | ---: | ---: | ---: |")
    for name, (make, sample) in NETWORKS.items():
        torch.manual_seed(0)
        shape = (SAMPLES, *sample.shape[1:])
        data = rng.integers(0, 50, shape) if sample.dtype == torch.int64 else rng.random(shape, dtype=np.float32)
        profile = planner.profile(make(), sample, batch=BATCH)
        for strategy in ("backprop", "neuroflux"):
            plan = planner.plan(profile, budget="2GiB", batch=BATCH, epochs=1, samples=SAMPLES, strategy=strategy)
            with tempfile.TemporaryDirectory() as folder:
                report = planner.run(plan, (data, labels), out=Path(folder) / "out")
            for block in report.blocks:
                predicted, measured = block.predicted_peak_bytes, block.measured_peak_bytes
                print(
                    f"| {name} | {strategy} | {predicted / 2**20:.1f} | {measured / 2**20:.1f} "
                    f"| {100 * (measured / predicted - 1):+.2f} % |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
