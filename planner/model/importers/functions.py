"""Functions and tensor methods within somebody else's forward, in the words of `model/1`. Needs torch.

Each is first turned into the torch layer that does the same, so that one set of checks serves both.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter, getitem
from typing import Any

import torch
from torch import fx, nn

from planner.errors import ModelError
from planner.model.importers.layers import layer_from, outside
from planner.operators.layers import OPERATORS
from planner.schema.model import AdaptivePool2d, Flatten, Layer

_CALLS = {op: call for operator in OPERATORS for op, *call in operator.in_torch}
_FUNCTIONS = {
    **{op: functions for op, (_, functions, _) in _CALLS.items() if functions},
    "dropout": "nn.functional.dropout",
    "reshape": "reshape Tensor.reshape Tensor.view",
    "mean": "mean Tensor.mean",
    "contiguous": "Tensor.contiguous",
}
"""Where in torch the functions and methods lie, by what a person calls them."""


def _target(where: str) -> Any:
    """What a graph's node calls: a method by its name, a function itself."""
    return where.removeprefix("Tensor.") if where.startswith("Tensor.") else attrgetter(where)(torch)


_KNOWN: dict[Any, str] = {_target(where): name for name, functions in _FUNCTIONS.items() for where in functions.split()}


def function_name(node: fx.Node) -> str:
    """What a person calls the function or method."""
    return _KNOWN.get(node.target) or str(getattr(node.target, "__name__", node.target))


def function_layers(node: fx.Node, where: str) -> tuple[Layer, ...]:
    """The layers that a call of a function or method is. Raises ModelError that starts with `where`."""
    name = _KNOWN.get(node.target)
    if name is None:
        raise ModelError(f"{where}: {_refusal(node)}")
    if name == "contiguous":
        return ()
    if name == "reshape":
        return _reshape(node, where)
    if name == "mean":
        return _mean(node, where)
    if name == "dropout":
        return _dropout(node, where)
    kind, _, arguments = _CALLS[name]
    defaults = dict(argument.split("=") for argument in arguments.split() if "=" in argument)
    names = [argument.partition("=")[0] for argument in arguments.split()]
    given = {name: int(value) for name, value in defaults.items()} | _arguments(node, names, where)
    layer = layer_from(getattr(nn, kind)(**given), where)
    return () if layer is None else (layer,)


def _refusal(node: fx.Node) -> str:
    name = function_name(node)
    tensors = node.args[0] if node.args and isinstance(node.args[0], (tuple, list)) else node.args
    count = sum(isinstance(part, fx.Node) for part in tensors)
    joins = f"joins {count} tensors; only a sum of two branches can be expressed. " if count > 1 else ""
    return joins + outside(name)


def _arguments(node: fx.Node, names: Sequence[str], where: str) -> dict[str, Any]:
    """The arguments behind the tensor, by name. None of them may be computed from the input's shape."""
    given = dict(zip(names, node.args[1:], strict=False)) | {
        name: value for name, value in node.kwargs.items() if name in names
    }
    for name, value in given.items():
        if any(isinstance(part, fx.Node) for part in (value if isinstance(value, (tuple, list)) else (value,))):
            raise ModelError(f"{where}: {name} is computed from the input's shape; a number is needed")
    return given


def _reshape(node: fx.Node, where: str) -> tuple[Layer, ...]:
    """`x.view(x.size(0), -1)` and its relatives: the batch stays, everything else becomes one row."""
    shape = node.args[1:]
    if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
        shape = tuple(shape[0])
    if len(shape) != 2 or not (_is_batch(shape[0]) or shape[0] == -1):
        raise ModelError(f"{where}: only a reshape to (batch, features) can be expressed, as a flatten")
    return (Flatten("flatten"),)


def _is_batch(value: Any) -> bool:
    """Whether `value` is a tensor's first extent: `x.size(0)`, `x.size()[0]` or `x.shape[0]`."""
    if not isinstance(value, fx.Node):
        return False
    if _is_call(value, "size"):
        return value.args[1:] == (0,) or value.kwargs == {"dim": 0}
    return value.target is getitem and value.args[1:] == (0,) and _is_shape(value.args[0])


def _is_shape(value: Any) -> bool:
    if not isinstance(value, fx.Node):
        return False
    return _is_call(value, "size") or (value.target is getattr and value.args[1:] == ("shape",))


def _is_call(node: fx.Node, method: str) -> bool:
    return node.op == "call_method" and node.target == method


def _mean(node: fx.Node, where: str) -> tuple[Layer, ...]:
    given = _arguments(node, ("dim", "keepdim"), where)
    dim = given.get("dim")
    if not isinstance(dim, (tuple, list)) or sorted(int(part) % 4 for part in dim) != [2, 3]:
        raise ModelError(f"{where}: a mean over dimensions {dim}; only one over rows and columns can be expressed")
    pool = AdaptivePool2d("adaptive_avg_pool2d", 1, 1)
    return (pool,) if given.get("keepdim") else (pool, Flatten("flatten"))


def _dropout(node: fx.Node, where: str) -> tuple[Layer, ...]:
    given = _arguments(node, ("p", "training"), where)
    if not given.get("training", True):
        return ()
    layer = layer_from(nn.Dropout(given.get("p", 0.5)), where)
    return () if layer is None else (layer,)
