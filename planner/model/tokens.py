"""How many tokens a model tells apart: what its data may hold, and what measuring draws. No torch here."""

from __future__ import annotations

from planner.operators.lookups import most_tokens
from planner.operators.unit_graph import UnitGraph
from planner.schema.inputs import MOST_TOKEN
from planner.schema.model import Model


def token_limit(model: Model) -> int:
    """Tokens lie between 0 and one below this, so that all that is chosen by them is there; 0: it takes no tokens.

    Where they choose nothing they may be whatever 32 bits hold.
    """
    if model.input_dtype != "int64":
        return 0
    (graph, *_) = model.units[0].layers
    most = MOST_TOKEN + 1
    return most_tokens(graph, model.input, most) if isinstance(graph, UnitGraph) else most


def drawn_tokens(limit: int) -> int:
    """How many tokens measuring draws from: those that a network surely has, where nothing says how many it has."""
    return limit if limit <= MOST_TOKEN else 2
