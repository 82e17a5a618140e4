"""What the service keeps. Times are milliseconds since 1970 (UTC); documents are kept as the bytes that are sent."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _number() -> Column[int]:
    """Counts up in the order of arrival, which is the order of pages."""
    return Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)


MAX_WORDS = 300
"""Characters that are searched: PostgreSQL's index holds no row above 2.6 KiB."""


MAX_LISTED = 64
"""Characters of a name that lists are filtered and sorted by."""


def _listed(*names: str) -> tuple[Column[Any], ...]:
    """What lists of runs and plans are searched, filtered and sorted by."""
    return (
        Column("words", String(MAX_WORDS), nullable=False, server_default=""),
        *(Column(name, String(MAX_LISTED), nullable=False, server_default="") for name in ("model", *names)),
        Column("budget_bytes", BigInteger, nullable=False, server_default="0"),
    )


def _marks() -> tuple[Column[Any], ...]:
    """What people write on a thing: see `api.store.marks`."""
    return (
        Column("labels", Text, nullable=False, server_default=""),
        Column("notes", LargeBinary),
        Column("archived_ms", BigInteger),
    )


models = Table(
    "models",
    metadata,
    _number(),
    Column("id", String(64), nullable=False, unique=True),
    Column("summary", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    *_marks(),
)

devices = Table(
    "devices",
    metadata,
    _number(),
    Column("id", String(64), nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("name", LargeBinary, nullable=False),
    Column("fingerprint", String(64), nullable=False, index=True),
    Column("machine", LargeBinary),
    Column("created_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger),
    Column("seen_ms", BigInteger),
    *_marks(),
)

profiles = Table(
    "profiles",
    metadata,
    _number(),
    Column("id", String(64), nullable=False, unique=True),
    Column("model_id", String(64), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("optimizer", String(16), nullable=False),
    Column("state_copies", Integer, nullable=False),
    Column("batch", Integer, nullable=False),
    Column("dtype", String(16), nullable=False, server_default="float32"),
    Column("heads", String(128), nullable=False, server_default=" pooled-conv "),
    Column("summary", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    *_marks(),
    Index("ix_profiles_subject", "model_id", "fingerprint"),
)

profile_owners = Table(
    "profile_owners",
    metadata,
    Column("profile_id", String(64), ForeignKey("profiles.id"), primary_key=True),
    Column("owner", String(64), primary_key=True),
    Column("created_ms", BigInteger, nullable=False),
)

plans = Table(
    "plans",
    metadata,
    _number(),
    Column("id", String(64), nullable=False, unique=True),
    Column("blocks", Integer, nullable=False),
    Column("summary", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    *_listed("strategy", "device"),
    Column("peak_bytes", BigInteger, nullable=False, server_default="0"),
    Column("seconds", Float, nullable=False, server_default="0"),
    Column("cuts", Integer, nullable=False, server_default="0"),
    *_marks(),
    # What lists are filtered and sorted by, beside documents that would have to be read over.
    Index(
        "ix_plans_listed",
        *("words", "model", "strategy", "device", "budget_bytes", "peak_bytes", "seconds", "cuts", "blocks"),
        *("archived_ms",),
    ),
)

plan_requests = Table(
    "plan_requests",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("plan_id", String(64), ForeignKey("plans.id"), nullable=False, index=True),
)

runs = Table(
    "runs",
    metadata,
    _number(),
    Column("id", String(64), nullable=False, unique=True),
    Column("plan_id", String(64), ForeignKey("plans.id"), nullable=False, index=True),
    Column("device_id", String(64), index=True),
    Column("name", LargeBinary, nullable=False),
    Column("report", LargeBinary),
    Column("report_id", String(64)),
    Column("state", String(16), nullable=False, server_default="queued"),
    Column("reason", LargeBinary),
    Column("peak_bytes", BigInteger),
    Column("created_ms", BigInteger, nullable=False),
    Column("heard_ms", BigInteger, nullable=False, server_default="0"),
    Column("finished_ms", BigInteger),
    *_listed(),
    Column("accuracy", Float),
    Column("seconds", Float),
    *_marks(),
    Index(
        "ix_runs_listed",
        *("words", "model", "state", "heard_ms", "device_id", "plan_id", "budget_bytes", "peak_bytes"),
        *("accuracy", "seconds", "archived_ms"),
    ),
    Column("thinned", String(16)),
    Column("told_state", String(16)),
)

samples = Table(
    "samples",
    metadata,
    Column("run", BigInteger, ForeignKey("runs.number"), primary_key=True, autoincrement=False),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("seconds", Float, nullable=False),
    Column("block", Integer, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("resident_bytes", BigInteger, nullable=False),
    Column("peak_bytes", BigInteger, nullable=False),
    Column("loss", Float, nullable=False),
    Index("ix_samples_peak", "run", "peak_bytes"),
)

jobs = Table(
    "jobs",
    metadata,
    _number(),
    Column("id", String(64), nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("request_id", String(64), nullable=False, index=True),
    Column("request", LargeBinary, nullable=False),
    Column("phase", Text, nullable=False),
    Column("done", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("cancel", Boolean, nullable=False),
    Column("worker", String(64)),
    Column("lease_ms", BigInteger),
    Column("error", LargeBinary),
    Column("profile_id", String(64)),
    Column("created_ms", BigInteger, nullable=False),
    Column("started_ms", BigInteger),
    Column("finished_ms", BigInteger),
)

tokens = Table(
    "tokens",
    metadata,
    _number(),
    Column("id", String(64), nullable=False, unique=True),
    Column("hash", String(64), nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("device_id", String(64), index=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),
    Column("used_ms", BigInteger),
    Column("revoked_ms", BigInteger),
    Column("name", LargeBinary),
    Column("role", String(16)),
    Column("parent_id", String(64), index=True),
)

audit = Table(
    "audit",
    metadata,
    _number(),
    Column("at_ms", BigInteger, nullable=False, index=True),
    Column("actor", LargeBinary, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("token_id", String(64), nullable=False),
    Column("action", String(64), nullable=False),
    Column("object", LargeBinary, nullable=False),
    Column("status", Integer, nullable=False),
    Column("client", String(64), nullable=False),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("request_hash", String(64), nullable=False),
    Column("resource_id", String(64), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)
