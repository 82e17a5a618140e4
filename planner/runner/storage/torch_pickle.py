"""What a pickle of torch's holds, read without running anything in it: a machine for the few instructions that it uses.

Names of Python objects stay names (`Named`), and calls of them are kept as calls (`Called`), but for those that make an
ordered dict or a tensor. So whatever else lies in a checkpoint costs nothing and does nothing.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from planner.limits import MAX_HEADER_BYTES

_MOST_AT_ONCE = 2**20
"""Bytes of one argument: names and whole numbers are shorter."""


@dataclass(frozen=True, slots=True)
class Named:
    """A Python object by its name: `torch FloatStorage`."""

    name: str


@dataclass(frozen=True, slots=True)
class Called:
    """What calling something that is not known here would have made."""

    what: str


@dataclass(frozen=True, slots=True)
class Storage:
    """Numbers in the file."""

    key: str
    """Where they lie."""
    kind: str
    """Name of their type: `FloatStorage`."""
    count: int
    """How many there are."""


@dataclass(frozen=True, slots=True)
class View:
    """A tensor over a storage."""

    storage: Storage
    offset: int
    """Its first number."""
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class Bounded:
    """A file as `pickletools` reads it, which gives no more than a header may have."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._left = file, MAX_HEADER_BYTES

    def read(self, count: int) -> bytes:
        self._check(count)
        return self._file.read(count)

    def readline(self) -> bytes:
        line = self._file.readline(_MOST_AT_ONCE)
        self._check(len(line))
        return line

    def tell(self) -> int:
        return self._file.tell()

    def _check(self, count: int) -> None:
        self._left -= count
        if not 0 <= count <= _MOST_AT_ONCE or self._left < 0:
            raise ValueError("its description is too long")


def read_pickle(file: Bounded, storages: dict[str, Storage] | None = None) -> Any:
    """The next pickle in a file; every storage that it names goes into `storages`.

    Raises ValueError for what torch does not write.
    """
    machine = _Machine({} if storages is None else storages)
    for instruction, argument, _ in pickletools.genops(file):  # type: ignore[arg-type]  # all that it calls is there
        if instruction.name == "STOP":
            return machine.pop()
        machine.step(instruction.name, argument)
    raise ValueError("it ends within its description")


_MARK: Final = object()


class _Machine:
    """A stack, and what is remembered by number."""

    def __init__(self, storages: dict[str, Storage]) -> None:
        self._storages = storages
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def pop(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise ValueError("its description is damaged")
        return self._stack.pop()

    def step(self, name: str, argument: Any) -> None:
        """Follow one instruction."""
        if name in _PUSHED:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif name in _TUPLES:
            items = [self.pop() for _ in range(_TUPLES[name])]
            self._stack.append(tuple(reversed(items)))
        elif name.endswith("PUT") or name == "MEMOIZE":
            value = self.pop()
            self._memo[len(self._memo) if argument is None else int(argument)] = value
            self._stack.append(value)
        elif name.endswith("GET"):
            if int(argument) not in self._memo:
                raise ValueError("its description is damaged")
            self._stack.append(self._memo[int(argument)])
        elif name in _STEPS:
            _STEPS[name](self, argument)
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"its description has the instruction {name}, which torch does not write")

    def mark(self, _: Any) -> None:
        self._stack.append(_MARK)

    def named(self, argument: Any) -> None:
        self._stack.append(Named(str(argument)))

    def named_on_stack(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        self._stack.append(Named(f"{module} {name}"))

    def to_tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._since_mark()))

    def to_list(self, _: Any) -> None:
        self._stack.append(self._since_mark())

    def append(self, _: Any) -> None:
        value = self.pop()
        self._add([value])

    def appends(self, _: Any) -> None:
        self._add(self._since_mark())

    def set_item(self, _: Any) -> None:
        value, key = self.pop(), self.pop()
        self._set([key, value])

    def set_items(self, _: Any) -> None:
        self._set(self._since_mark())

    def to_dict(self, _: Any) -> None:
        items = self._since_mark()
        self._stack.append({})
        self._set(items)

    def stored(self, _: Any) -> None:
        match self.pop():
            case ("storage", Named(kind), str(key), _, int(count), *_):
                self._storages[key] = Storage(key, kind.rpartition(" ")[2], count)
                self._stack.append(self._storages[key])
            case _:
                raise ValueError("its description names something else than a storage")

    def call(self, _: Any) -> None:
        arguments, what = self.pop(), self.pop()
        self._stack.append(_called(what, arguments))

    def make(self, _: Any) -> None:
        self.pop()
        self._stack.append(Called(str(self.pop())))

    def build(self, _: Any) -> None:
        self.pop()  # attributes of what stays below: a state dict's `_metadata`

    def _since_mark(self) -> list[Any]:
        found: list[Any] = []
        while self._stack:
            value = self._stack.pop()
            if value is _MARK:
                return found[::-1]
            found.append(value)
        raise ValueError("its description is damaged")

    def _add(self, values: list[Any]) -> None:
        target = self.pop()
        if isinstance(target, list):
            target.extend(values)
        self._stack.append(target)

    def _set(self, values: list[Any]) -> None:
        target = self.pop()
        if isinstance(target, dict):
            pairs = zip(values[::2], values[1::2], strict=True)
            target.update((key, value) for key, value in pairs if isinstance(key, str))
        self._stack.append(target)


def _called(what: Any, arguments: Any) -> Any:
    name = what.name if isinstance(what, Named) else ""
    match name, arguments:
        case "collections OrderedDict", _:
            return {}
        case "torch._utils _rebuild_tensor_v2", (Storage() as storage, int(offset), tuple(shape), tuple(stride), *_):
            if all(isinstance(each, int) for each in (*shape, *stride)) and len(shape) == len(stride):
                return View(storage, offset, shape, stride)
        case "torch._utils _rebuild_parameter", (View() as view, *_):
            return view
    return Called(name)


_PUSHED = frozenset((
    "BINUNICODE", "BINUNICODE8", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES", "BINSTRING", "SHORT_BINSTRING",
    "UNICODE", "STRING", "BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT",
))  # fmt: skip
_CONSTANTS: Mapping[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_STEPS: Mapping[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "GLOBAL": _Machine.named,
    "STACK_GLOBAL": _Machine.named_on_stack,
    "TUPLE": _Machine.to_tuple,
    "LIST": _Machine.to_list,
    "DICT": _Machine.to_dict,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "BINPERSID": _Machine.stored,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.make,
    "BUILD": _Machine.build,
}
