"""Views, joins, cuts and choices give what PyTorch gives, written in ONNX, for any number of samples."""

from __future__ import annotations

import pytest

from tests.unit.export.graphs import IMAGE, ROW, Case, case, differences
from tests.unit.export.runtimes import RUNTIMES, Run

CASES: dict[str, Case] = {
    "view": case((4, 6), "view(x, [-1, 2, 12])"),
    "view with the samples": case((4, 6), "view(x, [batch, 8, 3])"),
    "view with multiples": case((4, 6), "a = view(x, [4*batch, 6])", "b = relu(a)", "view(b, [batch, 4, 6])"),
    "_unsafe_view": case((4, 6), "_unsafe_view(x, [batch, 24])"),
    "reshape": case((4, 6), "reshape(x, [batch, -1])"),
    "view_as": case((4, 6), "a = flatten.using_ints(x, 1)", "view_as(a, x)"),
    "reshape_as": case((4, 6), "a = flatten.using_ints(x, 0)", "reshape_as(a, x)"),
    "flatten": case(IMAGE, "flatten.using_ints(x, 2, -1)"),
    "unflatten": case(ROW, "unflatten.int(x, 1, [2, -1])"),
    "permute": case(IMAGE, "permute(x, [0, 2, -1, 1])"),
    "transpose": case(IMAGE, "transpose.int(x, 1, -1)"),
    "swapaxes": case(IMAGE, "swapaxes(x, -1, 2)"),
    "t": case(ROW, "a = t(x)", "b = relu(a)", "t(b)"),
    "mT": case(IMAGE, "mT(x)"),
    "movedim": case(IMAGE, "movedim.int(x, 1, -1)"),
    "movedim.intlist": case(IMAGE, "movedim.intlist(x, [1, 2], [3, 1])"),
    "squeeze": case((1, 5), "a = squeeze.dim(x, 1)", "b = unsqueeze(a, -1)", "c = squeeze.dims(b, [2])", "relu(c)"),
    "squeeze all": case(ROW, "a = unsqueeze($w, 0)", "b = squeeze(a)", "add.Tensor(x, b)", w=(6,)),
    "expand": case((1, 6), "expand(x, [-1, 4, 6])"),
    "expand to the samples": case(ROW, "a = expand($w, [batch, -1])", "cat([x, a], 1)", w=(1, 2)),
    "expand_as": case(ROW, "a = expand_as($w, x)", "mul.Tensor(a, 2)", w=(6,)),
    "broadcast_to": case(ROW, "a = broadcast_to($w, [batch, 6])", "mul.Tensor(a, x)", w=(6,)),
    "select": case(IMAGE, "select.int(x, 2, -2)"),
    "slice": case(IMAGE, "slice.Tensor(x, 3, 1, 9, 3)"),
    "slice from behind": case(IMAGE, "slice.Tensor(x, -1, -4)"),
    "slice of the samples": case(ROW, "a = slice.Tensor(x, 0, 0, batch)", "relu(a)"),
    "narrow": case(IMAGE, "narrow(x, 2, 2, 5)"),
    "narrow from behind": case(IMAGE, "narrow(x, 2, -3, 2)"),
    "diagonal": case(IMAGE, "diagonal(x, 1, 2, -1)"),
    "diagonal below": case(IMAGE, "diagonal(x, -2, 3, 1)"),
    "unfold": case((4, 9), "unfold(x, 2, 3, 2)"),
    "unfold rows": case(IMAGE, "a = unfold(x, 2, 3, 3)", "unfold(a, 3, 2, 3)"),
    "split": case((7, 3), "a, b, c = split.Tensor(x, 3, 1)", "cat([c, a], 1)"),
    "split.sizes": case((7, 3), "a, b = split.sizes(x, [2, 5], 1)", "cat([b, a], 1)"),
    "split_with_sizes": case((7, 3), "a, b = split_with_sizes(x, [2, 5], 1)", "cat([b, a], 1)"),
    "chunk": case((7, 3), "a, b, c = chunk(x, 3, 1)", "cat([c, a], 1)"),
    "unbind": case((3, 4), "a, b, c = unbind.int(x, 1)", "stack([c, a], 1)"),
    "concat": case(ROW, "concat([x, x], -1)"),
    "concatenate": case(ROW, "concatenate([x, x], 1)"),
    "cat of types": case(ROW, "a = to.dtype(x, 'int64')", "cat([x, a], 1)"),
    "stack": case((4,), "stack([x, x], -1)"),
    "meshgrid": case(
        ROW,
        "a = arange(6)",
        "b = arange(2)",
        "c, d = meshgrid([a, b])",
        "e = mul.Tensor(c, d)",
        "f = select.int(e, 1, 1)",
        "mul.Tensor(x, f)",
    ),
    "meshgrid.indexing": case(
        (2, 6),
        "a = arange(6)",
        "b = arange(2)",
        "c, d = meshgrid.indexing([a, b], indexing='xy')",
        "e = sub.Tensor(c, d)",
        "mul.Tensor(x, e)",
    ),
    "index": case((4, 6), "a = arange(3)", "b = mul.Tensor(a, -1)", "index.Tensor(x, [none, none, b])"),
    "index by two": case((4, 6, 5), "a = arange(3)", "b = unsqueeze(a, 1)", "index.Tensor(x, [none, b, a])"),
    "index by two apart": case(
        (4, 6, 5), "a = arange(3)", "b = index.Tensor(x, [none, a, none, a])", "transpose.int(b, 0, 1)"
    ),
    "index_select": case((4, 6), "a = arange(3)", "index_select(x, 2, a)"),
    "index_select of one": case((4, 6), "a = scalar_tensor(2, dtype='int64')", "index_select(x, 2, a)"),
    "gather": case((4, 6), "_, a = sort(x, 2)", "b = slice.Tensor(a, 2, 0, 3)", "gather(x, 2, b)"),
    "repeat": case((4,), "repeat(x, [1, 3])"),
    "repeat to more dimensions": case(
        (4,), "a = unsqueeze($w, 0)", "b = repeat(a, [batch, 1, 2])", "select.int(b, 1, 1)", w=(3, 4)
    ),
    "tile": case((4, 2), "tile(x, [3, 2])"),
    "repeat_interleave": case((4, 2), "repeat_interleave.self_int(x, 3, 1)"),
    "repeat_interleave of all": case((4,), "a = repeat_interleave.self_int(x, 3)", "view(a, [batch, 12])"),
    "roll": case(IMAGE, "roll(x, [2, -3], [2, 3])"),
    "roll of samples": case(ROW, "roll(x, [0], [0])"),
    "roll of all": case((2, 3), "a = roll($w, [2])", "mul.Tensor(x, a)", w=(2, 3)),
    "flip": case(IMAGE, "flip(x, [1, -1])"),
    "pad": case(IMAGE, "pad(x, [1, 2, 0, 3], 'constant', 0.5)"),
    "pad away": case(IMAGE, "pad(x, [-1, 2, 1, -3])"),
    "pad channels": case(IMAGE, "pad(x, [0, 0, 0, 0, 2, 1])"),
    "pad by reflection": case(IMAGE, "pad(x, [1, 2, 3, 0], 'reflect')"),
    "pad by repetition": case(IMAGE, "pad(x, [1, 2, 3, 0], 'replicate')"),
    "pad around": case(IMAGE, "pad(x, [1, 2, 3, 0], 'circular')"),
    "constant_pad_nd": case(IMAGE, "constant_pad_nd(x, [1, 1], -1)"),
    "pixel_shuffle": case((8, 3, 5), "pixel_shuffle(x, 2)"),
    "pixel_unshuffle": case((2, 6, 4), "pixel_unshuffle(x, 2)"),
    "channel_shuffle": case((6, 3, 5), "channel_shuffle(x, 3)"),
    "im2col": case(IMAGE, "im2col(x, [3, 2], [1, 2], [1, 0], [2, 1])"),
    "tril": case((5, 6), "tril(x, 1)"),
    "triu": case((5, 6), "triu(x, -1)"),
}


@pytest.mark.parametrize("run", RUNTIMES)
@pytest.mark.parametrize("name", CASES)
def test_it_gives_what_torch_gives(name: str, run: Run) -> None:
    assert max(differences(CASES[name], run)) < 1e-5
