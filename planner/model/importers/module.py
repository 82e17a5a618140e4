"""From any `torch.nn.Module` that is a chain to its description, proven on a sample. Needs torch.

Nothing is taken on trust: the description is built anew, given the module's own weights, and has to give the outputs
that the module gives. The module comes back as it was: weights, buffers and `training` flags untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from planner.errors import ModelError
from planner.limits import MAX_NAME_LENGTH
from planner.model.build import build_unit
from planner.model.importers.graph import TracedLayer, trace_chain
from planner.model.shapes import Shape, model_sizes
from planner.schema.model import AdaptivePool2d, Dropout, Flatten, Linear, Model, Pool2d, Unit

Group = tuple[TracedLayer, ...]
"""The layers of one unit."""


def import_module(module: nn.Module, sample: Tensor, classes: int | None = None) -> Model:
    """The description of `module`, whose input looks like `sample`: (batch, channels, height, width) or without batch.

    `classes` is read off the output; given, it has to agree. Every layer counts as trained, `requires_grad` or not.
    Raises ModelError naming the layer or unit, and the reason.
    """
    _check_module(module, sample)
    images = _images(sample)
    with _modes_kept(module), torch.no_grad():
        _set_training(module, False)
        expected = _output(module, images)
        _output(module, images[:1])
        _set_training(module, True)  # traced as it is trained: with its dropouts
        groups = group_layers(trace_chain(module))
    if classes not in (None, expected.shape[1]):
        raise ModelError(f"classes is {classes}, but the output has {expected.shape[1]} per sample")
    model = _describe(type(module).__name__, groups, images, expected.shape[1])
    _prove(model, groups, images, expected)
    return model


def group_layers(traced_layers: Group) -> tuple[Group, ...]:
    """Units: each begins with a convolution, linear layer or residual and takes what follows up to the next one.

    Average pools and flattens before a linear layer go with it; a maximum pool stays behind its convolution. What comes
    before the first of them goes with the first. Raises ModelError where there is none.
    """
    groups: list[list[TracedLayer]] = []
    waiting: list[TracedLayer] = []
    for traced in traced_layers:
        if traced.layer.starts_unit:
            if groups and isinstance(traced.layer, Linear):
                waiting = _split_tail(groups[-1])
            groups.append([*waiting, traced])
            waiting = []
        elif groups:
            groups[-1].append(traced)
        else:
            waiting.append(traced)
    if not groups:
        raise ModelError("it has neither a convolution nor a linear layer; there is nothing to train")
    return tuple(tuple(group) for group in groups)


def _split_tail(group: list[TracedLayer]) -> list[TracedLayer]:
    """Cut off, and return, the last layers of `group` that prepare for a linear layer."""
    start = len(group)
    while _is_global(group[start - 1]) or isinstance(group[start - 1].layer, Dropout):
        start -= 1
    while start < len(group) and isinstance(group[start].layer, Dropout):
        start += 1
    tail = group[start:]
    del group[start:]
    return tail


def _is_global(traced: TracedLayer) -> bool:
    layer = traced.layer
    return isinstance(layer, (Flatten, AdaptivePool2d)) or (isinstance(layer, Pool2d) and layer.op == "avg_pool2d")


def _check_module(module: nn.Module, sample: Tensor) -> None:
    if not isinstance(module, nn.Module):
        raise ModelError(f"a torch.nn.Module is needed, not a {type(module).__name__}")
    if not isinstance(sample, Tensor):
        raise ModelError(f"sample: a tensor is needed, not a {type(sample).__name__}")
    tensors = [("sample", sample), *module.named_parameters(), *module.named_buffers()]
    for name, tensor in tensors:
        is_counter = name != "sample" and not tensor.is_floating_point() and not tensor.is_complex()
        if tensor.dtype != torch.float32 and not is_counter:
            raise ModelError(f"{name}: is {tensor.dtype}; profiles are of torch.float32")
        if tensor.device != sample.device or tensor.is_meta:
            raise ModelError(f"{name}: is on {tensor.device}, the sample on {sample.device}; one real device is needed")


def _images(sample: Tensor) -> Tensor:
    if sample.dim() not in (3, 4):
        raise ModelError(
            f"sample: has {sample.dim()} dimensions; (batch, channels, height, width) or (channels, height, width) "
            "is needed"
        )
    if sample.numel() == 0:
        raise ModelError(f"sample: is empty ({_show(sample.shape)})")
    if not bool(sample.isfinite().all()):
        raise ModelError("sample: holds NaN or infinity")
    return sample.detach() if sample.dim() == 4 else sample.detach().unsqueeze(0)


def _show(shape: tuple[int, ...]) -> str:
    return "×".join(str(extent) for extent in shape) or "a single number"


@contextmanager
def _modes_kept(module: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def _set_training(module: nn.Module, training: bool) -> None:
    for part in module.modules():
        part.training = training


@contextmanager
def _watched(module: nn.Module, within: list[str]) -> Iterator[None]:
    """Keep in `within` the paths of the modules whose forward is going on, the innermost last."""

    def enter(name: str) -> Callable[..., None]:
        return lambda *_: within.append(name)

    def leave(*_: object) -> None:
        within.pop()

    handles = []
    for name, part in module.named_modules():
        handles += [part.register_forward_pre_hook(enter(name)), part.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _output(module: nn.Module, images: Tensor) -> Tensor:
    """What `module` gives. Raises ModelError where that is not one tensor (batch, classes)."""
    count = len(images)
    within: list[str] = []
    with _watched(module, within):
        try:
            output: object = module(images.clone())  # it may write into its input
        except Exception as error:  # whatever somebody else's forward raises
            module_path = f"layer {within[-1]!r}" if within and within[-1] else "forward"
            raise ModelError(
                f"{module_path}: fails at batch {count} ({type(error).__name__}: {str(error)[:300]})"
            ) from error
    if not isinstance(output, Tensor):
        raise ModelError(f"forward gives a {type(output).__name__}; one tensor (batch, classes) is needed")
    if output.dim() != 2 or len(output) != count:
        raise ModelError(f"forward gives {_show(output.shape)} at batch {count}; (batch, classes) is needed")
    if output.dtype != torch.float32:
        raise ModelError(f"forward gives {output.dtype}; profiles are of torch.float32")
    return output


def _describe(name: str, groups: tuple[Group, ...], images: Tensor, classes: int) -> Model:
    names: list[str] = []
    units: list[Unit] = []
    channels, height, width = images.shape[1:]
    try:
        for group in groups:
            names.append(_name(group, names))
            units.append(Unit(names[-1], tuple(traced.layer for traced in group)))
        model = Model("model/1", name[:MAX_NAME_LENGTH], (channels, height, width), classes, tuple(units))
    except ValueError as error:
        raise ModelError(f"{names[-1]}: {error}" if len(units) < len(groups) else str(error)) from None
    model_sizes(model)
    return model


def _name(group: Group, taken: list[str]) -> str:
    """The path of the layer that the unit begins with, made unique."""
    module_path = next(traced.module_path for traced in group if traced.layer.starts_unit) or "residual"
    base = (f"layer {module_path}" if module_path.isdigit() else module_path)[: MAX_NAME_LENGTH - 8]
    name, count = base, 1
    while name in taken:
        count += 1
        name = f"{base} ({count})"
    return name


def _prove(model: Model, groups: tuple[Group, ...], images: Tensor, expected: Tensor) -> None:
    """Build what is described, unit by unit, with the module's weights, and compare. Raises ModelError."""
    shape: Shape = model.input
    flow = images
    sizes = model_sizes(model)
    for index, (unit, group) in enumerate(zip(model.units, groups, strict=True)):
        built = build_unit(unit, shape).to(images.device).eval()
        with torch.no_grad():
            _load(built, group, index)
            flow = built(flow)
        if not bool(flow.isfinite().all()):
            raise ModelError(f"{unit.name}: gives NaN or infinity on the sample", unit=index)
        shape = sizes[index].output
    tolerance = 1e-5 * max(1.0, float(flow.abs().max()))
    if not torch.allclose(flow, expected, rtol=1e-4, atol=tolerance):
        difference = float((flow - expected).abs().max())
        raise ModelError(
            f"what was traced gives other outputs than the module, by up to {difference:.3g}; "
            "something in forward escapes tracing: a hook, a layer that overwrites a tensor still in use, or a dropout "
            "that stays on in evaluation"
        )


def _load(built: nn.Sequential, group: Group, index: int) -> None:
    sources = [source for traced in group for source in traced.sources]
    layers = [part for part in built.modules() if next(part.parameters(recurse=False), None) is not None]
    for layer, (path, source) in zip(layers, sources, strict=True):
        given = dict(source.named_parameters()) | dict(source.named_buffers())
        wanted = dict(layer.named_parameters()) | dict(layer.named_buffers())
        shapes = [{name: tuple(tensor.shape) for name, tensor in tensors.items()} for tensors in (given, wanted)]
        if shapes[0] != shapes[1]:
            raise ModelError(f"layer {path!r}: holds {shapes[0]}, its description {shapes[1]}", unit=index)
        for name, tensor in wanted.items():
            tensor.copy_(given[name])
