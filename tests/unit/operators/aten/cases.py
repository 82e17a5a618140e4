"""Arguments for every ATen operator of unit graphs, drawn at random: such as fit, and such as do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from planner.operators.aten import activation, elementwise, reduction
from planner.operators.aten.base import Value
from planner.operators.aten.kinds import ATEN

Arguments = tuple[list[Any], dict[str, Any]]
"""By place, and by name."""

NUMBERS = ("float32", "float32", "float64", "int64", "int32", "uint8", "bfloat16")
ANY = (*NUMBERS, "bool")
FLOATING = ("float32", "float32", "float64")


class Draw:
    """Choices out of a generator."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def n(self, low: int, high: int) -> int:
        return self.random.randrange(low, high + 1)

    def one(self, *options: Any) -> Any:
        return options[self.random.randrange(len(options))]

    def flag(self) -> bool:
        return self.n(0, 1) == 1

    def shape(self, low: int = 0, high: int = 4, most: int = 4) -> tuple[int, ...]:
        return tuple(self.n(1, most) for _ in range(self.n(low, high)))

    def tensor(self, low: int = 0, high: int = 4, dtypes: Sequence[str] = NUMBERS, most: int = 4) -> Value:
        return Value(self.shape(low, high, most), self.one(*dtypes))

    def partner(self, shape: tuple[int, ...], dtypes: Sequence[str] = NUMBERS) -> Value:
        """A tensor that broadcasts with `shape`."""
        kept = shape[self.n(0, len(shape)) :]
        return Value(tuple(self.one(1, extent, extent) for extent in kept), self.one(*dtypes))

    def dim(self, shape: Sequence[int]) -> int:
        return self.n(-max(len(shape), 1), max(len(shape), 1) - 1)

    def dims(self, shape: Sequence[int], low: int = 0) -> list[int]:
        """Several, each once."""
        places = list(range(len(shape)))
        self.random.shuffle(places)
        chosen = places[: self.n(min(low, len(shape)), len(shape))]
        return [place - self.one(0, len(shape)) for place in chosen]

    def maybe(self, **named: Any) -> dict[str, Any]:
        return {name: value for name, value in named.items() if self.flag()}

    def ints(self, count: int, low: int, high: int) -> Any:
        """For every axis its own, or one number for all."""
        return self.n(low, high) if self.n(0, 2) == 0 else [self.n(low, high) for _ in range(count)]


Maker = Callable[[Draw], Arguments]


def _like_self(name: str) -> Maker:
    """A tensor, and what else the operator cannot do without."""

    def make(d: Draw) -> Arguments:
        floating = name.partition(".")[0].rstrip("_") not in ("bitwise_not",)
        self = d.tensor(dtypes=FLOATING if floating and d.n(0, 3) else ANY)
        more: dict[str, list[Any]] = {
            "threshold": [0.1, 2],
            "threshold_": [0.1, 2],
            "prelu": [Value((self.shape[1:2] or (1,)) if d.flag() else (1,), self.dtype)],
        }
        named = {}
        if name.startswith("gelu"):
            named = d.maybe(approximate=d.one("none", "tanh"))
        return [self, *more.get(name, [])], named

    return make


def _glu(d: Draw) -> Arguments:
    shape = list(d.shape(1))
    dim = d.dim(shape)
    shape[dim] *= 2
    return [Value(tuple(shape), d.one(*FLOATING)), dim], {}


def _convolution(rank: int, form: str) -> Maker:
    def make(d: Draw) -> Arguments:
        dtype = d.one(*FLOATING)
        groups, inputs, outputs = d.n(1, 2), d.n(1, 2), d.n(1, 2)
        kernel = [d.n(1, 3) for _ in range(rank)]
        extents = [d.n(3, 6) for _ in range(rank)]
        channels = (inputs * groups, outputs) if form == "transposed" else (outputs * groups, inputs)
        tensors: list[Any] = [Value((d.n(1, 2), inputs * groups, *extents), dtype), Value((*channels, *kernel), dtype)]
        tensors.append(d.one(None, Value((outputs * groups,), dtype)))
        stride, dilation = d.ints(rank, 1, 2), d.ints(rank, 1, 2)
        if form == "padding":
            return [*tensors, d.one(1, stride), d.one("same", "valid"), dilation, groups], {}
        padding = d.ints(rank, 0, 2)
        if form == "transposed":
            return [*tensors, stride, padding, d.ints(rank, 0, 1), groups, dilation], {}
        return [*tensors, stride, padding, dilation, groups], {}

    return make


