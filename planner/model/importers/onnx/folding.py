"""What follows from constants and extents alone, worked out at once: in plain numpy, for either number of samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, Final

import numpy as np

from planner.model.importers.onnx.document import DTYPES, OnnxNode, OnnxTensor
from planner.model.importers.onnx.values import MAX_KNOWN

Array = np.ndarray
Fold = Callable[[OnnxNode, int, Sequence[Array | None]], Array | Sequence[Array]]


class TooLarge(Exception):
    """A result is too large to be worked out here."""


def fold(node: OnnxNode, opset: int, inputs: Sequence[Array | None]) -> list[Array] | None:
    """The node's outputs for inputs that are known; None: it is left to the network.

    Raises ValueError where the inputs do not fit.
    """
    rule = _FOLDS.get(node.operator)
    if rule is None:
        return None
    try:
        with np.errstate(all="ignore"):
            found = rule(node, opset, inputs)
    except TooLarge:
        return None
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, ZeroDivisionError, AttributeError) as error:
        raise ValueError(f"its constants do not fit ({str(error)[:120]})") from None
    results = [found] if isinstance(found, np.ndarray | np.generic) else list(found)
    arrays = [np.asarray(result) for result in results]
    return arrays if all(array.size <= MAX_KNOWN and array.ndim <= 8 for array in arrays) else None


def _room(*shape: int) -> tuple[int, ...]:
    """A result's shape, before it is made. Raises TooLarge."""
    if min(shape, default=0) < 0:
        raise ValueError(f"extents {shape}")
    if prod(shape) > MAX_KNOWN or len(shape) > 8:
        raise TooLarge
    return shape


def _need(array: Array | None) -> Array:
    if array is None:
        raise ValueError("an input is missing")
    return array


def _wholes(array: Array | None) -> list[int]:
    found = _need(array)
    if found.dtype.kind not in "iub":
        raise ValueError("whole numbers are needed")
    return [int(number) for number in found.ravel()]


def _unary(function: Callable[[Array], Array]) -> Fold:
    def rule(node: OnnxNode, opset: int, inputs: Sequence[Array | None]) -> Array:
        given = _need(inputs[0])
        return np.asarray(function(given)).astype(given.dtype)

    return rule


def _binary(function: Callable[[Array, Array], Any], dtype: str | None = None) -> Fold:
    def rule(node: OnnxNode, opset: int, inputs: Sequence[Array | None]) -> Array:
        found = _need(inputs[0])
        for other in inputs[1:]:
            _room(*np.broadcast_shapes(found.shape, _need(other).shape))
            found = np.asarray(function(found, _need(other))).astype(dtype or found.dtype)
        return found

    return rule


