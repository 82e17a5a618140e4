"""What `/metrics` says of the database: runs, devices and jobs by state, and its size."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sqlalchemy import and_, case, func, select

from api.limits import SILENCE_SECONDS
from api.metrics import Gauge
from api.store import retention
from api.store.database import Database, now_ms
from api.store.migrate import HEAD
from api.store.runs import OPEN
from api.store.tables import devices, jobs, runs

_RUNS = ("queued", "running", "finished", "over-budget", "failed", "interrupted", "lost")
_DEVICES = ("enrolled", "revoked")
_JOBS = ("queued", "running", "done", "failed", "cancelled")


def of_database(database: Database) -> dict[str, Gauge]:
    """Gauges, each with a value for every state, those that nothing is in included."""
    silent = and_(runs.c.state.in_(OPEN), runs.c.heard_ms < now_ms() - round(1000 * SILENCE_SECONDS))
    revoked = case((devices.c.revoked_ms.is_(None), "enrolled"), else_="revoked")
    with database.read() as connection:

        def counted(state: Any, known: tuple[str, ...], *conditions: Any) -> dict[str, float]:
            label = state.label("state")
            rows = connection.execute(select(label, func.count()).where(*conditions).group_by(label)).all()
            found = {name: float(count) for name, count in rows}
            return {f'state="{name}"': found.get(name, 0.0) for name in known}

        by_state = counted(case((silent, "lost"), else_=runs.c.state), _RUNS)
        by_device = counted(revoked, _DEVICES, devices.c.kind == "device")
        by_job = counted(jobs.c.state, _JOBS)
    build = f'version="{_version()}",schema="{HEAD}"'
    return {
        "neuroflux_runs": Gauge("gauge", "Runs by state.", by_state),
        "neuroflux_devices": Gauge("gauge", "Devices that have enrolled.", by_device),
        "neuroflux_jobs": Gauge("gauge", "Measurements by state; `queued` is the queue.", by_job),
        "neuroflux_database_bytes": Gauge("gauge", "What the database takes.", {"": retention.used_bytes(database)}),
        "neuroflux_build_info": Gauge("gauge", "Release, and schema of its database.", {build: 1.0}),
    }


def _version() -> str:
    try:
        return version("neuroflux-planner")
    except PackageNotFoundError:  # run from its source
        return "unknown"
