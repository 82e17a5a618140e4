"""What a module does when it is run, operator by operator: a second look at its graph. Needs torch.

It costs a sixth of an export. Operators are noted where `torch.export` notes them: before autograd, and before those
that are made of others are taken apart. Where the two do not agree, the caller has to export.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._dispatch.python import enable_python_dispatcher
from torch._export.utils import _compiling_state_context
from torch._subclasses.schema_check_mode import SchemaCheckMode
from torch.utils.weak import WeakTensorKeyDictionary

from planner.model.importers.steps import Attribute

_DETACH = "aten.detach.default"
_ASSERTED = "aten._assert_tensor_metadata.default"
"""What exports put before a conversion."""


@dataclass(frozen=True)
class Result:
    """A tensor that a call gave, or the input, which is that of the first."""

    call: int
    """Its index."""
    item: int
    """Which of its results."""


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that is neither computed nor the module's."""

    tensor: Tensor


@dataclass(frozen=True)
class Call:
    """An operator as it was called."""

    operator: str
    """With its overload, as torch's graphs name it; empty for the input."""
    args: Sequence[Any]
    """Numbers and words as they are, tensors by what is known of them."""
    kwargs: Mapping[str, Any]
    shapes: tuple[tuple[int, ...], ...]
    """Of its results."""

    def result(self, item: int) -> Call:
        """The call, with the shape of one of its results alone."""
        return replace(self, shapes=self.shapes[item : item + 1])