def _linear(d: Draw) -> Arguments:
    dtype, inputs, outputs = d.one(*FLOATING), d.n(1, 4), d.n(1, 4)
    named = d.maybe(bias=Value((outputs,), dtype))
    return [Value((*d.shape(0, 3), inputs), dtype), Value((outputs, inputs), dtype)], named


def _normalised(name: str) -> Maker:
    def make(d: Draw) -> Arguments:
        dtype, shape = d.one(*FLOATING), d.shape(2, 5)
        own = Value(shape[1:2], dtype)
        if name == "group_norm":
            groups = d.n(1, 2)
            shape = (shape[0], shape[1] * groups, *shape[2:])
            return [Value(shape, dtype), groups, *d.one([], [Value(shape[1:2], dtype), None])], {}
        if name in ("layer_norm", "rms_norm"):
            inner = shape[d.n(0, len(shape) - 1) :]
            return [Value(shape, dtype), list(inner)], d.maybe(weight=Value(inner, dtype))
        affine = d.one([None, None], [own, own], [own, None])
        running = d.one([None, None], [own, own])
        training = d.flag() or running[0] is None
        return [Value(shape, dtype), *affine, *running, training, 0.1, 1e-5, False], {}

    return make


def _weight_norm(d: Draw) -> Arguments:
    dtype, shape = d.one(*FLOATING), d.shape(1)
    dim = d.one(0, len(shape) - 1)
    return [Value(shape, dtype), Value(tuple(e if at == dim else 1 for at, e in enumerate(shape)), dtype), dim], {}


def _windows(rank: int, name: str) -> Maker:
    def make(d: Draw) -> Arguments:
        self = Value((*d.shape(1, 2), *(d.n(3, 6) for _ in range(rank))), d.one(*FLOATING))
        named: dict[str, Any] = {}
        if d.n(0, 3):
            named = {"stride": d.ints(rank, 1, 3), "padding": d.ints(rank, 0, 1), "ceil_mode": d.flag()}
        if name.startswith("max"):
            named |= d.maybe(dilation=d.ints(rank, 1, 2))
        return [self, d.ints(rank, 2, 3)], named

    return make


def _adaptive(rank: int) -> Maker:
    def make(d: Draw) -> Arguments:
        self = Value((*d.shape(1, 2), *(d.n(1, 5) for _ in range(rank))), d.one(*FLOATING))
        return [self, d.ints(rank, 1, 3)], {}

    return make


def _number(d: Draw) -> Any:
    return d.one(1, 2, 0.5, True, 1.5)


def _operands(name: str) -> Maker:
    """For what works element by element: a tensor, and others or numbers that go with it."""
    operator = ATEN[name]

    def make(d: Draw) -> Arguments:
        alike = name.startswith(("lerp", "addcdiv"))
        dtypes = FLOATING if alike or d.flag() else ANY
        if name.startswith(("bitwise", "__")):
            dtypes = ("int64", "bool", "uint8")
        shape, dtype = d.shape(), d.one(*dtypes)
        positional: list[Any] = []
        named: dict[str, Any] = {}
        for argument in operator.arguments:
            if argument.name in ("condition", "mask"):
                value: Any = d.partner(shape, ("bool",))
            elif argument.name == "value" and name.startswith("masked"):
                value = Value((), "float32") if argument.kind == "Tensor" else _number(d)
            elif argument.name in ("alpha", "value") and argument.kind == "Scalar":
                value = d.one(1, 2, 0.5)
            elif argument.kind.startswith("Tensor") and operator.overwrites and not positional:
                value = Value(shape, dtype)
            elif argument.kind.startswith("Tensor"):
                value = d.partner(shape, (dtype,) if alike else dtypes)
                value = _number(d) if operator.takes_numbers and positional and d.flag() else value
            elif argument.kind.startswith("Scalar"):
                value = _number(d)
            else:
                value = d.one(None, "floor", "trunc")
            if argument.keyword_only:
                named[argument.name] = value
            else:
                positional.append(value)
        return positional, named

    return make


