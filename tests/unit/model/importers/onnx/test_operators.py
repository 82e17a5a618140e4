"""Each operator of ONNX gives what onnxruntime gives, for one sample and for several."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from planner.errors import ModelError
from planner.model.importers.onnx.graph import follow
from planner.model.importers.onnx.operators.kinds import IMPORTERS
from planner.model.importers.onnx.weights import OnnxSource
from tests.unit.model.importers.onnx.files import graph, one, run_by_others, unit_of

RNG = np.random.default_rng(3)


def weight(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.asarray(values, np.int64)


def chain(*nodes: tuple[str, list[str], dict[str, Any]]) -> list[onnx.NodeProto]:
    """Nodes behind each other: each gives the next one's first input."""
    found, before = [], "x"
    for index, (operator, inputs, attributes) in enumerate(nodes):
        after = "y" if index == len(nodes) - 1 else f"v{index}"
        found.append(helper.make_node(operator, [before, *inputs], [after], **attributes))
        before = after
    return found


def constant(name: str, array: np.ndarray) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array))


def each(
    of: str, options: dict[str, dict[str, Any]], *inputs: str, weights: dict[str, Any] | None = None, **common: Any
) -> dict[str, onnx.ModelProto]:
    """A case of an operator for each set of attributes."""
    return {
        f"{of} {name}": graph(one(of, *inputs, **common, **attributes), weights=weights)
        for name, attributes in options.items()
    }


POSITIVE = [helper.make_node("Abs", ["x"], ["a"]), helper.make_node("Add", ["a", "half"], ["p"])]
HALF = {"half": np.float32(0.5)}

