"""JSON documents to and from frozen dataclasses: the one decoder of runner, CLI and solver.

A schema is a frozen dataclass; its annotations are the schema. The decoder knows exactly what the schemas use: `int`,
`float` (a whole number will do), `str`, `bool`, `tuple[T, ...]`, fixed tuples, `Literal[...]` of text, `T | None`,
other dataclasses, unions of dataclasses told apart by their first `Literal` field (`op` or `kind`), and a scalar or a
tuple of it (`int | tuple[int, ...]`).

The REST API reads the same dataclasses through pydantic (`api.documents`); both accept exactly the same, which the
corpus under tests/corpus proves. Three places share the work. `parse_json` refuses, for both, what is wrong whichever
the schema: encoding, duplicate keys, non-finite or endless numbers, lone surrogates, size, depth and text length beyond
`planner.limits`. `decode` and pydantic each refuse wrong types, unknown and missing fields. Ranges are checked by each
dataclass's own `__post_init__`, which raises `ValueError` and which both call.

No pydantic here: the runner's process would pay 20 MB for it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import types
import typing
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from planner import limits
from planner.errors import DocumentError, InputError
from planner.operators.base import FaultsWithin
from planner.units import format_bytes

T = TypeVar("T")

_MAX_DIGITS = 20

_ADDED = "added"
"""In a field's metadata: see `added`."""


def added(default: T) -> T:
    """The default of a field that documents got after the first of them had ids: at its default it is no part of an id.

    So what was written before keeps its id, and reads as saying what was so before there was the field.
    """
    return dataclasses.field(default=default, metadata={_ADDED: True})


_FORMERLY = "formerly"
"""In a field's metadata: see `formerly`."""


def formerly(name: str, default: T) -> T:
    """The default of a field that an earlier release wrote as `name`: a document may say either, but not both.

    For documents that only `decode` reads; pydantic does not know of it.
    """
    return dataclasses.field(default=default, metadata={_FORMERLY: name})


