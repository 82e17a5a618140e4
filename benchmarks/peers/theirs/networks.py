"""The networks as one writes them in PyTorch: a `Sequential` of parts, with the layers of the zoo's networks.

VGG: Simonyan and Zisserman, 2015, with batch normalisation and one linear layer. ResNet: He et al., 2016, for small
images with a 3×3 stem and no early pool. MobileNetV2: Sandler et al., 2018; for small images the stem and the stage of
24 channels keep the extent. ViT-Tiny: Touvron et al., 2021, with patches of 4×4.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

CLASSES = 10


def conv(before: int, width: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution and its batch normalisation."""
    layer = nn.Conv2d(before, width, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(width)]


def classifier(width: int) -> nn.Module:
    """The mean of the image, and one linear layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES))


def vgg16() -> nn.Sequential:
    """13 convolutions."""
    parts: list[nn.Module] = []
    before = 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for position in range(count):
            last = [nn.MaxPool2d(2)] if position == count - 1 else []
            parts.append(nn.Sequential(*conv(before, width), nn.ReLU(inplace=True), *last))
            before = width
    return nn.Sequential(*parts, classifier(before))


class Basic(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        first, second = conv(before, width, stride=stride), conv(width, width)
        self.body = nn.Sequential(*first, nn.ReLU(inplace=True), *second)
        changes = stride != 1 or before != width
        self.shortcut = nn.Sequential(*(conv(before, width, 1, stride) if changes else []))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(samples, channels, height, width), as what comes out."""
        out: Tensor = self.relu(self.body(x) + self.shortcut(x))
        return out


def resnet18(side: int) -> nn.Sequential:
    """Eight residual blocks."""
    large: list[nn.Module] = [*conv(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    stem = large if side >= 64 else [*conv(3, 64), nn.ReLU(inplace=True)]
    parts: list[nn.Module] = [nn.Sequential(*stem)]
    before = 64
    for stage, width in enumerate((64, 128, 256, 512)):
        for position in range(2):
            parts.append(Basic(before, width, 2 if stage and position == 0 else 1))
            before = width
    return nn.Sequential(*parts, classifier(before))


class Inverted(nn.Module):
    """An inverted residual: widen, filter each channel by itself, narrow."""

    def __init__(self, before: int, expansion: int, width: int, stride: int) -> None:
        super().__init__()
        hidden = expansion * before
        widen = [] if expansion == 1 else [*conv(before, hidden, 1), nn.ReLU6(inplace=True)]
        depthwise = [*conv(hidden, hidden, 3, stride, hidden), nn.ReLU6(inplace=True)]
        self.body = nn.Sequential(*widen, *depthwise, *conv(hidden, width, 1))
        self.adds = stride == 1 and before == width

    def forward(self, x: Tensor) -> Tensor:
        """(samples, channels, height, width), as what comes out."""
        out: Tensor = self.body(x)
        return x + out if self.adds else out


STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Of MobileNetV2: expansion, width, blocks, stride of the first."""


def mobilenetv2() -> nn.Sequential:
    """17 inverted residuals."""
    parts: list[nn.Module] = [nn.Sequential(*conv(3, 32), nn.ReLU6(inplace=True))]
    before = 32
    for expansion, width, count, first in STAGES:
        for position in range(count):
            stride = first if position == 0 and width != 24 else 1
            parts.append(Inverted(before, expansion, width, stride))
            before = width
    parts.append(nn.Sequential(*conv(before, 1280, 1), nn.ReLU6(inplace=True)))
    return nn.Sequential(*parts, classifier(1280))


class Patches(nn.Module):
    """An image as a row of patches, behind a token for its class."""

    def __init__(self, side: int, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.place = nn.Parameter(torch.randn(1, (side // patch) ** 2 + 1, width) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(samples, channels, height, width) to (samples, patches and one, width)."""
        x = self.proj(x).flatten(2).transpose(1, 2)
        return torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.place


class Attention(nn.Module):
    """Self-attention behind a layer norm, added."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm, self.heads = nn.LayerNorm(width, 1e-6), heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(samples, steps, width), as what comes out."""
        count, steps, width = x.shape
        each = self.qkv(self.norm(x)).reshape(count, steps, 3, self.heads, width // self.heads)
        query, key, value = each.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(count, steps, width)
        out: Tensor = x + self.proj(mixed)
        return out


class Mlp(nn.Module):
    """Two linear layers behind a layer norm, added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.gelu = nn.LayerNorm(width, 1e-6), nn.GELU()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(samples, steps, width), as what comes out."""
        out: Tensor = x + self.fc2(self.gelu(self.fc1(self.norm(x))))
        return out


class First(nn.Module):
    """The class token through a layer norm and a linear layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.head = nn.LayerNorm(width, 1e-6), nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """(samples, steps, width) to (samples, classes)."""
        out: Tensor = self.head(self.norm(x)[:, 0])
        return out


def vit_tiny(side: int) -> nn.Sequential:
    """12 blocks of 3 heads."""
    width = 192
    parts: list[nn.Module] = [Patches(side, 4 if side < 64 else 16, width)]
    for _ in range(12):
        parts += [Attention(width, 3), Mlp(width)]
    return nn.Sequential(*parts, First(width))


def build(name: str, side: int) -> nn.Sequential:
    """A network by the zoo's name."""
    torch.manual_seed(0)
    if name == "vgg16":
        return vgg16()
    if name == "resnet18":
        return resnet18(side)
    if name == "mobilenetv2":
        return mobilenetv2()
    if name == "vit-tiny":
        return vit_tiny(side)
    raise SystemExit(f"no network {name}")
