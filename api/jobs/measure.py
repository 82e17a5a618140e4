"""One job: a measurement in a process of its own, watched, limited, and ended when nobody wants it any more."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from api.limits import JOB_CPU_SECONDS, JOB_SECONDS
from api.store import job_rows, profile_rows
from api.store.database import Database
from api.store.job_rows import Claim
from api.summaries import profile_row
from planner.errors import PlannerError, StorageError
from planner.schema.codec import read_document, to_json
from planner.schema.profile import Profile
from planner.system.child import ChildProcess
from planner.system.ends import End
from planner.system.locks import lock_folder

_LOG = logging.getLogger("neuroflux.jobs")

_RENEW_SECONDS = 2.0
_POLL_SECONDS = 0.25
_MESSAGE_LENGTH = 500


@dataclass
class _Progress:
    """What the process said last."""

    phase: str = "starting"
    done: int = 0
    total: int = 0


def run_job(database: Database, claim: Claim) -> None:
    """See a job through that this worker has taken."""
    _LOG.info("job %s begins", claim.id)
    with _own_folder() as folder:
        (folder / "request.json").write_text(to_json(claim.request))
        code, message = _watched(database, claim, folder)
        _conclude(database, claim, folder, code, message)


@contextlib.contextmanager
def _own_folder() -> Iterator[Path]:
    """A job's folder, which is locked while its worker lives; it has its name once it is."""
    with tempfile.TemporaryDirectory(prefix="neuroflux-new-", ignore_cleanup_errors=True) as name:
        made = Path(name)
        folder = made.with_name(made.name.replace("-new-", "-job-"))
        with lock_folder(made):
            made.rename(folder)
            try:
                yield folder
            finally:
                folder.rename(made)


def clear_leftovers() -> None:
    """Remove the folders of jobs whose worker was killed here. Folders of other users are left alone."""
    for folder in Path(tempfile.gettempdir()).glob("neuroflux-job-*"):
        with contextlib.suppress(OSError, StorageError):
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                continue
            with lock_folder(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _watched(database: Database, claim: Claim, folder: Path) -> tuple[int, str]:
    """Run the measurement; its exit code and last words. A job that is cancelled or lost ends at once."""
    arguments = ["-m", "planner.cli.profile_job", str(folder), str(os.getpid()), str(JOB_CPU_SECONDS)]
    deadline = time.monotonic() + JOB_SECONDS
    progress, renewed = _Progress(), 0.0
    with (folder / "log").open("wb") as log, ChildProcess(arguments, log) as child:
        while not _take(child.answers_fd, progress):
            now = time.monotonic()
            if now > deadline:
                return 4, f"it took more than {JOB_SECONDS} s"
            if now - renewed < _RENEW_SECONDS:
                continue
            renewed = now
            if not job_rows.renew(database, claim, progress.phase, progress.done, progress.total):
                return 130, "it was cancelled"
        code = child.process.wait()
    lines = (folder / "log").read_text(errors="replace").strip().splitlines() or ["it said nothing"]
    return code, lines[-1][-_MESSAGE_LENGTH:]


def _take(pipe: int, progress: _Progress) -> bool:
    """Read what the process says, waiting a moment for it; True at its end."""
    if not select.select([pipe], [], [], _POLL_SECONDS)[0]:
        return False
    arrived = os.read(pipe, 2**16)
    for line in arrived.splitlines():
        with contextlib.suppress(ValueError, KeyError):  # half a line: the next one says more
            message = json.loads(line)
            progress.phase, progress.done, progress.total = message["phase"], message["done"], message["total"]
    return not arrived


def _conclude(database: Database, claim: Claim, folder: Path, code: int, message: str) -> None:
    if code < 0:
        end = End(code)
        again = job_rows.give_back(database, claim, f"its process was {end.explained}, twice: {message}")
        _LOG.warning("job %s: its process was %s; %s", claim.id, end.words, "again" if again else "given up")
        return
    if code:
        job_rows.finish(database, claim, None, message)
        _LOG.warning("job %s ends: %s", claim.id, message)
        return
    try:
        profile = read_document(folder / "profile.json", Profile)
    except PlannerError as error:
        job_rows.finish(database, claim, None, str(error))
        return
    profile_rows.put(database, profile_row(profile))
    job_rows.finish(database, claim, profile.id, None)
    _LOG.info("job %s is done", claim.id)
