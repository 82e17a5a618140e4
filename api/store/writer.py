"""Samples of many devices in few transactions: whatever waits while one commit is under way goes into the next.

A commit takes one flush of the storage (5 ms on a server's disk), whether it holds one batch or two hundred. A batch is
acknowledged when its commit has returned.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from api.limits import MAX_WAITING_SAMPLES
from api.problems import overloaded
from api.store.database import Database
from api.store.tables import samples

_ROWS_PER_TRANSACTION = 20_000


@dataclass(frozen=True)
class _Waiting:
    """One device's batch."""

    rows: list[dict[str, Any]]
    """As the table takes them."""
    done: Future[None]
    """Resolved when they are on storage."""


class SampleWriter:
    """A thread that writes samples. A sequence number that is there already is left as it is."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[_Waiting] = deque()
        self._rows = 0
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="samples", daemon=True)
        self._thread.start()

    def submit(self, rows: list[dict[str, Any]]) -> Future[None]:
        """Hand over a batch. Raises Problem (503) where too much waits already."""
        done: Future[None] = Future()
        with self._changed:
            if self._closing or self._rows + len(rows) > MAX_WAITING_SAMPLES:
                raise overloaded("more samples arrive than the storage takes")
            self._rows += len(rows)
            self._waiting.append(_Waiting(rows, done))
            self._changed.notify()
        return done

    def close(self) -> None:
        """Write what waits, then end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batches := self._next():
            try:
                self._write([row for batch in batches for row in batch.rows])
            except SQLAlchemyError as error:
                for batch in batches:
                    batch.done.set_exception(error)
            else:
                for batch in batches:
                    batch.done.set_result(None)

    def _next(self) -> list[_Waiting]:
        """What waits, once something does; nothing when this is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            taken: list[_Waiting] = []
            rows = 0
            while self._waiting and rows < _ROWS_PER_TRANSACTION:
                taken.append(self._waiting.popleft())
                rows += len(taken[-1].rows)
            self._rows -= rows
        return taken

    def _write(self, rows: list[dict[str, Any]]) -> None:
        statement = self._database.insert(samples).on_conflict_do_nothing(index_elements=["run", "sequence"])
        with self._database.write() as connection:
            connection.execute(statement, rows)
