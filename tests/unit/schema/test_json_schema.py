"""The JSON Schema that is printed asks of a document what its decoder does, judged by a validator of others."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, ClassVar

import jsonschema_rs
import pytest

from planner.cli.main import main
from planner.errors import DocumentError
from planner.model.written.expand import WrittenModel
from planner.model.zoo import ZOO, from_zoo
from planner.schema.codec import decode, encode, formerly, parse_json
from planner.schema.json_schema import json_schema
from planner.schema.model import Model
from tests.unit.corpus import documents, kind_of, name

_OF_STRUCTURE = re.compile(
    r"is needed, not|unknown field|field is missing|is not one of|it is one of|a list of \d+ is needed|is not a '|"
    "is newer"
)
"""What the decoder says of types, fields and choices; ranges are said otherwise."""
_WHOLE_TO_JSON = ("float_for_int", "exponent_for_int")
"""`3.0` is a whole number to JSON Schema, and none to the decoder."""


def printed(document: str, capsys: pytest.CaptureFixture[str]) -> Any:
    assert main(["schema", document]) == 0
    return jsonschema_rs.Draft202012Validator(json.loads(capsys.readouterr().out))


def refusal(kind: type, value: Any) -> str:
    try:
        decode(kind, value)
    except DocumentError as error:
        return error.problem
    return ""


@pytest.mark.parametrize("document", ["model", "profile", "plan", "report"])
def test_it_refuses_what_the_decoder_refuses_of_structure_and_nothing_else(
    document: str, capsys: pytest.CaptureFixture[str]
) -> None:
    validator = printed(document, capsys)
    seen = set()
    for path in documents("good") + documents("bad"):
        if path.parents[1].name != document or path.stem in _WHOLE_TO_JSON:
            continue
        try:
            value = parse_json(path.read_bytes())
        except DocumentError:
            continue
        kind = WrittenModel if kind_of(path) is Model else kind_of(path)
        is_refused = _OF_STRUCTURE.search(refusal(kind, value)) is not None
        assert validator.is_valid(value) is not is_refused, name(path)
        seen.add(is_refused)
    assert seen == {False, True}


def test_it_takes_every_network_of_the_zoo(capsys: pytest.CaptureFixture[str]) -> None:
    validator = printed("model", capsys)
    for zoo in ZOO:
        value = json.loads(json.dumps(encode(from_zoo(zoo))))
        validator.validate(value)
        value["units"][0]["layers"][0]["colour"] = "red"
        assert not validator.is_valid(value), zoo


@dataclass(frozen=True)
class _Renamed:
    of_the_class: ClassVar[str] = ""
    new: int = formerly("old", 1)
    """Its number."""


def test_a_field_may_go_by_its_former_name_and_is_described() -> None:
    schema = json_schema("renamed", _Renamed)
    validator = jsonschema_rs.Draft202012Validator(schema)
    for value in ({"new": 2}, {"old": 2}, {}, {"new": 1, "old": 2}, {"old": "2"}, {"of_the_class": ""}):
        assert validator.is_valid(value) is (refusal(_Renamed, value) == ""), value
    assert schema["$defs"]["_Renamed"]["properties"]["new"]["description"] == "Its number."
