"""Contexts within a forward that change nothing where gradients are on and autocast is off. Needs torch.

`torch.export` leaves what is done in a context in one piece, a graph within the graph.
"""

from __future__ import annotations

from typing import Any

from torch import fx

from planner.model.importers.recorded import part_of


def without_idle_contexts(graph: fx.GraphModule) -> fx.GraphModule:
    """Put what is done under `autocast(enabled=False)` and `enable_grad()` where it is done."""
    while (idle := next(filter(_is_idle, graph.graph.nodes), None)) is not None:
        _put_in_place(graph, idle)
    return graph


def _is_idle(node: fx.Node) -> bool:
    match str(node.target), node.args:
        case ("wrap_with_autocast", (_, _, False, *_)) | ("wrap_with_set_grad_enabled", (True, *_)):
            return True
    return False


def _put_in_place(graph: fx.GraphModule, node: fx.Node) -> None:
    """`node` is one of those contexts: replace it by what it holds."""
    at = next(index for index, each in enumerate(node.args) if isinstance(each, fx.Node))
    held, given = node.args[at], node.args[at + 1 :]
    assert isinstance(held, fx.Node)
    whole = graph.get_submodule(str(held.target))
    assert isinstance(whole, fx.GraphModule)
    inner = whole.graph
    values: dict[fx.Node, Any] = dict(zip(inner.find_nodes(op="placeholder"), given, strict=True))
    with graph.graph.inserting_before(node):
        results = graph.graph.graph_copy(inner, values)
    for each in inner.find_nodes(op="get_attr"):  # contexts within it are its own parts
        values[each].target = f"{held.target}.{each.target}"
    if isinstance(results, list | tuple):
        for user in list(node.users):
            part = part_of(user)
            assert part is not None
            result = results[part[1]]
            assert isinstance(result, fx.Node)
            user.replace_all_uses_with(result)
            graph.graph.erase_node(user)
    elif isinstance(results, fx.Node):
        node.replace_all_uses_with(results)
    graph.graph.erase_node(node)
