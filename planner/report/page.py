"""A run's report as one page of HTML: self-contained, without scripts, every name escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from planner.report.read import RunRecord
from planner.report.run_tables import (
    BLOCK_COLUMNS,
    PHASE_COLUMNS,
    block_row,
    exit_columns,
    exit_row,
    phase_rows,
    report_summary,
    report_title,
    verdict,
)
from planner.report.tables import plan_header
from planner.report.text import clean, stage_cell
from planner.system.files import write_atomically

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #8884; text-align: right; vertical-align: bottom; }
td { vertical-align: top; }
th:first-child, td:first-child, .words th, .words td, td.words { text-align: left; }
.verdict { font-weight: 600; border-left: .3rem solid; padding-left: .6rem; }
.yes { border-color: #009E73; } .no { border-color: #D55E00; }
figure { margin: 0; background: white; } figure svg { width: 100%; height: auto; }
""".strip()

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""What a browser may load for the page: nothing."""

_METADATA = re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL)


def write_page(record: RunRecord, picture: str | None, path: Path, lacking: str = "") -> None:
    """Write `path`: the run's picture (an SVG document) and its tables. Raises StorageError.

    Without a picture, `lacking` says why there is none.
    """
    write_atomically(path, make_page(record, picture, lacking))


def make_page(record: RunRecord, picture: str | None, lacking: str = "") -> str:
    """The page as text; the same record and picture give the same text."""
    report, plan = record.report, record.plan
    title = escape(report_title(report, plan))
    blocks = [block_row(stage_cell(plan, index), block) for index, block in enumerate(report.stages)]
    phases = phase_rows(report, plan)
    exits = [exit_row(plan, report, found) for found in report.exits]
    parts = [
        f"<h1>{title}</h1>",
        f'<p class="verdict {"yes" if report.within_budget else "no"}">{escape(verdict(report))}</p>',
        f"<p>No picture: {escape(lacking)}.</p>" if picture is None else f"<figure>{_inline(picture)}</figure>",
        _section("Blocks, predicted and measured", _table(BLOCK_COLUMNS, blocks)),
        *([_section("Phases, predicted and measured", _table(PHASE_COLUMNS, phases))] if phases else []),
        _section("Exits", _table(exit_columns(report), exits)),
        _section("In short", _fields(report_summary(report, plan))),
        _section("Where the run left its plan", _deviations(report.deviations)),
        _section("What was asked for", _fields(plan_header(plan))),
    ]
    head = (
        '<meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style>"
    )
    body = "\n".join(parts)
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _inline(picture: str) -> str:
    """An SVG document as an element: without its prologue, and without the description of itself that names a URL."""
    return _METADATA.sub("", picture[picture.index("<svg") :])


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_row("th", _whole(head)), *(_row("td", row) for row in rows)]
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def _whole(head: Sequence[str]) -> list[str]:
    """Headings of a text table in one line each; an empty first line is that of the neighbour."""
    found: list[str] = []
    above = ""
    for cell in head:
        first, *others = cell.split("\n")
        above = first or above
        found.append("\n".join([above, *others]).replace("-\n", "-").replace("\n", " "))
    return found


def _row(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _fields(pairs: Iterable[tuple[str, str]]) -> str:
    rows = (f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in pairs)
    return f'<table class="words">{"".join(rows)}</table>'


def _deviations(texts: Sequence[str]) -> str:
    if not texts:
        return "<p>The run followed its plan.</p>"
    return f"<ul>{''.join(f'<li>{escape(clean(text))}</li>' for text in texts)}</ul>"
