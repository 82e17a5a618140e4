"""The zoo beside the packages whose names its weights have: `python -m benchmarks.doors.zoo_names [FILE]`.

Needs an environment with torch, torchvision and timm; no weights are fetched. For each network that one of them has, at
1000 classes and 224×224: names and shapes of the whole state, the number of parameters, how weights begin (their
deviation), and with the same random state the outputs in evaluation, and gradients where training is not random. FILE
gets a table in Markdown.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from planner.model.build import build_unit
from planner.model.shapes import Shape, model_sizes
from planner.model.zoo import from_zoo
from planner.schema.model import Model

SIDE, CLASSES, SAMPLES = 224, 1000, 2

THEIRS = {
    **{f"vgg{depth}-bn": f"torchvision.vgg{depth}_bn" for depth in (11, 13, 16, 19)},
    "resnet18": "torchvision.resnet18",
    "resnet34": "torchvision.resnet34",
    "resnet50": "torchvision.resnet50",
    "mobilenetv2": "torchvision.mobilenet_v2",
    "mobilenetv3-small": "torchvision.mobilenet_v3_small",
    "mobilenetv3-large": "torchvision.mobilenet_v3_large",
    "efficientnet-b0": "torchvision.efficientnet_b0",
    "shufflenetv2": "torchvision.shufflenet_v2_x1_0",
    "squeezenet": "torchvision.squeezenet1_1",
    "densenet121": "torchvision.densenet121",
    "convnext-tiny": "torchvision.convnext_tiny",
    "convnext-atto": "timm.convnext_atto",
    "vit-tiny": "timm.vit_tiny_patch16_224",
    "deit-tiny": "timm.deit_tiny_patch16_224",
    "mlp-mixer-s": "timm.mixer_s16_224",
}
"""Names in the zoo, and whose they are."""


def main(arguments: list[str]) -> int:
    """Compare all, print a line for each; 1 where one differs."""
    lines = ["| network | its own | parameters | names and shapes | beginnings | evaluation | gradients |"]
    lines.append("| --- | --- | ---: | --- | --- | ---: | ---: |")
    print("\n".join(lines))
    wrong = 0
    for name, theirs in THEIRS.items():
        line, fits = compare(name, theirs)
        wrong += not fits
        lines.append(line)
        print(line, flush=True)
    for path in arguments:
        Path(path).write_text("\n".join(lines) + "\n")
    return 1 if wrong else 0


def compare(name: str, theirs: str) -> tuple[str, bool]:
    """A row of the table, and whether all is as it should be."""
    torch.manual_seed(0)
    module = _theirs(theirs)
    model = from_zoo(name, (3, SIDE, SIDE), CLASSES)
    units = _built(model)
    own = {key.split(".", 2)[2]: tensor for key, tensor in units.state_dict(keep_vars=True).items()}
    state = module.state_dict(keep_vars=True)
    parameters = sum(each.numel() for each in module.parameters())
    same = {key: tuple(tensor.shape) for key, tensor in own.items()} == {
        key: tuple(tensor.shape) for key, tensor in state.items()
    }
    same = same and parameters == sum(sizes.parameters for sizes in model_sizes(model))
    if not same:
        differing = sorted(set(own) ^ set(state))[:4]
        return f"| {name} | {theirs} | {parameters:,} | **differ**: {', '.join(differing)} | | | |", False
    begun = list(_begun_otherwise(own, state))
    _share(own, state)
    images = torch.randn(SAMPLES, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    evaluation = _difference(units.eval(), module.eval(), images)
    gradients = _gradients(units, module, own, state, images)
    fits = not begun and evaluation <= 1e-6 and gradients <= 1e-5
    started = "as theirs" if not begun else "**differ**: " + ", ".join(begun[:4])
    row = f"| {name} | {theirs} | {parameters:,} | the same | {started} | {evaluation:.1e} | {gradients:.1e} |"
    return row, fits


def _theirs(path: str) -> nn.Module:
    package, _, name = path.partition(".")
    make: Callable[..., nn.Module]
    if package == "torchvision":
        from torchvision.models import get_model_builder as make_builder

        make = make_builder(name)
        return make(weights=None)
    import timm

    return timm.create_model(name, pretrained=False)  # type: ignore[no-any-return]  # without types


def _built(model: Model) -> nn.Sequential:
    units: list[nn.Module] = []
    shape: Shape = model.input
    generator = torch.Generator().manual_seed(0)
    for unit, sizes in zip(model.units, model_sizes(model), strict=True):
        units.append(build_unit(unit, shape, generator))
        shape = sizes.output
    return nn.Sequential(*units)


def _begun_otherwise(own: dict[str, Tensor], state: dict[str, Tensor]) -> Iterator[str]:
    """Tensors whose deviation is another: for so many numbers one in a thousand would be by chance, at most."""
    for name, tensor in state.items():
        one, other = (float(each.detach().float().square().mean().sqrt()) for each in (own[name], tensor))
        if abs(one - other) > max(one, other) * min(1.0, 5 / tensor.numel() ** 0.5):
            yield f"{name} ({one:.3g}, theirs {other:.3g})"


@torch.no_grad()
def _share(own: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    """Give both the same numbers, with running statistics and scales as after some training."""
    generator = torch.Generator().manual_seed(2)
    for name, tensor in state.items():
        if name.endswith("running_var") or (tensor.dim() == 1 and name.endswith(("weight", "gamma"))):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith("layer_scale"):
            tensor.uniform_(0.1, 0.3, generator=generator)
        elif tensor.dim() == 1 and tensor.is_floating_point():
            tensor.uniform_(-0.2, 0.2, generator=generator)
        elif name == "head.weight":  # timm's mixer begins with zeros
            tensor.normal_(0, 0.05, generator=generator)
        own[name].copy_(tensor)


@torch.no_grad()
def _difference(units: nn.Module, module: nn.Module, images: Tensor) -> float:
    expected = module(images)
    return float((units(images) - expected).abs().max() / expected.abs().max())


def _gradients(
    units: nn.Module, module: nn.Module, own: dict[str, Tensor], state: dict[str, Tensor], images: Tensor
) -> float:
    """The largest difference beside the largest number of a gradient, in evaluation: there nothing is random."""
    for network in (units, module):
        network(images).square().sum().backward()
    worst = 0.0
    for name, tensor in state.items():
        given = own[name].grad
        if tensor.grad is not None and given is not None:
            scale = float(tensor.grad.abs().max()) or 1.0
            worst = max(worst, float((given - tensor.grad).abs().max()) / scale)
        elif (tensor.grad is None) != (given is None):
            return float("inf")
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
