"""What a team keeps in order: labels, notes and what is archived; thinned samples; named tokens; who changed what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_MARKED = ("models", "devices", "profiles", "plans", "runs")
_LISTED = {
    "plans": ("words", "model", "strategy", "device", "budget_bytes", "peak_bytes", "seconds", "cuts", "blocks"),
    "runs": (
        *("words", "model", "state", "heard_ms", "device_id", "plan_id", "budget_bytes", "peak_bytes"),
        *("accuracy", "seconds"),
    ),
}
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add it."""
    for table in _MARKED:
        op.add_column(table, sa.Column("labels", sa.Text(), nullable=False, server_default=""))
        op.add_column(table, sa.Column("notes", sa.LargeBinary(), nullable=True))
        op.add_column(table, sa.Column("archived_ms", sa.BigInteger(), nullable=True))
    op.add_column("runs", sa.Column("thinned", sa.String(length=16), nullable=True))
    op.add_column("runs", sa.Column("told_state", sa.String(length=16), nullable=True))
    for name, columns in _LISTED.items():
        op.drop_index(f"ix_{name}_listed", table_name=name)
        op.create_index(f"ix_{name}_listed", name, [*columns, "archived_ms"], unique=False)
    op.create_index("ix_runs_plan_id", "runs", ["plan_id"], unique=False)
    op.create_index("ix_plan_requests_plan_id", "plan_requests", ["plan_id"], unique=False)
    op.add_column("tokens", sa.Column("name", sa.LargeBinary(), nullable=True))
    op.add_column("tokens", sa.Column("role", sa.String(length=16), nullable=True))
    op.add_column("tokens", sa.Column("parent_id", sa.String(length=64), nullable=True))
    op.create_index("ix_tokens_parent_id", "tokens", ["parent_id"], unique=False)
    op.create_table(
        "audit",
        sa.Column("number", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("token_id", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("object", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("client", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_at_ms", "audit", ["at_ms"], unique=False)


def downgrade() -> None:
    """Take it away."""
    op.drop_table("audit")
    op.drop_index("ix_tokens_parent_id", table_name="tokens")
    for name in ("parent_id", "role", "name"):
        op.drop_column("tokens", name)
    op.drop_index("ix_plan_requests_plan_id", table_name="plan_requests")
    op.drop_index("ix_runs_plan_id", table_name="runs")
    for name in ("told_state", "thinned"):
        op.drop_column("runs", name)
    for name, columns in _LISTED.items():
        op.drop_index(f"ix_{name}_listed", table_name=name)
        op.create_index(f"ix_{name}_listed", name, [*columns], unique=False)
    for table in reversed(_MARKED):
        for name in ("archived_ms", "notes", "labels"):
            op.drop_column(table, name)
