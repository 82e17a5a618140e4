"""The planner's decoder and pydantic accept exactly the same documents, and refuse the others in clear words."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from api.documents import adapter, parse
from planner import limits
from planner.errors import DocumentError, InputError
from planner.model.load import model_from_json
from planner.schema.codec import added, content_id, decode, encode, parse_json, read_document, read_json, to_json
from planner.schema.model import Conv2d, Model, ZooReference
from planner.schema.plan import Plan
from planner.schema.profile import Profile
from tests.unit.corpus import CORPUS, KINDS, documents, kind_of, name
from tests.unit.refusals import REFUSALS

GOOD = documents("good")
BAD = documents("bad")

"""How each bad document of the corpus is refused, by its file's name."""


def ours(kind: type[Any], text: bytes) -> Any:
    """What the planner's decoder makes of a document; None where it refuses."""
    try:
        return decode(kind, parse_json(text))
    except DocumentError:
        return None


def pydantics(kind: type[Any], text: bytes) -> Any:
    """What pydantic makes of a document; None where it refuses, or where `parse_json` does for both."""
    try:
        parse_json(text)
    except DocumentError:
        return None
    try:
        return adapter(kind).validate_json(text)
    except ValidationError as error:
        assert all(item["type"] != "json_invalid" for item in error.errors()), "parse_json let through what is not JSON"
        return None


@pytest.mark.parametrize("kind", KINDS)
def test_the_corpus_has_both_sides_of_every_schema(kind: str) -> None:
    assert list((CORPUS / kind / "good").glob("*.json"))
    assert list((CORPUS / kind / "bad").glob("*.json"))


@pytest.mark.parametrize("path", GOOD, ids=name)
def test_both_decoders_accept_a_good_document_and_agree_on_it(path: Path) -> None:
    text = path.read_bytes()
    document = decode(kind_of(path), parse_json(text))
    assert isinstance(document, kind_of(path))
    assert parse(kind_of(path), text) == document
    assert read_document(path, kind_of(path)) == document


@pytest.mark.parametrize("path", GOOD, ids=name)
def test_a_document_survives_the_round_trip(path: Path) -> None:
    document = read_document(path, kind_of(path))
    assert decode(kind_of(path), encode(document)) == document
    for indent in (None, 1):
        assert decode(kind_of(path), parse_json(to_json(document, indent))) == document
    assert json.loads(adapter(kind_of(path)).dump_json(document)) == encode(document)


@pytest.mark.parametrize("path", [path for path in GOOD if kind_of(path) in (Plan, Profile)], ids=name)
def test_the_ids_of_the_corpus_are_right(path: Path) -> None:
    document: Any = read_document(path, kind_of(path))
    assert document.id == content_id(document)


@pytest.mark.parametrize("path", [path for path in GOOD if path.parents[1].name == "model"], ids=name)
def test_the_good_models_hold_together(path: Path) -> None:
    assert isinstance(model_from_json(read_json(path)), Model)


@pytest.mark.parametrize("path", BAD, ids=name)
def test_a_bad_document_is_refused_for_what_its_name_says(path: Path) -> None:
    with pytest.raises(DocumentError, match=REFUSALS[path.stem]) as ours_refused:
        decode(kind_of(path), parse_json(path.read_bytes()))
    with pytest.raises(DocumentError) as service_refused:
        parse(kind_of(path), path.read_bytes())
    assert str(service_refused.value) == str(ours_refused.value)
    with pytest.raises(DocumentError, match=re.escape(f"{path}: {ours_refused.value}")):
        read_document(path, kind_of(path))


@pytest.mark.parametrize("path", BAD, ids=name)
def test_pydantic_refuses_every_bad_document_by_itself(path: Path) -> None:
    assert pydantics(kind_of(path), path.read_bytes()) is None


def test_every_refusal_is_of_a_document_in_the_corpus() -> None:
    assert {path.stem for path in BAD} == set(REFUSALS)


ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 64, 65, 2**31, 2**63 - 1, 2**63, 2**64, 10**19, -(2**63), 10**25,
    0.0, -0.0, 1.0, 0.5, 0.99, -1.5, 1e-400, 1e-320, 1e308, float("nan"), float("inf"),
    "", "1", "true", "null", "relu", "conv2d", "model/1", "plan/1", "plan/2", "plan/3", "sgd", "data",
    "\ud800", "\0", "é", "x" * 200, "x" * 201,
    [], [0], [0, 1], [1, 2], [0, 2], [1, 2, 3], [[]], [None],
    {}, {"op": "relu"}, {"op": "relu", "x": 1}, {"kind": "auxiliary", "filters": 8},
)  # fmt: skip
odd_values = st.one_of(
    st.sampled_from(ODD),
    st.integers(-(10**21), 10**21),
    st.floats(),
    st.text(max_size=4),
    st.recursive(
        st.none() | st.booleans() | st.integers(0, 9), lambda inner: st.lists(inner, max_size=3), max_leaves=6
    ),
)


