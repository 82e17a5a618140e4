"""Documents that arrive over the network: the planner's own dataclasses, read through pydantic.

pydantic is used for what it gives the service (validation in compiled code, JSON Schema for OpenAPI); the words of a
refusal are the planner's own, so that a person reads the same whether a document goes to the command line or to REST.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypeAliasType  # pydantic brings it

from planner.errors import DocumentError
from planner.schema.codec import decode, parse_json

T = TypeVar("T")

_CONFIG = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


def adapter(kind: type[T]) -> TypeAdapter[T]:
    """The pydantic adapter of a schema's dataclass: strict types, unknown fields refused, fields described.

    Read through `parse`, not through this: pydantic alone sees no duplicate keys.
    """
    key: Any = kind
    return _adapter(key)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    # pydantic takes no configuration for a dataclass itself; behind an alias, it reaches the dataclass and its parts.
    alias: Any = TypeAliasType(kind.__name__, kind)
    return TypeAdapter(alias, config=_CONFIG)


def parse(kind: type[T], text: bytes) -> T:
    """Read a document of schema `kind`. Raises DocumentError naming the place and what is right."""
    value = parse_json(text)
    try:
        return adapter(kind).validate_json(text)
    except ValidationError as error:
        decode(kind, value)
        raise _disagreement(error) from None


def _disagreement(error: ValidationError) -> DocumentError:
    """What pydantic refuses although our decoder would not; the tests know of no such document."""
    first: Any = error.errors(include_url=False)[0]
    return DocumentError("$." + ".".join(str(step) for step in first["loc"]), first["msg"])
