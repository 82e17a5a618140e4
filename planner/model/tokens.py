"""How many tokens a model tells apart: what its data may hold, and what measuring draws. No torch here."""

from __future__ import annotations

from planner.operators.graph_text import INPUT, Name, TensorName
from planner.operators.unit_graph import UnitGraph
from planner.schema.inputs import MOST_TOKEN
from planner.schema.model import Model

_MOVES = (
    "alias", "clone", "contiguous", "expand", "flatten", "permute", "reshape", "select", "slice", "split", "chunk",
    "squeeze", "t", "to", "transpose", "unsqueeze", "unbind", "view", "detach", "narrow", "_to_copy",
)  # fmt: skip
"""Operators that give tokens on as they are, without their overloads."""


def token_limit(model: Model) -> int:
    """Tokens lie between 0 and one below this: the fewest rows of an embedding that reads them; 0: it takes no tokens.

    Where none does they may be whatever 32 bits hold.
    """
    if model.input_dtype != "int64":
        return 0
    (graph, *_) = model.units[0].layers
    return _rows(graph) if isinstance(graph, UnitGraph) else MOST_TOKEN + 1


def _rows(graph: UnitGraph) -> int:
    shapes = {tensor.name: tensor.shape for tensor in graph.tensors}
    found = [MOST_TOKEN + 1]
    for nodes in (graph.training_nodes, graph.evaluation_nodes):
        tokens = {INPUT}
        for node in nodes:
            read = [value for value in node.values() if isinstance(value, Name) and value.name in tokens]
            name = node.operator.partition(".")[0]
            if read and name in _MOVES:
                tokens.update(node.results)
            elif read and name == "embedding" and isinstance(node.positional[0], TensorName):
                found.append(shapes[node.positional[0].name][0])
    return min(found)


def drawn_tokens(limit: int) -> int:
    """How many tokens measuring draws from: those that a network surely has, where nothing says how many it has."""
    return limit if limit <= MOST_TOKEN else 2
