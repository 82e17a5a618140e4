"""Layers that go through time. ONNX has the gates in another order, and a layer at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from planner.export.aten.base import Call, Tensor, Writer, sliced
from planner.export.onnx_builder import OnnxBuilder

_LSTM: Final = (0, 3, 1, 2)
"""Input, output, forget, cell: where PyTorch has them."""
_GRU: Final = (1, 0, 2)
"""Update, reset, hidden: where PyTorch has them."""


def _ordered(o: OnnxBuilder, weight: Tensor, gates: Sequence[int]) -> str:
    """A layer's weight with its gates as ONNX orders them."""
    if len(gates) == 1:
        return weight.name
    parts = o.nodes("Split", [weight.name], len(gates), axis=0, num_outputs=len(gates))
    return o.node("Concat", [parts[gate] for gate in gates], axis=0)


def _stacked(o: OnnxBuilder, parts: Sequence[str]) -> str:
    """One for each direction."""
    axis = o.constant([0], "int64")
    return o.node("Concat", [o.node("Unsqueeze", [part, axis]) for part in parts], axis=0)


def _recurrent(kind: str, gates: Sequence[int], states: int, **attributes: Any) -> Writer:
    def write(o: OnnxBuilder, c: Call) -> list[str]:
        directions, each = 1 + c["bidirectional"], 2 + 2 * c["has_biases"]
        params: list[Tensor] = c["params"]
        if c["input"].rank != 3:
            raise ValueError("its input has no samples")
        if c["train"] and c["dropout"] and c["num_layers"] > 1:
            raise ValueError("it is random in evaluation too")
        if len(params) != c["num_layers"] * directions * each:
            raise ValueError("its outputs are projected")
        hx = c["hx"] if isinstance(c["hx"], list) else [c["hx"]]
        value = _time_and_samples_swapped(o, c, c["input"].name)
        last: list[list[str]] = []
        for layer in range(c["num_layers"]):
            start = layer * directions * each
            sets = [params[at : at + each] for at in range(start, start + directions * each, each)]
            inputs = [value, *(_stacked(o, [_ordered(o, own[place], gates) for own in sets]) for place in (0, 1))]
            inputs.append(_bias(o, sets, gates) if c["has_biases"] else "")
            at = layer * directions
            inputs += ["", *(sliced(o, state.name, 0, at, at + directions) for state in hx)]
            size = {"hidden_size": params[1].dims[1], "direction": "bidirectional" if directions == 2 else "forward"}
            found, *ends = o.nodes(kind, inputs, 1 + states, **size, **_each(attributes, directions))
            last.append(ends)
            turned = o.node("Transpose", [found], perm=[0, 2, 1, 3])
            value = o.node("Reshape", [turned, o.constant([0, 0, -1], "int64")])  # 0 stands for what is there
        ends = [o.node("Concat", list(parts), axis=0) for parts in zip(*last, strict=True)]
        return [_time_and_samples_swapped(o, c, value), *ends]

    return write


def _each(attributes: Mapping[str, Any], directions: int) -> dict[str, Any]:
    """Lists are given for every direction."""
    return {name: value * directions if isinstance(value, list) else value for name, value in attributes.items()}


def _bias(o: OnnxBuilder, sets: Sequence[Sequence[Tensor]], gates: Sequence[int]) -> str:
    return _stacked(o, [o.node("Concat", [_ordered(o, part, gates) for part in own[2:]], axis=0) for own in sets])


def _time_and_samples_swapped(o: OnnxBuilder, c: Call, value: str) -> str:
    return o.node("Transpose", [value], perm=[1, 0, 2]) if c["batch_first"] else value


WRITERS: Mapping[str, Writer] = {
    "lstm.input": _recurrent("LSTM", _LSTM, 2),
    "gru.input": _recurrent("GRU", _GRU, 1, linear_before_reset=1),
    "rnn_tanh.input": _recurrent("RNN", (0,), 1, activations=["Tanh"]),
    "rnn_relu.input": _recurrent("RNN", (0,), 1, activations=["Relu"]),
}
