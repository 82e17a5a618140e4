"""The operators of networks as lines of a unit graph, for units in which other layers stand beside them."""

from __future__ import annotations

from planner.model.graph_builder import BATCH, GraphBuilder, Var
from planner.model.graph_layers import batch_norm, dropout
from planner.operators.activation import Activation
from planner.operators.base import Operator, Weight
from planner.operators.convolution import Conv2d
from planner.operators.dropout import Dropout
from planner.operators.linear import Linear
from planner.operators.normalisation import BatchNorm2d
from planner.operators.pooling import AdaptivePool2d, Pool2d
from planner.operators.reshaping import Flatten


def write_operator(g: GraphBuilder, layer: Operator, x: Var, name: str, *, is_free: bool) -> Var:
    """Write an operator without layers of its own, as `planner.model.build` has it: its output.

    Raises ValueError where it does not fit.
    """
    output = layer.output(x.shape[1:])
    match layer:
        case Conv2d():
            window = [[layer.stride] * 2, [layer.padding] * 2, [1, 1], layer.groups]
            return g.call("conv2d", x, *_weights(g, layer, x, name), *window)
        case Linear():
            return g.call("linear", x, *_weights(g, layer, x, name))
        case BatchNorm2d():
            return batch_norm(g, x, name, momentum=layer.momentum, eps=layer.eps)
        case Activation():
            overwrites = is_free and layer.overwrites()
            return g.call(f"{layer.op}_" if overwrites else layer.op, x)
        case Pool2d():
            window = [[layer.kernel] * 2, [layer.stride] * 2, [layer.padding] * 2]
            return g.call(layer.op, x, *window, ceil_mode=layer.ceil_mode)
        case AdaptivePool2d(op="adaptive_max_pool2d"):
            return g.calls(layer.op, x, [layer.height, layer.width])[0]
        case AdaptivePool2d():
            return g.call(layer.op, x, [layer.height, layer.width])
        case Dropout():
            return dropout(g, x, layer.p)
        case Flatten():
            return g.call("reshape", x, [BATCH, *output])
    raise ValueError(f"{layer.op} cannot stand beside layers that make a graph of their unit")  # type: ignore[attr-defined]  # each has one


def _weights(g: GraphBuilder, layer: Operator, x: Var, name: str) -> list[object]:
    """Its tensors, as they begin; None for a bias that it has not."""
    found: list[object] = [_tensor(g, weight, name) for weight in layer.weights(x.shape[1:])]
    return found if len(found) == 2 else [*found, None]


def _tensor(g: GraphBuilder, weight: Weight, name: str) -> object:
    match weight.start:
        case ("normal" | "uniform" | "constant") as kind, float(number):
            return g.tensor(f"{name}.{weight.name}", weight.shape, (kind, number))
    raise AssertionError(f"{weight.name} begins with {weight.start}")
