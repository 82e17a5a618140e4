"""Networks as people write them, and ways to get them wrong."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Net(nn.Module):
    """A network whose forward is a function of its layers."""

    def __init__(self, forward: Callable[[Net, Tensor], object], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._forward = forward

    def __getattr__(self, name: str) -> nn.Module:
        module: nn.Module = super().__getattr__(name)  # type: ignore[assignment]
        return module

    def forward(self, x: Tensor) -> object:
        return self._forward(self, x)


class BasicBlock(nn.Module):
    """As torchvision writes it: activations in place, `+=`, an optional projection."""

    def __init__(self, channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != width:
            self.downsample = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return F.relu(out, inplace=True)


class ResNet(nn.Module):
    """A stem, two stages, functional relu and flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(BasicBlock(4, 4), BasicBlock(4, 4))
        self.layer2 = nn.Sequential(BasicBlock(4, 6, stride=2))
        self.fc = nn.Linear(6, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = self.layer2(self.layer1(x))
        x = F.adaptive_avg_pool2d(x, 1)
        scores: Tensor = self.fc(torch.flatten(x, 1))
        return scores


class InvertedResidual(nn.Module):
    """As MobileNetV2 has it: the sum only where the shape stays."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        hidden = 2 * channels
        self.use_res_connect = stride == 1 and channels == width
        self.conv = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return x + out if self.use_res_connect else out


def mobile() -> nn.Sequential:
    """A block that adds its input, and one that does not."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        InvertedResidual(4, 4, 1),
        InvertedResidual(4, 6, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 10),
    )


def chain(*middle: nn.Module, width: int = 4) -> nn.Sequential:
    """A convolution, whatever is to be tried behind it on 4×8×8, and a classifier over `width` channels."""
    tail = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), *middle, *tail)


class SqueezeExcitation(nn.Module):
    """Channels weighted by what all of them say (Hu et al. 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, 2, 1)
        self.fc2 = nn.Conv2d(2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(x.mean((2, 3), keepdim=True)))))


def gated() -> nn.Module:
    """A product of two branches."""
    return Net(lambda net, x: net.a(x) * net.b(x), a=nn.Conv2d(4, 4, 1), b=nn.Conv2d(4, 4, 1))


class Attention(nn.Module):
    """A transformer's block, normalised before each half."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 24), nn.GELU(), nn.Dropout(0.1), nn.Linear(24, width))

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, 2, width // 2).permute(2, 0, 3, 1, 4).unbind(0)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width)
        x = x + self.proj(attended)
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """Patches, a class token, learned positions, two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, 16))
        self.positions = nn.Parameter(0.02 * torch.randn(1, 5, 16))
        self.blocks = nn.Sequential(Attention(), Attention())
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.blocks(x)[:, 0])  # type: ignore[no-any-return]


class StochasticDepth(nn.Module):
    """A branch that is left out for some samples while training (Huang et al. 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.a(x))
        branch = self.b(x)
        if self.training:
            branch = branch * branch.new_empty(x.shape[0], 1, 1, 1).bernoulli_(0.8).div_(0.8)
        return self.fc(torch.relu_(x + branch).mean((2, 3)))  # type: ignore[no-any-return]


def _double(channels: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for given in (channels, width):
        layers += [nn.Conv2d(given, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Two levels below the first; what each level made on the way down is joined to what comes up."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList((_double(3, 4), _double(4, 8), _double(8, 16)))
        self.up = nn.ModuleList((nn.ConvTranspose2d(16, 8, 2, stride=2), nn.ConvTranspose2d(8, 4, 2, stride=2)))
        self.join = nn.ModuleList((_double(16, 8), _double(8, 4)))
        self.tail = nn.Conv2d(4, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level in self.down[:-1]:
            skips.append(level(x))
            x = F.max_pool2d(skips[-1], 2)
        x = self.down[-1](x)
        for up, join in zip(self.up, self.join, strict=True):
            x = join(torch.cat([skips.pop(), up(x)], 1))
        pooled: Tensor = self.tail(x).mean((2, 3))
        return pooled


class DenseLayer(nn.Module):
    """DenseNet's: a bottleneck over all that came before."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.narrow = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(True), nn.Conv2d(channels, 4 * growth, 1))
        self.new = nn.Sequential(nn.BatchNorm2d(4 * growth), nn.ReLU(True), nn.Conv2d(4 * growth, growth, 3, padding=1))

    def forward(self, made: list[Tensor]) -> Tensor:
        found: Tensor = self.new(self.narrow(torch.cat(made, 1)))
        return found


class DenseBlock(nn.Module):
    """Four layers, each of which reads what all before it made."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.layers = nn.ModuleList(DenseLayer(8 + 4 * index, 4) for index in range(4))
        self.tail = nn.Sequential(nn.Conv2d(24, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))

    def forward(self, x: Tensor) -> Tensor:
        made = [self.stem(x)]
        for layer in self.layers:
            made.append(layer(made))
        scores: Tensor = self.tail(torch.cat(made, 1))
        return scores
