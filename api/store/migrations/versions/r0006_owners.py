"""Whose a profile is: who has sent it. Until now anybody's was taken, so what is there is the service's own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_PROFILES = sa.table("profiles", sa.column("id", sa.String), sa.column("created_ms", sa.BigInteger))


def upgrade() -> None:
    """Add it."""
    owners = op.create_table(
        "profile_owners",
        sa.Column("profile_id", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["profile_id"], ["profiles.id"], name=op.f("fk_profile_owners_profile_id")),
        sa.PrimaryKeyConstraint("profile_id", "owner", name=op.f("pk_profile_owners")),
    )
    known = sa.select(_PROFILES.c.id, sa.literal("service"), _PROFILES.c.created_ms)
    op.get_bind().execute(sa.insert(owners).from_select(["profile_id", "owner", "created_ms"], known))


def downgrade() -> None:
    """Take it away."""
    op.drop_table("profile_owners")
