"""Damaged ONNX files at the door: `python -m benchmarks.doors.onnx_mutations [COUNT [SEED]]`.

Files that torch writes of small networks are changed at random: bytes of the file, or fields by the package `onnx`.
Each has to end in a network, or in a ModelError that names the place, within 50 ms of processor time. Prints Markdown.
"""

from __future__ import annotations

import random
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from statistics import median
from typing import Any

import onnx
import torch
from torch import nn

from planner.errors import ModelError
from planner.model.importers.onnx.chain import import_onnx_bytes
from planner.model.importers.onnx.operators.kinds import IMPORTERS
from planner.model.importers.onnx.weights import OnnxSource
from planner.schema.model import Model
from planner.system.proc import read_memory

NUMBERS = (-(2**63), -(2**31), -7, -1, 0, 1, 2, 3, 5, 64, 4097, 2**31, 2**40, 2**63 - 1)
"""What whole numbers are changed to."""

LONGEST_MILLISECONDS = 50.0
"""Of processor time, before a file is refused."""


def written(network: nn.Module, *, training: bool) -> bytes:
    """What torch writes of a network on 3×8×8."""
    target: Any = BytesIO()  # which torch's types know nothing of
    modes = torch.onnx.TrainingMode
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.train(training),
            (torch.randn(2, 3, 8, 8),),
            target,
            dynamo=False,
            input_names=["x"],
            dynamic_axes={"x": {0: "n"}},
            training=modes.TRAINING if training else modes.EVAL,
            do_constant_folding=not training,
        )
    return bytes(target.getvalue())


def originals() -> list[bytes]:
    """Files that are right."""
    from tests.unit.model.importers.networks import ResNet, SqueezeExcitation, Transformer, chain

    torch.manual_seed(0)
    return [
        written(ResNet(), training=True),
        written(Transformer(), training=False),
        written(chain(SqueezeExcitation(4), nn.GELU(), nn.Upsample(scale_factor=2)), training=False),
    ]


def _places(content: bytes) -> list[int]:
    """Bytes that are no weights': what is changed in those is another number, and no damage."""
    tensors = OnnxSource(memoryview(content)).names.tensors.values()
    weights = {at for tensor in tensors if tensor.numbers > 16 for part in tensor.parts for at in range(*part)}
    return [at for at in range(len(content)) if at not in weights]


def damaged(content: bytes, places: list[int], rng: random.Random) -> bytes:
    """With other bytes, fewer, or more."""
    found = bytearray(content)
    match rng.randrange(6):
        case 0:
            del found[rng.choice(places) :]
        case 1:
            at = rng.choice(places)
            del found[at : at + rng.randrange(1, 64)]
        case 2:
            at = rng.choice(places)
            found[at:at] = rng.randbytes(rng.randrange(1, 64))
        case 3:
            at, other = rng.choice(places), rng.choice(places)
            found[at:at] = found[other : other + rng.randrange(1, 512)]
        case _:
            for _ in range(rng.choice((1, 1, 2, 8))):
                found[rng.choice(places)] ^= 1 << rng.randrange(8)
    return bytes(found)


