"""What a profile's units compute in: a profile in bfloat16 answers no request for float32."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_PROFILES = sa.table("profiles", sa.column("id", sa.String), sa.column("summary", sa.LargeBinary))


def upgrade() -> None:
    """Add it; every profile until then was measured in float32, which its summary says as well."""
    op.add_column("profiles", sa.Column("dtype", sa.String(length=16), nullable=False, server_default="float32"))
    connection = op.get_bind()
    for row in connection.execute(sa.select(_PROFILES.c.id, _PROFILES.c.summary)).all():
        summary = json.dumps({**json.loads(row.summary), "dtype": "float32"}).encode()
        connection.execute(sa.update(_PROFILES).where(_PROFILES.c.id == row.id).values(summary=summary))


def downgrade() -> None:
    """Take it away."""
    op.drop_column("profiles", "dtype")
