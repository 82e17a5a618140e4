"""Between which numbers a graph's indices lie, where they choose rows of a table. No torch here.

Tokens, and what a network works out of its data or of the number of samples, may lie beside the table that they point
into: torch finds that out on the way, if such numbers come, and on a GPU ends the process. So every such index has to
be shown to lie inside, by what its operators make of the bounds of what they read. What depends on neither is the same
in every run, and is found out in the first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from planner import limits
from planner.operators.aten.base import FLOATS, Bound, Value
from planner.operators.aten.kinds import ATEN
from planner.operators.aten.sampling import OPERATORS as RANDOM
from planner.operators.graph_text import INPUT, Batch, Name, Node, TensorName
from planner.operators.unit_graph import GraphTensor, UnitGraph, walk_graph

_COUNTS = (2, limits.MAX_BATCH)
"""Samples that bounds are worked out for: the more there are, the further sums and counts over them reach."""

_LOOKUPS: Mapping[str, tuple[str, str]] = {
    "embedding": ("weight", "indices"),
    "index": ("self", "indices"),
    "index_select": ("self", "index"),
    "gather": ("self", "index"),
}
"""Operators that choose by whole numbers: the arguments that hold what is chosen from, and these."""

_WHOLE_BITS = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}
"""Of whole numbers that types with a fraction hold as they are."""

_LARGEST = {"int64": 2**63 - 1, "int32": 2**31 - 1, "int16": 2**15 - 1, "int8": 2**7 - 1}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Numbers of a tensor lie between these, both included."""

    low: float = -math.inf
    high: float = math.inf
    fixed: bool = False
    """Whether they are the same in every run: they depend on neither data nor training nor the number of samples."""

    def joined(self, *others: Bounds) -> Bounds:
        """Of tensors that have numbers of them all."""
        every = (self, *others)
        low, high = min(each.low for each in every), max(each.high for each in every)
        return Bounds(low, high, all(each.fixed for each in every))


def most_tokens(graph: UnitGraph, shape: tuple[int, ...], most: int) -> int:
    """How many tokens, from 0 on, `graph` may be given so that every index lies in its table; at most `most`.

    Raises ValueError naming the node that does not even take 0.
    """
    walks = _walks(graph, shape)

    def fault(tokens: int) -> str | None:
        return next(_faults(graph, walks, Bounds(0, tokens - 1)), None)

    if (problem := fault(1)) is not None:
        raise ValueError(problem)
    if fault(most) is None:
        return most
    low, high = 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fault(middle) is None else (low, middle)
    return low


def check_lookups(graph: UnitGraph, shape: tuple[int, ...]) -> None:
    """Raise ValueError naming a node that may choose from beside its table, whatever comes in."""
    given = Bounds(0, 0) if graph.takes == "int64" else Bounds()
    for problem in _faults(graph, _walks(graph, shape), given):
        raise ValueError(problem)


@dataclass(frozen=True)
class _Call:
    """A node, with what is known of its arguments and results for one number of samples."""

    node: Node
    arguments: Mapping[str, Any]
    """By ATen's names, as the line has them."""
    bound: Mapping[str, Bound]
    """With their shapes, and those that are left out."""
    results: tuple[Value, ...]
    root: str
    """The value whose memory its results share; the first of these where that is new."""
    samples: int
    """How many come in."""

    @property
    def name(self) -> str:
        """Of its operator, without overload and without the mark of those that work in place."""
        return self.node.operator.partition(".")[0].removesuffix("_")

    @property
    def overwrites(self) -> bool:
        return ATEN[self.node.operator].overwrites is not None


def _walks(graph: UnitGraph, shape: tuple[int, ...]) -> list[list[_Call]]:
    """In either mode, with few samples and with many: the nodes that indices follow from, and those that read them."""
    found: list[list[_Call]] = []
    for training in (True, False):
        for count in _COUNTS if _chooses(graph.training_nodes if training else graph.evaluation_nodes) else ():
            roots: dict[str, str] = {}
            calls: list[_Call] = []
            for node, bound, results in walk_graph(graph, shape, count, training=training):
                arguments = _named(node)
                shared = list(_names(arguments.get(ATEN[node.operator].alias or "")))
                new = next((name for name in node.results if name != "_"), f"_{node.line}")
                root = roots.get(shared[0], shared[0]) if shared else new
                roots.update((name, root) for name in node.results)
                calls.append(_Call(node, arguments, bound, results, root, count))
            found.append(_needed(calls, roots))
    return found


