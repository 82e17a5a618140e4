"""The queue between the service and its workers: huey, in the service's own database.

A message says which job to look at, no more. huey pickles messages; each is signed with a secret that only processes
of this service know, and one whose signature is wrong is never unpickled. Nothing from a request is in a message but
the id that the service gave the job.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from huey import Huey
from huey.serializer import SignedSerializer
from huey.storage import PostgresStorage, SqliteStorage
from sqlalchemy.engine import make_url

_BUSY_SECONDS = 20


class JobQueue:
    """Sends and receives ids of jobs."""

    def __init__(self, url: str, secret: str, create_tables: bool = False) -> None:
        options: dict[str, Any]
        if url.startswith("sqlite"):
            kind: type = SqliteStorage
            options = {"filename": make_url(url).database, "fsync": True, "timeout": _BUSY_SECONDS, "cache_mb": 1}
        else:
            kind = PostgresStorage
            options = {"dsn": make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)}
        options["create_tables"] = create_tables
        serializer = SignedSerializer(secret, "neuroflux-jobs")
        self.huey = Huey("neuroflux", results=False, serializer=serializer, storage_class=kind, **options)
        self._handle: Callable[[str], None] = _handled_by_workers
        # Defined here, once for both sides: huey knows a task by its module and name.
        self._send = self.huey.task(name="run_job")(lambda job_id: self._handle(job_id))

    def send(self, job_id: str) -> None:
        """Tell a worker to look at a job."""
        self._send(job_id)

    def receive(self, handle: Callable[[str], None]) -> None:
        """Say what this process, a worker's, does with an id."""
        self._handle = handle

    def close(self) -> None:
        """End this thread's connection."""
        self.huey.storage.close()


def _handled_by_workers(job_id: str) -> None:
    raise NotImplementedError(f"job {job_id[:64]}: only a worker's process runs jobs")
