"""What lists of runs and plans are searched, filtered and sorted by, in columns of their own."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_TEXTS = {"plans": ("model", "strategy", "device"), "runs": ("model",)}
_PLANS = ("words", "model", "strategy", "device", "budget_bytes", "peak_bytes", "seconds", "cuts")
_RUNS = ("words", "model", "budget_bytes", "accuracy", "seconds")


def upgrade() -> None:
    """Add them, and fill them from summaries and reports."""
    for table, names in _TEXTS.items():
        op.add_column(table, sa.Column("words", sa.String(length=300), nullable=False, server_default=""))
        for name in names:
            op.add_column(table, sa.Column(name, sa.String(length=64), nullable=False, server_default=""))
        op.add_column(table, sa.Column("budget_bytes", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("plans", sa.Column("peak_bytes", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("plans", sa.Column("seconds", sa.Float(), nullable=False, server_default="0"))
    op.add_column("plans", sa.Column("cuts", sa.Integer(), nullable=False, server_default="0"))
    for name in ("accuracy", "seconds"):
        op.add_column("runs", sa.Column(name, sa.Float(), nullable=True))
    _fill(op.get_bind())
    op.create_index("ix_plans_listed", "plans", [*_PLANS, "blocks"], unique=False)
    runs = ["words", "model", "state", "heard_ms", "device_id", "plan_id", "budget_bytes", "peak_bytes"]
    op.create_index("ix_runs_listed", "runs", [*runs, "accuracy", "seconds"], unique=False)


def _fill(connection: sa.Connection) -> None:
    plans = sa.table("plans", *(sa.column(name) for name in ("number", "id", "summary", *_PLANS)))
    runs = sa.table("runs", *(sa.column(name) for name in ("number", "plan_id", "name", "report", *_RUNS)))
    summaries = {}
    for number, identity, text in connection.execute(sa.select(plans.c.number, plans.c.id, plans.c.summary)).all():
        summaries[identity] = json.loads(text)
        values = _of_plan(summaries[identity])
        connection.execute(sa.update(plans).where(plans.c.number == number).values(**values))
    for (number,) in connection.execute(sa.select(runs.c.number)).all():  # one report at a time in memory
        of_run = sa.select(runs.c.plan_id, runs.c.name, runs.c.report).where(runs.c.number == number)
        row = connection.execute(of_run).one()
        values = _of_run(row.name.decode(), summaries[row.plan_id])
        if row.report is not None:
            report = json.loads(row.report)
            values |= {name: report.get(name) for name in ("accuracy", "seconds")}
        connection.execute(sa.update(runs).where(runs.c.number == number).values(**values))


def _of_plan(summary: dict[str, Any]) -> dict[str, Any]:
    names = {name: _printable(summary.get(name, ""))[:64] for name in _TEXTS["plans"]}
    numbers = {"peak_bytes": summary.get("peak_bytes", 0), "seconds": summary.get("seconds_total", 0.0)}
    budget, cuts = summary["budget"]["bytes"], summary.get("cuts", 0)
    return {"words": _words(*names.values()), **names, **numbers, "budget_bytes": budget, "cuts": cuts}


def _of_run(name: str, summary: dict[str, Any]) -> dict[str, Any]:
    words = _words(name, summary["model"], summary.get("strategy", ""), summary.get("device", ""))
    return {"words": words, "model": _printable(summary["model"])[:64], "budget_bytes": summary["budget"]["bytes"]}


def _words(*texts: str) -> str:
    return _printable(" ".join(texts).casefold())[:300]


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)


def downgrade() -> None:
    """Take them away."""
    for table, names in (("runs", _RUNS), ("plans", _PLANS)):
        op.drop_index(f"ix_{table}_listed", table_name=table)
        for name in reversed(names):
            op.drop_column(table, name)