def _chooses(nodes: Sequence[Node]) -> bool:
    """Whether one chooses by what is computed."""
    return any(
        name in _LOOKUPS and any(_names(_named(node).get(_LOOKUPS[name][1])))
        for node in nodes
        if (name := node.operator.partition(".")[0])
    )


def _needed(calls: Sequence[_Call], roots: Mapping[str, str]) -> list[_Call]:
    found: list[_Call] = []
    wanted: set[str] = set()
    for call in reversed(calls):
        read = _names(call.arguments.get(_LOOKUPS[call.name][1])) if call.name in _LOOKUPS else ()
        chosen = {roots.get(name, name) for name in read}
        if chosen or call.root in wanted:
            found.append(call)
            wanted |= chosen
        if call.root in wanted:
            wanted |= {roots.get(name, name) for value in call.arguments.values() for name in _names(value)}
    return found[::-1]


def _named(node: Node) -> dict[str, Any]:
    places = (argument.name for argument in ATEN[node.operator].arguments if not argument.keyword_only)
    return {**dict(zip(places, node.positional, strict=False)), **node.named}


def _names(value: Any) -> Iterator[str]:
    match value:
        case Name(name):
            yield name
        case list():
            for item in value:
                yield from _names(item)


def _faults(graph: UnitGraph, walks: Sequence[Sequence[_Call]], given: Bounds) -> Iterator[str]:
    """What may choose from beside its table, where what comes in lies within `given`."""
    written = {
        value.name
        for node in graph.training_nodes
        for value in [_named(node).get(ATEN[node.operator].overwrites or "")]
        if isinstance(value, TensorName)
    }
    tensors = {tensor.name: _of_tensor(tensor, tensor.name in written) for tensor in graph.tensors}
    for calls in walks:
        known = {INPUT: given}
        sharing: dict[str, list[str]] = {}
        for call in calls:
            if (problem := _beside(call, known, tensors)) is not None:
                yield f"node {call.node.line} ({', '.join(call.node.results)} = {call.node.operator}): {problem}"
            for name, bounds in zip(call.node.results, _bounds(call, known, tensors), strict=True):
                for other in sharing.get(call.root, [call.root]) if call.overwrites else ():
                    known[other] = known.get(other, bounds).joined(bounds)
                known[name] = bounds
                sharing.setdefault(call.root, [call.root]).append(name)


def _of_tensor(tensor: GraphTensor, written: bool) -> Bounds:
    if tensor.kind == "parameter" or written:
        return Bounds()
    match tensor.start:
        case "constant":
            return Bounds(tensor.scale, tensor.scale, fixed=True)
        case "values":
            return Bounds(min(tensor.values), max(tensor.values), fixed=True)
    return Bounds(fixed=True)


def _known(value: Any, known: Mapping[str, Bounds], tensors: Mapping[str, Bounds], samples: int) -> Any:
    """An argument with bounds in place of tensors and of the number of samples."""
    match value:
        case Name(name):
            return known.get(name, Bounds())
        case TensorName(name):
            return tensors[name]
        case Batch(times):
            return Bounds(times * samples, times * samples)
        case list():
            return [_known(item, known, tensors, samples) for item in value]
    return value