def _reduced(name: str) -> Maker:
    operator = ATEN[name]

    def make(d: Draw) -> Arguments:
        self = d.tensor(dtypes=FLOATING if d.flag() else ANY)
        positional, named = [self], {}
        for argument in operator.arguments[1:]:
            value: Any = None
            if argument.name == "dim" and argument.kind.startswith("int["):
                value = d.dims(self.shape) if d.flag() else d.dim(self.shape)
            elif argument.name == "dim":
                value = d.dim(self.shape)
            elif argument.name == "k":
                value = 1
            elif argument.name in ("keepdim", "unbiased", "largest", "descending"):
                value = d.flag()
            elif argument.name == "dtype":
                value = d.one(None, *ANY)
            elif argument.name in ("ord", "correction"):
                value = d.one(1, 2)
            else:
                value = argument.default
            if argument.required:
                positional.append(value)
            elif d.flag():
                named[argument.name] = value
        return positional, named

    return make


def _regrouped(d: Draw, shape: Sequence[int]) -> list[int]:
    """Another shape for as many elements."""
    count = 1
    for extent in shape:
        count *= extent
    size = []
    for factor in (2, 3):
        if count % factor == 0 and d.flag():
            size.append(factor)
            count //= factor
    size.append(d.one(count, -1))
    return [*d.one([], [1]), *size]


def _viewed(name: str) -> Maker:
    def make(d: Draw) -> Arguments:
        self = d.tensor(1, 4)
        shape = self.shape
        rank = len(shape)
        dim = d.dim(shape)
        extent = shape[dim]
        match name:
            case "view" | "_unsafe_view" | "reshape":
                return [self, _regrouped(d, shape)], {}
            case "view_as" | "reshape_as":
                count = [max(1, -part) for part in _regrouped(d, shape) if part != -1]
                return [self, d.one(self, Value((*count, *shape), "int64"), Value(shape[::-1], "bool"))], {}
            case "flatten.using_ints":
                start = d.n(0, rank - 1)
                return [self, *d.one([], [start, d.one(-1, d.n(start, rank - 1))])], {}
            case "unflatten.int":
                return [self, dim, _regrouped(d, [extent])], {}
            case "permute":
                dims = d.dims(shape, rank)
                return [self, dims], {}
            case "transpose.int" | "swapaxes" | "movedim.int":
                return [self, dim, d.dim(shape)], {}
            case "movedim.intlist":
                dims, others = d.dims(shape), d.dims(shape, rank)
                return [self, dims, others[: len(dims)]], {}
            case "squeeze.dims":
                return [self, d.dims(shape)], {}
            case "squeeze.dim" | "unsqueeze":
                return [self, d.n(-rank, rank - 1)], {}
            case "t":
                return [d.tensor(0, 2)], {}
            case "mT" | "tril" | "triu":
                return [d.tensor(2), *([d.n(-2, 2)] if name != "mT" else [])], {}
            case "expand" | "broadcast_to" | "expand_as":
                small = d.partner(shape)
                new = rank - len(small.shape)
                size = [e if have == 1 else d.one(e, -1) for e, have in zip(shape[new:], small.shape, strict=True)]
                size = [*shape[:new], *size]
                return [small, self if name == "expand_as" else size], {}
            case "select.int":
                return [self, dim, d.n(-extent, extent - 1)], {}
            case "slice.Tensor":
                ends = d.maybe(start=d.one(None, d.n(-5, 5)), end=d.one(None, d.n(-5, 2**62)), step=d.n(1, 3))
                return [self, dim], ends
            case "narrow":
                start = d.n(0, extent)
                return [self, dim, start, d.n(0, extent - start)], {}
            case "diagonal":
                self = d.tensor(2)
                return [self, d.n(-2, 2), *d.dims(self.shape, len(self.shape))[:2]], {}
            case "unfold":
                return [self, dim, d.n(1, extent), d.n(1, 2)], {}
            case "split.Tensor" | "chunk":
                return [self, d.n(1, 5), dim], {}
            case "split.sizes" | "split_with_sizes":
                part = d.n(0, extent)
                return [self, [part, extent - part], dim], {}
            case "unbind.int":
                return [self, dim], {}
            case "cat" | "concat" | "concatenate":
                parts = [Value((*shape[: dim % rank], d.n(0, 3), *shape[dim % rank + 1 :]), d.one(*ANY)) for _ in "ab"]
                return [[*parts, *d.one([], [Value((0,), "float32")])], dim], {}
            case "stack":
                return [[self, Value(shape, d.one(*ANY))], d.n(-rank - 1, rank)], {}
            case "meshgrid" | "meshgrid.indexing":
                tensors = [Value(d.shape(0, 1), self.dtype) for _ in range(d.n(1, 3))]
                return [tensors], {"indexing": d.one("ij", "xy")} if "." in name else {}
            case "index.Tensor":
                common = d.shape(0, 2)
                indices = [d.one(None, d.partner(common, ("int64", "int32"))) for _ in range(d.n(1, rank))]
                return [self, indices], {}
            case "index_select":
                return [self, dim, d.tensor(0, 1, ("int64", "int32"))], {}
            case "gather":
                return [self, dim, Value(tuple(d.n(1, e) for e in shape), "int64")], {}
            case "repeat" | "tile":
                return [self, [d.n(0, 3) for _ in range(rank + d.n(0, 1))]], {}
            case "repeat_interleave.self_int":
                return [self, d.n(0, 3), *d.one([], [None], [dim])], {}
            case "roll":
                dims = d.dims(shape)
                return [self, [d.n(-5, 5) for _ in dims or "a"], dims], {}
            case "flip":
                return [self, d.dims(shape)], {}
            case "constant_pad_nd":
                return [self, [d.n(-1, 2) for _ in range(2 * d.n(0, rank))], d.one(0, 1.5)], {}
            case "copy_":
                return [self, d.one(1, 0.5, d.partner(shape, ANY))], {}
            case _:
                return [self], {}

    return make


