"""What is read of an ONNX file is what the package `onnx` reads of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from planner.errors import ModelError
from planner.limits import MAX_ONNX_FIELDS
from planner.model.importers.onnx.document import DTYPES, OnnxTensor, read_document
from planner.model.importers.onnx.names import names_for
from planner.model.importers.onnx.values import array_of
from planner.model.importers.onnx.weights import OnnxSource
from tests.unit.model.importers.onnx.files import graph, one


def attribute(source: OnnxSource, value: Any) -> Any:
    """A value of ours as the package has it."""
    return array_of(source, value).tolist() if isinstance(value, OnnxTensor) else value


def test_nodes_attributes_and_tensors() -> None:
    array = np.arange(6, dtype=np.int16).reshape(2, 3) - 3
    attributes: dict[str, Any] = {
        "real": 0.1, "whole": -(2**62), "text": "é", "tensor": numpy_helper.from_array(array), "reals": [1.5, -2.0],
        "wholes": [0, -1, 2**40], "texts": ["a", "b"], "zero": 0, "nothing": 0.0,
    }  # fmt: skip
    node = helper.make_node(
        "Thing", ["x", "", "w"], ["y", ""], "a node", "what is read past", "some.domain", **attributes
    )
    numbers = {
        "f": (TensorProto.FLOAT, np.asarray([1, 2, -3.5], np.float32)),
        "d": (TensorProto.DOUBLE, np.asarray([1, 2, -3.5])),
        "u8": (TensorProto.UINT8, np.asarray([0, 7, 255], np.uint8)),
        "i8": (TensorProto.INT8, np.asarray([0, 7, -128], np.int8)),
        "u16": (TensorProto.UINT16, np.asarray([0, 7, 2**16 - 1], np.uint16)),
        "i32": (TensorProto.INT32, np.asarray([0, -7, 2**31 - 1], np.int32)),
        "u64": (TensorProto.UINT64, np.asarray([0, 7, 2**64 - 1], np.uint64)),
        "b": (TensorProto.BOOL, np.asarray([True, False, True])),
    }
    tensors = {
        f"{kind}.{raw}": helper.make_tensor(f"{kind}.{raw}", number, [3], values.tobytes() if raw else values, raw)
        for raw in (False, True)
        for kind, (number, values) in numbers.items()
    }
    model = graph([node])
    model.graph.initializer.extend(tensors.values())
    source = OnnxSource(memoryview(model.SerializeToString()))
    (found,) = source.document.nodes
    assert (found.operator, found.domain, found.name) == ("Thing", "some.domain", "a node")
    assert (found.inputs, found.outputs) == (("x", "", "w"), ("y", ""))
    expected = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    expected["tensor"] = array.tolist()
    assert {name: attribute(source, value) for name, value in found.attributes.items()} == expected
    for name, tensor in tensors.items():
        ours = array_of(source, source.document.initializers[name])
        assert ours.dtype.name == DTYPES[tensor.data_type]
        np.testing.assert_array_equal(ours, numpy_helper.to_array(tensor))


def test_inputs_outputs_and_versions() -> None:
    model = graph(one("Relu"), ("n", 3, 8, 8), opset=18)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    found = read_document(memoryview(model.SerializeToString()))
    assert (found.opset, found.ir_version, found.name) == (18, 9, "made")
    (given,), (output,) = found.inputs, found.outputs
    assert (given.name, given.dtype, given.dims) == ("x", "float32", ("n", 3, 8, 8))
    assert (output.name, output.dims) == ("y", None)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "^is empty"),
        (b"\x08", "the file: is broken at byte 1: a number that does not end"),
        (b"\x08" + b"\xff" * 11, "the file: is broken at byte 1: a number that does not end"),
        (b"\x3a\x7f", "the file: is broken at byte 0: a field of 127 bytes with 0 left"),
        (b"\x0b", "a field of kind 3, which ONNX has none of"),
        (b"\x08\x09", "holds no graph"),
        (b"\x3a\x00", "opset_import: does not say"),
        (b"\x3a\x00\x3a\x00", "graph: is there twice"),
        (b"\x38\x01", "graph: is broken at byte"),
    ],
)
def test_what_is_no_protocol_buffer_is_refused_by_its_byte(content: bytes, problem: str) -> None:
    with pytest.raises(ModelError, match=problem):
        read_document(memoryview(content))


def test_what_is_read_beside_weights_is_bounded() -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    node.attribute.append(helper.make_attribute("axes", [1] * (MAX_ONNX_FIELDS + 1)))
    with pytest.raises(ModelError, match=rf"more than {MAX_ONNX_FIELDS} fields and numbers"):
        read_document(memoryview(graph([node]).SerializeToString()))


def changed(**fields: Any) -> onnx.ModelProto:
    """A file whose only initializer has other fields."""
    model = graph(one("Add", "w"), weights={"w": np.ones((2, 3), np.float32)})
    for name, value in fields.items():
        if value is None or isinstance(value, list):
            model.graph.initializer[0].ClearField(name)
            getattr(model.graph.initializer[0], name).extend(value) if value else None
        else:
            setattr(model.graph.initializer[0], name, value)
    return model


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (changed(dims=[2, 4]), r"\('w'\): holds 24 bytes; \[2, 4\] of float32 are 32"),
        (changed(dims=[-1]), "are beyond what a network has"),
        (changed(dims=[1] * 9), "has 9 dimensions; 8 are the most"),
        (changed(data_type=99), "data_type is 99"),
        (changed(data_type=TensorProto.COMPLEX64), "is complex64, which is not known here"),
        (changed(raw_data=None), "its 6 numbers are missing"),
        (changed(raw_data=None, double_data=[1.0]), "is float32, but its numbers are written as another type's"),
        (changed(float_data=[1.0]), "its numbers are there in two forms"),
        (changed(data_location=TensorProto.EXTERNAL), "does not say in which file"),
        (changed(name=""), "has no name"),
        (changed(name="n" * 1025), "is 1025 bytes long; 1024 are the most"),
    ],
)
def test_a_tensor_that_is_not_what_it_says_is_refused(model: onnx.ModelProto, problem: str) -> None:
    with pytest.raises(ModelError, match=rf"graph\.initializer\[0\].*{problem}"):
        read_document(memoryview(model.SerializeToString()))


def test_names_are_made_right_and_stay_apart() -> None:
    given = ["conv1.weight", "onnx::Conv_1", "onnx__Conv_1", "/a/b.c", "a..b", ".", "", "conv1.weight"]
    found = names_for(given)
    assert found == ["conv1.weight", "onnx__Conv_1_2", "onnx__Conv_1", "_a_b.c", "a_.b", "_", "__2", "conv1.weight_2"]
