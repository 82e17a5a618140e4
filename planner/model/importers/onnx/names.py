"""What the tensors of an ONNX file are called in a description. The standard library alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from planner.limits import MAX_NAME_LENGTH
from planner.model.importers.onnx.document import OnnxFile, OnnxNode, OnnxTensor

_PRODUCTS: Final = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN")

_PARTED: Final = (
    *("Conv", "ConvTranspose", "Gemm", "BatchNormalization", "InstanceNormalization", "GroupNormalization"),
    *("LayerNormalization", "Add", "Mul"),
)
"""Operators of layers that have a tensor along one axis to themselves, as a rule."""


@dataclass
class OwnNames:
    """The tensors of a file by names that a unit graph can have."""

    tensors: dict[str, OnnxTensor] = field(default_factory=dict)
    """By name. One that programs wrote once for several layers, as it held the same in all, is there for each."""
    of: dict[str, str] = field(default_factory=dict)
    """By what the file calls them."""
    at: dict[tuple[int, int], str] = field(default_factory=dict)
    """By node and place among its inputs, where a node has one of its own."""


def own_names(document: OnnxFile) -> OwnNames:
    """The tensors of a file: initializers, then what nodes called Constant hold.

    Names are the file's, as far as letters, digits, `_`, `-` and single dots go; what else they have becomes `_`.
    """
    given = dict(document.initializers)
    for node in document.nodes:
        value = node.attributes.get("value")
        if node.operator == "Constant" and isinstance(value, OnnxTensor) and len(node.outputs) == 1:
            given.setdefault(node.outputs[0], value)
    found = OwnNames()
    copies = _copies(document)
    plain = names_for([*given, *(wanted for _, _, _, wanted in copies)])
    for (name, tensor), own in zip(given.items(), plain, strict=False):
        found.of[name], found.tensors[own] = own, tensor
    for (index, place, name, _), own in zip(copies, plain[len(given) :], strict=True):
        found.at[index, place], found.tensors[own] = own, given[name]
    return found


def _copies(document: OnnxFile) -> list[tuple[int, int, str, str]]:
    """Who has a copy of a tensor to itself: the node, the place among its inputs, the tensor's name, and the copy's.

    torch writes tensors that hold the same, as those of new layers do, only once, and for the others an `Identity` with
    their names. They are parted again: those along one axis, and unless a weight is read twice, as that of a layer is
    which is called twice.
    """
    meant = {
        node.outputs[0]: node.inputs[0]
        for node in document.nodes
        if node.operator == "Identity" and len(node.outputs) == len(node.inputs) == 1
    }
    readers: dict[str, list[tuple[OnnxNode, int]]] = {}
    weights: set[str] = set()
    for node in document.nodes:
        for place, read in enumerate(node.inputs if node.operator != "Identity" else ()):
            name = meant.get(read, read)
            tensor = document.initializers.get(name)
            if tensor is None or tensor.dtype != "float32":
                continue
            if sum(extent > 1 for extent in tensor.dims) == 1:
                readers.setdefault(name, []).append((node, place))
            elif node.operator in _PRODUCTS and place < 3 and tensor.numbers > 1:
                if name in weights:
                    return []
                weights.add(name)
    found = []
    for name, given in readers.items():
        if not all(node.operator in _PARTED for node, _ in given):
            continue
        taken: set[str] = set()
        for node, place in given:
            read = node.inputs[place]
            if read in taken or read != name:
                found.append((node.index, place, name, f"{read}.{node.index}" if read in taken else read))
            taken.add(read)
    return found


def names_for(names: Iterable[str]) -> list[str]:
    """A name for each, in their order and none twice; those that are right already keep theirs."""
    names = list(names)
    right = {name for name in names if _plain(name) == name}
    found: dict[str, None] = {}
    for name in names:
        base = _plain(name)
        plain, count = base, 1
        while plain in found or (plain != name and plain in right):
            count += 1
            plain = f"{base}_{count}"
        found[plain] = None
    return list(found)


def _plain(name: str) -> str:
    found = re.sub(r"[^\w.-]", "_", name)[: MAX_NAME_LENGTH - 8]
    return re.sub(r"\.(?=\.|$)|^\.", "_", found) or "_"