def _pad(d: Draw) -> Arguments:
    mode = d.one("constant", "reflect", "replicate", "circular")
    spatial = d.n(1, 3)
    self = Value((*d.shape(2, 2), *(d.n(3, 4) for _ in range(spatial))), d.one(*FLOATING))
    return [self, [d.n(0, 2) for _ in range(2 * spatial)], mode], d.maybe(value=0.5) if mode == "constant" else {}


def _shuffled(name: str) -> Maker:
    def make(d: Draw) -> Arguments:
        factor, shape = d.n(1, 3), d.shape(3, 4)
        *rest, channels, rows, columns = shape
        if name == "pixel_shuffle":
            return [Value((*rest, channels * factor**2, rows, columns)), factor], {}
        if name == "pixel_unshuffle":
            return [Value((*rest, channels, rows * factor, columns * factor)), factor], {}
        return [Value((shape[0], shape[1] * factor, *shape[2:])), factor], {}

    return make


def _columns(name: str) -> Maker:
    def make(d: Draw) -> Arguments:
        kernel, dilation, padding, stride = ([d.n(low, 2), d.n(low, 2)] for low in (1, 1, 0, 1))
        extents = [d.n(3, 5), d.n(3, 5)]
        rest, channels = d.shape(0, 1), d.n(1, 2)
        if name == "im2col":
            return [Value((*rest, channels, *extents)), kernel, dilation, padding, stride], {}
        window = kernel[0] * kernel[1]
        counts = [
            (extents[at] + 2 * padding[at] - dilation[at] * (kernel[at] - 1) - 1) // stride[at] + 1 for at in (0, 1)
        ]
        columns = Value((*rest, channels * window, counts[0] * counts[1]))
        return [columns, extents, kernel, dilation, padding, stride], {}

    return make


