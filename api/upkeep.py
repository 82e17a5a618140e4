"""What the service does by itself now and then: old samples are thinned and dropped, the database is kept below its
quota, and old rows of who changed what are forgotten."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from api.store import audit, retention
from api.store.database import Database

_LOG = logging.getLogger("neuroflux.api")

_ROOM = 0.9
"""A database beyond its quota is brought to this share of it."""

_FORGET_SECONDS = 3600.0


class Upkeep:
    """One service's."""

    def __init__(self, database: Database, keep_seconds: float | None, quota_bytes: int | None) -> None:
        self._database = database
        self._keep = keep_seconds
        self._quota = quota_bytes
        self._forgot = -_FORGET_SECONDS
        self.is_full = False

    def step(self) -> None:
        """Do what is due."""
        if self._keep is not None:
            self._all("thinned", self._keep, retention.thin, lambda: True)
            self._all("dropped", 2 * self._keep, retention.drop, lambda: True)
        if self._quota is not None:
            self._keep_quota(self._quota)
        if time.monotonic() - self._forgot >= _FORGET_SECONDS:
            audit.forget_old(self._database)
            self._forgot = time.monotonic()

    def _keep_quota(self, quota: int) -> None:
        """Thin, then drop, what is oldest, until the database is small enough; else it takes nothing more."""

        def is_needed() -> bool:
            return retention.used_bytes(self._database) > _ROOM * quota

        if retention.used_bytes(self._database) > quota or self.is_full:
            self._all("thinned", 0, retention.thin, is_needed)
            self._all("dropped", 0, retention.drop, is_needed)
        was_full, self.is_full = self.is_full, retention.used_bytes(self._database) > quota
        if self.is_full and not was_full:
            _LOG.error("the database is beyond its quota; nothing more is taken until runs are deleted")

    def _all(
        self, to_be: str, older_than: float, do: Callable[[Database, int], None], is_needed: Callable[[], bool]
    ) -> None:
        while is_needed() and (run := retention.oldest(self._database, older_than, to_be)) is not None:
            do(self._database, run)
