"""Pieces of Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

LINE = "<!-- Made by `make reference` from the code. Edit the code, not this page. -->"


def page(title: str, *parts: str) -> str:
    """A whole page."""
    return "\n\n".join((f"# {title}", LINE, *(part.strip("\n") for part in parts))) + "\n"


def cell(text: str) -> str:
    """Text for a cell of a table: one line, where a bar is no border and an angle bracket opens no tag."""
    parts = " ".join(text.split()).replace("|", "\\|").split("`")
    return "`".join(part if index % 2 else prose(part) for index, part in enumerate(parts))


def prose(text: str) -> str:
    """Text outside code in which nothing is markup by chance."""
    return re.sub(r"([<*_\[\]])", r"\\\1", text).replace("\\<", "&lt;")


def paragraphs(text: str) -> str:
    """A docstring's prose: its paragraphs, code kept as it is."""
    found = (" ".join(part.split()).split("`") for part in text.strip().split("\n\n"))
    return "\n\n".join(
        "`".join(part if index % 2 else prose(part) for index, part in enumerate(parts)) for parts in found
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def code(text: str) -> str:
    """Text as code inside a cell."""
    return f"`{text}`".replace("|", "\\|")


def block(text: str, language: str = "") -> str:
    """A block of code."""
    return f"```{language}\n{text.rstrip()}\n```"
