"""JSON Schema (2020-12) of a document, made from the dataclasses that `planner.schema.codec` reads it with.

It says what the decoder asks of types, fields and choices. Ranges, and whether layers fit each other, are checked on
construction and are no part of it. (A whole number may be written `1.0` for JSON Schema, which the decoder refuses.)
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import types
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal, Union, get_args, get_origin

from planner import limits
from planner.schema.codec import encode, field_hints, former_names, required_fields

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SCALARS: Mapping[Any, Mapping[str, Any]] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    str: {"type": "string", "maxLength": limits.MAX_TEXT_LENGTH},
    type(None): {"type": "null"},
}


def json_schema(title: str, *kinds: type) -> dict[str, Any]:
    """The schema of a document that is one of `kinds`."""
    parts = _Parts()
    found = [parts.of(kind) for kind in kinds]
    body = found[0] if len(found) == 1 else {"anyOf": found}
    return {"$schema": _DIALECT, "title": title, **body, "$defs": parts.found}


class _Parts:
    """The dataclasses met on the way, each once."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self._kinds: dict[str, type] = {}

    def of(self, hint: Any) -> dict[str, Any]:
        """The schema of a value with this annotation."""
        origin, inner = get_origin(hint), get_args(hint)
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            return self._reference(hint)
        if origin is Literal:
            return {"enum": list(inner)}
        if origin in (Union, types.UnionType):
            return {"anyOf": [self.of(member) for member in inner]}
        if origin is tuple and len(inner) == 2 and inner[1] is Ellipsis:
            return {"type": "array", "items": self.of(inner[0]), "maxItems": limits.MAX_LIST_LENGTH}
        if origin is tuple:
            items = [self.of(item) for item in inner]
            return {"type": "array", "prefixItems": items, "minItems": len(inner), "maxItems": len(inner)}
        return dict(_SCALARS[hint])

    def _reference(self, kind: type) -> dict[str, Any]:
        name = kind.__name__
        if name not in self.found:
            self._kinds[name] = kind
            self.found[name] = {}  # before what it is made of, which may hold it again
            self.found[name].update(self._object(kind))
        if self._kinds[name] is not kind:
            raise TypeError(f"two dataclasses of one schema are called {name}")
        return {"$ref": f"#/$defs/{name}"}

    def _object(self, kind: type) -> dict[str, Any]:
        said = _field_docs(kind)
        required = required_fields(kind)
        defaults = {field.name: field.default for field in dataclasses.fields(kind)}
        properties: dict[str, Any] = {}
        for name, hint in field_hints(kind).items():
            properties[name] = self.of(hint)
            if name in said:
                properties[name]["description"] = said[name]
            if name not in required:
                properties[name]["default"] = encode(defaults[name])
        found: dict[str, Any] = {
            "type": "object",
            "description": inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0],
            "properties": properties,
            "required": [name for name in properties if name in required],
            "additionalProperties": False,
        }
        for former, name in former_names(kind).items():
            properties[former] = {**properties[name], "deprecated": True}
            found.setdefault("allOf", []).append({"not": {"required": [former, name]}})
        return found


def _field_docs(kind: type) -> dict[str, str]:
    """The text below each field, that of the classes that it comes from included."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(each):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(each))).body[0]
        statements = body.body if isinstance(body, ast.ClassDef) else []
        for field, below in pairwise(statements):
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                found[field.target.id] = " ".join(str(below.value.value).split())
    return found
