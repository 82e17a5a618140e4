"""Layers that go through time give what PyTorch gives, written in ONNX, for any number of samples."""

from __future__ import annotations

import pytest

from tests.unit.export.graphs import Case, differences
from tests.unit.export.runtimes import RUNTIMES, Run, reference

_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def _case(kind: str, layers: int, both: bool, first: bool, bias: bool) -> Case:
    """Over five steps of three numbers, to four."""
    directions = 1 + both
    tensors: dict[str, tuple[int, ...]] = {}
    for layer in range(layers):
        for direction in range(directions):
            rows, width, name = 4 * _GATES[kind], 4 * directions if layer else 3, f"l{layer}.d{direction}"
            tensors |= {f"{name}.w": (rows, width), f"{name}.r": (rows, 4)}
            tensors |= {f"{name}.b": (rows,), f"{name}.c": (rows,)} if bias else {}
    params = ", ".join(f"${name}" for name in tensors)
    flags = ", ".join(str(flag).lower() for flag in (both, first))
    state = "[h, h]" if kind == "lstm" else "h"
    results = "out, end, cell" if kind == "lstm" else "out, end"
    lines = (
        "v = mul.Tensor(x, 0.1)",
        *(() if first else ("w = transpose.int(v, 0, 1)",)),
        f"h = full([{layers * directions}, batch, 4], 0.3)",
        f"{results} = {kind}.input({'v' if first else 'w'}, {state}, [{params}], {str(bias).lower()}, {layers}, 0.5, "
        f"training, {flags})",
        "a = transpose.int(end, 0, 1)",
        "b = flatten.using_ints(a, 1)",
        f"c = {'alias(out)' if first else 'transpose.int(out, 0, 1)'}",
        "d = flatten.using_ints(c, 1)",
        "y = cat([d, b], 1)",
    )
    return Case((5, 3), lines, tensors)


_FORMS = {
    "a layer": (1, False, True, True),
    "two layers, both ways": (2, True, True, True),
    "time first, no bias": (1, False, False, False),
}
CASES: dict[str, Case] = {f"{kind}, {name}": _case(kind, *form) for kind in _GATES for name, form in _FORMS.items()}


@pytest.mark.parametrize("run", RUNTIMES)
@pytest.mark.parametrize("name", CASES)
def test_it_gives_what_torch_gives(name: str, run: Run) -> None:
    if run is reference and name.startswith("rnn_relu"):
        pytest.skip("onnx's reference: knows no relu within RNN")
    assert max(differences(CASES[name], run)) < 1e-5
