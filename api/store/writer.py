"""Samples of many devices in few transactions: whatever waits while one commit is under way goes into the next.

A commit takes one flush of the storage (5 ms on a server's disk), whether it holds one batch or two hundred. A batch is
acknowledged when its commit has returned.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from api.limits import MAX_WAITING_SAMPLES
from api.problems import Problem, not_found, overloaded
from api.store import runs
from api.store.database import Database
from api.store.runs import RunKey
from api.store.tables import samples

_ROWS_PER_TRANSACTION = 20_000


@dataclass(frozen=True)
class _Waiting:
    """One device's batch."""

    run: RunKey
    """Whose they are."""
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

    def submit(self, run: RunKey, rows: list[dict[str, Any]]) -> Future[None]:
        """Hand over samples of a run. Raises Problem (503) where too much waits already.

        The result is a Problem where the run is finished (409) or deleted (404).
        """
        done: Future[None] = Future()
        with self._changed:
            if self._closing or self._rows + len(rows) > MAX_WAITING_SAMPLES:
                raise overloaded("more samples arrive than the storage takes")
            self._rows += len(rows)
            self._waiting.append(_Waiting(run, rows, done))
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
                refused = self._write(batches)
            except Exception as error:  # whatever it is, there is a next batch
                for batch in batches:
                    if not batch.done.cancelled():
                        batch.done.set_exception(error)
            else:
                for batch in batches:
                    if batch.done.cancelled():
                        continue
                    if batch.run.id in refused:
                        batch.done.set_exception(refused[batch.run.id])
                    else:
                        batch.done.set_result(None)

    def _next(self) -> list[_Waiting]:
        """What waits, once something does; nothing when this is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            taken: list[_Waiting] = []
            rows = 0
            while self._waiting and rows < _ROWS_PER_TRANSACTION:
                batch = self._waiting.popleft()
                rows += len(batch.rows)
                batch.done.set_running_or_notify_cancel()  # from here on it cannot be cancelled any more
                taken.append(batch)
            self._rows -= rows
        return taken

    def _write(self, batches: list[_Waiting]) -> dict[str, Problem]:
        """Write what is of runs that go on; by the ids of the others, why not."""
        statement = self._database.insert(samples).on_conflict_do_nothing(index_elements=["run", "sequence"])
        numbers = {batch.run.id: batch.run.number for batch in batches}
        with self._database.write(is_patient=True) as connection:
            known = runs.have_reports(connection, numbers)
            refused = {run: _finished() if run in known else _gone() for run in numbers if known.get(run, True)}
            rows = [row for batch in batches if batch.run.id not in refused for row in batch.rows]
            if rows:
                connection.execute(statement, rows)
                runs.set_heard(connection, {numbers[run] for run in numbers.keys() - refused.keys()})
        return refused


def _finished() -> Problem:
    return Problem(HTTPStatus.CONFLICT, "run-finished", "the run is finished: it has its report, and takes no samples")


def _gone() -> Problem:
    return not_found("run any more that these samples are of: it was deleted")
