"""Products of matrices, attention, embeddings and recurrence."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from planner.operators.aten.base import AtenOperator, Count, Rule, StricterThanTorch, Value, family, show_shape
from planner.operators.aten.shapes import (
    broadcast,
    check_alike,
    check_expands,
    check_filled,
    check_floating,
    check_no_bool,
    check_rank,
    elements,
)
from planner.operators.base import Shape


def _check_product(one: Shape, other: Shape) -> None:
    if one[-1] != other[-2 if len(other) > 1 else 0]:
        raise ValueError(f"{show_shape(one)} and {show_shape(other)} do not multiply: {one[-1]} meets another number")


def _matmul(self: Value, other: Value) -> Value:
    check_alike(self=self, other=other)
    check_no_bool(self)
    if not self.shape or not other.shape:
        raise ValueError("a tensor has no dimensions")
    _check_product(self.shape, other.shape)
    rows, columns = self.shape[-2:-1], other.shape[-1:] if len(other.shape) > 1 else ()
    return Value((*broadcast(self.shape[:-2], other.shape[:-2]), *rows, *columns), self.dtype)


def _product(rank: int, one: str, other: str, summand: bool = False) -> Rule:
    """The rule of a product of two tensors with `rank` dimensions, to which `self` may be added."""

    def rule(self: Value, **given: Any) -> Value:
        left, right = (self if name == "self" else given[name] for name in (one, other))
        check_rank(left, (rank,), one)
        check_rank(right, (rank,), other)
        check_no_bool(left, one)
        check_alike(**{one: left, other: right})
        if left.shape[:-2] != right.shape[:-2]:
            raise ValueError(f"{show_shape(left.shape)} and {show_shape(right.shape)} differ in number")
        _check_product(left.shape, right.shape)
        shape = (*left.shape[:-1], right.shape[-1])
        if summand:
            check_alike(self=self, **{one: left})
            check_expands(self.shape, shape, "self")
        return Value(shape, left.dtype)

    return rule


def _einsum(equation: str, tensors: Sequence[Value], path: Sequence[int] | None) -> Value:
    left, arrow, right = equation.replace(" ", "").partition("->")
    operands = left.split(",")
    if not tensors or len(operands) != len(tensors):
        raise ValueError(f"equation names {len(operands)} tensors; {len(tensors)} are given")
    dtype = tensors[0].dtype
    if len({tensor.dtype for tensor in tensors}) > 1 or dtype in ("bool", "int32", "int16", "int8", "uint8"):
        raise StricterThanTorch("tensors of one type are needed, with a fraction or int64: others change on the way")
    extents: dict[str, int] = {}
    around: list[Shape] = []
    for operand, tensor in zip(operands, tensors, strict=True):
        around.append(_named(operand, tensor.shape, extents))
    if not arrow:
        once = sorted(label for label in extents if left.count(label) == 1)
        right = "..." + "".join(once)
    labels = right.replace("...", "", 1)
    if any(label not in extents or labels.count(label) > 1 for label in labels):
        raise ValueError(f"{labels[:60]!r} behind the arrow has to name each of its letters once, and as before it")
    _check_path(path, len(tensors))
    dots = broadcast(*around) if right != labels else ()
    broadcast(*around)
    before, _, behind = right.partition("...")
    return Value((*(extents[label] for label in before), *dots, *(extents[label] for label in behind)), dtype)


def _named(operand: str, shape: Shape, extents: dict[str, int]) -> Shape:
    """Enter the extents that `operand` gives names; those below its dots."""
    if re.fullmatch(r"[A-Za-z]*(\.\.\.)?[A-Za-z]*", operand) is None:
        raise ValueError(f"{operand[:60]!r} is not made of letters and at most one '...'")
    before, dots, behind = operand.partition("...")
    count = len(before) + len(behind)
    if count > len(shape) or (count < len(shape) and not dots):
        raise ValueError(f"{operand[:60]!r} does not name the dimensions of {show_shape(shape)}")
    within: dict[str, int] = {}
    for label, extent in zip(before + behind, (*shape[: len(before)], *shape[len(shape) - len(behind) :]), strict=True):
        if within.setdefault(label, extent) != extent:
            raise ValueError(f"{label!r} names {within[label]} and {extent} in {operand[:60]!r}")
    for label, extent in within.items():
        known = extents.get(label, 1)
        if known != 1 and extent not in (1, known):
            raise ValueError(f"{label!r} names {known} and {extent}")
        extents[label] = extent if known == 1 else known
    return shape[len(before) : len(shape) - len(behind)]


def _check_path(path: Sequence[int] | None, count: int) -> None:
    """Raise ValueError unless it names two of what is left, again and again."""
    if path is None:
        return
    pairs = list(zip(path[::2], path[1::2], strict=False))
    if count == 1 or len(path) != 2 * (count - 1):
        raise ValueError(f"path has {len(path)} numbers; {2 * (count - 1)} are needed for {count} tensors")
    for left, (one, other) in zip(range(count, 1, -1), pairs, strict=True):
        if one == other or not (0 <= one < left and 0 <= other < left):
            raise ValueError(f"path names {one} and {other}, with {left} tensors left")


def _attend(
    query: Value,
    key: Value,
    value: Value,
    attn_mask: Value | None,
    dropout_p: float,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
) -> Value:
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        check_floating(tensor, name)
        check_filled(tensor, name)
        if len(tensor.shape) < 2:
            raise ValueError(f"{name} has shape {show_shape(tensor.shape)}; steps and features are needed")
    check_alike(query=query, key=key, value=value)
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(f"query has {query.shape[-1]} features, key {key.shape[-1]}")
    if key.shape[-2] != value.shape[-2]:  # some of PyTorch's kernels read beyond the shorter
        raise StricterThanTorch(f"key has {key.shape[-2]} steps, value {value.shape[-2]}")
    if not 0 <= dropout_p <= 1:
        raise StricterThanTorch(f"dropout_p is {dropout_p}; it has to lie between 0 and 1")
    heads = _heads(query, key, value, enable_gqa)
    if attn_mask is not None:
        if is_causal:
            raise ValueError("attn_mask and is_causal exclude each other")
        if attn_mask.dtype not in ("bool", query.dtype):
            raise StricterThanTorch(f"attn_mask is {attn_mask.dtype}; bool or {query.dtype} is needed")
        if len(attn_mask.shape) < 2:
            raise StricterThanTorch(f"attn_mask has shape {show_shape(attn_mask.shape)}; steps and steps are needed")
        check_expands(attn_mask.shape, (*heads, query.shape[-2], key.shape[-2]), "attn_mask")
    return Value((*heads, query.shape[-2], value.shape[-1]), query.dtype)


def _heads(query: Value, key: Value, value: Value, grouped: bool) -> Shape:
    """What stands before steps and features; `grouped` lets several heads share a key and a value."""
    first, second, third = (tensor.shape[:-2] for tensor in (query, key, value))
    if second != third or len(first) != len(second):
        raise StricterThanTorch(f"key has heads {show_shape(second)}, value {show_shape(third)}")
    if grouped and first and first[:-1] == second[:-1] and first[-1] % second[-1] == 0:
        return first
    if first != second:
        raise StricterThanTorch(f"query has heads {show_shape(first)}, key {show_shape(second)}")
    return first


def _embed(weight: Value, indices: Value, **_: Any) -> Value:
    check_rank(weight, (2,), "weight")
    check_filled(weight, "weight")
    if indices.dtype not in ("int64", "int32"):
        raise ValueError(f"indices are {indices.dtype}; int64 is needed")
    return Value((*indices.shape, weight.shape[1]), weight.dtype)


def _recur(
    input: Value,
    states: Sequence[Value],
    gates: int,
    params: Sequence[Value],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Value, ...]:
    """Output, and a state for each of `states`. The last of two may be wider than the first, which is projected."""
    if len(input.shape) != 3:
        raise StricterThanTorch(f"input has shape {show_shape(input.shape)}; samples, steps and features are needed")
    check_floating(input, "input")
    check_filled(input, "input")
    directions = 2 if bidirectional else 1
    each = 4 if has_biases else 2
    for state in states:
        if len(state.shape) != 3:
            raise StricterThanTorch(f"a state has shape {show_shape(state.shape)}; 3 dimensions are needed")
    samples, hidden, width = input.shape[0 if batch_first else 1], states[-1].shape[2], states[0].shape[2]
    projected = width != hidden
    if num_layers < 1 or len(params) != num_layers * directions * (each + projected):
        raise ValueError(f"{len(params)} params do not make {num_layers} layers of {each + projected} each")
    if not 0 <= dropout <= 1:
        raise StricterThanTorch(f"dropout is {dropout}; it has to lie between 0 and 1")
    for state in states:
        wanted = (num_layers * directions, samples, state.shape[2])
        if state.shape != wanted:
            raise StricterThanTorch(f"a state has shape {show_shape(state.shape)}, not {show_shape(wanted)}")
        if state.dtype != input.dtype:
            raise StricterThanTorch(f"input is {input.dtype}, a state {state.dtype}")
    given = iter(params)
    for layer in range(num_layers):
        inputs = width * directions if layer else input.shape[2]
        shapes: list[Shape] = [(gates * hidden, inputs), (gates * hidden, width)]
        shapes += [(gates * hidden,)] * (each - 2) + [(width, hidden)] * projected
        for shape in shapes * directions:
            param = next(given)
            if param.shape != shape:
                where = f"a weight of layer {layer} has shape {show_shape(param.shape)}"
                raise StricterThanTorch(f"{where}, not {show_shape(shape)}")
            if param.dtype != input.dtype:
                raise StricterThanTorch(f"input is {input.dtype}, a weight {param.dtype}")
    return (Value((*input.shape[:2], width * directions), input.dtype), *states)


def _lstm(input: Value, hx: Sequence[Value], train: bool, **given: Any) -> tuple[Value, ...]:
    if len(hx) != 2:
        raise ValueError(f"hx has {len(hx)} tensors; 2 are needed")
    return _recur(input, hx, 4, **given)


def _recurrent(gates: int) -> Rule:
    def rule(input: Value, hx: Value, train: bool, **given: Any) -> tuple[Value, ...]:
        return _recur(input, (hx,), gates, **given)

    return rule


def _count_product(inner: str) -> Count:
    """Of a product: for each number of the result as many as the rows of `inner` are long."""

    def count(result: Value, **given: Any) -> int:
        return elements(result.shape) * int(given[inner].shape[-1])

    return count


def _count_einsum(result: Value, equation: str, tensors: Sequence[Value], **_: Any) -> int:
    """Two and two, from the left, once what one has alone is summed: the extents of all letters, dots included."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    extents: dict[str, int] = {}
    operands = [
        _letters(operand, tensor.shape, extents) for operand, tensor in zip(left.split(","), tensors, strict=True)
    ]
    kept = {name for name in extents if name.isdigit() or (name in right if arrow else left.count(name) == 1)}
    letters, total = operands[0], 0
    for place, other in enumerate(operands[1:], start=1):
        behind = kept.union(*operands[place + 1 :])
        both = (letters & (other | behind)) | (other & (letters | behind))
        total += math.prod(extents[name] for name in both)
        letters = both & behind
    return total


