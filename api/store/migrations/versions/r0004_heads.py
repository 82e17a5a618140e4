"""Which kinds of head a profile measured: one without the kind that is asked for answers no request for it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add it, each kind between spaces; until then there was one."""
    column = sa.Column("heads", sa.String(length=128), nullable=False, server_default=" pooled-conv ")
    op.add_column("profiles", column)


def downgrade() -> None:
    """Take it away."""
    op.drop_column("profiles", "heads")