def _beside(call: _Call, known: Mapping[str, Bounds], tensors: Mapping[str, Bounds]) -> str | None:
    """What is wrong with a node that chooses; None where all that it can choose is there."""
    if call.name not in _LOOKUPS:
        return None
    table, index = _LOOKUPS[call.name]
    source, given = call.bound[table], call.arguments[index]
    assert isinstance(source, Value)
    if call.name == "index":
        indices = list(zip(given, source.shape, strict=False))
    else:
        place = 0 if call.name == "embedding" else int(call.bound["dim"])  # type: ignore[arg-type]  # a number there
        indices = [(given, source.shape[place] if source.shape else 1)]
    for value, extent in indices:
        bounds = _known(value, known, tensors, call.samples)
        if not isinstance(bounds, Bounds) or bounds.fixed:
            continue
        least = -extent if call.name == "index" else 0
        if not (least <= bounds.low and bounds.high < extent):
            right = f"keep them between 0 and {extent - 1}, with clamp or % for instance"
            return f"it chooses from {extent} by numbers that {_words(bounds)}; {right}"
    return None


def _words(bounds: Bounds) -> str:
    if math.isinf(bounds.low) and math.isinf(bounds.high):
        return "nothing is known to bound"
    if math.isinf(bounds.low) or math.isinf(bounds.high):
        return f"may be {bounds.low} and above" if math.isinf(bounds.high) else f"may be {bounds.high} and below"
    return f"may lie between {bounds.low} and {bounds.high}"


Given = Mapping[str, Any]
Rule = Callable[[Given, _Call], "Bounds | tuple[Bounds, ...]"]


def _bounds(call: _Call, known: Mapping[str, Bounds], tensors: Mapping[str, Bounds]) -> tuple[Bounds, ...]:
    """Of a node's results."""
    given = {name: _known(value, known, tensors, call.samples) for name, value in call.arguments.items()}
    rule = _RULES.get(call.name)
    found = Bounds() if rule is None else rule(given, call)
    several = found if isinstance(found, tuple) else (found,) * len(call.results)
    counted = call.name not in _SIZED and any(isinstance(value, Batch) for value in call.node.values())
    read = (_known(value, known, tensors, 1) for value in call.node.values() if isinstance(value, Name | TensorName))
    fixed = not counted and call.node.operator not in RANDOM and all(bounds.fixed for bounds in read)
    return tuple(
        replace(_held(bounds, value.dtype), fixed=fixed) for bounds, value in zip(several, call.results, strict=True)
    )


def _held(bounds: Bounds, dtype: str) -> Bounds:
    """What a type makes of numbers within `bounds`."""
    if dtype in FLOATS:
        most = 2 ** _WHOLE_BITS[dtype]
        return bounds if -most <= bounds.low and bounds.high <= most else Bounds()  # beyond that it rounds
    if dtype == "bool":
        return Bounds(0, 1)
    least, most = (0, 255) if dtype == "uint8" else (-_LARGEST[dtype] - 1, _LARGEST[dtype])
    if not (least <= bounds.low and bounds.high <= most):  # it wraps around
        return Bounds(least, most) if dtype in ("uint8", "int8", "int16") else Bounds()
    return Bounds(math.trunc(bounds.low), math.trunc(bounds.high))


def _operand(value: Any) -> Bounds:
    return value if isinstance(value, Bounds) else Bounds(value, value, fixed=True)


def _first(given: Given, call: _Call) -> Bounds:
    value = next(iter(given.values()))
    return value[0].joined(*value[1:]) if isinstance(value, list) else _operand(value)


def _is_float(call: _Call) -> bool:
    """Whether it rounds, so that results may lie beside what is worked out here."""
    return call.results[0].dtype in FLOATS


def _corners(rule: Callable[[float, float], float], one: Bounds, other: Bounds) -> Bounds:
    """Of what grows or falls with either number."""
    pairs = [(a, b) for a in (one.low, one.high) for b in (other.low, other.high)]
    if any(math.isinf(number) for pair in pairs for number in pair):
        return Bounds()
    found = [rule(a, b) for a, b in pairs]
    return Bounds(min(found), max(found))


def _sum(given: Given, call: _Call, sign: int = 1) -> Bounds:
    one, other, alpha = _operand(given["self"]), _operand(given["other"]), given.get("alpha", 1)
    if _is_float(call) or not isinstance(alpha, int):
        return Bounds()
    if call.name == "rsub":
        one, other = other, one
    low, high = sorted((sign * alpha * other.low, sign * alpha * other.high)) if alpha else (0, 0)
    return Bounds(one.low + low, one.high + high)


