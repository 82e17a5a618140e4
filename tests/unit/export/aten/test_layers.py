"""Layers give what PyTorch gives, written in ONNX, for any number of samples."""

from __future__ import annotations

import pytest

from tests.unit.export.graphs import IMAGE, ROW, Case, case, differences
from tests.unit.export.runtimes import RUNTIMES, Run, reference


def _norm(operator: str, mode: str, rest: str = "0.1, 0.001, false") -> str:
    return f"{operator}(x, $w, $b, $m, $v, {mode}, {rest})"


_AFFINE = {"w": (4,), "b": (4,), "m": (4,), "v": (4,)}

CASES: dict[str, Case] = {
    "conv1d": case((4, 11), "conv1d(x, $w, $b, [2], [1], [2], 2)", w=(6, 2, 3), b=(6,)),
    "conv2d": case(IMAGE, "conv2d(x, $w, $b, [2, 1], [1, 0], [1, 2], 2)", w=(6, 2, 3, 2), b=(6,)),
    "conv2d plain": case(IMAGE, "conv2d(x, $w)", w=(6, 4, 3, 2)),
    "conv3d": case((2, 5, 6, 7), "conv3d(x, $w, $b, [1, 2, 1], [1, 0, 1])", w=(3, 2, 3, 2, 3), b=(3,)),
    **{
        f"conv{n}d.padding {how}": case(
            (4, 6, 7, 8)[: n + 1], f"conv{n}d.padding(x, $w, $b, [1], '{how}', [2])", w=(5, 4, *(2, 3, 2)[:n]), b=(5,)
        )
        for n in (1, 2, 3)
        for how in ("same", "valid")
    },
    "conv_transpose1d": case((4, 5), "conv_transpose1d(x, $w, $b, [2], [1], [1], 2, [2])", w=(4, 3, 3), b=(6,)),
    "conv_transpose2d": case(
        (4, 5, 6), "conv_transpose2d.input(x, $w, $b, [2, 3], [1, 0], [1, 2])", w=(4, 3, 3, 2), b=(3,)
    ),
    "conv_transpose3d": case((2, 3, 4, 3), "conv_transpose3d.input(x, $w, none, [2, 2, 2])", w=(2, 3, 2, 2, 2)),
    "linear": case(ROW, "linear(x, $w, $b)", w=(5, 6), b=(5,)),
    "linear without bias": case(ROW, "linear(x, $w)", w=(5, 6)),
    "linear on rows": case((3, 2, 6), "linear(x, $w, $b)", w=(5, 6), b=(5,)),
    "matmul": case((3, 4, 5), "a = transpose.int(x, -1, -2)", "matmul(x, a)"),
    "matmul vector": case((3, 5), "matmul(x, $v)", v=(5,)),
    "bmm": case((3, 5), "a = mT(x)", "bmm(x, a)"),
    "mm": case(ROW, "mm(x, $w)", w=(6, 3)),
    "addmm": case(ROW, "addmm($b, x, $w, beta=0.5, alpha=2)", w=(6, 3), b=(3,)),
    "baddbmm": case((3, 5), "a = mT(x)", "b = zeros([batch, 3, 3])", "baddbmm(b, x, a, alpha=0.3)"),
    "einsum": case((3, 2, 4), "einsum('bthd, bshd -> bhts', [x, x])"),
    "einsum with a tensor": case((3, 4), "einsum('...d,ed->...e', [x, $w])", w=(5, 4)),
    "embedding": case(
        (5,), "a = abs(x)", "b = clamp(a, 0, 3)", "c = to.dtype(b, 'int64')", "embedding($w, c)", w=(4, 6)
    ),
    "batch_norm": case(IMAGE, _norm("batch_norm", "training"), **_AFFINE),
    "batch_norm of rows": case((4,), _norm("batch_norm", "false"), **_AFFINE),
    "batch_norm without affine": case(
        IMAGE, "batch_norm(x, none, none, $m, $v, training, 0.1, 1e-05, true)", m=(4,), v=(4,)
    ),
    "batch_norm without statistics": case(
        IMAGE, "batch_norm(x, $w, $b, none, none, true, 0.1, 1e-05, true)", w=(4,), b=(4,)
    ),
    "instance_norm": case(IMAGE, "instance_norm(x, $w, $b, none, none, true, 0.1, 1e-05, true)", w=(4,), b=(4,)),
    "instance_norm plain": case((4, 9), "instance_norm(x, none, none, none, none, true, 0.1, 1e-05, true)"),
    "instance_norm with statistics": case(IMAGE, _norm("instance_norm", "training"), **_AFFINE),
    "group_norm": case(IMAGE, "group_norm(x, 2, $w, $b, 0.001)", w=(4,), b=(4,)),
    "group_norm plain": case((6, 5), "group_norm(x, 3)"),
    "layer_norm": case((3, 6), "layer_norm(x, [6], $w, $b)", w=(6,), b=(6,)),
    "layer_norm plain": case((3, 6), "layer_norm(x, [3, 6])"),
    "layer_norm without bias": case((3, 6), "layer_norm(x, [6], $w, none, 0.01)", w=(6,)),
    "rms_norm": case((3, 6), "rms_norm(x, [6], $w)", w=(6,)),
    "rms_norm plain": case((3, 6), "rms_norm(x, [3, 6], none, 0.1)"),
    "_weight_norm": case(ROW, "a = _weight_norm($v, $g, 0)", "linear(x, a)", v=(5, 6), g=(5, 1)),
    "attention": case((2, 5, 4), "scaled_dot_product_attention(x, x, x)"),
    "attention, causal": case((2, 5, 4), "scaled_dot_product_attention(x, x, x, none, 0.0, true, scale=0.3)"),
    "attention, bias": case((2, 5, 4), "scaled_dot_product_attention(x, x, x, $m)", m=(5, 5)),
    "attention, mask": case((2, 5, 4), "a = ge.Scalar($m, 0.9)", "scaled_dot_product_attention(x, x, x, a)", m=(5, 5)),
    "attention, blind": case((2, 5, 4), "a = ge.Scalar($m, 2)", "scaled_dot_product_attention(x, x, x, a)", m=(5, 5)),
    "attention, shared heads": case(
        (4, 5, 4), "a = narrow(x, 1, 1, 2)", "scaled_dot_product_attention(x, a, a, enable_gqa=true)"
    ),
    "softmax": case((3, 4, 5), "softmax.int(x, 2)"),
    "log_softmax": case((3, 4, 5), "log_softmax.int(x, -1)"),
}

REFERENCE_FAULTS = {
    "conv_transpose1d": "has no groups in one dimension",
}


@pytest.mark.parametrize("run", RUNTIMES)
@pytest.mark.parametrize("name", CASES)
def test_it_gives_what_torch_gives(name: str, run: Run) -> None:
    if run is reference and name in REFERENCE_FAULTS:
        pytest.skip(f"onnx's reference: {REFERENCE_FAULTS[name]}")
    assert max(differences(CASES[name], run)) < 1e-5
