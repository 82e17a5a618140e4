"""How runs end: their state and its reason, the peak of their report, and when their device was heard of."""

from __future__ import annotations

import json
import time

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_RUNS = sa.table(
    "runs",
    sa.column("number", sa.BigInteger),
    sa.column("report", sa.LargeBinary),
    sa.column("state", sa.String),
    sa.column("peak_bytes", sa.BigInteger),
    sa.column("heard_ms", sa.BigInteger),
)


def upgrade() -> None:
    """Add them. Reports say of ended runs how they ended; the others have time to be heard of from now on."""
    op.add_column("runs", sa.Column("state", sa.String(length=16), nullable=False, server_default="queued"))
    op.add_column("runs", sa.Column("reason", sa.LargeBinary(), nullable=True))
    op.add_column("runs", sa.Column("peak_bytes", sa.BigInteger(), nullable=True))
    op.add_column("runs", sa.Column("heard_ms", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index("ix_runs_device_id", "runs", ["device_id"], unique=False)
    connection = op.get_bind()
    connection.execute(sa.update(_RUNS).values(state="running", heard_ms=time.time_ns() // 1_000_000))
    ended = sa.select(_RUNS.c.number, _RUNS.c.report).where(_RUNS.c.report.is_not(None))
    for number, text in connection.execute(ended).all():
        report = json.loads(text)
        state = "finished" if report["within_budget"] else "over-budget"
        values = {"state": state, "peak_bytes": report["peak_bytes"]}
        connection.execute(sa.update(_RUNS).where(_RUNS.c.number == number).values(**values))


def downgrade() -> None:
    """Take them away."""
    op.drop_index("ix_runs_device_id", table_name="runs")
    for name in ("heard_ms", "peak_bytes", "reason", "state"):
        op.drop_column("runs", name)
