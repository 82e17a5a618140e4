"""What is asked of an operator before its rule: names, numbers, kinds of its arguments."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch

from planner.operators.aten.base import DTYPES, AtenOperator, Bound, Value, in_place, literal
from planner.operators.aten.kinds import ATEN
from planner.operators.aten.shapes import common_dtype

X = Value((2, 3))


@pytest.mark.parametrize(
    ("name", "positional", "named", "fault"),
    [
        ("relu", [], {}, "self is missing"),
        ("relu", [X, X], {}, "takes 1 arguments, not 2"),
        ("relu", [X], {"other": X}, "no argument 'other'; it has self"),
        ("relu", [X], {"self": X}, "self is given twice"),
        ("relu", [3], {}, "self is 3; a tensor is needed"),
        ("where.self", [X, X, 1], {}, "other is 1; a tensor is needed"),
        ("add.Tensor", [1, X], {}, "self is 1; a tensor is needed"),
        ("add.Tensor", [X, "1"], {}, "other is '1'; a tensor is needed"),
        ("add.Tensor", [X, X, 2], {}, "takes 2 arguments, not 3"),
        ("flatten.using_ints", [X, True], {}, "start_dim is True; a whole number is needed"),
        ("flatten.using_ints", [X, 2**63], {}, "a whole number is needed"),
        ("permute", [X, 1], {}, "dims is 1; a list is needed, each of it a whole number"),
        ("permute", [X, [0, 1.5]], {}, "a list is needed, each of it a whole number"),
        ("cat", [X], {}, "tensors is a tensor; a list is needed, each of it a tensor"),
        ("dropout", [X, "half", True], {}, "p is 'half'; a number is needed"),
        ("dropout", [X, 0.5, 1], {}, "train is 1; true or false is needed"),
        ("einsum", [1, [X]], {}, "equation is 1; text is needed"),
        ("to.dtype", [X, "complex64"], {}, "dtype is 'complex64'; one of float32"),
        ("zeros", [[1]], {"device": "cuda"}, "device is 'cuda'"),
    ],
)
def test_what_is_no_argument_is_refused(
    name: str, positional: list[Bound], named: dict[str, Bound], fault: str
) -> None:
    with pytest.raises(ValueError) as refused:
        ATEN[name].bind(positional, named)
    assert fault in str(refused.value)
    assert str(refused.value).startswith(name)


def test_defaults_are_filled_in_and_one_number_becomes_a_list() -> None:
    bound = ATEN["max_pool2d"].bind([X, 3], {"ceil_mode": True})
    assert bound == {
        "self": X,
        "kernel_size": [3, 3],
        "stride": [],
        "padding": [0, 0],
        "dilation": [1, 1],
        "ceil_mode": True,
    }


def test_a_number_stands_for_a_tensor_where_torch_takes_one() -> None:
    assert ATEN["mul_.Tensor"].bind([X, 2], {}) == {"self": X, "other": 2}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("None", None),
        ("True", True),
        ("-1", -1),
        ("0.", 0.0),
        ("1e-08", 1e-8),
        ("[0, 1]", [0, 1]),
        ("[]", []),
        ('"a"', "a"),
    ],
)
def test_defaults_are_read(text: str, value: Any) -> None:
    found = literal(text)
    assert found == value
    assert type(found) is type(value)


def test_a_form_in_place_writes_into_its_first_argument() -> None:
    form = in_place(
        AtenOperator("double(Tensor input, Scalar by=2) -> Tensor", lambda input, by: Value((2, 3), "float64"))
    )
    assert form.signature == "double_(Tensor(a!) self, Scalar by=2) -> Tensor(a!)"
    assert (form.name, form.overwrites, form.alias) == ("double_", "self", "self")
    assert form.rule(self=X, by=2) == X  # what has a fraction keeps its own width
    for target in (Value((3, 2)), Value((2, 3), "int64")):
        with pytest.raises(ValueError, match="does not fit into self"):
            form.rule(self=target, by=2)


@pytest.mark.parametrize(
    ("result", "fault"),
    [
        (Value((2, -1)), r"would have shape \(2, -1\)"),
        (Value((2**40, 2**40)), "would have shape"),
        (Value((1,) * 65), "65 dimensions, above 64"),
    ],
)
def test_no_result_is_beyond_a_tensor(result: Value, fault: str) -> None:
    operator = AtenOperator("grow(Tensor self) -> Tensor", lambda self: (X, result))
    with pytest.raises(ValueError, match=fault):
        operator.rule(self=X)


def _operand(kind: str, dtype: str) -> tuple[Any, Any]:
    """For us and for torch: a tensor with dimensions, one without, or a number."""
    if kind == "number":
        number = {"bool": True, "int64": 1, "float32": 1.5}[dtype]
        return number, number
    shape = (2,) if kind == "tensor" else ()
    return Value(shape, dtype), torch.ones(shape, dtype=getattr(torch, dtype))


def test_types_are_promoted_as_torch_promotes_them() -> None:
    kinds = [("tensor", dtype) for dtype in DTYPES] + [("scalar", dtype) for dtype in DTYPES]
    kinds += [("number", dtype) for dtype in ("bool", "int64", "float32")]
    for one, other in product(kinds, kinds):
        (ours, theirs), (our_other, their_other) = _operand(*one), _operand(*other)
        promoted = str(torch.result_type(theirs, their_other)).removeprefix("torch.")
        assert (one, other, common_dtype(ours, our_other)) == (one, other, promoted)
