"""The page of the Python API, from signatures and docstrings."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import planner
from docs.generate import markdown
from planner.python.run_report import RunReport

_ABOUT = """
Importing `planner` loads neither torch nor numpy; each function loads what it needs. Data sets, modules and weights are
yours and stay as they are until you call `load_into`. Errors are those of [one tree](errors.md), which lies in
`planner.errors`. [The tasks' settings](../tasks.md), for `task=`, are in `planner.tasks`.
"""

_FUNCTIONS = ("describe", "profile", "plan", "run")
_SECTIONS = ("Args", "Returns", "Raises", "Example")


def render() -> str:
    """The page."""
    parts = [part for name in _FUNCTIONS for part in _function(f"planner.{name}", getattr(planner, name))]
    methods = _function("report.load_into", RunReport.load_into, level=3, receiver=True)
    about = (
        "What `planner.run` returns: the fields of a [report](report.md), and besides `folder`, the run's output "
        "folder, and `load_into`."
    )
    return markdown.page("Python API", _ABOUT, *parts, "## The report of a run", about, *methods)


def _function(name: str, function: Callable[..., Any], level: int = 2, receiver: bool = False) -> Iterator[str]:
    yield f"{'#' * level} {name}"
    yield markdown.block(_signature(name, function, receiver), "python")
    text, sections = _parsed(inspect.getdoc(function) or "")
    yield markdown.paragraphs(text)
    for title in _SECTIONS:
        if title not in sections:
            continue
        yield f"**{title}**"
        body = sections[title]
        if title == "Example":
            yield markdown.block(body, "pycon")
        elif title == "Returns":
            yield markdown.paragraphs(body)
        else:
            heads = ("argument", "what it says") if title == "Args" else ("error", "when")
            rows = ((markdown.code(item), markdown.cell(words)) for item, words in _items(body))
            yield markdown.table(heads, rows)


def _signature(name: str, function: Callable[..., Any], receiver: bool) -> str:
    """The call, an argument a line, annotations as they are written."""
    parameters = list(inspect.signature(function).parameters.values())[receiver:]
    lines, keyword = [], False
    for index, each in enumerate(parameters):
        if each.kind is inspect.Parameter.KEYWORD_ONLY and not keyword:
            keyword = True
            lines.append("    *,")
        default = "" if each.default is inspect.Parameter.empty else f" = {_default(each.default)}"
        lines.append(f"    {each.name}: {each.annotation}{default},")
        after = parameters[index + 1].kind if index + 1 < len(parameters) else None
        if each.kind is inspect.Parameter.POSITIONAL_ONLY and after is not inspect.Parameter.POSITIONAL_ONLY:
            lines.append("    /,")
    return "\n".join([f"{name}(", *lines, f") -> {inspect.signature(function).return_annotation}"])


def _default(value: object) -> str:
    """A default as one types it."""
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _parsed(text: str) -> tuple[str, dict[str, str]]:
    """A docstring's prose and its sections, by title."""
    parts = re.split(rf"^({'|'.join(_SECTIONS)}):\n", text, flags=re.MULTILINE)
    return parts[0], {title: inspect.cleandoc(body) for title, body in zip(parts[1::2], parts[2::2], strict=True)}


def _items(body: str) -> Iterator[tuple[str, str]]:
    """The names of a section and what is said of each."""
    for part in re.split(r"\n(?=\S)", body):
        name, _, words = part.partition(":")
        yield name, words