def parse_json(text: str | bytes, longest: int | None = None, most_items: int | None = None) -> Any:
    """Parse one JSON value and refuse what no schema allows. Bytes are read as UTF-8, without a byte order mark.

    Raises DocumentError for duplicate keys, NaN, Infinity, numbers that overflow a float or have more than 20 digits,
    lone surrogates, and size, nesting or text beyond `planner.limits`; `longest` (bytes) and `most_items` (of a list or
    object) are for what is no document.
    """
    longest = limits.MAX_DOCUMENT_BYTES if longest is None else longest
    if len(text) > longest:
        raise DocumentError("$", f"longer than {format_bytes(longest)}")
    try:
        value = json.loads(
            text if isinstance(text, str) else text.decode(),
            object_pairs_hook=_unique_keys,
            parse_constant=_no_constant,
            parse_float=_finite_float,
            parse_int=_bounded_int,
        )
    except RecursionError:
        raise _too_deep("$") from None
    except UnicodeDecodeError as error:
        raise DocumentError("$", f"not UTF-8 text ({error.reason} at byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise DocumentError("$", f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    _check_tree(value, "$", 0, limits.MAX_LIST_LENGTH if most_items is None else most_items)
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # None, as meant
        raise DocumentError("$", f"the key {twice[:40]!r} stands twice in one object")
    return found


def _no_constant(name: str) -> Any:
    raise DocumentError("$", f"{name} is not a number that JSON allows")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise DocumentError("$", f"the number {text[:40]} is too large")
    return value


def _bounded_int(text: str) -> int:
    if len(text.lstrip("-")) > _MAX_DIGITS:
        raise DocumentError("$", f"the number {text[:_MAX_DIGITS]}… is too large")
    return int(text)


def _check_tree(value: Any, path: str, depth: int, most_items: int) -> None:
    if isinstance(value, str):
        _check_text(value, path)
    if not isinstance(value, dict | list):
        return
    if depth >= limits.MAX_DOCUMENT_DEPTH:
        raise _too_deep(f"{path[:60]}…")
    if len(value) > most_items:
        raise DocumentError(path, f"{len(value)} items; at most {most_items} are allowed")
    if isinstance(value, dict):
        for key, item in value.items():
            _check_text(key, path)
            _check_tree(item, f"{path}.{key}", depth + 1, most_items)
    else:
        for index, item in enumerate(value):
            _check_tree(item, f"{path}[{index}]", depth + 1, most_items)


def _too_deep(path: str) -> DocumentError:
    return DocumentError(path, f"nested deeper than {limits.MAX_DOCUMENT_DEPTH}")


def _check_text(text: str, path: str) -> None:
    if len(text) > limits.MAX_TEXT_LENGTH:
        raise DocumentError(path, f"text of {len(text)} characters; at most {limits.MAX_TEXT_LENGTH} are allowed")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DocumentError(path, "text with a lone surrogate, which is not Unicode") from None


def read_document(path: Path | str, kind: type[T]) -> T:
    """Read the document of schema `kind` from a file. Raises InputError or DocumentError; both name the file."""
    value = read_json(path)
    try:
        return decode(kind, value)
    except DocumentError as error:
        raise DocumentError(f"{path}: {error.path}", error.problem) from None


def read_json(path: Path | str) -> Any:
    """Read one JSON value from a file, never more of it than a document may have. Raises as `read_document` does."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(limits.MAX_DOCUMENT_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        return parse_json(text)
    except DocumentError as error:
        raise DocumentError(f"{path}: {error.path}", error.problem) from None


def decode(kind: type[T], value: Any, path: str = "$") -> T:
    """Turn a value of `parse_json` into the dataclass `kind`. Raises DocumentError: the place and what is right."""
    if isinstance(value, dict):
        _check_schema_version(kind, value, path)
    return typing.cast(T, _decode(kind, value, path))


def _check_schema_version(kind: type, value: dict[str, Any], path: str) -> None:
    """Say clearly that a document is of another kind or from a newer release, before any field is looked at."""
    expected = field_hints(kind).get("schema") if dataclasses.is_dataclass(kind) else None
    if expected is None or not isinstance(value.get("schema"), str):
        return
    right = get_args(expected)[-1]  # the newest that is read
    name, _, version = right.partition("/")
    given_name, _, given_version = value["schema"].partition("/")
    newer = re.fullmatch(r"[1-9][0-9]{0,8}", given_version) and int(given_version) > int(version)
    if given_name == name and newer:
        problem = f"{value['schema']!r} is newer than this release reads ({right!r}); update it"
        raise DocumentError(f"{path}.schema", problem)
    if given_name != name:
        raise DocumentError(f"{path}.schema", f"{value['schema'][:40]!r} is not a {name!r} document ({right!r})")


@cache
def field_hints(kind: type) -> dict[str, Any]:
    """A schema's fields and their annotations."""
    hints = typing.get_type_hints(kind)  # those of the class itself included
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


@cache
def _tags(members: tuple[type, ...]) -> tuple[str, dict[str, type]]:
    """The field that tells the members of a union apart, and the member behind each of its values."""
    tag = next(name for name, hint in field_hints(members[0]).items() if get_origin(hint) is Literal)
    return tag, {name: member for member in members for name in get_args(field_hints(member)[tag])}


@cache
def required_fields(kind: type) -> frozenset[str]:
    """The fields without a default."""
    missing = dataclasses.MISSING
    fields = dataclasses.fields(kind)
    return frozenset(field.name for field in fields if field.default is missing and field.default_factory is missing)


@cache
def former_names(kind: type) -> dict[str, str]:
    """What a schema's fields are called, by what they were called before."""
    fields = dataclasses.fields(kind)
    return {field.metadata[_FORMERLY]: field.name for field in fields if _FORMERLY in field.metadata}


def _decode(kind: Any, value: Any, path: str) -> Any:
    origin = get_origin(kind)
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(typing.cast(type, kind), value, path)
    if origin is Literal:
        return _decode_literal(get_args(kind), value, path)
    if origin in (Union, types.UnionType):
        return _decode_union(get_args(kind), value, path)
    if origin is tuple:
        return _decode_tuple(get_args(kind), value, path)
    return _decode_scalar(kind, value, path)


def _decode_scalar(kind: Any, value: Any, path: str) -> Any:
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    wanted = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    raise DocumentError(path, f"{wanted[kind]} is needed, not {_name(value)}")


def _decode_literal(choices: tuple[Any, ...], value: Any, path: str) -> Any:
    if value in choices:
        return value
    raise DocumentError(path, f"{_name(value)} is not one of {', '.join(repr(choice) for choice in choices)}")


def _decode_tuple(items: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise DocumentError(path, f"a list is needed, not {_name(value)}")
    if len(items) == 2 and items[1] is Ellipsis:
        return tuple(_decode(items[0], item, f"{path}[{index}]") for index, item in enumerate(value))
    if len(value) != len(items):
        raise DocumentError(path, f"a list of {len(items)} is needed, not of {len(value)}")
    pairs = zip(items, value, strict=True)
    return tuple(_decode(kind, item, f"{path}[{index}]") for index, (kind, item) in enumerate(pairs))


def _decode_union(members: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and type(None) in members:
        return None
    members = tuple(member for member in members if member is not type(None))
    if len(members) == 1:
        return _decode(members[0], value, path)
    words = [member for member in members if get_origin(member) is Literal]
    if words and isinstance(value, str):  # a number, or a word in its place
        return _decode(words[0], value, path)
    if not dataclasses.is_dataclass(members[0]):  # a number, or a list of them
        lists = [member for member in members if get_origin(member) is tuple]
        return _decode(lists[0] if isinstance(value, list | tuple) else members[0], value, path)
    return _decode(tagged_member(members, value, path), value, path)


def tagged_member(members: tuple[Any, ...], value: Any, path: str) -> Any:
    """Which of several dataclasses `value` is. Raises DocumentError."""
    if not isinstance(value, dict):
        raise DocumentError(path, f"an object is needed, not {_name(value)}")
    tag, by_tag = _tags(members)
    given = value.get(tag)
    if isinstance(given, str) and given in by_tag:
        return by_tag[given]
    missing = "is missing" if tag not in value else f"{_name(given)} is unknown"
    raise DocumentError(f"{path}.{tag}", f"{missing}; it is one of {', '.join(sorted(by_tag))}")


def _decode_dataclass(kind: type, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise DocumentError(path, f"an object is needed, not {_name(value)}")
    hints = field_hints(kind)
    for former, name in former_names(kind).items():
        if former in value and name not in value:
            value = {name if key == former else key: item for key, item in value.items()}
    for key in value:
        if key not in hints:
            raise DocumentError(f"{path}.{key[:40]}", f"unknown field; {title(kind)} has {', '.join(hints)}")
    arguments: dict[str, Any] = {}
    for name, hint in hints.items():
        if name in value:
            arguments[name] = _decode(hint, value[name], f"{path}.{name}")
        elif name in required_fields(kind):
            raise DocumentError(f"{path}.{name}", "this field is missing")
    try:
        return kind(**arguments)
    except FaultsWithin as error:
        place, problem = error.faults[0]
        raise DocumentError(f"{path}.{place}", problem) from None
    except ValueError as error:
        raise DocumentError(path, str(error)) from None


def title(kind: type) -> str:
    """What a schema is called to people."""
    return kind.__name__.removeprefix("Written")


def _name(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return json.dumps(value)[:60]


def encode(document: Any) -> Any:
    """Turn a dataclass (or a tree of them) into plain JSON values; the inverse of `decode`.

    A whole number in a field for floats becomes a float, as it is read back: otherwise an id would change on the way.
    """
    return _encode(document, False)


def _encode(document: Any, without_added: bool) -> Any:
    """As `encode`, or as `content`: `without_added` leaves out added fields at their defaults."""
    if dataclasses.is_dataclass(document) and not isinstance(document, type):
        found: dict[str, Any] = {}
        for field, hint in _float_hints(type(document)):
            value = getattr(document, field.name)
            if not (without_added and _ADDED in field.metadata and value == field.default):
                found[field.name] = _encode(value, without_added) if hint is None else _with_floats(hint, value)
        return found
    if isinstance(document, tuple | list):
        return [_encode(item, without_added) for item in document]
    if isinstance(document, Mapping):
        return {key: _encode(item, without_added) for key, item in document.items()}
    return document


@cache
def _float_hints(kind: type) -> tuple[tuple[dataclasses.Field[Any], Any], ...]:
    """A schema's fields, and the annotations of those that hold floats: bare, in tuples, or with None."""
    hints = field_hints(kind)
    return tuple(
        (field, hints[field.name] if _speaks_of_float(hints[field.name]) else None)
        for field in dataclasses.fields(kind)
    )


def _speaks_of_float(hint: Any) -> bool:
    return hint is float or any(_speaks_of_float(inner) for inner in get_args(hint))


def _with_floats(hint: Any, value: Any) -> Any:
    choices = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if type(value) is int and float in choices:
        try:
            return float(value)
        except OverflowError:
            raise InputError(f"the number {str(value)[:_MAX_DIGITS]}… is too large") from None
    if isinstance(value, tuple | list):
        inner = get_args(next(choice for choice in choices if get_origin(choice) is tuple))
        is_list = len(inner) == 2 and inner[1] is Ellipsis
        return [_with_floats(inner[0 if is_list else index], item) for index, item in enumerate(value)]
    return value


def to_json(document: Any, indent: int | None = 1) -> str:
    """Write a document as JSON text, fields in the order of the schema."""
    return json.dumps(encode(document), indent=indent, ensure_ascii=False, allow_nan=False)


def content(document: Any) -> Any:
    """What tells documents apart, as plain JSON values: `encode` without `added` fields at their defaults."""
    return _encode(document, True)


def content_id(document: Any) -> str:
    """sha256 (hex) of the canonical content: sorted keys, no spaces, without the document's own `id`.

    Fields that were `added` later are part of it where they say more than their default.
    """
    values = content(document)
    values.pop("id", None)
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
