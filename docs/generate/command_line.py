"""The page of the command line, from its parsers."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from docs.generate import markdown
from planner.cli.main import COMMANDS, parser_of

_ABOUT = """
Every command takes `--help`. Progress and notes go to standard error, results to standard output; `--json` prints one
JSON document instead of tables. Sizes are written as `300MiB`, `2GiB`, `1GB`, or as a number of bytes.
[Exit codes](errors.md) say how a command ended.
"""


def render() -> str:
    """The page."""
    names = markdown.table(
        ("command", "what it does"),
        ([f"[`{name}`](#neuroflux-{name})", markdown.cell(text)] for name, text in COMMANDS.items()),
    )
    sections = (part for name in COMMANDS for part in _command(parser_of(name), 2))
    return markdown.page("Command line", _ABOUT, names, *sections)


def _command(parser: argparse.ArgumentParser, level: int) -> Iterator[str]:
    """A command and those inside it."""
    yield f"{'#' * level} {parser.prog}"
    if parser.description:
        yield markdown.paragraphs(parser.description)
    inner = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    yield markdown.block(_usage(parser))
    for group in parser._action_groups:
        rows = [row for action in group._group_actions for row in _row(parser, action)]
        if rows:
            yield f"**{markdown.prose(group.title or 'options')}**"
            yield markdown.table(("option", "what it says"), rows)
    for commands in inner:
        for each in commands.choices.values():
            yield from _command(each, level + 1)


def _usage(parser: argparse.ArgumentParser) -> str:
    """What has to be typed at least."""
    words = [parser.prog]
    optional = False
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            words.append("COMMAND")
        elif not action.option_strings:
            words.append(_value(action) if action.nargs in (None, "+") else f"[{_value(action)}]")
        elif action.required:
            words.append(f"{action.option_strings[-1]} {_value(action)}".strip())
        else:
            optional = optional or not isinstance(action, argparse._HelpAction)
    return " ".join([*words, "[options]"] if optional else words)


def _row(parser: argparse.ArgumentParser, action: argparse.Action) -> Iterator[tuple[str, str]]:
    """An option's row; none for what every command has."""
    if isinstance(action, argparse._HelpAction | argparse._SubParsersAction) or action.help is argparse.SUPPRESS:
        return
    value = _value(action)
    names = [f"{name} {value}".strip() for name in action.option_strings] or [value]
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    required = " **(required)**" if action.required and action.option_strings else ""
    yield "<br>".join(markdown.code(name) for name in names), markdown.cell(text) + required


def _value(action: argparse.Action) -> str:
    """What follows an option's name."""
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        return ""
    if action.metavar is not None:
        return action.metavar if isinstance(action.metavar, str) else " ".join(action.metavar)
    return "|".join(map(str, action.choices)) if action.choices is not None else action.dest.upper()
