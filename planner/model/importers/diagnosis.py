"""Why a network cannot be exported as a graph: every place at once, where torch names the first. Needs torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensor

from planner.model.importers.obstacles import Obstacle
from planner.model.importers.places import line_of_caller, line_of_error

_BRANCHES = "what it does depends on the values of the data"
_NUMBER = "takes a number out of a tensor (item(), int(), float(), tolist()), which no graph can follow"
_SIZES = "gives a tensor whose size depends on the values of the data"
_KEEP = "keep it a tensor"

_READS = {
    "__bool__": Obstacle(_BRANCHES + " (`if`, `while`, `and`, `assert` on a tensor)", remedy="choose with torch.where"),
    "__int__": Obstacle(_NUMBER, remedy=_KEEP),
    "__float__": Obstacle(_NUMBER, remedy=_KEEP),
    "__index__": Obstacle(_NUMBER, remedy=_KEEP),
    "item": Obstacle(_NUMBER, remedy=_KEEP),
    "tolist": Obstacle(_NUMBER, remedy=_KEEP),
    "numpy": Obstacle("leaves torch by numpy(), where no graph can follow", remedy="use torch's own operators"),
}
"""Methods of a tensor that tell Python its values."""

_OPERATORS = {
    "item": _READS["item"],
    "cond": Obstacle(_BRANCHES + " (torch.cond)", remedy="choose with torch.where"),
    "while_loop": Obstacle(_BRANCHES + " (a loop)", remedy="loop a fixed number of times"),
    "wrap_with_set_grad_enabled": Obstacle(
        "works under torch.no_grad() or enable_grad()",
        remedy="call requires_grad_(False) on the layers that are not trained, or detach() on their output",
    ),
    "wrap_with_autocast": Obstacle("works under autocast", remedy="leave the precision to `dtype`"),
}
"""Operators, and parts of a forward that torch.export leaves in one piece, that have words of their own."""

_SIZED_BY_DATA = (
    "sym_size",
    "sym_constrain",
    "_assert_scalar",
    "<built-in function",
    "nonzero",
    "masked_select",
    "unique",
)


def not_known(name: str, path: str, place: str) -> Obstacle:
    """The obstacle that an operator is which is outside the list, in the module `path`."""
    if name in _OPERATORS:
        known = _OPERATORS[name]
        return Obstacle(known.problem, place, known.remedy)
    if name.startswith(_SIZED_BY_DATA):
        return sized_by_data(place)
    if "quantize" in name or name.startswith("quantized"):
        return Obstacle("is quantised", place, "bring the network as it was before")
    return Obstacle(f"{name!r} is no operator that is known here (in module {path or 'forward'!r})", place)


def sized_by_data(place: str) -> Obstacle:
    """The obstacle that an extent is which is not known beforehand."""
    return Obstacle(_SIZES, place, "multiply by a mask instead")


def complex_numbers(place: str) -> Obstacle:
    """The obstacle that a complex tensor is."""
    return Obstacle("computes with complex numbers", place, "compute with their real and imaginary parts")


def diagnose(
    module: nn.Module, sample: Tensor, trace: Callable[[], fx.GraphModule], error: Exception
) -> tuple[list[Obstacle], fx.GraphModule | None]:
    """Every place where `trace`, an export of `module` that has failed with `error`, would fail.

    The module is run, and what its code reads out of tensors is noted. Then it is traced again, and told these values,
    so that it gets by them. Returned is also the graph, where there is one now: the rest of it may have obstacles too.
    """
    reads = _Reads()
    try:
        with reads.noted(), torch.no_grad():
            module(sample.clone())
        with reads.replayed():
            return reads.obstacles, trace()
    except Exception as another:  # whatever somebody else's forward raises
        translated = _translated(another if reads.obstacles else error)
        known = {obstacle.place for obstacle in reads.obstacles}
        return reads.obstacles + [translated] * (translated.place not in known), None


def _translated(error: Exception) -> Obstacle:
    """An error of `torch.export`."""
    place, text = line_of_error(error), " ".join(str(error).split())
    if "data-dependent" in text or "DataDependent" in type(error).__name__:
        return Obstacle(_BRANCHES, place, "choose with torch.where, and keep sizes fixed")
    return Obstacle(f"cannot be exported ({type(error).__name__}: {text[:300]})", place)


class _Reads:
    """What a forward reads out of tensors."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], list[Any]] = {}
        self.obstacles: list[Obstacle] = []
        """Those reads that a graph cannot follow, once `replayed` has been."""

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Within this, values are noted."""

        def noting(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
            def read(tensor: Tensor, *rest: Any, **named: Any) -> Any:
                value = original(tensor, *rest, **named)
                self._values.setdefault((name, line_of_caller()), []).append(value)
                return value

            return read

        with _methods(noting):
            yield

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """Within this, tensors that have no values get those that were noted at the same line."""

        def replaying(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
            def read(tensor: Tensor, *rest: Any, **named: Any) -> Any:
                place = line_of_caller()
                values = self._values.get((name, place))
                if not values or not isinstance(tensor, FakeTensor) or tensor.constant is not None:
                    return original(tensor, *rest, **named)
                found = Obstacle(_READS[name].problem, place, _READS[name].remedy)
                if found not in self.obstacles:
                    self.obstacles.append(found)
                return values.pop(0) if len(values) > 1 else values[0]

            return read

        with _methods(replaying):
            yield


@contextmanager
def _methods(make: Callable[[str, Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    """Have torch's tensors read by others than their own methods."""
    own = {name: Tensor.__dict__.get(name) for name in _READS}
    try:
        for name in _READS:
            setattr(Tensor, name, make(name, getattr(Tensor, name)))
        yield
    finally:
        for name, method in own.items():
            if method is None:
                delattr(Tensor, name)
            else:
                setattr(Tensor, name, method)


def functions(module: nn.Module, sample: Tensor) -> list[Obstacle]:
    """Uses of `torch.autograd.Function` in a forward: an export has what they compute, not the backward they define."""
    found: dict[str, Obstacle] = {}
    original = torch.autograd.Function.__dict__["apply"]

    def apply(kind: type[torch.autograd.Function], *given: Any, **named: Any) -> Any:
        if not kind.__module__.startswith("torch."):
            place = line_of_caller()
            found[place] = Obstacle(
                f"{kind.__name__} is a torch.autograd.Function, whose own backward does not come along",
                place,
                "write it with torch's operators, and leave the backward to autograd",
            )
        return original.__func__(kind, *given, **named)

    # Both lines put another method in a class of torch's, for this one pass.
    torch.autograd.Function.apply = classmethod(apply)  # type: ignore[assignment, method-assign]
    try:
        with torch.no_grad():
            module(sample.clone())
    finally:
        torch.autograd.Function.apply = original  # type: ignore[method-assign]
    return list(found.values())