def _divide(one: Array, other: Array) -> Array:
    if one.dtype.kind in "iu":
        if not np.all(other):
            raise ValueError("division by 0")
        return np.asarray(np.sign(one) * np.sign(other) * (np.abs(one) // np.abs(other)))
    return np.asarray(one / other)


def _axes(node: OnnxNode, inputs: Sequence[Array | None], rank: int) -> list[int]:
    given = _wholes(inputs[1]) if len(inputs) > 1 and inputs[1] is not None else node.attributes.get("axes")
    axes = list(range(rank)) if given is None else list(given)
    if not all(-rank <= axis < rank for axis in axes):
        raise ValueError(f"axes {axes[:8]}")
    return sorted({axis % max(rank, 1) for axis in axes})


def _reducing(function: Callable[..., Any]) -> Fold:
    def rule(node: OnnxNode, opset: int, inputs: Sequence[Array | None]) -> Array:
        given = _need(inputs[0])
        axes = _axes(node, inputs, given.ndim)
        keep = bool(node.attributes.get("keepdims", 1))
        return np.asarray(function(given, axis=tuple(axes), keepdims=keep)).astype(given.dtype)

    return rule


def _cast(node: OnnxNode, opset: int, inputs: Sequence[Array | None]) -> Array:
    dtype = DTYPES[node.attributes["to"]]
    return _need(inputs[0]).astype("float32" if dtype == "bfloat16" else dtype)


def _gather(node: OnnxNode, opset: int, inputs: Sequence[Array | None]) -> Array:
    given, index, axis = _need(inputs[0]), _need(inputs[1]), node.attributes.get("axis", 0)
    _room(*given.shape[:axis], *index.shape, *given.shape[axis:][1:])
    return np.take(given, index.astype(np.int64), axis=axis)


def _concat(node: OnnxNode, opset: int, inputs: Sequence[Array | None]) -> Array:
    arrays = [_need(each) for each in inputs]
    _room(sum(each.size for each in arrays))
    return np.concatenate(arrays, axis=node.attributes["axis"])


def _slice(node: OnnxNode, opset: int, inputs: Sequence[Array | None]) -> Array:
    given, starts, ends = _need(inputs[0]), _wholes(inputs[1]), _wholes(inputs[2])
    axes = _wholes(inputs[3]) if len(inputs) > 3 and inputs[3] is not None else list(range(len(starts)))
    steps = _wholes(inputs[4]) if len(inputs) > 4 and inputs[4] is not None else [1] * len(starts)
    parts = [slice(None)] * given.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        extent = given.shape[axis]
        if step < 0:
            parts[axis] = slice(None if start >= extent else start, None if end < -extent else end, step)
        else:
            parts[axis] = slice(start, end, step)
    return given[tuple(parts)]


def _squeeze(node: OnnxNode, opset: int, inputs: Sequence[Array | None]) -> Array:
    given = _need(inputs[0])
    named = (len(inputs) > 1 and inputs[1] is not None) or "axes" in node.attributes
    return np.squeeze(given, tuple(_axes(node, inputs, given.ndim))) if named else np.squeeze(given)


def _unsqueeze(node: OnnxNode, opset: int, inputs: Sequence[Array | None]) -> Array:
    given = _need(inputs[0])
    axes = _wholes(inputs[1]) if len(inputs) > 1 else node.attributes["axes"]
    _room(*[1] * (given.ndim + len(axes)))
    return np.expand_dims(given, tuple(axes))


def _reshape(node: OnnxNode, opset: int, inputs: Sequence[Array | None]) -> Array:
    given, target = _need(inputs[0]), _wholes(inputs[1])
    if not node.attributes.get("allowzero", 0):
        target = [given.shape[place] if extent == 0 else extent for place, extent in enumerate(target)]
    return given.reshape(_room(*target) if min(target, default=0) >= 0 else target)


def _flatten(node: OnnxNode, opset: int, inputs: Sequence[Array | None]) -> Array:
    given, axis = _need(inputs[0]), node.attributes.get("axis", 1)
    return given.reshape(prod(given.shape[:axis]), -1)


def _transpose(node: OnnxNode, opset: int, inputs: Sequence[Array | None]) -> Array:
    return np.transpose(_need(inputs[0]), node.attributes.get("perm"))


def _expand(node: OnnxNode, opset: int, inputs: Sequence[Array | None]) -> Array:
    given, target = _need(inputs[0]), _wholes(inputs[1])
    shape = _room(*np.broadcast_shapes(given.shape, _room(*target)))
    return np.broadcast_to(given, shape).copy()


def _tile(node: OnnxNode, opset: int, inputs: Sequence[Array | None]) -> Array:
    given, repeats = _need(inputs[0]), _wholes(inputs[1])
    _room(*(extent * count for extent, count in zip(given.shape, repeats, strict=True)))
    return np.tile(given, repeats)


def _constant_of_shape(node: OnnxNode, opset: int, inputs: Sequence[Array | None]) -> Array:
    value = node.attributes.get("value")
    if isinstance(value, OnnxTensor):
        raise TooLarge  # `operators.selection` knows its number; see `graph`
    return np.zeros(_room(*_wholes(inputs[0])), np.float32)


def _range(node: OnnxNode, opset: int, inputs: Sequence[Array | None]) -> Array:
    arrays = [_need(each) for each in inputs]
    start, limit, delta = (each.ravel()[0].item() for each in arrays)
    _room(max(0, -int((start - limit) // delta)))
    return np.arange(start, limit, delta, dtype=arrays[0].dtype)


def _where(node: OnnxNode, opset: int, inputs: Sequence[Array | None]) -> Array:
    condition, one, other = (_need(each) for each in inputs)
    _room(*np.broadcast_shapes(condition.shape, one.shape, other.shape))
    return np.where(condition, one, other)


def _split(node: OnnxNode, opset: int, inputs: Sequence[Array | None]) -> Sequence[Array]:
    given, axis, count = _need(inputs[0]), node.attributes.get("axis", 0), len(node.outputs)
    named = _wholes(inputs[1]) if len(inputs) > 1 and inputs[1] is not None else node.attributes.get("split")
    each = -(-given.shape[axis] // max(count, 1))
    sizes = named if named is not None else [each] * (count - 1)
    return np.split(given, np.cumsum(sizes)[: count - 1], axis=axis)


def _identity(node: OnnxNode, opset: int, inputs: Sequence[Array | None]) -> Array:
    return _need(inputs[0])


def _size(node: OnnxNode, opset: int, inputs: Sequence[Array | None]) -> Array:
    return np.asarray(_need(inputs[0]).size, np.int64)


def _shape(node: OnnxNode, opset: int, inputs: Sequence[Array | None]) -> Array:
    shape = _need(inputs[0]).shape
    return np.asarray(shape[node.attributes.get("start", 0) : node.attributes.get("end", len(shape))], np.int64)


def _triangle(node: OnnxNode, opset: int, inputs: Sequence[Array | None]) -> Array:
    diagonal = _wholes(inputs[1])[0] if len(inputs) > 1 and inputs[1] is not None else 0
    return (np.triu if node.attributes.get("upper", 1) else np.tril)(_need(inputs[0]), diagonal)


def _cumulative_sum(node: OnnxNode, opset: int, inputs: Sequence[Array | None]) -> Array:
    if node.attributes.get("exclusive") or node.attributes.get("reverse"):
        raise TooLarge
    return np.cumsum(_need(inputs[0]), axis=_wholes(inputs[1])[0])


_FOLDS: Final[Mapping[str, Fold]] = {
    "Abs": _unary(np.abs),
    "Neg": _unary(np.negative),
    "Floor": _unary(np.floor),
    "Ceil": _unary(np.ceil),
    "Round": _unary(np.round),
    "Sqrt": _unary(np.sqrt),
    "Exp": _unary(np.exp),
    "Log": _unary(np.log),
    "Sign": _unary(np.sign),
    "Reciprocal": _unary(np.reciprocal),
    "Sin": _unary(np.sin),
    "Cos": _unary(np.cos),
    "Not": _unary(np.logical_not),
    "Add": _binary(np.add),
    "Sub": _binary(np.subtract),
    "Mul": _binary(np.multiply),
    "Div": _binary(_divide),
    "Pow": _binary(np.power),
    "Max": _binary(np.maximum),
    "Min": _binary(np.minimum),
    "Sum": _binary(np.add),
    "Mod": _binary(np.mod),
    "And": _binary(np.logical_and, "bool"),
    "Or": _binary(np.logical_or, "bool"),
    "Xor": _binary(np.logical_xor, "bool"),
    "Equal": _binary(np.equal, "bool"),
    "Less": _binary(np.less, "bool"),
    "LessOrEqual": _binary(np.less_equal, "bool"),
    "Greater": _binary(np.greater, "bool"),
    "GreaterOrEqual": _binary(np.greater_equal, "bool"),
    "ReduceProd": _reducing(np.prod),
    "ReduceSum": _reducing(np.sum),
    "ReduceMax": _reducing(np.max),
    "ReduceMin": _reducing(np.min),
    "ReduceMean": _reducing(np.mean),
    "Cast": _cast,
    "Gather": _gather,
    "Concat": _concat,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Expand": _expand,
    "Tile": _tile,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "Where": _where,
    "Split": _split,
    "Identity": _identity,
    "Size": _size,
    "Shape": _shape,
    "Trilu": _triangle,
    "CumSum": _cumulative_sum,
}