def _multiplied(name: str) -> Maker:
    def make(d: Draw) -> Arguments:
        dtype = d.one(*FLOATING, "int64")
        n, m, k, b = (d.n(1, 3) for _ in range(4))
        if name == "matmul":
            stack = d.shape(0, 2)
            left, right = d.partner(stack).shape, d.partner(stack).shape
            pairs = [((*left, n, k), (*right, k, m)), ((k,), (*right, k, m)), ((*left, n, k), (k,)), ((k,), (k,))]
            return [Value(shape, dtype) for shape in d.one(*pairs)], {}
        lead = (b,) if "bmm" in name else ()
        pair = [Value((*lead, n, k), dtype), Value((*lead, k, m), dtype)]
        if not name.startswith(("add", "badd")):
            return pair, {}
        return [d.partner((*lead, n, m), (dtype,)), *pair], d.maybe(alpha=d.one(2, 0.5), beta=2)

    return make


def _einsum(d: Draw) -> Arguments:
    extents = {label: d.n(1, 3) for label in "abcdK"}
    dots = d.shape(0, 2)
    equation = d.one(
        *(
            "ab,bc->ac",
            "ab,bc",
            "...ab,...bc->...ac",
            "abc,adc->abd",
            "ab->ba",
            "aa->a",
            "aa",
            "ab,ab,b->a",
            "a...->...a",
        ),
        *("ab", "ba", "...a,...a", "aKb, cKb -> acK", "a,b->ab", "...ab->ab", "...ab,bc", ",a->a"),
    )
    dtype = d.one(*FLOATING)
    tensors = []
    for operand in equation.replace(" ", "").partition("->")[0].split(","):
        before, found, behind = operand.partition("...")
        own = [*(extents[at] for at in before), *(dots if found else ()), *(extents[at] for at in behind)]
        tensors.append(Value(tuple(d.one(1, e, e) if operand.count("a") < 2 else e for e in own), dtype))
    return [equation, tensors], {}


def _attended(d: Draw) -> Arguments:
    dtype, heads = d.one(*FLOATING), d.shape(0, 2)
    steps, others, width, out = (d.n(1, 3) for _ in range(4))
    query = Value((*heads, steps, width), dtype)
    groups = d.n(1, 2) if len(heads) == 2 else 1
    if groups > 1:
        query = Value((heads[0], heads[1] * groups, steps, width), dtype)
    mask = d.one(None, d.partner((*query.shape[:-2], steps, others), (dtype, "bool")))
    named = {"enable_gqa": True} if groups > 1 else {}
    named |= d.maybe(scale=0.5, dropout_p=0.0) | ({"is_causal": True} if mask is None and d.flag() else {})
    tensors = [query, Value((*heads, others, width), dtype), Value((*heads, others, out), dtype)]
    return [*tensors, *([] if mask is None else [mask])], named


def _embedded(d: Draw) -> Arguments:
    return [d.tensor(2, 2, FLOATING), d.tensor(0, 3, ("int64", "int32"))], d.maybe(padding_idx=0)


def _recurrent(name: str) -> Maker:
    gates = {"lstm": 4, "gru": 3}.get(name.partition(".")[0], 1)

    def make(d: Draw) -> Arguments:
        dtype, biases, layers, both, first = d.one(*FLOATING), d.flag(), d.n(1, 2), d.flag(), d.flag()
        samples, steps, inputs, hidden = (d.n(1, 3) for _ in range(4))
        out = d.n(1, hidden) if gates == 4 else hidden
        directions = 2 if both else 1
        params: list[Value] = []
        for layer in range(layers):
            width = out * directions if layer else inputs
            shapes: list[tuple[int, ...]] = [(gates * hidden, width), (gates * hidden, out)]
            shapes += [(gates * hidden,)] * (2 if biases else 0) + ([(out, hidden)] if out != hidden else [])
            params += [Value(shape, dtype) for shape in shapes * directions]
        states = [Value((layers * directions, samples, width), dtype) for width in (out, hidden)]
        extents = (samples, steps) if first else (steps, samples)
        hx: Any = states if gates == 4 else states[1]
        return [Value((*extents, inputs), dtype), hx, params, biases, layers, 0.0, d.flag(), both, first], {}

    return make


