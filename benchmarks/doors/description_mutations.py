"""Damaged descriptions at the door: `python -m benchmarks.doors.description_mutations [COUNT [SEED]]`.

Descriptions of all forms (lists, written layers, graphs) are changed at random: values, names, numbers, lines, nesting,
and the text itself. Each has to end in a model that torch runs (tried on its `meta` device, which has shapes and no
numbers), or in a DocumentError or ModelError that names the place, within 50 ms of processor time. Prints Markdown.
"""

from __future__ import annotations

import ctypes
import gc
import json
import random
import re
import sys
import time
from array import array
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch

from planner.errors import DocumentError, ModelError
from planner.model.build import build_unit
from planner.model.load import model_from_json
from planner.model.shapes import model_sizes
from planner.model.zoo import from_zoo
from planner.operators.aten.kinds import ATEN
from planner.schema.codec import encode, parse_json
from planner.schema.model import Model
from planner.system.proc import read_memory

PAGE = Path(__file__).parents[2] / "docs" / "descriptions.md"
NUMBERS = (-(2**63), -(2**31), -7, -1, 0, 1, 2, 3, 5, 8, 64, 4097, 2**31, 2**40, 2**63, 10**19, 0.5, -1.5, 1e30, 1e-30)
"""What numbers are changed to."""
OTHERS: tuple[Any, ...] = (None, True, "", "x", "relu", [], {}, [[]], [1, 2, 3], {"op": "relu"}, "\u00e9", "a" * 300)
"""What values are changed to."""
LETTERS = "[](),=$.*x019_- 'ebatch"
"""What lines are changed by."""
LONGEST_MILLISECONDS = 50.0
"""Of processor time, before a description is refused."""


