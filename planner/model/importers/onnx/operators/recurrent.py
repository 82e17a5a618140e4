"""Layers over the steps of a sequence, and attention."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from planner.model.importers.onnx.operators.base import Call, Importer, as_known, check_apart, static
from planner.model.importers.onnx.operators.convolution import of_inputs
from planner.model.importers.onnx.values import Tensor
from planner.operators.graph_text import Training

_ORDERS = {"LSTM": [0, 2, 3, 1], "GRU": [1, 0, 2], "RNN": [0]}
"""Which of ONNX's gates comes where in ATen: input, output, forget, cell; update, reset, hidden."""

_DEFAULTS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}


def _recurrent(kind: str) -> Importer:
    def read(c: Call) -> list[Tensor | None]:
        x, hidden = c.tensor(), c.whole("hidden_size")
        direction = c.text("direction", "forward")
        if direction not in ("forward", "bidirectional"):
            raise ValueError(f"direction {direction[:20]!r} is not known here")
        both = direction == "bidirectional"
        if c.whole("layout", 0) or c.has("clip") or c.whole("input_forget", 0):
            raise ValueError("layout, clip and input_forget are not known here")
        if kind == "GRU" and not c.whole("linear_before_reset", 0):
            raise ValueError("linear_before_reset 0 is not known here")
        wanted = _DEFAULTS[kind] * (1 + both)
        if (c.texts("activations") or wanted) != wanted:
            raise ValueError(f"activations other than {', '.join(_DEFAULTS[kind])} are not known here")
        _check_lengths(c, x)
        if kind == "LSTM" and c.given(7):
            raise ValueError("peepholes are not known here")
        params = _params(c, kind, hidden, 1 + both)
        states = [_state(c, place, x, 1 + both, hidden) for place in ((5, 6) if kind == "LSTM" else (5,))]
        name = {"LSTM": "lstm.input", "GRU": "gru.input", "RNN": "rnn_tanh.input"}[kind]
        results = c.several(
            name, x, states if kind == "LSTM" else states[0], params, c.given(3), 1, 0.0, Training(), both, False
        )
        # ATen has the directions side by side, ONNX one behind another.
        apart = c("unflatten.int", results[0], 2, [1 + both, hidden])
        return [c("permute", apart, [0, 2, 1, 3]), *results[1:]]

    return read


def _check_lengths(c: Call, x: Tensor) -> None:
    if c.given(4):
        lengths = as_known(c.emitter, c.value(4))
        if lengths is None or not all(bool(np.all(array == x.dims[0])) for array in lengths.arrays):
            raise ValueError("sequences of several lengths are not known here")
    check_apart(x, [0], "goes")


def _params(c: Call, kind: str, hidden: int, directions: int) -> list[Tensor]:
    start = of_inputs(hidden)
    tensors = [c.weight(place, start) for place in (1, 2, 3) if c.given(place)]
    gates = len(_ORDERS[kind])
    found: list[Tensor] = []
    for index in range(directions):
        parts = [c("select.int", tensor, 0, index) for tensor in tensors]
        if len(parts) == 3:
            parts[2:] = c.several("chunk", parts[2], 2, 0)
        for part in parts:
            if static(part.dims)[0] != gates * hidden:
                raise ValueError(f"its weights have {part.dims[0]} rows, not {gates * hidden}")
            if gates == 1:
                found.append(part)
                continue
            apart = c.several("chunk", part, gates, 0)
            found.append(c("cat", [apart[gate] for gate in _ORDERS[kind]], 0))
    return found


def _state(c: Call, place: int, x: Tensor, directions: int, hidden: int) -> Tensor:
    if c.given(place):
        value = as_known(c.emitter, c.value(place), floats=True)
        if value is None or any(array.any() for array in value.arrays):
            return c.tensor(place)
    return c("zeros", [directions, x.dims[1], hidden])


IMPORTERS: Mapping[str, Importer] = {kind: _recurrent(kind) for kind in _ORDERS}