def _difference(given: Given, call: _Call) -> Bounds:
    return _sum(given, call, -1)


def _product(given: Given, call: _Call) -> Bounds:
    if _is_float(call):
        return Bounds()
    return _corners(lambda a, b: a * b, _operand(given["self"]), _operand(given["other"]))


def _quotient(given: Given, call: _Call) -> Bounds:
    other = _operand(given["other"])
    if _is_float(call) or (other.low <= 0 <= other.high):
        return Bounds()
    floors = call.name == "floor_divide" or given.get("rounding_mode") == "floor"
    return _corners(lambda a, b: a // b if floors or a * b >= 0 else -(-a // b), _operand(given["self"]), other)


def _remainder(given: Given, call: _Call) -> Bounds:
    one, other = _operand(given["self"]), _operand(given["other"])
    if _is_float(call) or other.low <= 0:
        return Bounds()
    most = other.high - 1
    if call.name == "fmod":  # it has the sign of what is divided
        return Bounds(max(min(one.low, 0), -most), min(max(one.high, 0), most))
    return one if one.low >= 0 and one.high < other.low else Bounds(0, most)


def _negative(given: Given, call: _Call) -> Bounds:
    one = _first(given, call)
    return Bounds(-one.high, -one.low)


def _distance(given: Given, call: _Call) -> Bounds:
    one = _first(given, call)
    least = 0 if one.low <= 0 <= one.high else min(abs(one.low), abs(one.high))
    return Bounds(least, max(abs(one.low), abs(one.high)))


def _clamped(given: Given, call: _Call) -> Bounds:
    one = _operand(given["self"])
    least, most = (_operand(given[name]) if given.get(name) is not None else Bounds() for name in ("min", "max"))
    low, high = max(one.low, least.low), max(one.high, least.high if math.isfinite(least.high) else one.high)
    return Bounds(min(low, most.low) if math.isfinite(most.low) else low, min(high, most.high))


def _larger(given: Given, call: _Call) -> Bounds:
    one, other = _operand(given["self"]), _operand(given["other"])
    return Bounds(max(one.low, other.low), max(one.high, other.high))


def _smaller(given: Given, call: _Call) -> Bounds:
    one, other = _operand(given["self"]), _operand(given["other"])
    return Bounds(min(one.low, other.low), min(one.high, other.high))


def _either(given: Given, call: _Call) -> Bounds:
    return _operand(given["self"]).joined(_operand(given["other"]))


def _filled(given: Given, call: _Call) -> Bounds:
    return _operand(given["self"]).joined(_operand(given["value"]))


def _bits(given: Given, call: _Call) -> Bounds:
    """Of numbers from 0 on: `and` clears bits, `or` and `xor` set those below the highest one of either."""
    one, other = _operand(given["self"]), _operand(given["other"])
    if min(one.low, other.low) < 0 or math.isinf(max(one.high, other.high)):
        return Bounds()
    if call.name in ("bitwise_and", "__and_"):
        return Bounds(0, min(one.high, other.high))
    return Bounds(0, (1 << int(max(one.high, other.high)).bit_length()) - 1)


def _with_zero(given: Given, call: _Call) -> Bounds:
    return _first(given, call).joined(_operand(given.get("value") or 0))


def _of_number(name: str) -> Rule:
    return lambda given, call: _operand(given[name])


def _always(low: float, high: float) -> Rule:
    return lambda given, call: Bounds(low, high)


def _range(given: Given, call: _Call) -> Bounds:
    start, end, step = (_operand(given.get(name, default)) for name, default in (("start", 0), ("end", 0), ("step", 1)))
    if _is_float(call) or step.low != 1:
        return Bounds()
    return Bounds(start.low, max(start.low, end.high - 1))


def _terms(call: _Call, value: str = "self") -> int:
    """How many numbers make one of the result."""
    source = call.bound[value]
    assert isinstance(source, Value)
    return math.prod(source.shape) // max(1, math.prod(call.results[0].shape))


def _total(given: Given, call: _Call) -> Bounds:
    return Bounds() if _is_float(call) else _times(_operand(given["self"]), _terms(call), _terms(call))


def _running(given: Given, call: _Call) -> Bounds:
    source, dim = call.bound["self"], call.bound["dim"]
    assert isinstance(source, Value) and isinstance(dim, int)
    return Bounds() if _is_float(call) else _times(_operand(given["self"]), 1, source.shape[dim] if source.shape else 1)


def _times(one: Bounds, fewest: int, most: int) -> Bounds:
    """The sum of so many numbers."""
    return _corners(lambda a, b: a * b, one, Bounds(fewest, most))


def _place(given: Given, call: _Call) -> Bounds:
    source, dim = call.bound["self"], call.bound.get("dim")
    assert isinstance(source, Value)
    extent = source.shape[dim] if isinstance(dim, int) and source.shape else math.prod(source.shape)
    return Bounds(0, extent - 1)


def _extreme(given: Given, call: _Call) -> Bounds | tuple[Bounds, ...]:
    """`max` and `min` are three operators each: of all numbers, of two tensors, and of a dimension with the places."""
    if "other" in given:
        return (_larger if call.name == "max" else _smaller)(given, call)
    one = _operand(given["self"])
    return one if len(call.results) == 1 else (one, _place(given, call))


def _moved_with_places(given: Given, call: _Call) -> tuple[Bounds, ...]:
    return _operand(given["self"]), _place(given, call)


_MOVES = (
    "view", "reshape", "view_as", "reshape_as", "flatten", "unflatten", "permute", "transpose", "swapaxes", "t",
    "movedim", "squeeze", "unsqueeze", "expand", "expand_as", "broadcast_to", "alias", "detach", "contiguous", "clone",
    "repeat", "tile", "repeat_interleave", "roll", "flip", "_unsafe_view", "select", "slice", "narrow", "diagonal",
    "split", "split_with_sizes", "chunk", "unbind", "stack", "cat", "concat", "concatenate", "meshgrid", "to",
    "_to_copy", "type_as", "lift_fresh_copy", "index", "index_select", "gather", "embedding", "amax", "amin",
    "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "unfold",
)  # fmt: skip
"""Operators whose results are some of the numbers of their first argument."""

_RULES: Mapping[str, Rule] = {
    **dict.fromkeys((*_MOVES, "floor", "ceil", "round", "trunc"), _first),
    **dict.fromkeys(("zeros", "zeros_like", "new_zeros", "zero"), _always(0, 0)),
    **dict.fromkeys(("ones", "ones_like", "new_ones"), _always(1, 1)),
    **dict.fromkeys(("full", "full_like", "new_full"), _of_number("fill_value")),
    **dict.fromkeys(("eye", "sigmoid", "hardsigmoid", "softmax"), _always(0, 1)),
    **dict.fromkeys(("sign", "tanh"), _always(-1, 1)),
    **dict.fromkeys(("tril", "triu", "constant_pad_nd", "pad"), _with_zero),
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor", "__and_", "__or_"), _bits),
    **dict.fromkeys(("clamp", "clamp_min", "clamp_max"), _clamped),
    **dict.fromkeys(("div", "floor_divide"), _quotient),
    **dict.fromkeys(("remainder", "fmod"), _remainder),
    **dict.fromkeys(("sub", "rsub"), _difference),
    **dict.fromkeys(("max", "min"), _extreme),
    **dict.fromkeys(("argmax", "argmin"), _place),
    **dict.fromkeys(("sort", "topk"), _moved_with_places),
    "scalar_tensor": _of_number("s"),
    "fill": _of_number("value"),
    "copy": lambda given, call: _operand(given["src"]),
    "add": _sum,
    "mul": _product,
    "neg": _negative,
    "abs": _distance,
    "maximum": _larger,
    "minimum": _smaller,
    "where": _either,
    "masked_fill": _filled,
    "arange": _range,
    "sum": _total,
    "cumsum": _running,
}
"""By an operator's name without overload; what is not here may give anything."""

_SIZED = frozenset((*_MOVES, "zeros", "ones", "full", "new_zeros", "new_ones", "new_full", "constant_pad_nd", "pad"))
"""Those that are told the number of samples for their shape alone."""
