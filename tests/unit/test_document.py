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
from planner.document import content_id, decode, encode, parse_json, read_document, read_json, to_json
from planner.errors import DocumentError, InputError
from planner.model.load import model_from_json
from planner.model.spec import Conv2d, Model, ZooReference
from planner.profiler.schema import Profile
from planner.solver.schema import Plan
from tests.unit.corpus import CORPUS, KINDS, documents, kind_of, name

GOOD = documents("good")
BAD = documents("bad")

NOT_JSON = r"^\$: not JSON: .+ at line \d+, column \d+$"
REFUSALS = {
    # What is wrong whichever the schema: `parse_json`'s business.
    "1e400": r"^\$: the number 1e400 is too large",
    "bad_escape": NOT_JSON,
    "bare_fraction": NOT_JSON,
    "bare_point": NOT_JSON,
    "byte_order_mark": NOT_JSON,
    "comment": NOT_JSON,
    "control_character": NOT_JSON,
    "deep_nesting": r"^\$\.\w+(\[0\])+\S*…: nested deeper than 32",
    "duplicate_key": r"^\$: the key '\w+' stands twice in one object",
    "duplicate_key_at_top": r"^\$: the key 'schema' stands twice in one object",
    "empty": NOT_JSON,
    "endless_nesting": r"^\$: nested deeper than 32",
    "foreign_digits": NOT_JSON,
    "hexadecimal": NOT_JSON,
    "huge_int": r"^\$: the number 1(0){19}… is too large",
    "infinity": r"^\$: Infinity is not a number that JSON allows",
    "leading_zero": NOT_JSON,
    "lone_surrogate": r"^\$\.\S+: text with a lone surrogate",
    "lone_surrogate_in_key": r"^\$: text with a lone surrogate",
    "nan": r"^\$: NaN is not a number that JSON allows",
    "negative_infinity": r"^\$: -Infinity is not a number that JSON allows",
    "not_utf8": r"^\$: not UTF-8 text \(invalid start byte at byte \d+\)",
    "plus_sign": NOT_JSON,
    "single_quotes": NOT_JSON,
    "surrogate_in_utf8": r"^\$: not UTF-8 text \(invalid continuation byte at byte \d+\)",
    "too_long_key": r"^\$: text of 8193 characters; at most 8192 are allowed",
    "too_long_name": r"name: its length is 201; it must lie between 1 and 200",
    "too_long_text": r"^\$\.\S+: text of 8193 characters; at most 8192 are allowed",
    "trailing_comma": NOT_JSON,
    "truncated": NOT_JSON,
    "two_documents": NOT_JSON,
    "utf16": r"^\$: not UTF-8 text \(invalid start byte at byte 0\)",
    # Types and fields: said twice, by `decode` and by pydantic.
    "bad_ladder": r"^\$\.blocks\[0\]\.ladder\[0\]\.micro_batch: a whole number is needed, not 2\.5",
    "bool_for_float": r"^\$\.\S+: a number is needed, not true",
    "bool_for_int": r"^\$\.\S+: a whole number is needed, not true",
    "choice_in_capitals": r'^\$\.\S+: "[A-Z0-9_]+" is (not one of|unknown; it is one of)',
    "class_name_for_tag": r'\.op: "torch\.nn\.Conv2d" is unknown; it is one of adaptive_avg_pool2d, ',
    "exponent_for_int": r"^\$\.\S+: a whole number is needed, not 10\.0",
    "field_of_another_operator": r"\.layers\[2\]\.kernel: unknown field; Activation has op",
    "float_for_int": r"^\$\.\S+: a whole number is needed, not \d+\.0",
    "fractional_unexplained": r"^\$\.units\[0\]\.costs\[0\]\.unexplained_bytes: a whole number",
    "foreign_schema": r"^\$\.schema: 'recipe/1' is not a '\w+' document",
    "head_of_another_kind": r'\.head\.kind: "classifier" is not one of \'auxiliary\'',
    "int_among_texts": r"^\$\.deviations\[1\]: text is needed, not 2",
    "int_for_bool": r"^\$\.\S+: true or false is needed, not 1",
    "int_for_schema": r"^\$\.schema: 1 is not one of '\w+/1'",
    "int_for_tag": r"\.op: 3 is unknown; it is one of",
    "int_for_text": r"^\$\.\S+: text is needed, not 7",
    "list_at_top": r"^\$: an object is needed, not a list",
    "list_for_object": r"^\$\.\S+: an object is needed, not a list",
    "list_for_tag": r"\.op: a list is unknown; it is one of",
    "long_tuple": r"^\$\.\S+: a list of \d is needed, not of \d",
    "missing_field": r"^\$\.\S+: this field is missing",
    "missing_residual_body": r"^\$\.units\[0\]\.layers\[0\]\.body: this field is missing",
    "missing_schema": r"^\$\.schema: this field is missing",
    "missing_tag": r"\.op: is missing; it is one of",
    "newer_schema": r"^\$\.schema: '\w+/2' is newer than this release reads \('\w+/1'\); update it",
    "null_at_top": r"^\$: an object is needed, not null",
    "null_for_int": r"^\$\.\S+: a whole number is needed, not null",
    "null_for_object": r"^\$\.\S+: an object is needed, not null",
    "null_for_text": r"^\$\.\S+: text is needed, not null",
    "object_for_list": r"^\$\.\S+: a list is needed, not an object",
    "older_schema": r"^\$\.schema: \"\w+/0\" is not one of '\w+/1'",
    "short_tuple": r"^\$\.\S+: a list of \d is needed, not of \d",
    "text_at_top": r"^\$: an object is needed, not \"\w+/1\"",
    "text_for_bool": r"^\$\.\S+: true or false is needed, not \"true\"",
    "text_for_float": r"^\$\.\S+: a number is needed, not \"0\.5\"",
    "text_for_int": r"^\$\.\S+: a whole number is needed, not \"\d+\"",
    "text_for_list": r"^\$\.\S+: a list is needed, not \"none\"",
    "text_in_tuple": r"^\$\.blocks\[0\]\.units\[1\]: a whole number is needed, not \"1\"",
    "unknown_choice": r'^\$\.\S+: "nothing_like_it" is (not one of|unknown; it is one of)',
    "unknown_field": r"^\$\.\S+\.colour: unknown field; \w+ has ",
    "unknown_field_in_residual": r"\.layers\[0\]\.body\[0\]\.inplace: unknown field; Activation has op",
    "unversioned_schema": r"^\$\.schema: \"\w+\" is not one of '\w+/1'",
    "wrong_tag": r'^\$\.units\[0\]\.layers\[0\]\.op: "conv3d" is unknown; it is one of',
    "zoo_and_units": r"^\$\.zoo: unknown field; Model has schema, name, input, classes, units",
    "zoo_int": r"^\$\.zoo: text is needed, not 11",
    "zoo_null": r"^\$\.zoo: text is needed, not null",
    "zoo_unknown_field": r"^\$\.depth: unknown field; ZooReference has schema, zoo, input, classes",
    # Ranges: each dataclass's `__post_init__`.
    "bad_model_inside": r"^\$\.model\.units\[0\]\.layers\[0\]: kernel is 0; it must lie between 1 and 64",
    "batch_is_not_the_product": r"^\$: blocks: micro_batch 4 × accumulate 2 is not the batch of 9",
    "blocks_end_early": r"^\$: blocks: .* do not join up to \[0, 2\]",
    "boundary_beyond_units": r"^\$: heads: a boundary lies beyond the model's 2 units",
    "bytes_beyond_63_bits": r"bytes is 9223372036854775808; ",
    "channels_beyond_64_bits": r"out_channels is 18446744073709551616; it must lie between 1 and 65536",
    "channels_beyond_limit": r"out_channels is 65537; it must lie between 1 and 65536",
    "classifier_left_out": r"^\$: heads: the classifier's loss behind the last unit is missing",
    "dropout_of_everything": r"^\$\.units\[1\]\.layers\[1\]: p is 1\.0; it must lie between 0\.0 and 0\.99",
    "empty_residual_body": r"^\$\.units\[0\]\.layers\[0\]: body is empty",
    "empty_span": r"^\$\.blocks\[0\]\.segments\[0\]: units is \[1, 1\]; ",
    "end_above_peak": r"end_bytes is above backward_peak_bytes",
    "falling_micro_batches": r"^\$\.units\[0\]: costs: micro-batches must be present and rise, but are \[8, 2\]",
    "gap_between_segments": r"^\$\.blocks\[0\]: segments: .* do not join up to \[0, 2\]",
    "head_behind_the_classifier": r"^\$: segments: exactly the last of the plan ends in the model's own classifier",
    "head_left_out": r"^\$: segments: exactly the last of the plan ends in the model's own classifier",
    "kept_above_peak": r"saved_bytes ≤ kept_bytes ≤ forward_peak_bytes does not hold",
    "kernel_beyond_limit": r"kernel is 65; it must lie between 1 and 64",
    "nameless_unit": r"name: its length is 0; it must lie between 1 and 200",
    "negative_calibration": r"^\$\.blocks\[0\]: calibration_seconds is -0\.0039; it must lie between 1e-9 and 1e9",
    "negative_account": r"^\$\.policies\[0\]\.account: code_bytes is -8000000; ",
    "negative_bytes": r"bytes is -1; ",
    "negative_time_limit": r"^\$\.limits: max_seconds is -600\.0; ",
    "negative_padding": r"padding is -1; it must lie between 0 and 64",
    "negative_seconds": r"forward_seconds is -0\.001; ",
    "negative_span": r"units is \[-1, 1\]; ",
    "nesterov_without_momentum": r"nesterov needs a momentum above 0",
    "no_blocks": r"^\$: blocks: .* do not join up to \[0, 2\]",
    "no_costs": r"^\$\.units\[0\]: costs: micro-batches must be present and rise",
    "no_layers": r"^\$\.units\[0\]: layers: .* is 0; it must lie between 1 and 64",
    "no_segments": r"^\$\.blocks\[0\]: segments: .* do not join up to \[0, 2\]",
    "no_units": r"^\$: units: their number is 0; it must lie between 1 and 1024",
    "one_class": r"^\$: classes is 1; it must lie between 2 and 65536",
    "optimizer_in_backward_not_yet": r"^\$\.blocks\[0\]: optimizer_in_backward: ",
    "padding_beyond_half_the_window": r"padding is 2; it must lie between 0 and 1",
    "recompute_not_yet": r"^\$\.blocks\[0\]\.segments\[0\]: recompute: ",
    "repeated_micro_batch": r"costs: micro-batches must be present and rise, but are \[4, 4\]",
    "seed_beyond_63_bits": r"^\$\.training: seed is 9223372036854775808; ",
    "span_reversed": r"^\$\.blocks\[0\]: units is \[2, 0\]; ",
    "too_many_layers": r"^\$\.units\[0\]: layers: .* is 65; it must lie between 1 and 64",
    "too_many_nested_layers": r"^\$\.units\[0\]: layers: .* is 65; it must lie between 1 and 64",
    "two_units_of_one_name": r"^\$: units: two of them share a name",
    "unknown_reason": r"^\$\.limits\.left_out\[1\]\.reason: ",
    "unit_left_out": r"^\$: units: 1 are profiled, but the model has 2",
    "zero_calibration": r"^\$: calibration_seconds is 0\.0; it must lie between 1e-9 and 1e9",
    "zero_budget": r"^\$\.budget: bytes is 0; ",
    "zero_epochs": r"^\$\.training: epochs is 0; ",
    "zero_eps": r"eps is 0\.0; it must lie between 1e-12 and 1\.0",
    "zero_filters": r"\.head: filters is 0; ",
    "zero_height": r"^\$: input\[1\] \(height\) is 0; ",
    "zero_kernel": r"kernel is 0; it must lie between 1 and 64",
    "zero_learning_rate": r"^\$\.optimizer: lr is 0\.0; ",
    "zero_micro_batch": r"micro_batch is 0; ",
    "zero_storage_speed": r"^\$\.storage: a storage speed of 0",
    "zero_threads": r"^\$\.device: threads is 0; ",
    "zoo_negative_input": r"^\$: input\[2\] \(width\) is -32; ",
    "zoo_zero_classes": r"^\$: classes is 0; ",
}
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
    "", "1", "true", "null", "relu", "conv2d", "model/1", "plan/1", "plan/2", "sgd", "data",
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


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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


@settings(max_examples=1500, deadline=None)
@given(damaged())
def test_both_decoders_agree_on_damaged_bytes(case: tuple[type[Any], bytes]) -> None:
    kind, text = case
    assert repr(ours(kind, text)) == repr(pydantics(kind, text))


@settings(max_examples=500, deadline=None)
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
    assert content_id(replace(document, allocator="fast" if document.allocator == "tight" else "tight")) != document.id


def test_the_decoder_brings_no_pydantic_and_no_numpy() -> None:
    program = "import sys, planner.document, planner.solver.schema, planner.report.schema; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "planner.report.schema" in loaded
    assert not {"pydantic", "pydantic_core", "numpy", "torch", "typing_extensions"} & set(loaded)