class _Recorder(SchemaCheckMode):
    """Notes operators. Torch lets three classes stand where export does that; this is the one that needs no tracer."""

    def __init__(self, module: nn.Module, sample: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch gives it no type
        self._dispatch_key = torch._C.DispatchKey.PreDispatch
        self._names = {id(tensor): name for name, tensor in reversed(_named(module))}
        self._results: Any = WeakTensorKeyDictionary()  # torch gives its methods no types
        self._results[sample] = Result(0, 0)
        self.calls = [Call("", (), {}, (tuple(sample.shape),))]
        self.plain = True
        """Whether gradients were on all the time, and autocast was off."""

    def __torch_dispatch__(
        self, func: Any, types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        call = Call(str(func), self._known(args), {key: self._known(value) for key, value in kwargs.items()}, ())
        found = func(*args, **kwargs)
        results = list(found) if isinstance(found, list | tuple) else [found]
        for item, tensor in enumerate(results):
            if isinstance(tensor, Tensor):
                self._results[tensor] = Result(len(self.calls), item)
        shapes = tuple(tuple(tensor.shape) if isinstance(tensor, Tensor) else () for tensor in results)
        self.calls.append(replace(call, shapes=shapes))
        self.plain = self.plain and torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")
        return found

    def _known(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            result = self._results.get(value)
            if result is not None:
                return result
            name = self._names.get(id(value))
            return Constant(value) if name is None else Attribute(name)
        return [self._known(item) for item in value] if isinstance(value, list | tuple) else value


def _named(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Its parameters and buffers, each under each of its names."""
    named = (module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False))
    return [pair for each in named for pair in each]


def first_names(module: nn.Module) -> dict[str, str]:
    """Of each tensor's names, which is several where it is shared, the first."""
    first: dict[int, str] = {}
    return {name: first.setdefault(id(tensor), name) for name, tensor in _named(module)}


def record(module: nn.Module, sample: Tensor) -> list[Call]:
    """What `module`, in the mode that it is in, does with `sample`.

    Nothing where that fails, or is no plain forward with gradients: an export says what is the matter.
    """
    given = sample.clone()  # it may write into its input
    recorder = _Recorder(module, given)
    try:
        with (
            _compiling_state_context(),  # what a forward does otherwise while it is exported, it does here
            torch.backends.cudnn.flags(enabled=False),  # operators are told, and exports are made so
            torch.random.fork_rng(devices=[]),
            torch.enable_grad(),
            enable_python_dispatcher(),
            recorder,
        ):
            module(given)
    except Exception:  # whatever somebody else's forward raises
        return []
    return recorder.calls if recorder.plain else []


def paired(nodes: Sequence[fx.Node], calls: Sequence[Call], names: Mapping[str, str]) -> dict[fx.Node, Result] | None:
    """What each node of an export gave when the module was run, whatever numbers it was told; None where they differ.

    Nodes that only assert are in no run. `names` are the module's `first_names`.
    """
    found: dict[fx.Node, Result] = {}
    rest = iter(enumerate(calls))
    for node in nodes:
        if (part := part_of(node)) is not None:
            found[node] = Result(found[part[0]].call, part[1])
            continue
        operator = "" if node.op == "placeholder" else str(node.target)
        if operator == _ASSERTED:
            continue
        index, call = next(rest, (0, None))
        while call is not None and call.operator == _DETACH != operator:  # read by nobody: exports leave it out
            index, call = next(rest, (0, None))
        if call is None or call.operator != operator or not _reads_the_same(node, call, found, names):
            return None
        found[node] = Result(index, 0)
    return found if all(call.operator == _DETACH for _, call in rest) else None


def part_of(node: fx.Node) -> tuple[fx.Node, int] | None:
    """Of a node that is one of several results: whose, and which. None for others."""
    if str(node.target) != "<built-in function getitem>":
        return None
    whole, item = node.args
    assert isinstance(whole, fx.Node) and isinstance(item, int)
    return whole, item


def _reads_the_same(node: fx.Node, call: Call, results: Mapping[fx.Node, Result], names: Mapping[str, str]) -> bool:
    def same(mine: Any, its: Any) -> bool:
        match mine:
            case fx.Node(op="get_attr", target=target):
                name = names.get(str(target))
                return isinstance(its, Constant) if name is None else its == Attribute(name)
            case fx.Node():
                return bool(its == results[mine])
            case list() | tuple():
                return isinstance(its, list | tuple) and len(mine) == len(its) and all(map(same, mine, its))
        return not isinstance(its, list | Result | Attribute | Constant)

    return (
        node.kwargs.keys() == call.kwargs.keys()
        and same(node.args, call.args)
        and same(list(node.kwargs.values()), [call.kwargs[key] for key in node.kwargs])
    )


def in_evaluation(training: Sequence[Call], evaluation: Sequence[Call]) -> dict[int, Call] | None:
    """By the places of calls in training: the same ones in evaluation, where both do the same.

    That is where they differ in no more than the mode that operators are told, and counters that training counts on.
    """
    if not evaluation:
        return None
    found: dict[int, Call] = {0: evaluation[0]}
    places = {0: 0}
    rest = iter(enumerate(training))
    next(rest)
    for index, call in enumerate(evaluation[1:], start=1):
        at, twin = next(rest, (0, None))
        while twin is not None and _counts(twin) and not _does_the_same(call, twin, places):
            at, twin = next(rest, (0, None))
        if twin is None or not _does_the_same(call, twin, places):
            return None
        found[at], places[index] = call, at
    return found if all(_counts(twin) for _, twin in rest) else None


def _counts(call: Call) -> bool:
    """Whether it adds to a tensor of the module, as batch normalisation counts batches."""
    return call.operator == "aten.add_.Tensor" and isinstance(call.args[0], Attribute)


def _does_the_same(call: Call, twin: Call, places: Mapping[int, int]) -> bool:
    def same(mine: Any, its: Any) -> bool:
        if type(mine) is not type(its):
            return False
        match mine:
            case Result(index, item):
                return bool(its == Result(places.get(index, -1), item))
            case Constant(tensor):
                return torch.equal(tensor, its.tensor)
            case list():
                return len(mine) == len(its) and all(map(same, mine, its))
        return bool(mine == its) or isinstance(mine, bool)

    return (
        call.operator == twin.operator
        and call.shapes == twin.shapes
        and call.kwargs.keys() == twin.kwargs.keys()
        and same(call.args, twin.args)
        and same(list(call.kwargs.values()), [twin.kwargs[key] for key in call.kwargs])
    )