def _dropped(d: Draw) -> Arguments:
    return [d.tensor(2, 4, FLOATING), d.one(0.0, 0.5, 1.0), d.flag()], {}


def _resized(name: str) -> Maker:
    rank = int(name[name.index("d.") - 1] if "d." in name else name[name.index("d_aa") - 1])

    def make(d: Draw) -> Arguments:
        input = Value((*d.shape(2, 2), *(d.n(2, 4) for _ in range(rank))), d.one(*FLOATING))
        size = [[d.n(1, 6) for _ in range(rank)], None]
        factors = [None, [d.one(0.5, 1.7, 2.0, 2) for _ in range(rank)]]
        place = d.n(0, 1)
        corners = [d.flag()] if len(ATEN[name].arguments) == 4 else []
        return [input, size[place], *corners, factors[place]], {}

    return make


def _sampled(d: Draw) -> Arguments:
    dtype, spatial = d.one(*FLOATING), d.n(2, 3)
    input = Value((*d.shape(2, 2), *d.shape(spatial, spatial)), dtype)
    grid = Value((input.shape[0], *d.shape(spatial, spatial), spatial), dtype)
    return [input, grid, d.n(0, 4 - spatial), d.n(0, 2), d.flag()], {}


def _affine(d: Draw) -> Arguments:
    spatial = d.n(2, 3)
    size = d.shape(spatial + 2, spatial + 2)
    return [Value((size[0], spatial, spatial + 1), d.one(*FLOATING)), list(size), d.flag()], {}


def _made(name: str) -> Maker:
    operator = ATEN[name]

    def make(d: Draw) -> Arguments:
        positional: list[Any] = []
        named: dict[str, Any] = {}
        low = d.one(0, 2, 0.5, -1)
        for argument in operator.arguments:
            match argument.name:
                case "self" | "other":
                    value: Any = d.tensor(dtypes=FLOATING if name.startswith("rand") else ANY)
                case "size":
                    value = [d.n(0, 3) for _ in range(d.n(0, 3))]
                case "dtype":
                    value = d.one(
                        *(FLOATING if name.startswith("rand") else ANY), *([] if argument.required else [None])
                    )
                case "start":
                    value = low
                case "end":
                    value = low + d.one(0, 1, 3, 2.5) if len(positional) else abs(low)
                case "step" | "s" | "fill_value":
                    value = d.one(1, 2, 0.5, *([True] if argument.name != "step" else []))
                case "steps" | "n":
                    value = d.n(0, 4)
                case "value":
                    value = Value((), d.one(*ANY)) if argument.kind == "Tensor" else _number(d)
                case "p":
                    value = d.one(0.0, 0.5, 1.0)
                case _:
                    value = argument.default
            if not argument.keyword_only and argument.name not in ("non_blocking", "copy", "memory_format"):
                positional.append(value)
            elif argument.name == "dtype":
                named["dtype"] = value
        return positional, named

    return make


def _asserted(d: Draw) -> Arguments:
    a = d.tensor(dtypes=ANY)
    return [a], d.maybe(size=list(a.shape), dtype=a.dtype)


