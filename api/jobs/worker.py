"""The process that runs jobs: `python -m api.jobs.worker`, started by `neuroflux serve`.

Its setup comes on standard input, for an argument could be read by every user of the machine, and a database's URL
holds a password.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from api.jobs.measure import clear_leftovers, run_job
from api.store import device_rows, job_rows, profile_rows
from api.store.database import Database
from api.store.tokens import new_id
from api.summaries import profile_row
from planner.errors import PlannerError
from planner.profiler.library.applies import read_profile
from planner.profiler.library.shipped import FOLDER
from planner.schema.codec import decode, parse_json
from planner.system.machine import fingerprint, probe
from planner.system.rlimit import die_with_parent

_LOG = logging.getLogger("neuroflux.jobs")

_SWEEP_SECONDS = 5.0
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker is told."""

    database: str
    """URL of the database."""
    parent_pid: int
    """The process that this one ends with."""


def main() -> None:
    """Read the setup and work until a signal."""
    setup = decode(WorkerSetup, parse_json(sys.stdin.readline()))
    die_with_parent(setup.parent_pid)
    work(setup.database)


def work(url: str, alive: Path | None = None) -> None:
    """Run jobs, one at a time, until SIGTERM or SIGINT: it ends at once, and its job is queued again by its lease.

    The file `alive` is touched every few seconds while the database answers, for who looks after this process.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    clear_leftovers()
    database = Database(url)
    name = f"{os.getpid()}-{new_id()}"
    # In this order: who plans for this machine finds what is shipped, and measures nothing that is known.
    _store_shipped(database)
    _register(database)
    # Beside the jobs, each of which may take long.
    sweep = (lambda: _sweep(database, alive), _SWEEP_SECONDS)
    threading.Thread(target=repeat, args=sweep, name="sweep", daemon=True).start()
    # One at a time: two measurements on one machine would disturb each other's times.
    repeat(lambda: _run_next(database, name), _POLL_SECONDS)


def _end(number: int, frame: FrameType | None) -> None:
    """By an exception, so that the measuring process and the job's folder go as well."""
    raise SystemExit(0)


def repeat(step: Callable[[], bool], pause_seconds: float) -> None:
    """Take a step for ever, with a pause where it had nothing to do. Whatever one step meets, there is a next one."""
    while True:
        try:
            if step():
                continue
        except Exception:
            _LOG.exception("this worker goes on after an error")
        time.sleep(pause_seconds)


def _run_next(database: Database, worker: str) -> bool:
    claim = job_rows.claim_next(database, worker)
    if claim is not None:
        run_job(database, claim)
    return claim is not None


def _register(database: Database) -> None:
    """Say what this machine is, if profiles can be taken on it."""
    here = probe()
    if here.torch_version is None:
        _LOG.warning("torch is not installed here, so nothing can be measured")
        return
    device_rows.set_server(database, here.name, fingerprint(here, here.torch_version, here.cores), here)


def _sweep(database: Database, alive: Path | None) -> bool:
    """Find jobs that were lost with their worker."""
    job_rows.reclaim(database)
    if alive is not None:
        alive.touch()
    return False


def _store_shipped(database: Database) -> None:
    for path in sorted(FOLDER.glob("models/*.json")):
        try:
            profile_rows.put(database, profile_row(read_profile(path)))
        except PlannerError as error:
            _LOG.warning("a shipped profile is left out: %s", error)


if __name__ == "__main__":
    main()
