"""What the dashboard shows: when a device was heard of last, and the highest peak of a run without reading it all."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add them."""
    op.add_column("devices", sa.Column("seen_ms", sa.BigInteger(), nullable=True))
    op.create_index("ix_samples_peak", "samples", ["run", "peak_bytes"], unique=False)


def downgrade() -> None:
    """Take them away."""
    op.drop_index("ix_samples_peak", table_name="samples")
    op.drop_column("devices", "seen_ms")