def _makers() -> dict[str, Maker]:
    found: dict[str, Maker] = {name: _like_self(name) for name in activation.OPERATORS}
    found |= {name: _reduced(name) for name in reduction.OPERATORS}
    found |= {name: _operands(name) for name in elementwise.OPERATORS}
    found |= {"glu": _glu, "linear": _linear, "_weight_norm": _weight_norm, "pad": _pad, "einsum": _einsum}
    found |= {"scaled_dot_product_attention": _attended, "embedding": _embedded, "grid_sampler": _sampled}
    found |= {"affine_grid_generator": _affine, "_assert_tensor_metadata": _asserted}
    for rank in (1, 2, 3):
        found[f"conv{rank}d"] = _convolution(rank, "")
        found[f"conv{rank}d.padding"] = _convolution(rank, "padding")
        found[f"conv_transpose{rank}d{'' if rank == 1 else '.input'}"] = _convolution(rank, "transposed")
        for name in ("max_pool", "avg_pool"):
            found[f"{name}{rank}d"] = _windows(rank, name)
        found[f"max_pool{rank}d_with_indices"] = _windows(rank, "max_pool")
        found |= {f"adaptive_{name}_pool{rank}d": _adaptive(rank) for name in ("avg", "max")}
    for names, make in (
        ("batch_norm instance_norm group_norm layer_norm rms_norm", _normalised),
        ("matmul bmm baddbmm mm addmm", _multiplied),
        ("lstm.input gru.input rnn_tanh.input rnn_relu.input", _recurrent),
        ("pixel_shuffle pixel_unshuffle channel_shuffle", _shuffled),
        ("im2col col2im", _columns),
        (
            "view _unsafe_view reshape view_as reshape_as flatten.using_ints unflatten.int permute transpose.int "
            "swapaxes t mT movedim.int movedim.intlist squeeze squeeze.dim squeeze.dims unsqueeze expand expand_as "
            "broadcast_to select.int slice.Tensor narrow diagonal unfold split.Tensor split.sizes split_with_sizes "
            "chunk unbind.int alias detach detach_ contiguous clone copy_ cat concat concatenate stack meshgrid "
            "meshgrid.indexing index.Tensor index_select gather repeat tile repeat_interleave.self_int roll flip "
            "constant_pad_nd tril triu",
            _viewed,
        ),
        (
            "arange arange.start arange.start_step linspace eye zeros ones empty.memory_format full full_like "
            "empty_like zeros_like ones_like new_empty new_zeros new_ones new_full scalar_tensor fill_.Scalar "
            "fill_.Tensor zero_ lift_fresh_copy to.dtype to.device to.dtype_layout to.other _to_copy type_as bernoulli "
            "bernoulli.p bernoulli_.float uniform_ normal_ rand rand_like randn randn_like",
            _made,
        ),
        (
            "upsample_nearest1d.vec upsample_nearest2d.vec upsample_nearest3d.vec _upsample_nearest_exact1d.vec "
            "_upsample_nearest_exact2d.vec _upsample_nearest_exact3d.vec upsample_linear1d.vec upsample_bilinear2d.vec "
            "upsample_trilinear3d.vec upsample_bicubic2d.vec _upsample_bilinear2d_aa.vec _upsample_bicubic2d_aa.vec",
            _resized,
        ),
    ):
        found |= {name: make(name) for name in names.split()}
    for name in ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"):
        found |= {name: _dropped, f"{name}_": _dropped}
    return found


MAKERS = _makers()


def mutated(d: Draw, arguments: Arguments) -> Arguments:
    """With one of them changed, so that it may not fit any more."""
    positional, named = list(arguments[0]), dict(arguments[1])
    if named and d.n(0, 2) == 0:
        name = d.one(*named)
        named[name] = _changed(d, named[name])
    else:
        place = d.n(0, len(positional) - 1)
        positional[place] = _changed(d, positional[place])
    return positional, named


def _changed(d: Draw, value: Any) -> Any:
    if isinstance(value, Value):
        return _another(d, value)
    if isinstance(value, list):
        match d.n(0, 2) if value else 2:
            case 0:
                return value[:-1]
            case 1:
                place = d.n(0, len(value) - 1)
                return [*value[:place], _changed(d, value[place]), *value[place + 1 :]]
            case _:
                return [*value, value[-1] if value else 1]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return d.n(-3, 6)
    if isinstance(value, float):
        return d.one(-1.0, 0.0, 0.5, 2.0)
    return value if value is None else d.one("nothing", "", "...a,b->ab", "reflect", "floor")


def _another(d: Draw, value: Value) -> Value:
    shape = list(value.shape)
    place = d.n(0, len(shape))
    match d.n(0, 3):
        case 0:
            shape.insert(place, d.n(1, 3))
        case 1 if shape:
            del shape[place % len(shape)]
        case 2 if shape:
            shape[place % len(shape)] = d.n(0, 5)
        case _:
            return Value(value.shape, d.one("float32", "float64", "int64", "int32", "bool"))
    return Value(tuple(shape), value.dtype)
