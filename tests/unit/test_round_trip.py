"""Whatever is written here is read as what it was, with the same id: every schema, with odd numbers in its fields."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from api.jobs.worker import WorkerSetup
from api.solver_worker import Asked
from planner.cli import options
from planner.client.credentials import KnownServices
from planner.errors import InputError
from planner.profiler import job as measuring
from planner.profiler import torch_facts
from planner.profiler.child import accelerator_account, account, kernels
from planner.profiler.profile import ProfileRequest, Start
from planner.report.read import MemorySample
from planner.runner.protocol import events, job
from planner.runner.protocol.position import Position
from planner.schema.codec import content_id, decode, encode, parse_json, read_document, to_json
from planner.schema.device import DeviceDocument
from planner.schema.model import Model, ZooReference
from planner.schema.plan import Plan
from planner.schema.profile import Profile
from planner.schema.report import Evaluation, Report
from planner.schema.request import Request
from tests.unit.corpus import documents, kind_of

DOCUMENTS = (Model, ZooReference, Profile, Plan, Report, Evaluation, DeviceDocument, KnownServices)
MESSAGES = (
    events.Message, events.EvaluationMessage, job.TrainingJob, job.RunLength, job.EvaluationJob, Position, MemorySample,
    measuring.Job, measuring.Measurement, measuring.Reply, account.AccountResult,
    accelerator_account.AcceleratorAccountResult, kernels.Overhead, torch_facts.TorchFacts, Start,
    ProfileRequest, Request, Asked, WorkerSetup,
)  # fmt: skip

_NUMBERS = st.sampled_from((0, 1, 2, 7, 64, 600, 2**53, 2**53 + 1, 2**62))
_FLOATS = st.one_of(
    st.sampled_from((0, 1, 300, -0.0, 0.5, 1e-300, 1e16, 1e22, 2**53 + 1, 10**19, 10**25, 1e308)),
    st.floats(allow_nan=False, allow_infinity=False),
)


def parts(value: Any) -> Iterator[Any]:
    """Every dataclass within a document, itself included."""
    if dataclasses.is_dataclass(value):
        yield value
        for field in dataclasses.fields(value):
            yield from parts(getattr(value, field.name))
    elif isinstance(value, tuple):
        for item in value:
            yield from parts(item)


def _examples() -> dict[type, list[Any]]:
    found: dict[type, list[Any]] = defaultdict(list)
    for path in documents("good"):
        for part in parts(read_document(path, kind_of(path))):
            if len(found[type(part)]) < 20:
                found[type(part)].append(part)
    return found


EXAMPLES = _examples()
"""Parts of real documents, by schema: what stands in one holds together, which made-up numbers seldom do."""


def drawn(draw: st.DrawFn, hint: Any) -> Any:
    """A value of this annotation."""
    origin, inner = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _dataclass(draw, typing.cast(type, hint))
    if origin is Literal:
        return draw(st.sampled_from(inner))
    if origin in (Union, types.UnionType):
        return drawn(draw, draw(st.sampled_from(inner)))
    if origin is tuple and inner[-1] is Ellipsis:
        return tuple(drawn(draw, inner[0]) for _ in range(draw(st.integers(0, 2))))
    if origin is tuple:
        return tuple(drawn(draw, item) for item in inner)
    simple = {int: _NUMBERS, float: _FLOATS, bool: st.booleans(), type(None): st.none()}
    return draw(simple.get(hint, st.text(st.characters(exclude_categories=["Cs"]), max_size=8)))


def _dataclass(draw: st.DrawFn, kind: type) -> Any:
    every = typing.get_type_hints(kind)
    hints = {field.name: every[field.name] for field in dataclasses.fields(kind)}  # no constants of the class
    if kind not in EXAMPLES:
        return _made(lambda: kind(**{name: drawn(draw, hint) for name, hint in hints.items()}))
    example = draw(st.sampled_from(EXAMPLES[kind]))
    for name in draw(st.lists(st.sampled_from(list(hints)), max_size=3, unique=True)):
        value = getattr(example, name)
        if dataclasses.is_dataclass(value):
            value = _dataclass(draw, type(value))
        elif type(value) in (int, float):
            value = drawn(draw, float if float in (hints[name], *get_args(hints[name])) else int)
        example = _made(lambda name=name, value=value, example=example: dataclasses.replace(example, **{name: value}))
    return example


def _made(make: Any) -> Any:
    try:
        return make()
    except (ValueError, InputError, OverflowError):
        reject()  # the schema refuses it


@st.composite
def values(draw: st.DrawFn, kind: type) -> Any:
    return _dataclass(draw, kind)


@pytest.mark.parametrize("kind", (*DOCUMENTS, *MESSAGES), ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_what_is_written_is_read_as_the_same_with_the_same_id(kind: type[Any]) -> None:
    @settings(
        max_examples=60,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.large_base_example],
    )
    @given(values(kind))
    def holds(document: Any) -> None:
        try:
            text = to_json(document)
        except InputError:
            reject()  # a number that no float holds
        again = decode(kind, parse_json(text))
        assert encode(again) == encode(document)
        assert content_id(again) == content_id(document)
        assert to_json(again) == text

    holds()


@dataclasses.dataclass(frozen=True)
class _Floats:
    bare: float
    perhaps: float | None
    several: tuple[float, ...]
    pair: tuple[int, float]
    whole: int


def test_a_whole_number_is_written_as_the_float_that_its_field_holds() -> None:
    document = _Floats(1, 2, (3, 4.5), (5, 6), 7)
    assert to_json(document, None) == (
        '{"bare": 1.0, "perhaps": 2.0, "several": [3.0, 4.5], "pair": [5, 6.0], "whole": 7}'
    )
    assert content_id(document) == content_id(_Floats(1.0, 2.0, (3.0, 4.5), (5, 6.0), 7))
    assert encode(_Floats(-0.0, None, (), (0, 2**60), 2**60))["pair"] == [0, 2.0**60]


def test_a_number_that_no_float_holds_is_refused() -> None:
    with pytest.raises(InputError, match="the number 10000000000000000000… is too large"):
        to_json(_Floats(10**400, None, (), (0, 0.0), 0))


def test_the_options_of_the_command_line_give_floats_where_documents_hold_them() -> None:
    request = dataclasses.replace(
        ProfileRequest(EXAMPLES[Model][0], EXAMPLES[Profile][0].optimizer, 1, 1),
        max_seconds=options.count("max-seconds", 1, 10)("10"),
    )
    assert content_id(decode(ProfileRequest, parse_json(to_json(request)))) == content_id(request)
