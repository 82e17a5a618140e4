"""The pages of the documents, from the JSON Schema that `neuroflux schema` prints."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from docs.generate import markdown
from planner.cli.schema import DOCUMENTS, schema_of

_ABOUT = {
    "model": "What a network is: a chain of units, each a list of layers or a graph of operators. "
    "[How to write one](../descriptions.md) has examples.",
    "profile": "What `neuroflux profile` measured on a device: bytes and seconds of every unit and head.",
    "plan": "What `neuroflux plan` found: blocks, cuts, micro-batches and heads, with a prediction for each. Its field "
    "`request` holds what was asked for.",
    "report": "What a run did: predicted against measured, accuracy, and which network came out.",
}


def pages() -> dict[str, str]:
    """A page for each kind of document."""
    return {f"{name}.md": _page(name) for name in DOCUMENTS}


def _page(name: str) -> str:
    schema = schema_of(name)
    about = (
        f"{_ABOUT[name]} One JSON document; unknown fields are refused. `neuroflux schema {name}` prints the same as "
        "JSON Schema (2020-12), for editors and other tools. A field without a default has to be there."
    )
    parts: dict[str, Any] = schema["$defs"]
    top = schema.get("anyOf", [schema])
    first = [each["$ref"].rpartition("/")[2] for each in top]
    names = [*first, *sorted(part for part in parts if part not in first)]
    return markdown.page(f"Document: {name}", about, *(text for each in names for text in _object(each, parts[each])))


def _object(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {name}"
    yield markdown.paragraphs(schema["description"])
    rows = [
        (markdown.code(field), _kind(value), _default(value), markdown.cell(value.get("description", "")))
        for field, value in schema["properties"].items()
        if not value.get("deprecated")
    ]
    if rows:
        yield markdown.table(("field", "type", "default", "what it says"), rows)
    former = [markdown.code(field) for field, value in schema["properties"].items() if value.get("deprecated")]
    if former:
        yield f"Names of before, still read: {', '.join(former)}."


def _kind(value: Mapping[str, Any]) -> str:
    """A type in words, with links to the objects of the page."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in value:
        return " or ".join(markdown.code(json.dumps(each, ensure_ascii=False)) for each in value["enum"])
    if "anyOf" in value:
        return " or ".join(_kind(each) for each in value["anyOf"])
    if "prefixItems" in value:
        return f"list of ({', '.join(_kind(each) for each in value['prefixItems'])})"
    if "items" in value:
        return f"list of {_kind(value['items'])}"
    return str(value["type"])


def _default(value: Mapping[str, Any]) -> str:
    return markdown.code(json.dumps(value["default"], ensure_ascii=False)) if "default" in value else ""
