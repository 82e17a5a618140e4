"""From an ONNX file to a chain of unit graphs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from planner.errors import ModelError
from planner.limits import MAX_NAME_LENGTH, MAX_UNITS
from planner.model.importers.cuts import divided, graph_parts, possible_cuts, unit_cuts, unit_name
from planner.model.importers.onnx.emitter import Emitter
from planner.model.importers.onnx.graph import Followed, follow
from planner.model.importers.onnx.values import MAX_KNOWN, array_of, static
from planner.model.importers.onnx.weights import OnnxSource, OpenOnnx
from planner.model.importers.steps import Step, StepGraph
from planner.model.importers.unit_text import UnitText
from planner.model.shapes import model_sizes
from planner.operators.unit_graph import GraphTensor, UnitGraph
from planner.schema.inputs import InputDtype
from planner.schema.model import Model, Unit
from planner.tasks.kinds import CLASSIFICATION, AnyTask

_IMAGE_RANK: Final = 4
"""Dimensions of images, samples included."""


@dataclass(frozen=True)
class OnnxImport:
    """A network of an ONNX file."""

    model: Model
    """What it is."""
    notes: tuple[str, ...]
    """What a person should know of it."""


def import_onnx(path: Path, task: AnyTask = CLASSIFICATION) -> OnnxImport:
    """The network in a file, called as the file is; `task` says what it is for and so what it has to give.

    Raises ModelError naming the file and the place.
    """
    with OpenOnnx(path) as source:
        return _imported(source, path.stem, task)


def import_onnx_bytes(content: bytes, task: AnyTask = CLASSIFICATION) -> OnnxImport:
    """The network in a file that was sent, for `task`. Raises ModelError naming the place."""
    source = OnnxSource(memoryview(content))
    return _imported(source, source.document.name or "onnx", task)


def _imported(source: OnnxSource, name: str, task: AnyTask) -> OnnxImport:
    followed = follow(source, task)
    emitter, output = followed.emitter, followed.output
    assert isinstance(output.source, Step)
    shape, dtype = static(emitter.input.dims[1:]), _input_dtype(emitter)
    if not output.source.is_batch:
        shown = ", ".join(str(extent) if isinstance(extent, int) else "batch" for extent in output.dims)
        raise ModelError(f"its output is ({shown}); the samples have to come first")
    try:
        classes = task.outputs_of(static(output.dims[1:]), shape)
    except ValueError as error:
        raise ModelError(f"its output {error}") from None
    trained = frozenset(each for each, own in emitter.own.items() if own.kind == "parameter")
    if not trained:
        raise ModelError("has no weights; there is nothing to train")
    graph = StepGraph(emitter.steps, output.source, trained)
    try:
        units = _units(graph, emitter)
        model = Model("model/2", name[:MAX_NAME_LENGTH], shape, classes, units, task, input_dtype=dtype)
    except ValueError as error:
        raise ModelError(str(error)) from None
    model_sizes(model)
    return OnnxImport(model, _notes(followed))


def _input_dtype(emitter: Emitter) -> InputDtype:
    """What it takes: tokens, an image, or numbers as they are."""
    if emitter.input.dtype == "int64":
        return "int64"
    return "uint8" if emitter.input.rank == _IMAGE_RANK else "float32"


def _units(graph: StepGraph, emitter: Emitter) -> tuple[Unit, ...]:
    allowed = possible_cuts(graph)
    parts = graph_parts(graph, divided(graph, unit_cuts(graph, allowed), allowed))
    if len(parts) > MAX_UNITS:
        raise ModelError(f"is a chain of {len(parts)} units; {MAX_UNITS} are the most")
    names: dict[str, None] = {}
    units: list[Unit] = []
    for given, steps, results in parts:
        text = UnitText(graph, given, steps, results, {})
        tensors = tuple(_tensor(emitter, name) for name in text.tensors)
        name = unit_name(graph, steps, names)
        names[name] = None
        try:
            takes: Literal["float32", "int64"] = "float32" if units or emitter.input.dtype != "int64" else "int64"
            result, *further = text.results
            graph_layer = UnitGraph("graph", tuple(text.lines), result, tensors, (), takes, text.inputs, tuple(further))
            units.append(Unit(name, (graph_layer,)))
        except ValueError as error:
            raise ModelError(f"{steps[0].place}: {error}") from None
    return tuple(units)


def _tensor(emitter: Emitter, name: str) -> GraphTensor:
    """How a tensor begins where no weights are brought."""
    own = emitter.own[name]
    if own.kind == "parameter":
        start, _ = (own.start, False) if own.start is not None else emitter.measured(own)
        return GraphTensor(name, own.dims, own.kind, *start, persistent=own.persistent)
    if own.start is not None:
        return GraphTensor(name, own.dims, own.kind, *own.start, persistent=own.persistent)
    values = own.values
    if own.stored is not None:
        if own.stored.numbers > MAX_KNOWN:
            return GraphTensor(name, own.dims, own.kind, "given", persistent=own.persistent)
        values = tuple(float(value) for value in array_of(emitter.source, own.stored).ravel().tolist())
    if not np.isfinite(values).all():
        raise ModelError(f"{name}: holds numbers that are not finite")
    if len(set(values)) == 1:
        return GraphTensor(name, own.dims, own.kind, "constant", values[0], persistent=own.persistent)
    return GraphTensor(name, own.dims, own.kind, "values", values=values, persistent=own.persistent)


_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")


def _notes(followed: Followed) -> tuple[str, ...]:
    found = []
    operators = [step.operator for step in followed.emitter.steps]
    biased = sum(
        1
        for step in followed.emitter.steps
        if step.operator in _CONVOLUTIONS and step.arguments.get("bias") is not None
    )
    if biased > 1 and biased == sum(map(operators.count, _CONVOLUTIONS)) and not any("norm" in o for o in operators):
        found.append(
            f"all of its {biased} convolutions have a bias and none a normalisation behind it: if it had batch "
            "normalisation, that was folded into them, and it trains without; an export in training mode keeps it "
            "(torch.onnx.export: training=TrainingMode.TRAINING, do_constant_folding=False)"
        )
    if followed.dropped:
        found.append(f"the {followed.dropped.lower()} at its end is left out: the loss takes what that is made of")
    return tuple(found)