def containers(value: Any) -> Iterator[Any]:
    """Every list and object inside a JSON value, itself included."""
    if isinstance(value, dict | list):
        yield value
        for _, item in pairs(value):
            yield from containers(item)


def pairs(box: Any) -> list[tuple[Any, Any]]:
    """Keys and values of an object, or indices and items of a list."""
    return list(box.items() if isinstance(box, dict) else enumerate(box))


def nudge(value: Any) -> list[Any]:
    """Values beside a scalar: of the same type, which may be right, and of a type that looks like it."""
    if isinstance(value, bool):
        return [not value, int(value), str(value).lower()]
    if isinstance(value, int):
        return [value + 1, value * 2, value * 1000, -value, float(value), str(value), bool(value)]
    if isinstance(value, float):
        return [value / 2, value * 2, -value, int(value) if math.isfinite(value) else 0, str(value)]
    return [f"{value}x", f"{value}".upper(), None, [value]]


def mutate(value: Any, draw: st.DrawFn) -> None:
    """Change one place a little, or drop, add or replace a field, an item or a whole part."""
    box = draw(st.sampled_from(list(containers(value))))
    if draw(st.booleans()):
        scalars = [key for key, item in pairs(box) if not isinstance(item, dict | list)]
        if scalars:
            key = draw(st.sampled_from(scalars))
            box[key] = draw(st.sampled_from(nudge(box[key])))
            return
    new = deepcopy(draw(odd_values | st.sampled_from(list(containers(value)))))
    keys = [key for key, _ in pairs(box)]
    action = draw(st.sampled_from(("replace", "replace", "drop", "add")))
    if action == "add" or not keys:
        if isinstance(box, dict):
            box[draw(st.sampled_from(("extra", "id", "op", "kind", "units", "recompute", "bias", "")))] = new
        else:
            box.insert(draw(st.integers(0, len(box))), new)
        return
    key = draw(st.sampled_from(keys))
    if action == "drop":
        del box[key]
    else:
        box[key] = new


