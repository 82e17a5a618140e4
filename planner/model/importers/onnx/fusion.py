"""Several nodes that are one operator, in files of an opset without it: said as that one they take less memory.

What is not recognised is said node by node, and gives the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from planner.model.importers.onnx.document import OnnxNode, OnnxTensor
from planner.model.importers.onnx.values import array_of
from planner.model.importers.onnx.weights import OnnxSource

Constant = Callable[[str], float | None]
"""The number that a name stands for, where it is a constant of one."""


@dataclass(frozen=True)
class _Graph:
    """Who gives and who reads what."""

    makers: dict[str, OnnxNode]
    readers: dict[str, list[OnnxNode]]
    constant: Constant

    def maker(self, name: str, operator: str) -> OnnxNode | None:
        """Who gives a value, if that is such a node."""
        found = self.makers.get(name)
        return found if found is not None and found.operator == operator and not found.domain else None

    def reader(self, node: OnnxNode, operator: str) -> OnnxNode | None:
        """The only one that reads what a node gives, if that is such a node."""
        readers = self.readers.get(node.outputs[0], [])
        return readers[0] if len(readers) == 1 and readers[0].operator == operator and not readers[0].domain else None

    def other(self, node: OnnxNode, name: str) -> str:
        """What a node of two inputs reads beside one; nothing where it reads that twice, or not at all."""
        others = [each for each in node.inputs if each != name]
        return others[0] if len(node.inputs) == 2 and len(others) == 1 else ""

    def scaled(self, node: OnnxNode, name: str) -> float | None:
        """The number that a product has beside a value."""
        return self.constant(self.other(node, name)) if node.operator == "Mul" else None


def fused(source: OnnxSource, nodes: Sequence[OnnxNode], output: str) -> list[OnnxNode]:
    """The nodes, with one in place of several where that is the same."""
    readers: dict[str, list[OnnxNode]] = {}
    for node in nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    readers.setdefault(output, []).append(nodes[-1])
    makers = {name: node for node in nodes for name in node.outputs}
    graph = _Graph(makers, readers, lambda name: _number(source, makers, name))
    instead: dict[int, OnnxNode] = {}
    for node in nodes:
        for rule in _RULES.get(node.operator, ()) if not node.domain else ():
            found = rule(graph, node)
            if found is not None:
                instead[found.index] = found
                break
    return [instead.get(node.index, node) for node in nodes]


def _number(source: OnnxSource, makers: dict[str, OnnxNode], name: str) -> float | None:
    tensor = source.document.initializers.get(name)
    if tensor is None and (maker := makers.get(name)) is not None and maker.operator == "Constant":
        value = maker.attributes.get("value")
        tensor = value if isinstance(value, OnnxTensor) else None
    if tensor is None or tensor.numbers != 1 or tensor.dtype not in ("float32", "int64"):
        return None
    return float(array_of(source, tensor).ravel()[0])


def _is(number: float | None, wanted: float) -> bool:
    return number is not None and math.isclose(number, wanted, rel_tol=1e-4)


def _become(node: OnnxNode, operator: str, *inputs: str, **attributes: object) -> OnnxNode:
    return replace(node, operator=operator, inputs=inputs, attributes=attributes)


def _gelu(graph: _Graph, erf: OnnxNode) -> OnnxNode | None:
    """x · (1 + erf(x / √2)) / 2, in whichever order that is multiplied."""
    if len(erf.inputs) != 1:
        return None
    before = graph.makers.get(erf.inputs[0])
    if before is None or len(before.inputs) != 2:
        return None
    x = before.inputs[0]
    divided = before.operator == "Div" and _is(graph.constant(before.inputs[1]), math.sqrt(2))
    if not divided:
        x = next((name for name in before.inputs if _is(graph.scaled(before, name), math.sqrt(0.5))), "")
    added = graph.reader(erf, "Add")
    if not x or added is None or not _is(graph.constant(graph.other(added, erf.outputs[0])), 1):
        return None
    product = graph.reader(added, "Mul")
    if product is None:
        return None
    beside = graph.other(product, added.outputs[0])
    half = graph.maker(beside, "Mul")
    if half is not None and x in half.inputs and _is(graph.scaled(half, x), 0.5):
        return _become(product, "Gelu", x)
    last = graph.reader(product, "Mul")
    if last is None:
        return None
    rest = graph.other(last, product.outputs[0])
    if (beside == x and _is(graph.constant(rest), 0.5)) or (rest == x and _is(graph.constant(beside), 0.5)):
        return _become(last, "Gelu", x)
    return None


def _silu(graph: _Graph, sigmoid: OnnxNode) -> OnnxNode | None:
    """x · sigmoid(x)."""
    product = graph.reader(sigmoid, "Mul")
    if product is None or len(sigmoid.inputs) != 1 or graph.other(product, sigmoid.outputs[0]) != sigmoid.inputs[0]:
        return None
    return _become(product, "Swish", sigmoid.inputs[0])


def _hard_swish(graph: _Graph, hard: OnnxNode) -> OnnxNode | None:
    """x · hardsigmoid(x), with torch's slope."""
    slope = hard.attributes.get("alpha")
    if not isinstance(slope, float) or not _is(slope, 1 / 6) or hard.attributes.get("beta", 0.5) != 0.5:
        return None
    found = _silu(graph, hard)
    return None if found is None else _become(found, "HardSwish", *found.inputs)


