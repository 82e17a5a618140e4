"""Plain text for a terminal: safe names, aligned columns, wrapped fields. No colour codes."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Sequence

from planner.schema.common import OptimizerConfig
from planner.schema.model import Model
from planner.schema.plan import Plan
from planner.units import MIB

WIDTH = 100
"""Characters in a line of prose."""

DASH = "–"
"""A cell that has no value."""

_GAP = "  "


def clean(text: str, width: int | None = None) -> str:
    """`text` from a document made fit to be shown: a non-printable character becomes `�`, what is too wide ends in `…`.

    Control characters could move the cursor or recolour a terminal, direction marks reorder what is read. `width` is in
    a terminal's columns.
    """
    safe = "".join(character if character.isprintable() else "\ufffd" for character in text)
    if width is None or columns_of(safe) <= width:
        return safe
    return next(safe[:end] for end in range(len(safe), -1, -1) if columns_of(safe[:end]) < width) + "…"


def columns_of(text: str) -> int:
    """Columns that a terminal gives to `text` at most: two for a wide character."""
    return len(text) + sum(unicodedata.east_asian_width(character) in "WF" for character in text)


def indices(span: tuple[int, int]) -> str:
    """Units as people count them, both ends included: `5` or `1–4`."""
    first, end = span
    return str(first) if end - first == 1 else f"{first}–{end - 1}"


def names(model: Model, span: tuple[int, int], width: int) -> str:
    """First and last unit of a span by name, in at most `width` columns: `conv2_1..conv4_1`."""
    found = [clean(unit.name) for unit in model.units[slice(*span)]]
    if len(found) < 2:
        return clean("".join(found), width)
    first, last = found[0], found[-1]
    half = (width - 2) // 2
    room = max(half, width - 2 - columns_of(last))
    first = clean(first, room)
    return f"{first}..{clean(last, width - 2 - columns_of(first))}"


def stage_cell(plan: Plan, stage: int) -> str:
    """What a table calls a block, or the polish behind them: `0`, `polish`."""
    return str(stage) if stage < len(plan.blocks) else "polish"


def stage_list(plan: Plan, stages: Sequence[int]) -> str:
    """Some stages in a sentence: `block 1`, `blocks 0, 2 and the polish`."""
    blocks = [str(stage) for stage in stages if stage < len(plan.blocks)]
    parts = [f"{'block' if len(blocks) == 1 else 'blocks'} {', '.join(blocks)}"] if blocks else []
    return " and ".join([*parts, *(["the polish"] if len(blocks) < len(stages) else [])])


def mib(count: int) -> str:
    """Bytes in MiB, one digit behind the point."""
    return f"{count / MIB:.1f}"


def counted(number: int, one: str) -> str:
    """`1 unit`, `3 units`."""
    return f"{number} {one}" if number == 1 else f"{number} {one}s"


def described(optimizer: OptimizerConfig) -> str:
    """`sgd with learning rate 0.05, Nesterov momentum 0.9, weight decay 0.0005 (norms and biases spared)`."""
    further = []
    if optimizer.momentum:
        further.append(f"{'Nesterov ' if optimizer.nesterov else ''}momentum {optimizer.momentum:g}")
    if optimizer.weight_decay:
        spared = "" if optimizer.weight_decay_on == "all" else " (norms and biases spared)"
        further.append(f"weight decay {optimizer.weight_decay:g}{spared}")
    return ", ".join([f"{optimizer.kind} with learning rate {optimizer.lr:g}", *further])


def columns(head: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> str:
    """A table: headings (lines split at `\\n`, set at the bottom), a rule, then rows. `align` holds `<` or `>` each."""
    stacked = [cell.split("\n") for cell in head]
    height = max(len(lines) for lines in stacked)
    tops = [[*[""] * (height - len(lines)), *lines] for lines in stacked]
    heading = [[lines[level] for lines in tops] for level in range(height)]
    widths = [max(map(columns_of, column)) for column in zip(*heading, *rows, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(_line(row, widths, align) for row in [*heading, rule, *rows])


def _line(row: Sequence[str], widths: Sequence[int], align: str) -> str:
    cells = []
    for cell, width, side in zip(row, widths, align, strict=True):
        padding = " " * (width - columns_of(cell))
        cells.append(cell + padding if side == "<" else padding + cell)
    return _GAP.join(cells).rstrip()


def fields(pairs: Sequence[tuple[str, str]]) -> str:
    """Lines of `name  value`, values aligned and wrapped."""
    indent = max(len(name) for name, _ in pairs) + len(_GAP)
    return "\n".join(
        textwrap.fill(value, WIDTH, initial_indent=name.ljust(indent), subsequent_indent=" " * indent)
        for name, value in pairs
    )


def note(text: str) -> str:
    """A wrapped paragraph."""
    return textwrap.fill(text, WIDTH)
