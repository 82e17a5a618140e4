"""ONNX files, taken in and run: by what became of them, and by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from planner.model.build import build_unit
from planner.model.importers.onnx.chain import import_onnx
from planner.model.importers.onnx.graph import follow
from planner.model.importers.onnx.values import array_of
from planner.model.importers.onnx.weights import OnnxSource, OpenOnnx
from planner.model.importers.steps import Step, StepGraph
from planner.model.importers.unit_text import UnitText
from planner.model.interpreter import GraphModule
from planner.model.shapes import model_sizes
from planner.operators.unit_graph import GraphTensor, UnitGraph
from planner.schema.model import Model

SHAPE = (4, 6, 8)


def weights_of(source: OnnxSource) -> dict[str, Tensor]:
    """The tensors of a file, by the names that its description has."""
    return {
        name: torch.from_numpy(array_of(source, tensor).copy())
        for name, tensor in source.names.tensors.items()
        if tensor.dtype in ("float32", "int64")
    }


def built(path: Path) -> tuple[Model, nn.Sequential]:
    """The network of a file with its weights, in evaluation."""
    model = import_onnx(path).model
    shapes = [model.input, *(sizes.output for sizes in model_sizes(model))]
    generator = torch.Generator().manual_seed(0)
    pairs = zip(model.units, shapes, strict=False)
    network = nn.Sequential(*(build_unit(unit, shape, generator) for unit, shape in pairs)).eval()
    with OpenOnnx(path) as source, torch.no_grad():
        given = weights_of(source)
        for name, tensor in network.state_dict().items():
            if (own := name.split(".", 2)[2]) in given:
                tensor.copy_(given[own])
    return model, network


def run_by_others(content: bytes, data: np.ndarray) -> np.ndarray:
    """What onnxruntime gives."""
    onnxruntime = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: data})[0])


def graph(
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[int | str] = ("n", *SHAPE),
    opset: int = 17,
    weights: Mapping[str, Any] | None = None,
    dtype: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A file that makes `y` of `x`."""
    made = helper.make_graph(
        list(nodes),
        "made",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def one(operator: str, *inputs: str, **attributes: Any) -> list[onnx.NodeProto]:
    """A single node, from `x` and whatever else to `y`."""
    return [helper.make_node(operator, ["x", *inputs], ["y"], **attributes)]


def unit_of(model: onnx.ModelProto) -> tuple[UnitGraph, GraphModule]:
    """A file as one unit, with its weights, whatever comes out."""
    source = OnnxSource(memoryview(model.SerializeToString()))
    followed = follow(source)
    emitter = followed.emitter
    assert isinstance(followed.output.source, Step)
    steps = StepGraph(emitter.steps, followed.output.source, frozenset(emitter.own))
    text = UnitText(steps, steps.steps[:1], steps.steps[1:], [steps.output], {})
    tensors = tuple(
        GraphTensor(name, emitter.own[name].dims, emitter.own[name].kind, "constant") for name in text.tensors
    )
    found = UnitGraph("graph", tuple(text.lines), text.results[0], tensors)
    module = GraphModule(found).eval()
    given = weights_of(source)
    for name, tensor in module.state_dict().items():
        values = emitter.own[name].values
        filled = given[name] if name in given else torch.tensor(values).reshape(tensor.shape)
        tensor.copy_(filled)
    return found, module