def _letters(operand: str, shape: Shape, extents: dict[str, int]) -> set[str]:
    """The letters of an operand, and a number from the end for each dimension below its dots; notes their extents."""
    before, _, behind = operand.partition("...")
    names = [*before, *(str(at) for at in range(len(shape) - len(before) - len(behind), 0, -1)), *behind]
    for name, extent in zip(names, shape, strict=True):
        extents[name] = max(extents.get(name, 1), extent)
    return set(names)


def _count_attention(result: Value, query: Value, key: Value, value: Value, **_: Any) -> int:
    """Scores of every step for every step, and the values weighed by them."""
    return elements(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1])


def _count_recurrence(result: Value, input: Value, params: Sequence[Value], **_: Any) -> int:
    """Every weight once for each step of each sample."""
    weights = sum(elements(param.shape) for param in params if len(param.shape) == 2)
    return input.shape[0] * input.shape[1] * weights


_LAYERS = "Tensor[] params, bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, "
_SCALED = "*, Scalar beta=1, Scalar alpha=1) -> Tensor"


def _attention(signature: str, rule: Rule, count: Count, *kernels: str) -> AtenOperator:
    return AtenOperator(signature, rule, extracts_features=True, count=count, kernels=kernels)


OPERATORS = family(
    _attention("matmul(Tensor self, Tensor other) -> Tensor", _matmul, _count_product("self"), "self", "other"),
    _attention(
        "bmm(Tensor self, Tensor mat2) -> Tensor",
        _product(3, "self", "mat2"),
        _count_product("self"),
        "self",
        "mat2",
    ),
    _attention(
        f"baddbmm(Tensor self, Tensor batch1, Tensor batch2, {_SCALED}",
        _product(3, "batch1", "batch2", True),
        _count_product("batch1"),
        "batch1",
        "batch2",
    ),
    AtenOperator(
        "mm(Tensor self, Tensor mat2) -> Tensor",
        _product(2, "self", "mat2"),
        count=_count_product("self"),
        kernels=("self", "mat2"),
    ),
    AtenOperator(
        f"addmm(Tensor self, Tensor mat1, Tensor mat2, {_SCALED}",
        _product(2, "mat1", "mat2", True),
        count=_count_product("mat1"),
        kernels=("mat1", "mat2"),
    ),
    AtenOperator(
        "einsum(str equation, Tensor[] tensors, *, int[]? path=None) -> Tensor",
        _einsum,
        extracts_features=True,
        alias="tensors",
        count=_count_einsum,
        kernels=("tensors",),
    ),
    _attention(
        "scaled_dot_product_attention(Tensor query, Tensor key, Tensor value, Tensor? attn_mask=None, "
        "float dropout_p=0.0, bool is_causal=False, *, float? scale=None, bool enable_gqa=False) -> Tensor",
        _attend,
        _count_attention,
    ),
    AtenOperator(
        "embedding(Tensor weight, Tensor indices, SymInt padding_idx=-1, bool scale_grad_by_freq=False, "
        "bool sparse=False) -> Tensor",
        _embed,
        kernels=("weight",),
    ),
    _attention(
        f"lstm.input(Tensor input, Tensor[] hx, {_LAYERS}bool batch_first) -> (Tensor, Tensor, Tensor)",
        _lstm,
        _count_recurrence,
        "params",
    ),
    *(
        _attention(
            f"{name}.input(Tensor input, Tensor hx, {_LAYERS}bool batch_first) -> (Tensor, Tensor)",
            _recurrent(gates),
            _count_recurrence,
            "params",
        )
        for name, gates in (("gru", 3), ("rnn_tanh", 1), ("rnn_relu", 1))
    ),
)
