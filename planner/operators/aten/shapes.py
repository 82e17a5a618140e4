"""What the rules of several families ask: which axis, which common shape, which common type."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from planner.operators.aten.base import FLOATS, StricterThanTorch, Value, category, show_shape
from planner.operators.base import Shape

Operand = Value | int | float | bool
"""A tensor, or a number in its place."""

_ORDER: Final = (
    *("bool", "uint8", "int8", "int16", "int32", "int64"),
    *("float16", "bfloat16", "float32", "float64"),
)
"""Types from narrow to wide."""


def axis(dim: int, rank: int, name: str = "dim") -> int:
    """`dim` counted from the front; a tensor without dimensions counts as one with one. Raises ValueError."""
    span = max(rank, 1)
    if not -span <= dim < span:
        raise ValueError(f"{name} is {dim}; the tensor has {rank} dimensions, so {-span} to {span - 1} are possible")
    return dim % span


def place_of(self: Value, dim: int) -> int:
    """As `axis`, in a tensor that has dimensions. Raises ValueError."""
    if not self.shape:
        raise ValueError("self has no dimensions")
    return axis(dim, len(self.shape))


def axes(dims: Iterable[int], rank: int, name: str = "dim") -> tuple[int, ...]:
    """Several, each once. Raises ValueError."""
    found = tuple(axis(dim, rank, name) for dim in dims)
    if len(set(found)) != len(found):
        raise ValueError(f"{name} names a dimension twice")
    return found


def replaced(shape: Shape, place: int, *extents: int) -> Shape:
    """`shape` with others in place of one."""
    return (*shape[:place], *extents, *shape[place + 1 :])


def per_axis(values: Sequence[int], count: int, name: str, low: int = 0) -> Sequence[int]:
    """One number for each axis of a window; a single one holds for all. Raises ValueError."""
    if len(values) not in (1, count):
        raise ValueError(f"{name} has {len(values)} numbers; 1 or {count} are needed")
    if min(values) < low:
        raise ValueError(f"{name} is {list(values)}; it has to be at least {low}")
    return values if len(values) == count else [values[0]] * count


def broadcast(*shapes: Shape) -> Shape:
    """The shape that all of them stretch to. Raises ValueError."""
    found: list[int] = []
    for place in range(-max(map(len, shapes), default=0), 0):
        extents = {shape[place] for shape in shapes if len(shape) >= -place} - {1}
        if len(extents) > 1:
            raise ValueError(f"shapes {' and '.join(map(show_shape, shapes[:4]))} do not broadcast")
        found.append(extents.pop() if extents else 1)
    return tuple(found)


def check_expands(shape: Shape, target: Shape, name: str) -> None:
    """Raise ValueError unless `shape` stretches to `target`."""
    if len(shape) > len(target) or any(a not in (1, b) for a, b in zip(shape[::-1], target[::-1], strict=False)):
        raise ValueError(f"{name} has shape {show_shape(shape)}, which does not stretch to {show_shape(target)}")


def shape_of(operand: Operand) -> Shape:
    return operand.shape if isinstance(operand, Value) else ()


def dtype_of(operand: Operand) -> str:
    """A tensor's type, or that of a number."""
    if isinstance(operand, Value):
        return operand.dtype
    return "bool" if isinstance(operand, bool) else "int64" if isinstance(operand, int) else "float32"


_LIMITS: Final = {
    "uint8": 255,
    "int8": 127,
    "int16": 2**15 - 1,
    "int32": 2**31 - 1,
    "int64": 2**63 - 1,
    "float16": 65504,
    "bfloat16": 3.3895313892515355e38,
    "float32": 3.4028234663852886e38,
}
"""The largest number of a type; the smallest is as far below 0, but for uint8."""


def check_holds(dtype: str, number: Operand, name: str) -> None:
    """Raise StricterThanTorch for a number beyond the type that it is to be written in: PyTorch wraps some of them."""
    limit = _LIMITS.get(dtype)
    if limit is None or isinstance(number, Value) or (dtype in FLOATS and not math.isfinite(number)):
        return
    if not (0 if dtype == "uint8" else -limit) <= number <= limit:
        raise StricterThanTorch(f"{name} is {number}, beyond what {dtype} holds")


def wider(one: str, other: str) -> str:
    """The narrowest type that holds both."""
    if {one, other} == {"uint8", "int8"}:
        return "int16"
    if {one, other} == {"float16", "bfloat16"}:
        return "float32"
    return max(one, other, key=_ORDER.index)


def common_dtype(*operands: Operand) -> str:
    """PyTorch's type promotion: tensors come before tensors without dimensions, these before numbers; who comes later
    counts where it is of a higher category.
    """
    levels: list[str | None] = [None, None, None]
    for operand in operands:
        level = 2 if not isinstance(operand, Value) else int(operand.shape == ())
        before, dtype = levels[level], dtype_of(operand)
        levels[level] = dtype if before is None else wider(before, dtype)
    found: str | None = None
    for dtype_or_none in levels:
        if dtype_or_none is not None and (found is None or category(dtype_or_none) > category(found)):
            found = dtype_or_none
    return found or "float32"


def as_float(dtype: str) -> str:
    """The type of a result that is never whole."""
    return dtype if dtype in FLOATS else "float32"


def check_floating(value: Value, name: str = "self") -> None:
    """Raise ValueError unless it has a type with a fraction."""
    if value.dtype not in FLOATS:
        check_filled(value, name)  # PyTorch does not look at the type of nothing
        raise ValueError(f"{name} is {value.dtype}; one of {', '.join(FLOATS)} is needed")


def check_gradient(value: Value, name: str = "self") -> None:
    """Raise StricterThanTorch for whole numbers where only some of a family's operators take them."""
    if value.dtype not in FLOATS:
        raise StricterThanTorch(f"{name} is {value.dtype}; one of {', '.join(FLOATS)} is needed for a gradient")


def check_no_bool(value: Value, name: str = "self") -> None:
    if value.dtype == "bool":
        raise ValueError(f"{name} is bool; a number is needed")


def check_alike(**values: Value | None) -> None:
    """Raise ValueError unless all that are given have the first's type."""
    (first, wanted), *others = ((name, value) for name, value in values.items() if value is not None)
    for name, value in others:
        if value.dtype != wanted.dtype:
            raise ValueError(f"{first} is {wanted.dtype}, {name} {value.dtype}")


def check_shape(value: Value | None, shape: Shape, name: str) -> None:
    """Raise ValueError unless it is left out, or has that shape."""
    if value is not None and value.shape != shape:
        raise ValueError(f"{name} has shape {show_shape(value.shape)}, not {show_shape(shape)}")


def check_rank(value: Value, ranks: Sequence[int], name: str = "self") -> None:
    if len(value.shape) not in ranks:
        wanted = " or ".join(map(str, ranks))
        raise ValueError(f"{name} has {len(value.shape)} dimensions; {wanted} are needed")


def check_filled(value: Value, name: str = "self") -> None:
    """Raise StricterThanTorch for a tensor without elements."""
    if 0 in value.shape:
        raise StricterThanTorch(f"{name} has no elements: its shape is {show_shape(value.shape)}")


def elements(shape: Shape) -> int:
    return math.prod(shape)


def same(name: str = "self", check: Callable[[Value, str], None] | None = None) -> Callable[..., Value]:
    """The rule of an operator whose result is like its argument `name`."""

    def rule(**given: Any) -> Value:
        value: Value = given[name]
        if check is not None:
            check(value, name)
        return value

    return rule
