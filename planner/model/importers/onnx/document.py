"""What an ONNX file says: nodes, attributes, and where its tensors' numbers lie. The standard library alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, Final

from planner.errors import ModelError
from planner.limits import MAX_GRAPH_TENSORS, MAX_ONNX_NODES, MAX_PARAMETERS, MAX_RANK
from planner.model.importers.onnx.wire import Field, Wire

DTYPES: Final[Mapping[int, str]] = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 16: "bfloat16",
}  # fmt: skip
"""Types of numbers, as ONNX counts them."""

ITEM_BYTES: Final[Mapping[str, int]] = {
    "float32": 4, "uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "int32": 4, "int64": 8, "bool": 1, "float16": 2,
    "float64": 8, "uint32": 4, "uint64": 8, "bfloat16": 2,
}  # fmt: skip
"""Bytes of a number."""

_LONGEST_NAME: Final = 1024
_SHOWN: Final = 80

_FLOATS, _INT32, _INT64, _RAW, _DOUBLES, _UINT64 = 4, 5, 7, 9, 10, 11
"""Fields of a tensor that hold its numbers."""


@dataclass(frozen=True, slots=True)
class OnnxTensor:
    """A tensor, without its numbers."""

    name: str
    dims: tuple[int, ...]
    dtype: str
    place: str
    """Where in the file it is."""
    parts: tuple[tuple[int, int], ...] = ()
    """Where in the file the bytes of its numbers lie."""
    encoded: bool = False
    """Whether these are not the numbers' own, but one number of variable length behind another."""
    external: Mapping[str, str] | None = None
    """Where else they lie: `location`, `offset`, `length`."""

    @property
    def numbers(self) -> int:
        return prod(self.dims)


@dataclass(frozen=True, slots=True)
class OnnxNode:
    """An operator."""

    index: int
    operator: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    """Names; an empty one is left out."""
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    """Numbers, texts (as bytes), tensors, and lists of these; None for what no known operator has."""

    @property
    def place(self) -> str:
        """What a person is told."""
        named = repr(self.name[:_SHOWN]) if self.name else str(self.index)
        return f"node {named} ({self.operator[:_SHOWN]})"


@dataclass(frozen=True, slots=True)
class OnnxValue:
    """An input or output of the graph."""

    name: str
    dtype: str
    dims: tuple[int | str, ...] | None
    """Extents; a text where one is open. None where the file does not say."""


@dataclass
class OnnxFile:
    """What is read of a file."""

    ir_version: int = 0
    opset: int = 0
    """Version of ONNX's own operators."""
    name: str = ""
    nodes: list[OnnxNode] = field(default_factory=list)
    initializers: dict[str, OnnxTensor] = field(default_factory=dict)
    inputs: list[OnnxValue] = field(default_factory=list)
    outputs: list[OnnxValue] = field(default_factory=list)


def read_document(data: memoryview) -> OnnxFile:
    """What a file says. Raises ModelError naming the place."""
    return _Reader(Wire(data)).read()


