"""The process that runs jobs: `python -m api.jobs.worker`, started by `neuroflux serve`.

Its setup comes on standard input, for an argument could be read by every user of the machine, and a database's URL
holds a password.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from api.jobs.measure import run_job
from api.jobs.queue import JobQueue
from api.secret_files import queue_secret
from api.store import content, device_rows, job_rows
from api.store.database import Database
from api.store.tables import profiles
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


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker is told."""

    database: str
    """URL of the database."""
    data_folder: str
    """Holds the secret that signs messages."""
    parent_pid: int
    """The process that this one ends with."""


def main() -> None:
    """Read the setup and work until a signal."""
    setup = decode(WorkerSetup, parse_json(sys.stdin.readline()))
    die_with_parent(setup.parent_pid)
    work(setup.database, Path(setup.data_folder))


def work(url: str, data_folder: Path) -> None:
    """Run jobs until a signal (SIGTERM: at once, the job goes back into the queue by its lease)."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("huey").setLevel(logging.WARNING)
    database, queue = Database(url), JobQueue(url, queue_secret(data_folder))
    name = f"{os.getpid()}-{new_id()}"
    # In this order: who plans for this machine finds what is shipped, and measures nothing that is known.
    _store_shipped(database)
    _register(database)
    stop = threading.Event()
    background = threading.Thread(target=_sweep, args=(database, queue, stop), name="sweep", daemon=True)
    background.start()
    queue.receive(lambda job_id: run_job(database, job_id, name))
    # One at a time: two measurements on one machine would disturb each other's times.
    queue.huey.create_consumer(workers=1, periodic=False, initial_delay=0.2, max_delay=1.0, backoff=1.2).run()
    stop.set()


def _register(database: Database) -> None:
    """Say what this machine is, if profiles can be taken on it."""
    here = probe()
    if here.torch_version is None:
        _LOG.warning("torch is not installed here, so nothing can be measured")
        return
    device_rows.set_server(database, here.name, fingerprint(here, here.torch_version, here.cores), here)


def _sweep(database: Database, queue: JobQueue, stop: threading.Event) -> None:
    """Now and again, find jobs that were lost with their worker or their message."""
    while True:
        for job_id in job_rows.reclaim(database):
            queue.send(job_id)
        if stop.wait(_SWEEP_SECONDS):
            return


def _store_shipped(database: Database) -> None:
    for path in sorted(FOLDER.glob("models/*.json")):
        try:
            content.put(database, profiles, profile_row(read_profile(path)))
        except PlannerError as error:
            _LOG.warning("a shipped profile is left out: %s", error)


if __name__ == "__main__":
    main()
