"""Every fault of a document at once, where `planner.schema.codec.decode` stops at the first."""

from __future__ import annotations

import dataclasses
import types
from typing import Any, Union, get_args, get_origin

from planner.errors import DocumentError
from planner.operators.base import FaultsWithin
from planner.schema.codec import decode, field_hints, former_names, required_fields, tagged_member, title


def faults(kind: Any, value: Any, path: str = "$") -> list[DocumentError]:
    """What keeps `value`, of `parse_json`, from being a `kind`, in the order of the document; none: it is one.

    What several parts of a document are wrong about together is found once each of them is right.
    """
    try:
        decode(kind, value, path)
    except DocumentError as error:
        is_other = error.path == f"{path}.schema"  # another kind of document, or another release's
        return [error] if is_other else _within(kind, value, path) or [error]
    return []


def _within(kind: Any, value: Any, path: str) -> list[DocumentError]:
    """The faults of its parts."""
    if value is None:
        return []
    if get_origin(kind) in (Union, types.UnionType):
        members = tuple(member for member in get_args(kind) if member is not type(None))
        if not all(map(dataclasses.is_dataclass, members)):
            return []
        try:
            kind = members[0] if len(members) == 1 else tagged_member(members, value, path)
        except DocumentError:
            return []
    if get_origin(kind) is tuple and isinstance(value, list):
        inner = get_args(kind)
        is_list = len(inner) == 2 and inner[1] is Ellipsis
        if not is_list and len(inner) != len(value):
            return []
        return [
            fault
            for index, item in enumerate(value)
            for fault in faults(inner[0 if is_list else index], item, f"{path}[{index}]")
        ]
    if dataclasses.is_dataclass(kind) and isinstance(kind, type) and isinstance(value, dict):
        return _within_fields(kind, value, path)
    return []


def _within_fields(kind: type, value: dict[str, Any], path: str) -> list[DocumentError]:
    hints, found = field_hints(kind), list[DocumentError]()
    names = former_names(kind)
    for key, item in value.items():
        name = names.get(key, key)
        if name in hints:
            found += faults(hints[name], item, f"{path}.{key}")
        else:
            known = ", ".join(hints)
            found.append(DocumentError(f"{path}.{key[:40]}", f"unknown field; {title(kind)} has {known}"))
    given = {names.get(key, key) for key in value}
    missing = [name for name in hints if name in required_fields(kind) and name not in given]
    found += [DocumentError(f"{path}.{name}", "this field is missing") for name in missing]
    return found or _on_construction(kind, value, path)


def _on_construction(kind: type, value: dict[str, Any], path: str) -> list[DocumentError]:
    """Several faults that a dataclass finds in its own fields."""
    arguments = {
        name: decode(field_hints(kind)[name], item) for name, item in value.items() if name in field_hints(kind)
    }
    try:
        kind(**arguments)
    except FaultsWithin as error:
        return [DocumentError(f"{path}.{place}", problem) for place, problem in error.faults]
    except ValueError:
        pass
    return []