@st.composite
def mutated(draw: st.DrawFn) -> tuple[type[Any], bytes]:
    path = draw(st.sampled_from(GOOD))
    value = json.loads(path.read_bytes())
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        mutate(value, draw)
    return kind_of(path), json.dumps(value, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")


@settings(max_examples=1500, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_both_decoders_agree_on_changed_documents(case: tuple[type[Any], bytes]) -> None:
    kind, text = case
    assert repr(ours(kind, text)) == repr(pydantics(kind, text))


@st.composite
def damaged(draw: st.DrawFn) -> tuple[type[Any], bytes]:
    path = draw(st.sampled_from([path for path in GOOD if path.stat().st_size < 4096]))
    text = bytearray(path.read_bytes())
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        start = draw(st.integers(0, len(text)))
        piece = draw(
            st.binary(max_size=3) | st.sampled_from((b"0", b"-", b".0", b"e1", b'"', b",", b"null", b"\\u00", b"}"))
        )
        text[start : start + draw(st.integers(0, 3))] = piece
    return kind_of(path), bytes(text)


@settings(max_examples=1500)
@given(damaged())
def test_both_decoders_agree_on_damaged_bytes(case: tuple[type[Any], bytes]) -> None:
    kind, text = case
    assert repr(ours(kind, text)) == repr(pydantics(kind, text))


@settings(max_examples=500)
@given(st.integers(-(10**20) + 1, 10**20 - 1) | st.floats(allow_nan=False, allow_infinity=False), st.sampled_from("eE"))
def test_both_decoders_read_the_same_number(number: float, exponent: str) -> None:
    written = json.dumps(number).replace("e", exponent)
    good = (CORPUS / "report" / "good" / "two_blocks.json").read_text()
    text = re.sub(r'"seconds": [0-9.]+', f'"seconds": {written}', good).encode()
    document = ours(KINDS["report"], text)
    assert document == pydantics(KINDS["report"], text)
    assert document.seconds == float(number)


@dataclass(frozen=True)
class Lopsided:
    """A schema on which the two do disagree: only pydantic looks at the bound."""

    values: tuple[Annotated[int, Field(gt=5)], ...]


def test_what_pydantic_alone_refuses_is_refused() -> None:
    assert ours(Lopsided, b'{"values": [6, 5]}') is not None
    with pytest.raises(DocumentError, match=r"^\$\.values\.1: Input should be greater than 5$"):
        parse(Lopsided, b'{"values": [6, 5]}')


def test_the_longest_document_is_read_and_a_longer_one_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(limits, "MAX_DOCUMENT_BYTES", 100)
    path = tmp_path / "long.json"
    path.write_text('"x"' + " " * 97)
    assert read_json(path) == "x"
    path.write_text('"x"' + " " * 98)
    with pytest.raises(DocumentError, match=r"long\.json: \$: longer than 100 B"):
        read_json(path)


def test_an_endless_file_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_DOCUMENT_BYTES", 4096)
    with pytest.raises(DocumentError, match=r"^/dev/zero: \$: longer than 4\.0 KiB"):
        read_json("/dev/zero")


@pytest.mark.parametrize("path", ["missing.json", "."])
def test_an_unreadable_file_is_named(path: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"{re.escape(str(tmp_path / path))}: cannot be read \(\w+"):
        read_document(tmp_path / path, Plan)


@pytest.mark.parametrize("depth", [limits.MAX_DOCUMENT_DEPTH, limits.MAX_DOCUMENT_DEPTH + 1])
def test_depth_is_counted_in_lists_and_objects(depth: int) -> None:
    text = '{"a":' * (depth // 2) + "[" * (depth - depth // 2) + "]" * (depth - depth // 2) + "}" * (depth // 2)
    if depth <= limits.MAX_DOCUMENT_DEPTH:
        parse_json(text)
    else:
        with pytest.raises(DocumentError, match="nested deeper than 32"):
            parse_json(text)


def test_a_number_of_twenty_digits_is_read_exactly() -> None:
    assert parse_json("99999999999999999999") == 10**20 - 1


def test_text_is_read_as_well_as_bytes() -> None:
    assert parse_json('{"a": "é"}') == parse_json('{"a": "é"}'.encode()) == {"a": "é"}


def test_a_version_of_endless_digits_is_no_crash() -> None:
    with pytest.raises(DocumentError, match=r"\$\.schema"):
        decode(ZooReference, {"schema": "model/" + "9" * 5000, "zoo": "vgg11"})


def test_errors_carry_path_and_problem_apart() -> None:
    with pytest.raises(DocumentError) as refused:
        decode(Conv2d, {"op": "conv2d", "out_channels": 0, "kernel": 3}, "$.head")
    assert refused.value.path == "$.head"
    assert refused.value.problem == "out_channels is 0; it must lie between 1 and 65536"


def test_non_finite_numbers_are_not_written() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        to_json({"loss": float("nan")})


def test_content_id_is_the_sha256_of_sorted_content_without_the_id() -> None:
    # printf '%s' '{"classes":10,"input":[3,32,32],"schema":"model/1","zoo":"größe"}' | sha256sum
    expected = "b59d5f261e662ee863b4d83bb24c8194e7f73fe8807a5b9d61ce4fed95b869c9"
    assert content_id(ZooReference("model/1", "größe")) == expected


@pytest.mark.parametrize("path", [path for path in GOOD if kind_of(path) in (Plan, Profile)], ids=name)
def test_content_id_depends_on_content_alone(path: Path) -> None:
    document: Any = read_document(path, kind_of(path))
    backwards = json.loads(path.read_bytes(), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert list(backwards)[-1] == "schema"
    assert content_id(decode(kind_of(path), backwards)) == document.id
    assert content_id(replace(document, id="another")) == document.id
    assert content_id(replace(document, calibration_seconds=0.75)) != document.id


@dataclass(frozen=True)
class _Before:
    number: int


@dataclass(frozen=True)
class _After:
    number: int
    notes: tuple[str, ...] = added(())


@dataclass(frozen=True)
class _Around:
    inner: tuple[_Before | _After, ...]


def test_a_field_that_was_added_changes_an_id_where_it_says_something() -> None:
    before, after = _Around((_Before(3),)), _Around((_After(3),))
    assert content_id(before) == content_id(after)
    assert content_id(_Around((_After(3, ("more",)),))) != content_id(after)
    assert encode(after) == {"inner": [{"number": 3, "notes": []}]}
    assert decode(_After, {"number": 3}) == _After(3)


def test_the_decoder_brings_no_pydantic_and_no_numpy() -> None:
    program = "import sys, planner.schema.codec, planner.schema.plan, planner.schema.report; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "planner.schema.report" in loaded
    assert not {"pydantic", "pydantic_core", "numpy", "torch", "typing_extensions"} & set(loaded)
