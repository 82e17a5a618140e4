"""`docs/reference`: its pages say what the code says, and every error has something to do about it."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path

from docs.generate import __main__ as generate
from docs.generate import command_line, errors, markdown, rest
from planner.errors import PlannerError

ROOT = Path(__file__).parents[3]


def test_no_page_is_stale() -> None:
    stale = generate.stale(generate.FOLDER, generate.pages())
    assert not stale, f"run `make reference`: {', '.join(stale)}"


def test_a_page_that_says_something_else_is_stale(tmp_path: Path) -> None:
    (tmp_path / "same.md").write_text("as it is", encoding="utf-8")
    (tmp_path / "other.md").write_text("as it was", encoding="utf-8")
    made = {"same.md": "as it is", "other.md": "as it is", "missing.md": "as it is"}
    assert generate.stale(tmp_path, made) == ["other.md", "missing.md"]


def test_every_error_and_no_other_has_something_to_do() -> None:
    assert sorted(errors.WHAT_TO_DO) == sorted(each.__name__ for each in _below(PlannerError))


def test_every_type_of_problem_and_no_other_has_something_to_do() -> None:
    assert sorted(rest.PROBLEMS) == sorted(_problems())


def test_a_parser_becomes_a_table_of_its_options() -> None:
    parser = argparse.ArgumentParser(prog="tool")
    inner = parser.add_subparsers().add_parser("cut", prog="tool cut", description="Cut a <b>.")
    inner.add_argument("file", metavar="FILE", help="what is cut")
    inner.add_argument("--at", required=True, choices=("a", "b"), help="where: a|b")
    inner.add_argument("--times", type=int, default=2, metavar="N", help="default %(default)s")
    inner.add_argument("--hidden", help=argparse.SUPPRESS)
    text = "\n".join(command_line._command(parser, 2))
    assert "### tool cut\nCut a &lt;b>.\n```\ntool cut FILE --at a|b [options]\n```" in text
    assert "| `FILE` | what is cut |" in text
    assert "| `--at a\\|b` | where: a\\|b **(required)** |" in text
    assert "| `--times N` | default 2 |" in text
    assert "hidden" not in text


def test_prose_is_no_markup_by_chance() -> None:
    assert markdown.cell("a_b <i> `c_d` [x] *") == "a\\_b &lt;i> `c_d` \\[x\\] \\*"


def _below(kind: type[PlannerError]) -> Iterator[type[PlannerError]]:
    """The classes of the tree in `planner.errors`, as its source has them."""
    yield kind
    for each in kind.__subclasses__():
        if each.__module__ == "planner.errors":
            yield from _below(each)


def _problems() -> set[str]:
    """The types of problem in the service's source: second arguments of `Problem`, and what `kind` and `kinds` hold."""
    found: set[str] = set()
    for file in (ROOT / "api").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name("Problem"), args=[_, kind, *_]):
                    found |= _texts(kind)
                case ast.Assign(targets=[ast.Name("kind" | "kinds")], value=value):
                    found |= _texts(value)
    return found


def _texts(node: ast.expr) -> set[str]:
    """Texts that an expression may be."""
    match node:
        case ast.Constant(value=str() as text):
            return {text}
        case ast.IfExp(body=body, orelse=other):
            return _texts(body) | _texts(other)
        case ast.Dict(values=values):
            return {text for each in values for text in _texts(each)}
        case ast.Call(func=ast.Attribute(attr="get"), args=[_, default]):
            return _texts(default)
    return set()
