"""What a person gives as a module: taken out of wrappers, and looked at before it is run. Needs torch."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from planner.model.importers.obstacles import Obstacle
from planner.schema.inputs import InputDtype
from planner.tasks.kinds import CLASSIFICATION, AnyTask

Outputs = Callable[[Any], Any]
"""Picks the tensor from what a module returns."""


@dataclass(frozen=True)
class Given:
    """A network as a person gives it."""

    module: nn.Module
    """What is exported."""
    sample: Tensor
    """What its input looks like: several samples, or one."""
    classes: int | None = None
    """How many it tells apart; None: as its output says, with which a number has to agree."""
    outputs: Outputs | None = None
    """Picks a tensor from what it returns."""
    task: AnyTask = CLASSIFICATION
    """What its outputs have to be."""
    inputs: InputDtype | None = None
    """What data sets hold; None: `planner.model.importers.samples` says."""


_QUANTISED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")


def unwrapped(module: nn.Module) -> nn.Module:
    """The network inside of `torch.compile` and of data parallelism, whose weights have its own names."""
    while True:
        if type(module).__module__.startswith("torch._dynamo") and isinstance(
            inner := getattr(module, "_orig_mod", None), nn.Module
        ):
            module = inner
        elif isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            module = module.module
        else:
            return module


def lazy_tensors(module: nn.Module) -> list[str]:
    """Names of the parameters and buffers that get their shape when the module is first run."""
    tensors = (*module.named_parameters(), *module.named_buffers())
    return [name for name, tensor in tensors if is_lazy(tensor)]


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers, those included that are no part of its state, as files of weights hold them."""
    state = {**dict(module.named_buffers()), **module.state_dict()}
    return {str(name): plain(tensor) for name, tensor in state.items() if isinstance(tensor, Tensor)}


def plain(tensor: Tensor) -> Tensor:
    """As files of weights hold it: float32, or whole numbers of 64 bits."""
    found = tensor.detach().cpu()
    return found.float() if found.is_floating_point() else found.to(torch.int64)


def odd_parts(module: nn.Module) -> list[Obstacle]:
    """Layers that are no Python code, or not of numbers that can be trained; not those within them."""
    found: list[Obstacle] = []
    outer: list[str] = []
    for name, part in module.named_modules():
        is_script, is_quantised = isinstance(part, torch.jit.ScriptModule), type(part).__module__.startswith(_QUANTISED)
        if not (is_script or is_quantised) or any(name.startswith(each) for each in outer):
            continue
        outer.append(f"{name}." if name else "")
        place = f"layer {name!r}" if name else "the module"
        if is_script:
            found.append(Obstacle("is a ScriptModule", place, "bring the module that it was made from"))
        else:
            problem = f"is quantised ({type(part).__name__})"
            found.append(Obstacle(problem, place, "bring the network as it was before"))
    return found


def odd_tensors(module: nn.Module, sample: Tensor) -> list[Obstacle]:
    """Weights of another type than profiles are of, or on other devices than the sample."""
    others: dict[Obstacle, list[str]] = {}
    tensors = [("sample", sample), *module.named_parameters(), *module.named_buffers()]
    for name, tensor in tensors:
        is_whole = not tensor.is_floating_point() and not tensor.is_complex()
        if tensor.dtype != torch.float32 and not is_whole:
            remedy = "call .float() on it" if tensor.is_floating_point() else ""
            others.setdefault(Obstacle(f"is {tensor.dtype}; profiles are of torch.float32", "", remedy), []).append(
                name
            )
        if tensor.is_meta or (not sample.is_meta and tensor.device != sample.device):
            problem = f"is on {tensor.device}, the sample on {sample.device}; one real device is needed"
            others.setdefault(Obstacle(problem), []).append(name)
    return [
        dataclasses.replace(obstacle, place=names[0] + (f" (and {len(names) - 1} more)" if names[1:] else ""))
        for obstacle, names in others.items()
    ]


@contextmanager
def picking(module: nn.Module, outputs: Outputs | None) -> Iterator[None]:
    """Within this, `module` returns what `outputs` picks."""
    if outputs is None:
        yield
        return

    def pick(_: nn.Module, given: object, output: object) -> object:
        picked = outputs(output)
        if picked is None:
            raise TypeError("outputs= gives None")
        return picked

    handle = module.register_forward_hook(pick)
    try:
        yield
    finally:
        handle.remove()


@dataclass(frozen=True)
class Pick:
    """One tensor of an output."""

    words: str
    """How code names it, in what is called `out`."""
    take: Outputs
    """Takes it."""


def best_pick(output: Any) -> Pick | None:
    """The tensor of an output that is most likely meant: one of two dimensions, as scores have. None: it has none."""
    if isinstance(output, Mapping):
        names: list[Any] = list(output)
        form = "out.{}" if hasattr(output, "to_tuple") else "out[{!r}]"  # Hugging Face's outputs have both
        take: Callable[[Any], Outputs] = operator.itemgetter
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        names, form, take = [field.name for field in dataclasses.fields(output)], "out.{}", operator.attrgetter
    elif isinstance(output, tuple | list):
        names, form, take = list(range(len(output))), "out[{}]", operator.itemgetter
    else:
        return None
    tensors = {name: value for name in names if isinstance(value := take(name)(output), Tensor)}
    best = next((name for name, value in tensors.items() if value.dim() == 2), next(iter(tensors), None))
    return None if best is None else Pick(form.format(best), take(best))
