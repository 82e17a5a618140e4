"""Unit graphs with random tensors, written as ONNX and run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
import torch

from planner.export.onnx_builder import IMAGES, OnnxBuilder
from planner.export.unit_graph import write_graph
from planner.model.interpreter import GraphModule
from planner.operators.unit_graph import GraphTensor, UnitGraph
from tests.unit.export.runtimes import Run

IMAGE = (4, 9, 11)
ROW = (6,)
TO_FLOAT = "y = to.dtype(a, 'float32')"
_STATISTICS = ("m", "v")
"""Tensors that are running statistics."""


@dataclass(frozen=True)
class Case:
    """A unit whose result is `y`."""

    shape: tuple[int, ...]
    lines: tuple[str, ...]
    tensors: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def graph(self) -> UnitGraph:
        tensors = tuple(
            GraphTensor(name, shape, "buffer" if name in _STATISTICS else "parameter")
            for name, shape in self.tensors.items()
        )
        return UnitGraph("graph", self.lines, "y", tensors)

    def module(self) -> GraphModule:
        """In evaluation, its tensors between 0.5 and 1.5 (variances are above 0)."""
        module = GraphModule(self.graph).eval()
        generator = torch.Generator().manual_seed(1)
        for tensor in module.state_dict().values():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        return module

    def written(self) -> onnx.ModelProto:
        """As a file, with the tensors of `module`."""
        names = {name: name for name in self.tensors}
        builder = OnnxBuilder(names)
        for name, shape in self.tensors.items():
            builder.weight(name, name, shape)
        (output,) = write_graph(builder, self.graph, [IMAGES], self.shape, names, "unit")
        state = self.module().state_dict()
        result = self.graph.output(self.shape)
        return builder.finish("case", self.shape, output, result, lambda name: state[name].numpy().tobytes())


def case(shape: tuple[int, ...], *lines: str, **tensors: tuple[int, ...]) -> Case:
    """A case; the last line without a name gives `y`."""
    *others, last = lines
    return Case(shape, (*others, last if " = " in last else f"y = {last}"), tensors)


def differences(given: Case, run: Run) -> Iterator[float]:
    """Largest relative difference between the interpreter and what is written, for several numbers of samples."""
    written, module = given.written(), given.module()
    onnx.checker.check_model(written, full_check=True)
    for samples in (1, 4):
        x = torch.randn(samples, *given.shape, generator=torch.Generator().manual_seed(samples)) * 2
        with torch.no_grad():
            expected = module(x.clone()).numpy()
        found = run(written, {IMAGES: x.numpy()})
        assert found.shape == expected.shape
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
        yield float(np.nan_to_num(np.abs(found - expected)).max() / max(1.0, np.nan_to_num(np.abs(expected)).max()))
