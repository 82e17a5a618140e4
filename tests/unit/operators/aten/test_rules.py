"""Rules give the shapes and types that torch gives, and refuse what it refuses. Every operator has its cases."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.operators.aten import elementwise
from planner.operators.aten.base import DTYPES, MAX_RESULTS, AtenOperator, StricterThanTorch, Value
from planner.operators.aten.kinds import ATEN
from tests.unit.operators.aten.cases import MAKERS, Arguments, Draw, mutated
from tests.unit.operators.aten.test_signatures import torch_operator

pytestmark = pytest.mark.filterwarnings("ignore")
"""PyTorch warns of what is out of fashion; here every form is tried."""

Results = list[Value] | Exception


@pytest.fixture(autouse=True, scope="module")
def _plain_kernels() -> Iterator[None]:
    """PyTorch's own kernels, which check their arguments."""
    with torch.backends.mkldnn.flags(enabled=False):
        yield


def ours(operator: AtenOperator, arguments: Arguments) -> Results:
    """What the rule says. Anything but a ValueError is a fault of its own."""
    try:
        results = operator.rule(**operator.bind(*arguments))
    except ValueError as error:
        return error
    return list(results) if isinstance(results, tuple) else [results]


def _real(operator: AtenOperator, kind: str, value: Any) -> Any:
    """What torch gets. Indices are 0, divisors are 1, probabilities a half."""
    if isinstance(value, Value):
        whole = 1 if operator.name in elementwise.OPERATORS else 0
        dtype = getattr(torch, value.dtype)
        return torch.full(value.shape, 0.5 if dtype.is_floating_point else whole, dtype=dtype)
    if kind.rstrip("?").endswith("]") and isinstance(value, int):  # `bind` makes lists of them
        return [value] * int(kind.partition("[")[2].partition("]")[0] or 0) or value
    if isinstance(value, list):
        return [_real(operator, "", item) for item in value]
    if kind.startswith("ScalarType") and value in DTYPES:
        return getattr(torch, value)
    return torch.device("cpu") if kind == "Device" else value


def torchs(operator: AtenOperator, arguments: Arguments) -> Results:
    """What torch does. What it returns may share the memory only of the argument that the operator names."""
    kinds = {argument.name: argument.kind for argument in operator.arguments}
    positional = [
        _real(operator, argument.kind, value) for argument, value in zip(operator.arguments, arguments[0], strict=False)
    ]
    named = {name: _real(operator, kinds[name], value) for name, value in arguments[1].items()}
    try:
        results = torch_operator(operator.name)(*positional, **named)
    except Exception as error:  # of whatever kind: it refuses
        return error
    tensors = [results] if isinstance(results, torch.Tensor) else list(results or ())
    given = dict(zip(kinds, positional, strict=False)) | named
    for name, value in given.items():
        for tensor in value if isinstance(value, list) else [value]:
            if isinstance(tensor, torch.Tensor) and tensor.numel():
                places = {result.untyped_storage().data_ptr() for result in tensors}
                assert tensor.untyped_storage().data_ptr() not in places or operator.alias == name
    return [Value(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")) for tensor in tensors]


def compare(operator: AtenOperator, arguments: Arguments) -> bool:
    """Whether both take it; a difference is an assertion's."""
    said = ours(operator, arguments)
    if isinstance(said, StricterThanTorch):  # torch is not asked: some of this ends its process
        return False
    done = torchs(operator, arguments)
    if isinstance(said, Exception) or isinstance(done, Exception):
        assert isinstance(said, Exception) and isinstance(done, Exception), (arguments, said, done)
        return False
    assert said == done, arguments
    return True


@pytest.mark.parametrize("name", ATEN)
@settings(max_examples=60, deadline=None, database=None)
@given(random=st.randoms(use_true_random=False))
def test_rule_is_what_torch_does(name: str, random: Random) -> None:
    draw = Draw(random)
    arguments = MAKERS[name](draw)
    compare(ATEN[name], mutated(draw, arguments) if draw.flag() else arguments)


def test_most_of_what_is_meant_to_fit_does() -> None:
    for name, make in MAKERS.items():
        taken = [compare(ATEN[name], make(Draw(Random(seed)))) for seed in range(12)]
        assert sum(taken) >= 4, name


def _huge(draw: Draw, value: Any) -> Any:
    """The same, with extents and numbers as large as a description can have them."""
    if isinstance(value, Value):
        return Value(tuple(draw.one(extent, 2**40, 2**62) for extent in value.shape), value.dtype)
    if isinstance(value, list):
        return [_huge(draw, item) for item in value]
    if type(value) is int:
        return draw.one(value, 2**31, 2**62, 2**63 - 1, -(2**63), 10**400)
    if type(value) is float:
        return draw.one(value, 1e308, -1e308, 5e-324, float("inf"), float("nan"))
    return value


@pytest.mark.parametrize("name", ATEN)
def test_large_numbers_are_judged_at_once(name: str) -> None:
    """A rule that counted its way through them would not come to an end."""
    for seed in range(40):
        draw = Draw(Random(seed))
        positional, named = MAKERS[name](draw)
        given = [_huge(draw, value) for value in positional], {at: _huge(draw, value) for at, value in named.items()}
        said = ours(ATEN[name], given)
        if isinstance(said, Exception):
            assert 5 < len(str(said)) < 500
        else:
            assert len(said) <= MAX_RESULTS
            assert all(0 <= extent < 2**63 for value in said for extent in value.shape)


@pytest.mark.parametrize("name", ["batch_norm", "instance_norm", "group_norm", "layer_norm", "rms_norm"])
def test_who_looks_at_the_samples_beside_says_so(name: str) -> None:
    operator = ATEN[name]
    differs = False
    for seed in range(20):
        positional, named = MAKERS[name](Draw(Random(seed)))
        shape = positional[0].shape
        if shape[0] < 2 or (name in ("layer_norm", "rms_norm") and len(positional[1]) == len(shape)):
            continue
        generator = torch.Generator().manual_seed(seed)
        samples = torch.randn(shape, generator=generator, dtype=torch.float64)
        others = torch.cat([samples[:1], torch.randn(shape, generator=generator, dtype=torch.float64)[1:]])
        rest = [_real(operator, "", value) for value in positional[1:]]
        rest = [value.double() if isinstance(value, torch.Tensor) else value for value in rest]
        named = {at: torch.ones(value.shape, dtype=torch.float64) for at, value in named.items()}
        first, second = (torch_operator(name)(tensor, *rest, **named)[0] for tensor in (samples, others))
        differs |= not torch.allclose(first, second)
    assert differs == operator.depends_on_batch


def test_every_operator_has_cases() -> None:
    assert set(MAKERS) == set(ATEN)


def test_every_rule_takes_the_operators_arguments() -> None:
    for operator in ATEN.values():
        rule = inspect.signature(operator._rule)
        rule.bind(**{argument.name: None for argument in operator.arguments})