def originals() -> list[Any]:
    """Descriptions that are right: written ones, what they become, and lists of layers."""
    graph = {
        "op": "graph",
        "nodes": ["a = permute(x, [0, 2, 3, 1])", "b = view(a, [batch, 16, 12])", "c = view(b, [batch, -1])"],
        "result": "c",
    }
    views = {
        "schema": "model/2",
        "name": "views",
        "input": [3, 8, 8],
        "classes": 192,
        "units": [{"name": "only", "layers": [graph]}],
    }
    written = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)]
    expanded = [encode(model_from_json(value)) for value in written]
    return [views, *written, *expanded, *(encode(from_zoo(name, (3, 32, 32), 10)) for name in ("cnn6", "resnet8"))]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every list or object in a value, with a key of it."""
    keys = range(len(value)) if isinstance(value, list) else list(value) if isinstance(value, dict) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


def edited(value: Any, rng: random.Random) -> Any:
    """With other values here and there."""
    found = deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        _edit(found, rng)
    return found


def _edit(found: Any, rng: random.Random) -> None:
    every = list(places(found))
    if not every:
        return
    where, key = rng.choice(every)
    given = where[key]
    match rng.randrange(8):
        case 0:
            del where[key]
        case 1:
            where[key] = deepcopy(rng.choice(OTHERS))
        case 2:
            other, name = rng.choice(every)
            where[key] = deepcopy(other.get(name) if isinstance(other, dict) else None)
        case 3 if isinstance(where, list):
            where.insert(rng.randrange(len(where) + 1), deepcopy(given))
        case 4 if isinstance(where, dict):
            where[rng.choice(("op", "name", "colour", "kernel", "stride", "groups", "branches"))] = deepcopy(given)
        case 5:
            for _ in range(rng.choice((1, 2, 5, 40))):
                given = [given] if rng.randrange(2) else {"op": "residual", "body": [given]}
            where[key] = given
        case _:
            where[key] = changed(given, rng)


def changed(value: Any, rng: random.Random) -> Any:
    """A leaf as it might be written wrong."""
    if isinstance(value, str):
        return damaged(value, rng)
    return rng.choice(NUMBERS) if isinstance(value, int | float) else deepcopy(rng.choice((value, *OTHERS)))


def damaged(text: str, rng: random.Random) -> str:
    """With a letter less, twice, or another; with another word, or another operator."""
    if not text:
        return rng.choice(LETTERS)
    words = list(re.finditer(r"[\w.]+", text))
    at = rng.randrange(len(text))
    match rng.randrange(5):
        case 0 if words:
            word = rng.choice(words)
            new = rng.choice([*ATEN, "batch", "training", "none", "x", "-1", "0", str(rng.choice(NUMBERS))])
            return text[: word.start()] + new + text[word.end() :]
        case 1 if words:
            word, other = rng.choice(words), rng.choice(words)
            return text[: word.start()] + other[0] + text[word.end() :]
        case 2:
            return text[:at] + text[at + 1 :]
        case 3:
            return text[:at] + text[at] + text[at:]
    return text[:at] + rng.choice(LETTERS) + text[at + 1 :]


def mutants(count: int, seed: int, given: list[Any]) -> Iterator[bytes]:
    """As many damaged descriptions, an eighth of them by their text."""
    rng = random.Random(seed)
    for index in range(count):
        value = rng.choice(given)
        if index % 8:
            yield json.dumps(edited(value, rng)).encode()
            continue
        text = bytearray(json.dumps(value).encode())
        for _ in range(rng.choice((1, 2, 8))):
            at = rng.randrange(len(text))
            text[at : at + rng.randrange(3)] = rng.choice(
                (b"", b"{", b"]", b",", b'"', b"\xff", b"\\u0000", b"9", b"e9")
            )
        yield bytes(text)


@dataclass
class Outcome:
    """What became of them."""

    taken: int = 0
    refused: int = 0
    faults: list[str] = field(default_factory=list)
    """What was neither, was told without a place, or is no network to torch."""
    milliseconds: array[float] = field(default_factory=lambda: array("d"))
    """Of processor time, for each that was refused."""


def judge(text: bytes, outcome: Outcome, *, tried: bool) -> None:
    """Take in one description; `tried`: have torch run what comes in."""
    begun = time.process_time()
    try:
        model = model_from_json(parse_json(text))
    except (DocumentError, ModelError) as error:
        outcome.milliseconds.append(1000 * (time.process_time() - begun))
        outcome.refused += 1
        if not names_a_place(str(error)):
            outcome.faults.append(f"no place: {error}")
        return
    except Exception as error:  # whatever escapes
        outcome.faults.append(f"{type(error).__name__}: {error}")
        return
    outcome.taken += 1
    problem = torchs_problem(model) if tried else None
    if problem is not None:
        outcome.faults.append(f"torch: {problem}")


def names_a_place(text: str) -> bool:
    """Whether it says which part of the description is wrong, in one line of a length that can be read."""
    return bool(re.search(r"\$|unit \d", text)) and "\n" not in text and len(text) < 1000


def torchs_problem(model: Model) -> str | None:
    """What torch says against running a network forwards and backwards, if anything."""
    shape = tuple(model.input)
    try:
        with torch.device("meta"):
            x = torch.empty((2, *shape))
            for unit, sizes in zip(model.units, model_sizes(model), strict=True):
                x = build_unit(unit, shape)(x)
                shape = sizes.output
                if tuple(x.shape) != (2, *shape):
                    return f"{unit.name} gives {tuple(x.shape)}, {(2, *shape)} was worked out"
            if x.requires_grad:
                x.sum().backward()  # type: ignore[no-untyped-call]  # as torch has it
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
    return None


def held() -> tuple[int, int]:
    """Objects that Python holds, and resident bytes, without cycles and without what the allocator keeps in hand."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return sys.getallocatedblocks(), read_memory().resident_bytes


def main(count: int = 10_000, seed: int = 0) -> None:
    """Judge them, and print what became of them."""
    given, outcome = originals(), Outcome()
    for text in mutants(count // 10, seed + 1, given):  # what is loaded and kept once
        judge(text, Outcome(), tried=False)
    objects, before = held()
    for text in mutants(count, seed, given):
        judge(text, outcome, tried=False)
    more, after = held()
    trial = Outcome()
    for text in mutants(count, seed, given):
        judge(text, trial, tried=True)
    print("| figure | found | goal |\n| --- | ---: | ---: |")
    print(f"| descriptions | {count} | |")
    print(f"| taken | {outcome.taken} | |")
    print(f"| refused, with the place | {outcome.refused} | |")
    print(f"| neither, or refused without a place | {len(outcome.faults)} | 0 |")
    print(f"| taken, and refused by torch | {len(trial.faults) - len(outcome.faults)} | 0 |")
    print(f"| processor time until refused, median (ms) | {median(outcome.milliseconds):.1f} | |")
    print(f"| the same, largest (ms) | {max(outcome.milliseconds):.1f} | {LONGEST_MILLISECONDS:.0f} |")
    print(f"| growth of resident memory over all of them (MiB) | {(after - before) / 2**20:.2f} | 0 |")
    print(f"| objects more that Python holds | {more - objects} | 0 for each |")
    for fault in [*outcome.faults, *trial.faults][:40]:
        print(f"\n- {fault[:300]}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
