"""Which parameters of a unit graph weight decay is for, where it is not for all. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from planner.operators.aten.kinds import ATEN
from planner.operators.graph_text import Name, Node, TensorName, flat


def kernels_of(nodes: Iterable[Node]) -> frozenset[str]:
    """Names of the tensors that some node has as its kernel (`AtenOperator.kernels`): as they are, or worked out of
    tensors of the unit alone, as a matrix that is transposed, taken apart or normalised first.
    """
    found: frozenset[str] = frozenset()
    made_of: dict[str, frozenset[str]] = {}
    """Results that nothing of the samples has gone into, each with the tensors that it is worked out of."""
    for node in nodes:
        operator = ATEN[node.operator]
        arguments = dict(zip((each.name for each in operator.arguments), node.positional, strict=False))
        arguments.update(node.named)
        for name in operator.kernels:
            found = found.union(*(tensors or () for tensors in _origins(arguments.get(name), made_of)))
        origins = list(_origins(list(arguments.values()), made_of))
        known = [tensors for tensors in origins if tensors is not None]
        if len(known) == len(origins):
            made_of.update(dict.fromkeys(node.results, frozenset(name for tensors in known for name in tensors)))
        elif isinstance(written := arguments.get(operator.overwrites or ""), Name):
            made_of.pop(written.name, None)
    return found


def _origins(value: Any, made_of: Mapping[str, frozenset[str]]) -> Iterator[frozenset[str] | None]:
    """Of every tensor in an argument, what it is worked out of; None where samples are in it."""
    for item in flat(value):
        if isinstance(item, TensorName):
            yield frozenset({item.name})
        elif isinstance(item, Name):
            yield made_of.get(item.name)