def _layer_norm(graph: _Graph, root: OnnxNode) -> OnnxNode | None:
    """(x - mean) / √(mean of its squares + ε) along the last axis, times a weight, plus another."""
    divided, added = graph.reader(root, "Div"), graph.maker(root.inputs[0], "Add") if root.inputs else None
    if divided is None or added is None or divided.inputs[1:] != root.outputs:
        return None
    variance = next((found for name in added.inputs if (found := graph.maker(name, "ReduceMean")) is not None), None)
    eps = None if variance is None else graph.constant(graph.other(added, variance.outputs[0]))
    square = None if variance is None else graph.maker(variance.inputs[0], "Pow")
    centred = graph.maker(divided.inputs[0], "Sub")
    if variance is None or eps is None or square is None or centred is None or not _is_last(graph, variance):
        return None
    mean = graph.maker(centred.inputs[1], "ReduceMean")
    is_own = square.inputs[0] == divided.inputs[0] and _is(graph.constant(square.inputs[1]), 2)
    if mean is None or not is_own or mean.inputs[0] != centred.inputs[0] or not _is_last(graph, mean):
        return None
    scaled = graph.reader(divided, "Mul")
    if scaled is None:
        return None
    weight = graph.other(scaled, divided.outputs[0])
    shifted = graph.reader(scaled, "Add")
    bias = "" if shifted is None else graph.other(shifted, scaled.outputs[0])
    if not weight or weight in graph.makers:
        return None
    if shifted is None or not bias or bias in graph.makers:
        return _become(scaled, "LayerNormalization", centred.inputs[0], weight, epsilon=eps)
    return _become(shifted, "LayerNormalization", centred.inputs[0], weight, bias, epsilon=eps)


def _is_last(graph: _Graph, mean: OnnxNode) -> bool:
    """Whether it goes along the last axis, which stays."""
    if mean.attributes.get("keepdims", 1) != 1:
        return False
    if len(mean.inputs) == 2:
        return graph.constant(mean.inputs[1]) == -1
    return mean.attributes.get("axes") == [-1]


_RULES: dict[str, tuple[Callable[[_Graph, OnnxNode], OnnxNode | None], ...]] = {
    "Erf": (_gelu,),
    "Sigmoid": (_silu,),
    "HardSigmoid": (_hard_swish,),
    "Sqrt": (_layer_norm,),
}
