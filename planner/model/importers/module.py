"""From any `torch.nn.Module` that `torch.export` takes to its description, proven on data. Needs torch.

Nothing is taken on trust: the description is built anew, given the module's own weights, and has to give the outputs,
gradients and running statistics that the module gives. The module comes back as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from planner.errors import ModelError
from planner.model.importers.chain import Chain, chain_of
from planner.schema.model import Model


def import_module(module: nn.Module, sample: Tensor, classes: int | None = None) -> Model:
    """The description of `module`: see `import_chain`."""
    return import_chain(module, sample, classes).model


def import_chain(module: nn.Module, sample: Tensor, classes: int | None = None) -> Chain:
    """`module`, whose input looks like `sample` (batch, channels, height, width) or without batch, as a chain of units.

    `classes` is read off the output; given, it has to agree. What does not require a gradient is not trained.
    Raises ModelError naming the layer, the line of its code or the unit, and the reason.
    """
    _check_module(module, sample)
    images = _images(sample)
    with _modes_kept(module):
        with torch.no_grad():
            _set_training(module, False)
            expected = _output(module, images)
            _output(module, images[:1])
        if classes not in (None, expected.shape[1]):
            raise ModelError(f"classes is {classes}, but the output has {expected.shape[1]} per sample")
        return chain_of(module, images, expected.shape[1])


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