def edited(content: bytes, rng: random.Random) -> bytes:
    """With another field or two, as a program might write them that is wrong."""
    model = onnx.load_model_from_string(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        with suppress(IndexError, ValueError):  # what it would change is gone, or cannot be so
            rng.choice(EDITS)(model, rng)
    return bytes(model.SerializeToString())


def _node(model: onnx.ModelProto, rng: random.Random) -> Any:
    return rng.choice(model.graph.node)


def _name(model: onnx.ModelProto, rng: random.Random) -> str:
    node = _node(model, rng)
    names = [*node.input, *node.output, *(tensor.name for tensor in model.graph.initializer[:4]), "", "none\x00such"]
    return str(rng.choice(names))


def _operator(model: onnx.ModelProto, rng: random.Random) -> None:
    _node(model, rng).op_type = rng.choice([*IMPORTERS, "If", "Loop", "Unknown", ""])


def _input(model: onnx.ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    match rng.randrange(3):
        case 0 if node.input:
            del node.input[rng.randrange(len(node.input))]
        case 1:
            node.input.append(_name(model, rng))
        case _ if node.input:
            node.input[rng.randrange(len(node.input))] = _name(model, rng)


def _output(model: onnx.ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    if node.output:
        node.output[rng.randrange(len(node.output))] = _name(model, rng)


def _attribute(model: onnx.ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    if not node.attribute:
        node.attribute.append(onnx.helper.make_attribute(rng.choice(("axis", "to", "perm")), rng.choice(NUMBERS)))
        return
    given = rng.choice(node.attribute)
    match rng.randrange(5):
        case 0:
            node.attribute.remove(given)
        case 1:
            given.type = rng.randrange(16)
        case 2:
            given.name = rng.choice(("axis", "axes", "group", "pads", "strides", "to", "value", "kernel_shape"))
        case 3 if given.ints:
            given.ints[rng.randrange(len(given.ints))] = rng.choice(NUMBERS)
        case _:
            given.i, given.f = rng.choice(NUMBERS), rng.choice((0.0, -1.0, 1e30, float("nan"), float("inf")))


def _initializer(model: onnx.ModelProto, rng: random.Random) -> None:
    given = rng.choice(model.graph.initializer)
    match rng.randrange(6):
        case 0:
            model.graph.initializer.remove(given)
        case 1:
            given.data_type = rng.randrange(24)
        case 2 if given.dims:
            given.dims[rng.randrange(len(given.dims))] = rng.choice(NUMBERS)
        case 3:
            given.dims.reverse()
        case 4:
            given.name = _name(model, rng)
        case _:
            entry = given.external_data.add()
            entry.key, entry.value = "location", rng.choice(("../../etc/passwd", "/etc/passwd", "w.bin", ""))
            given.data_location = onnx.TensorProto.EXTERNAL


def _ends(model: onnx.ModelProto, rng: random.Random) -> None:
    value = rng.choice((model.graph.input, model.graph.output))[0]
    match rng.randrange(4):
        case 0:
            value.name = _name(model, rng)
        case 1:
            value.type.tensor_type.elem_type = rng.randrange(20)
        case 2:
            rng.choice((model.graph.input, model.graph.output)).append(value)
        case _ if value.type.tensor_type.shape.dim:
            rng.choice(value.type.tensor_type.shape.dim).dim_value = rng.choice(NUMBERS)


def _order(model: onnx.ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    match rng.randrange(3):
        case 0:
            model.graph.node.remove(node)
        case 1:
            model.graph.node.append(node)
        case _:
            other = _node(model, rng)
            node.output[0], other.output[0] = other.output[0], node.output[0]


def _version(model: onnx.ModelProto, rng: random.Random) -> None:
    given = rng.choice(model.opset_import)
    given.version = rng.choice((*NUMBERS, 11, 13, 18, 22))
    given.domain = rng.choice(("", "", "ai.onnx", "com.example"))


EDITS: tuple[Callable[[onnx.ModelProto, random.Random], None], ...] = (
    *(_operator, _input, _output, _attribute, _attribute, _initializer, _initializer, _ends, _order, _version),
)


def mutants(count: int, seed: int, given: list[bytes]) -> Iterator[bytes]:
    """As many damaged files, half of them by bytes and half by fields."""
    rng = random.Random(seed)
    places = [_places(content) for content in given]
    for index in range(count):
        chosen = rng.randrange(len(given))
        yield damaged(given[chosen], places[chosen], rng) if index % 2 else edited(given[chosen], rng)


@dataclass
class Outcome:
    """What became of them."""

    taken: int = 0
    refused: int = 0
    faults: list[str] = field(default_factory=list)
    """What was neither, or was told without a place."""
    milliseconds: list[float] = field(default_factory=list)
    """Of processor time, for each that was refused."""
    taken_milliseconds: list[float] = field(default_factory=list)


def judge(content: bytes, outcome: Outcome) -> None:
    """Take in one file."""
    begun = time.process_time()
    try:
        found = import_onnx_bytes(content)
        assert isinstance(found.model, Model)
        outcome.taken += 1
        outcome.taken_milliseconds.append(1000 * (time.process_time() - begun))
    except ModelError as error:
        outcome.milliseconds.append(1000 * (time.process_time() - begun))
        outcome.refused += 1
        if not names_a_place(str(error)):
            outcome.faults.append(f"no place: {error}")
    except Exception as error:  # whatever escapes
        outcome.faults.append(f"{type(error).__name__}: {error}")


def names_a_place(text: str) -> bool:
    """Whether it says which part of the file is wrong, in one line of a length that can be read."""
    words = ("node ", "graph", "input", "output", "opset", "unit ", "the file", "weights", "ir_version", "constant")
    return any(word in text for word in words) and "\n" not in text and len(text) < 8192


def main(count: int = 1000, seed: int = 0) -> None:
    """Judge them, and print what became of them."""
    given, outcome = originals(), Outcome()
    files = list(mutants(count, seed, given))
    for content in files:  # what is loaded and kept once
        judge(content, Outcome())
    before = read_memory().resident_bytes
    for content in files:
        judge(content, outcome)
    grown = read_memory().resident_bytes - before
    print("| figure | found | goal |\n| --- | ---: | ---: |")
    print(f"| files | {count} | |")
    print(f"| taken | {outcome.taken} | |")
    print(f"| refused, with the place | {outcome.refused} | |")
    print(f"| neither, or refused without a place | {len(outcome.faults)} | 0 |")
    print(f"| processor time until refused, median (ms) | {median(outcome.milliseconds):.1f} | |")
    print(f"| the same, largest (ms) | {max(outcome.milliseconds):.1f} | {LONGEST_MILLISECONDS:.0f} |")
    print(f"| processor time until taken, largest (ms) | {max(outcome.taken_milliseconds, default=0):.1f} | |")
    print(f"| growth of resident memory over all of them (MiB) | {grown / 2**20:.1f} | 0 |")
    for fault in outcome.faults[:20]:
        print(f"\n- {fault[:300]}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