CASES: dict[str, onnx.ModelProto] = {
    **{name: graph(one(name)) for name in (
        "Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Sigmoid", "Tanh", "Softplus", "Softsign", "HardSigmoid",
        "HardSwish",
        "ThresholdedRelu", "Abs", "Neg", "Exp", "Erf", "Sin", "Cos", "Atan", "Floor", "Ceil", "Round", "Sign",
        "Softmax", "LogSoftmax", "Flatten", "GlobalAveragePool", "GlobalMaxPool",
    )},
    **{f"{name} of opset 20": graph(one(name), opset=20) for name in ("Gelu", "Mish")},
    "Gelu tanh": graph(one("Gelu", approximate="tanh"), opset=20),
    "HardSigmoid of torch": graph(one("HardSigmoid", alpha=1 / 6, beta=0.5)),
    "hard shrink": graph(one("Shrink", lambd=0.4)),
    "soft shrink": graph(one("Shrink", lambd=0.4, bias=0.4)),
    **{name: graph([*POSITIVE, helper.make_node(name, ["p"], ["y"])], weights=HALF) for name in (
        "Sqrt", "Log", "Reciprocal",
    )},
    "PRelu": graph(one("PRelu", "s"), weights={"s": weight(4, 1, 1)}),
    "PRelu of one": graph(one("PRelu", "s"), weights={"s": weight(1)}),
    "PRelu of all": graph(one("PRelu", "s"), weights={"s": weight(4, 6, 8)}),
    "Clip": graph(one("Clip", "a", "b"), weights={"a": np.float32(-0.3), "b": np.float32(0.7)}),
    "Clip above": graph(one("Clip", "", "b"), weights={"b": np.float32(0.7)}),
    "Clip below 0": graph(one("Clip", "b"), weights={"b": np.float32(0)}),
    "Softmax of opset 11": graph(one("Softmax", axis=1), opset=11),
    "Softmax along channels": graph(one("Softmax", axis=1)),
    "Add a number": graph(one("Add", "b"), weights={"b": np.float32(0.3)}),
    "number minus": graph([helper.make_node("Sub", ["b", "x"], ["y"])], weights={"b": np.float32(0.3)}),
    "number over": graph(
        [*POSITIVE, helper.make_node("Div", ["b", "p"], ["y"])], weights={**HALF, "b": np.float32(3)}),
    "number to the": graph([helper.make_node("Pow", ["b", "x"], ["y"])], weights={"b": np.float32(2)}),
    "to the number": graph(
        [*POSITIVE, helper.make_node("Pow", ["p", "b"], ["y"])], weights={**HALF, "b": np.float32(1.5)}),
    "squared": graph(one("Pow", "b"), weights={"b": np.float32(2)}),
    "a number of four dimensions": graph(
        [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("Add", ["f", "b"], ["y"])],
        weights={"b": np.full((1, 1, 1, 1), 0.5, np.float32)},
    ),
    **{f"{name} of a row": graph(one(name, "b"), weights={"b": weight(8)}) for name in ("Add", "Sub", "Mul")},
    "Div by a row": graph(one("Div", "b"), weights={"b": np.abs(weight(8)) + 1}),
    "Sum": graph(one("Sum", "b", "x"), weights={"b": weight(8)}),
    "Mean": graph(one("Mean", "b"), weights={"b": weight(8)}),
    "Max": graph(one("Max", "b"), weights={"b": weight(8)}),
    "Min with a number": graph(one("Min", "b"), weights={"b": np.float32(0.2)}),
    "Where": graph(
        [helper.make_node("Greater", ["x", "b"], ["m"]), helper.make_node("Where", ["m", "x", "b"], ["y"])],
        weights={"b": np.float32(0.1)},
    ),
    "Not": graph(
        [helper.make_node("Less", ["x", "b"], ["m"]), helper.make_node("Not", ["m"], ["o"]),
         helper.make_node("Cast", ["o"], ["y"], to=TensorProto.FLOAT)],
        weights={"b": np.float32(0.1)},
    ),
    "Mod": graph(one("Mod", "b", fmod=1), weights={"b": np.float32(0.7)}),
    "Dropout": graph(one("Dropout")),
    "Identity": graph(chain(("Identity", [], {}), ("Relu", [], {}))),
    **each("Conv", {
        "plain": {}, "strided": {"strides": [2, 3], "pads": [1, 1, 1, 1]}, "uneven": {"pads": [0, 1, 2, 0]},
        "dilated": {"dilations": [2, 1], "pads": [1, 0, 1, 0]},
        "same upper": {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        "same lower": {"auto_pad": "SAME_LOWER"}, "valid": {"auto_pad": "VALID"},
    }, "w", "b", weights={"w": weight(6, 4, 3, 2), "b": weight(6)}),
    "Conv in groups": graph(one("Conv", "w", group=2), weights={"w": weight(6, 2, 3, 3)}),
    "Conv 1-D": graph(one("Conv", "w"), ("n", 4, 9), weights={"w": weight(5, 4, 3)}),
    "Conv 3-D": graph(one("Conv", "w"), ("n", 2, 4, 5, 6), weights={"w": weight(3, 2, 2, 2, 2)}),
    **each("ConvTranspose", {
        "plain": {}, "strided": {"strides": [2, 2], "pads": [1, 0, 1, 0], "output_padding": [1, 1]},
        "uneven": {"strides": [2, 2], "pads": [1, 0, 0, 1]},
        "same": {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    }, "w", "b", weights={"w": weight(4, 3, 3, 2), "b": weight(3)}),
    "Gemm": graph(chain(("Flatten", [], {}), ("Gemm", ["w", "b"], {"transB": 1})),
                  weights={"w": weight(5, 192), "b": weight(5)}),
    "Gemm scaled": graph(chain(("Flatten", [], {}), ("Gemm", ["w", "b"], {"alpha": 0.5, "beta": 2.0})),
                         weights={"w": weight(192, 5), "b": weight(5)}),
    "Gemm without": graph(chain(("Flatten", [], {}), ("Gemm", ["w"], {})), weights={"w": weight(192, 5)}),
    "MatMul": graph(one("MatMul", "w"), weights={"w": weight(8, 3)}),
    "MatMul from the left": graph([helper.make_node("MatMul", ["w", "x"], ["y"])], weights={"w": weight(3, 6)}),
    "Einsum": graph(
        [helper.make_node("Einsum", ["x", "w"], ["y"], equation="nchw,wk->nchk")], weights={"w": weight(8, 3)}),
    "BatchNormalization": graph(
        one("BatchNormalization", "g", "b", "m", "v", epsilon=1e-3),
        weights={"g": weight(4), "b": weight(4), "m": weight(4), "v": np.abs(weight(4)) + 0.5},
    ),
    "InstanceNormalization": graph(one("InstanceNormalization", "g", "b"), weights={"g": weight(4), "b": weight(4)}),
    "LayerNormalization": graph(one("LayerNormalization", "g", "b"), weights={"g": weight(8), "b": weight(8)}),
    "LayerNormalization of an image": graph(one("LayerNormalization", "g", axis=1), weights={"g": weight(4, 6, 8)}),
    "GroupNormalization": graph(
        one("GroupNormalization", "g", "b", num_groups=2), opset=21, weights={"g": weight(4), "b": weight(4)}
    ),
    "LRN": graph(one("LRN", size=3, alpha=0.5)),
    "LpNormalization": graph(one("LpNormalization", axis=1)),
    **each("MaxPool", {
        "plain": {}, "strided": {"strides": [2, 2], "pads": [1, 1, 1, 1]}, "uneven": {"pads": [0, 0, 2, 1]},
        "rounded up": {"strides": [2, 2], "ceil_mode": 1}, "same": {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        "dilated": {"dilations": [2, 1]},
    }, kernel_shape=[3, 2]),
    **each("AveragePool", {
        "plain": {}, "strided": {"strides": [2, 2], "pads": [1, 1, 1, 1]}, "uneven": {"pads": [0, 0, 2, 1]},
        "counting": {"pads": [1, 1, 1, 1], "count_include_pad": 1},
        "same": {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
        "uneven counting": {"pads": [0, 0, 2, 1], "count_include_pad": 1},
    }, kernel_shape=[3, 2]),
    **{name: graph(one(name, axes=[2], keepdims=0), opset=11) for name in (
        "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
        "ReduceLogSumExp",
    )},
    "ReduceMean of an image": graph(one("ReduceMean", axes=[2, 3])),
    "ReduceSum of opset 13": graph(one("ReduceSum", "a"), weights={"a": ints(-1, 1)}),
    "ReduceMax of opset 18": graph(one("ReduceMax", "a", keepdims=0), opset=18, weights={"a": ints(1)}),
    "ArgMax": graph(chain(("ArgMax", [], {"axis": 2}), ("Cast", [], {"to": TensorProto.FLOAT}))),
    "CumSum": graph(one("CumSum", "a"), weights={"a": np.asarray(2, np.int64)}),
    "Reshape": graph(one("Reshape", "s"), weights={"s": ints(0, 2, -1, 8)}),
    "Flatten from the second": graph(one("Flatten", axis=2)),
    "Transpose": graph(one("Transpose", perm=[0, 2, 3, 1])),
    "Squeeze": graph(chain(("Unsqueeze", ["a"], {}), ("Squeeze", ["a"], {})), weights={"a": ints(2)}),
    "Unsqueeze of opset 11": graph(one("Unsqueeze", axes=[1, 3]), opset=11),
    "Expand": graph(
        chain(("Unsqueeze", ["a"], {}), ("Expand", ["s"], {})), weights={"a": ints(2), "s": ints(1, 1, 3, 1, 1)}),
    "Concat": graph([helper.make_node("Concat", ["x", "x"], ["y"], axis=1)]),
    "Tile": graph(one("Tile", "r"), weights={"r": ints(1, 2, 1, 3)}),
    "DepthToSpace": graph(one("DepthToSpace", blocksize=2)),
    "DepthToSpace by columns": graph(one("DepthToSpace", blocksize=2, mode="CRD")),
    "SpaceToDepth": graph(one("SpaceToDepth", blocksize=2)),
    "Slice": graph(one("Slice", "s", "e", "a", "t"), weights={
        "s": ints(1, -1), "e": ints(2**62, -(2**62)), "a": ints(2, 3), "t": ints(2, -1)}),
    "Gather one": graph(one("Gather", "i", axis=2), weights={"i": np.asarray(-1, np.int64)}),
    "Gather some": graph(one("Gather", "i", axis=3), weights={"i": ints(5, 0, 2)}),
    "Gather a table": graph(one("Gather", "i", axis=2), weights={"i": np.asarray([[0, 2], [1, 1]], np.int64)}),
    "Split": graph([helper.make_node("Split", ["x"], ["a", "b"], axis=1),
                    helper.make_node("Sub", ["b", "a"], ["y"])]),
    "Split in parts": graph([helper.make_node("Split", ["x", "s"], ["a", "y"], axis=3)], weights={"s": ints(2, 6)}),
    **{f"Pad {mode}": graph(one("Pad", "p", mode=mode), weights={"p": ints(0, 0, 1, 2, 0, 0, 3, 1)})
       for mode in ("constant", "reflect", "edge")},
    "Pad channels": graph(one("Pad", "p", "v"), weights={"p": ints(0, 1, 0, 0, 0, 2, 0, 0), "v": np.float32(0.5)}),
    "Trilu": graph(one("Trilu", upper=0)),
    "ConstantOfShape": graph([
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("ConstantOfShape", ["s"], ["c"], value=numpy_helper.from_array(np.asarray([2], np.float32))),
        helper.make_node("Mul", ["x", "c"], ["y"]),
    ]),
    **{f"Resize {name}": graph(one("Resize", "", "f", **attributes), weights={"f": np.asarray(factors, np.float32)})
       for name, factors, attributes in (
        ("nearest", [1, 1, 2, 2], {}),
        ("nearest as torch", [1, 1, 2, 2], {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
        ("linear", [1, 1, 2, 2], {"mode": "linear"}),
        ("linear by corners", [1, 1, 2, 2], {"mode": "linear", "coordinate_transformation_mode": "align_corners"}),
        ("cubic", [1, 1, 2, 2], {"mode": "cubic"}),
        ("less", [1, 1, 0.5, 0.5], {"mode": "linear"}),
    )},
    "Resize to a size": graph(
        [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Slice", ["s", "zero", "two"], ["before"]),
         helper.make_node("Concat", ["before", "size"], ["all"], axis=0),
         helper.make_node("Resize", ["x", "", "", "all"], ["y"], mode="linear")],
        weights={"zero": ints(0), "two": ints(2), "size": ints(9, 12)},
    ),
    "a reshape worked out of the shape": graph(
        [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Gather", ["s", "zero"], ["n"]),
         helper.make_node("Unsqueeze", ["n", "axis"], ["u"]), constant("rest", ints(-1)),
         helper.make_node("Concat", ["u", "rest"], ["t"], axis=0), helper.make_node("Reshape", ["x", "t"], ["y"])],
        weights={"zero": np.asarray(0, np.int64), "axis": ints(0)},
    ),
    "LSTM": graph(
        [helper.make_node("Squeeze", ["x", "one"], ["q"]), helper.make_node("Transpose", ["q"], ["t"], perm=[1, 0, 2]),
         helper.make_node("LSTM", ["t", "w", "r", "b"], ["a"], hidden_size=3, direction="bidirectional"),
         helper.make_node("Transpose", ["a"], ["y"], perm=[2, 0, 1, 3])],
        ("n", 1, 5, 4),
        weights={"w": weight(2, 12, 4), "r": weight(2, 12, 3), "b": weight(2, 24), "one": ints(1)},
    ),
    "GRU": graph(
        [helper.make_node("Squeeze", ["x", "one"], ["q"]), helper.make_node("Transpose", ["q"], ["t"], perm=[1, 0, 2]),
         helper.make_node("GRU", ["t", "w", "r", "b"], ["", "h"], hidden_size=3, linear_before_reset=1),
         helper.make_node("Transpose", ["h"], ["y"], perm=[1, 0, 2])],
        ("n", 1, 5, 4),
        weights={"w": weight(1, 9, 4), "r": weight(1, 9, 3), "b": weight(1, 18), "one": ints(1)},
    ),
    "RNN": graph(
        [helper.make_node("Squeeze", ["x", "one"], ["q"]), helper.make_node("Transpose", ["q"], ["t"], perm=[1, 0, 2]),
         helper.make_node("RNN", ["t", "w", "r"], ["", "h"], hidden_size=3),
         helper.make_node("Transpose", ["h"], ["y"], perm=[1, 0, 2])],
        ("n", 1, 5, 4),
        weights={"w": weight(1, 3, 4), "r": weight(1, 3, 3), "one": ints(1)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_gives_what_onnxruntime_gives(name: str) -> None:
    model = CASES[name]
    _, module = unit_of(model)
    shape = [extent.dim_value for extent in model.graph.input[0].type.tensor_type.shape.dim][1:]
    for samples in (1, 3):
        data = np.random.default_rng(samples).standard_normal((samples, *shape)).astype(np.float32)
        expected = run_by_others(model.SerializeToString(), data)
        with torch.no_grad():
            found = module(torch.from_numpy(data)).numpy()
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * max(1.0, float(np.abs(expected).max())))


def test_every_operator_is_among_the_cases() -> None:
    tried = {node.op_type for model in CASES.values() for node in model.graph.node}
    missing = set(IMPORTERS) - tried
    # Of these, few files have any; they share what they do with others.
    assert missing == {
        "And", "ArgMin", "CastLike", "Equal", "GatherElements", "GreaterOrEqual", "GridSample", "IsNaN", "LessOrEqual",
        "Or", "RMSNormalization", "Range", "ReduceLogSum", "Swish", "Tan", "TopK", "Xor",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (graph(one("NonMaxSuppression")), r"node 0 \(NonMaxSuppression\): is no operator that is known here"),
        (
            graph([helper.make_node("Foo", ["x"], ["a"], name="one"), helper.make_node("Bar", ["a"], ["y"])]),
            r"node 'one' \(Foo\): .*; node 1 \(Bar\): ",
        ),
        (graph([helper.make_node("Fuse", ["x"], ["y"], domain="com.microsoft")]), r"domain 'com.microsoft'"),
        (graph(one("ReduceMean", axes=[0])), "goes along the samples"),
        (graph(one("Softmax", axis=0)), "works along the samples"),
        (graph(one("Gather", "i"), weights={"i": np.asarray(0, np.int64)}), "takes from along the samples"),
        (graph(one("Slice", "s", "e"), weights={"s": ints(0), "e": ints(1)}), "takes some of the samples"),
        (graph(one("Reshape", "s"), weights={"s": ints(7, -1)}), r"\[batch, 4, 6, 8\] cannot become \[7, -1\]"),
        (graph(one("Conv", "w"), weights={"w": weight(6, 5, 3, 3)}), r"node 0 \(Conv\)"),
        (
            graph(one("Conv", "w"), weights={"w": weight(6, 4, 3, 3).astype(np.float16)}),
            "is float16; float32 is needed",
        ),
        (graph(one("Clip", min=0.0), opset=10), "opset 10; 11 to 23"),
        (graph(one("Gemm", "w"), weights={"w": weight(8, 3)}), r"node 0 \(Gemm\)"),
        (graph(one("Cast", to=TensorProto.STRING)), "makes numbers of string"),
        (graph(one("Transpose", perm=[1, 0])), "perm is"),
        (graph(one("Concat")), "attribute axis is missing"),
        (graph(one("LeakyRelu", alpha=1)), "attribute alpha is 1; a number is needed"),
    ],
)
def test_what_cannot_be_said_is_refused_by_node_and_operator(model: onnx.ModelProto, problem: str) -> None:
    with pytest.raises(ModelError, match=problem):
        follow(OnnxSource(memoryview(model.SerializeToString())))


def test_all_nodes_that_do_not_fit_are_named_at_once() -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["a"], axes=[0], name="first"),
        helper.make_node("Softmax", ["x"], ["b"], axis=0, name="second"),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    with pytest.raises(ModelError, match=r"'first' .*'second' ") as error:
        follow(OnnxSource(memoryview(graph(nodes).SerializeToString())))
    assert "Add" not in str(error.value)  # it is right, and only reads what is wrong