class _Reader:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._found = OnnxFile()

    def read(self) -> OnnxFile:
        wire, found = self._wire, self._found
        graph: tuple[int, int] | None = None
        opsets: dict[str, int] = {}
        if not len(wire.data):
            raise ModelError("is empty; an ONNX file is needed")
        for each in wire.fields(0, len(wire.data), "the file"):
            match each[0]:
                case 1:
                    found.ir_version = wire.whole(each, "ir_version")
                case 7:
                    if graph is not None:
                        raise ModelError("graph: is there twice")
                    graph = wire.message(each, "graph")
                case 8:
                    domain, version = self._opset(each)
                    if opsets.setdefault(domain, version) != version:
                        raise ModelError(f"opset_import: domain {domain[:_SHOWN]!r} is there in two versions")
        if graph is None:
            raise ModelError("holds no graph; a whole ONNX model is needed")
        if "" not in opsets:
            raise ModelError("opset_import: does not say which version of ONNX's operators it is written in")
        found.opset = opsets[""]
        self._graph(*graph)
        return found

    def _opset(self, given: Field) -> tuple[str, int]:
        domain, version = "", 0
        for each in self._wire.fields(*self._wire.message(given, "opset_import"), "opset_import"):
            if each[0] == 1:
                domain = self._name(each, "opset_import.domain")
            elif each[0] == 2:
                version = self._wire.whole(each, "opset_import.version")
        return "" if domain == "ai.onnx" else domain, version

    def _graph(self, begin: int, end: int) -> None:
        found = self._found
        for each in self._wire.fields(begin, end, "graph"):
            match each[0]:
                case 1:
                    if len(found.nodes) == MAX_ONNX_NODES:
                        raise ModelError(f"graph.node: there are more than {MAX_ONNX_NODES} of them")
                    found.nodes.append(self._node(each, len(found.nodes)))
                case 2:
                    found.name = self._name(each, "graph.name")
                case 5:
                    place = f"graph.initializer[{len(found.initializers)}]"
                    tensor = self._tensor(each, place)
                    if not tensor.name:
                        raise ModelError(f"{place}: has no name")
                    if tensor.name in found.initializers:
                        raise ModelError(f"{place}: {tensor.name[:_SHOWN]!r} is there twice")
                    if len(found.initializers) == MAX_GRAPH_TENSORS:
                        raise ModelError(f"graph.initializer: there are more than {MAX_GRAPH_TENSORS} of them")
                    found.initializers[tensor.name] = tensor
                case 11:
                    found.inputs.append(self._value(each, f"graph.input[{len(found.inputs)}]"))
                case 12:
                    found.outputs.append(self._value(each, f"graph.output[{len(found.outputs)}]"))
                case 15:
                    raise ModelError("graph.sparse_initializer: sparse tensors are not known here")

    def _node(self, given: Field, index: int) -> OnnxNode:
        place = f"graph.node[{index}]"
        texts: dict[int, str] = {}
        inputs: list[str] = []
        outputs: list[str] = []
        attributes: dict[str, Any] = {}
        for each in self._wire.fields(*self._wire.message(given, place), place):
            match each[0]:
                case 1:
                    inputs.append(self._name(each, f"{place}.input[{len(inputs)}]"))
                case 2:
                    outputs.append(self._name(each, f"{place}.output[{len(outputs)}]"))
                case 3 | 4 | 7:
                    texts[each[0]] = self._name(each, place)
                case 5:
                    at = f"{place}.attribute[{len(attributes)}]"
                    name, value = self._attribute(each, at)
                    if name in attributes:
                        raise ModelError(f"{at}: {name[:_SHOWN]!r} is there twice")
                    attributes[name] = value
        domain = texts.get(7, "")
        domain = "" if domain == "ai.onnx" else domain
        return OnnxNode(index, texts.get(4, ""), domain, texts.get(3, ""), tuple(inputs), tuple(outputs), attributes)

    def _attribute(self, given: Field, place: str) -> tuple[str, Any]:
        wire = self._wire
        name, kind = "", 0
        one: dict[int, Any] = {}
        floats: list[float] = []
        wholes: list[int] = []
        texts: list[bytes] = []
        for each in wire.fields(*wire.message(given, place), place):
            match each[0]:
                case 1:
                    name = self._name(each, f"{place}.name")
                case 20:
                    kind = wire.whole(each, f"{place}.type")
                case 2:
                    numbers = wire.floats(each, f"{place}.f")
                    one[1] = numbers[0] if len(numbers) == 1 else None
                case 3:
                    one[2] = wire.whole(each, f"{place}.i")
                case 4:
                    begin, end = wire.message(each, f"{place}.s")
                    one[3] = bytes(wire.data[begin : min(end, begin + 2**16)])
                case 5:
                    one[4] = self._tensor(each, f"{place}.t")
                case 7:
                    floats += wire.floats(each, f"{place}.floats")
                case 8:
                    wholes += wire.wholes(each, f"{place}.ints")
                case 9:
                    begin, end = wire.message(each, f"{place}.strings")
                    texts.append(bytes(wire.data[begin : min(end, begin + 2**16)]))
        if not name:
            raise ModelError(f"{place}: has no name")
        lists = {6: floats, 7: wholes, 8: texts}
        if kind == 0:  # files of the first version do not say
            kind = next(iter(one), next((each for each, values in lists.items() if values), 0))
        default = {1: 0.0, 2: 0, 3: b""}.get(kind)  # what is 0 may be left out
        return name, lists[kind] if kind in lists else one.get(kind, default)

    def _tensor(self, given: Field, place: str) -> OnnxTensor:
        wire = self._wire
        dims: list[int] = []
        name, number, where = "", 0, 0
        held: dict[int, list[tuple[int, int]]] = {}
        external: dict[str, str] = {}
        for each in wire.fields(*wire.message(given, place), place):
            match each[0]:
                case 1:
                    dims += wire.wholes(each, f"{place}.dims")
                case 2:
                    number = wire.whole(each, f"{place}.data_type")
                case 3:
                    raise ModelError(f"{place}: is in segments, which is not known here")
                case 8:
                    name = self._name(each, f"{place}.name")
                case 13:
                    key, value = self._pair(each, f"{place}.external_data")
                    external[key] = value
                case 14:
                    where = wire.whole(each, f"{place}.data_location")
                case 4 | 5 | 7 | 9 | 10 | 11:
                    held.setdefault(each[0], []).append(self._held(each, place))
        return self._checked(place, name, dims, number, held, external if where == 1 else None)

    def _held(self, given: Field, place: str) -> tuple[int, int]:
        """Where numbers lie. One that is not packed stands behind its key, and is not read: no program writes it so."""
        if given[1] == 0:
            raise ModelError(f"{place}: its numbers are written one by one; they have to be packed")
        return given[2], given[3]

    @staticmethod
    def _checked(
        place: str,
        name: str,
        dims: list[int],
        number: int,
        held: Mapping[int, list[tuple[int, int]]],
        external: Mapping[str, str] | None,
    ) -> OnnxTensor:
        shown = f"{place} ({name[:_SHOWN]!r})" if name else place
        if number not in DTYPES:
            raise ModelError(f"{shown}: data_type is {number}, which is no type that is known here")
        if len(dims) > MAX_RANK:
            raise ModelError(f"{shown}: has {len(dims)} dimensions; {MAX_RANK} are the most")
        if any(not 0 <= extent <= MAX_PARAMETERS for extent in dims) or prod(dims) > MAX_PARAMETERS:
            raise ModelError(f"{shown}: extents {str(dims)[:_SHOWN]} are beyond what a network has")
        tensor = OnnxTensor(name, tuple(dims), DTYPES[number], shown, external=external)
        if external is not None:
            if "location" not in external:
                raise ModelError(f"{shown}: external_data does not say in which file its numbers lie")
            return tensor
        if len(held) > 1:
            raise ModelError(f"{shown}: its numbers are there in two forms")
        if held and tensor.dtype not in ITEM_BYTES:
            raise ModelError(f"{shown}: is {tensor.dtype}, which is not known here")
        own = {"float32": _FLOATS, "float64": _DOUBLES, "int64": _INT64, "uint64": _UINT64, "uint32": _UINT64}
        for form, parts in held.items():
            if form != _RAW and form != own.get(tensor.dtype, _INT32):
                raise ModelError(f"{shown}: is {tensor.dtype}, but its numbers are written as another type's")
            encoded = form in (_INT32, _INT64, _UINT64)
            size = sum(end - begin for begin, end in parts)
            wanted = tensor.numbers * ITEM_BYTES[tensor.dtype]
            if not encoded and size != wanted:
                raise ModelError(f"{shown}: holds {size} bytes; {list(dims)} of {tensor.dtype} are {wanted}")
            if encoded and not tensor.numbers <= size <= 10 * tensor.numbers:
                raise ModelError(f"{shown}: holds {size} bytes, which are not {tensor.numbers} numbers")
            return OnnxTensor(name, tensor.dims, tensor.dtype, shown, tuple(parts), encoded)
        if tensor.numbers and tensor.dtype != "string":
            raise ModelError(f"{shown}: its {tensor.numbers} numbers are missing")
        return tensor

    def _pair(self, given: Field, place: str) -> tuple[str, str]:
        texts = {1: "", 2: ""}
        for each in self._wire.fields(*self._wire.message(given, place), place):
            if each[0] in texts:
                texts[each[0]] = self._name(each, place)
        return texts[1], texts[2]

    def _value(self, given: Field, place: str) -> OnnxValue:
        name, dtype, dims = "", "", None
        for each in self._wire.fields(*self._wire.message(given, place), place):
            if each[0] == 1:
                name = self._name(each, f"{place}.name")
            elif each[0] == 2:
                dtype, dims = self._type(each, f"{place}.type")
        if not name:
            raise ModelError(f"{place}: has no name")
        return OnnxValue(name, dtype, dims)

    def _type(self, given: Field, place: str) -> tuple[str, tuple[int | str, ...] | None]:
        wire = self._wire
        dtype, dims = "", None
        for each in wire.fields(*wire.message(given, place), place):
            if each[0] != 1:
                continue
            for part in wire.fields(*wire.message(each, f"{place}.tensor_type"), place):
                if part[0] == 1:
                    dtype = DTYPES.get(wire.whole(part, f"{place}.elem_type"), "a type that is not known")
                elif part[0] == 2:
                    dims = self._shape(part, f"{place}.shape")
        return dtype, dims

    def _shape(self, given: Field, place: str) -> tuple[int | str, ...]:
        wire = self._wire
        dims: list[int | str] = []
        for each in wire.fields(*wire.message(given, place), place):
            if each[0] != 1:
                continue
            extent: int | str = ""
            for part in wire.fields(*wire.message(each, place), place):
                if part[0] == 1:
                    extent = wire.whole(part, place)
                elif part[0] == 2:
                    extent = self._name(part, place)
            dims.append(extent)
        if len(dims) > MAX_RANK:
            raise ModelError(f"{place}: has {len(dims)} dimensions; {MAX_RANK} are the most")
        return tuple(dims)

    def _name(self, given: Field, place: str) -> str:
        if given[3] - given[2] > _LONGEST_NAME and given[1] != 0:
            raise ModelError(f"{place}: is {given[3] - given[2]} bytes long; {_LONGEST_NAME} are the most")
        return self._wire.text(given, place)
