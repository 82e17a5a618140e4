"""A small network and data to try things with. The other examples import them.

neuroflux describe examples/network.py:small_network --input 1x16x16
"""

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset


def small_network() -> nn.Module:
    """Two convolutions and a classifier, for images of 16×16 in two classes."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 2),
    )


class Stripes(Dataset[tuple[Tensor, int]]):
    """Noisy images of stripes, lying or standing. Values lie between 0 and 1, as torchvision gives them."""

    classes = ("lying", "standing")

    def __init__(self, count: int = 600) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if not 0 <= index < self.count:
            raise IndexError(index)
        label = index % 2
        noise = torch.rand(16, 16, generator=torch.Generator().manual_seed(index)) / 2
        stripes = (torch.arange(16) % 4 < 2).float() / 2
        image = noise + (stripes[None, :] if label else stripes[:, None])
        return image[None], label
