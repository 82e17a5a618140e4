"""What the tensors of an ONNX file are called in a description. The standard library alone."""

from __future__ import annotations

import re
from collections.abc import Iterable

from planner.limits import MAX_NAME_LENGTH
from planner.model.importers.onnx.document import OnnxFile, OnnxTensor


def own_names(document: OnnxFile) -> dict[str, OnnxTensor]:
    """The tensors of a file by names that a unit graph can have: initializers, then what nodes called Constant hold.

    Names are the file's, as far as letters, digits, `_`, `-` and single dots go; what else they have becomes `_`.
    """
    given = dict(document.initializers)
    for node in document.nodes:
        value = node.attributes.get("value")
        if node.operator == "Constant" and isinstance(value, OnnxTensor) and len(node.outputs) == 1:
            given.setdefault(node.outputs[0], value)
    return dict(zip(names_for(given), given.values(), strict=True))


def names_for(names: Iterable[str]) -> list[str]:
    """A name for each, in their order; those that are right already keep theirs."""
    names = list(names)
    taken = {name for name in names if _plain(name) == name}
    found = []
    for name in names:
        base = _plain(name)
        plain, count = base, 1
        while plain != name and plain in taken:
            count += 1
            plain = f"{base}_{count}"
        taken.add(plain)
        found.append(plain)
    return found


def _plain(name: str) -> str:
    found = re.sub(r"[^\w.-]", "_", name)[: MAX_NAME_LENGTH - 8]
    return re.sub(r"\.(?=\.|$)|^\.", "_", found) or "_"
