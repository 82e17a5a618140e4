"""`python -m planner.cli.follow OUT URL PARENT_PID [TOKEN_FILE]`: report a run to a service while it goes on.

A process beside the run, which it cannot hold up: what it sends it reads from memory.jsonl, so that file is the spool,
and however long the service is away, nothing is kept in memory. A sample's sequence number is its line; the service
takes each once, so sending again after a lost answer, or after `--resume`, changes nothing.
"""

from __future__ import annotations

import math
import os
import secrets
import select
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from planner.cli.output import print_note
from planner.cli.streams import lasting_streams
from planner.client.credentials import token_given
from planner.client.service import ServiceClient, UnreachableError
from planner.errors import PlannerError
from planner.schema.codec import decode, parse_json, read_document, read_json, to_json
from planner.schema.plan import Plan
from planner.schema.report import Report
from planner.schema.run_folder import RunFolder
from planner.system.files import write_atomically
from planner.system.rlimit import die_with_parent

BATCH = 500
"""Most samples of one request."""

BEGUN = b"begun\n"
"""What the run's process says when the run has begun."""

_WAIT_SECONDS = 1.0
_SIGN_SECONDS = 30.0
_FAREWELL_SECONDS = 60.0


def main() -> int:
    """Once standard input says that the run has begun, follow it; when the input ends, send the rest."""
    with lasting_streams():
        return _main()


def _main() -> int:
    folder, url, parent_pid = RunFolder(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
    token_file = next(map(Path, sys.argv[4:]), None)
    die_with_parent(parent_pid)
    told = Told(sys.stdin.fileno())
    while not told.has_begun and not told.is_over:
        told.wait(None)
    if not told.has_begun and told.end is None:
        return 0  # it was refused; what lies in the folder is another run's
    spool = Spool(folder.memory)
    try:
        token = token_given(url, token_file)
        with ServiceClient(url, token, patience_seconds=5.0) as service:
            follow(service, folder, spool, told)
        with ServiceClient(url, token, patience_seconds=_FAREWELL_SECONDS) as service:
            finish(service, folder, spool, told.end)
    except PlannerError as error:
        print_note(f"not everything was reported: {error}")
        return error.exit_code
    return 0


@dataclass(frozen=True)
class RunEnd:
    """A run that has ended without a report."""

    state: Literal["failed", "interrupted"]
    """How."""
    reason: str
    """Why."""
    plan_id: str
    """What it executed."""


class Told:
    """What the run's process says on a pipe: `BEGUN` once it has begun, a `RunEnd` where it fails, and its end."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._text = b""
        self.is_over = False

    def wait(self, seconds: float | None) -> bool:
        """Wait for news; whether the run is over."""
        if not self.is_over and select.select([self._pipe], [], [], seconds)[0]:
            arrived = os.read(self._pipe, 2**16)
            self._text += arrived
            self.is_over = not arrived
        return self.is_over

    @property
    def has_begun(self) -> bool:
        """Whether what lies in the folder is this run's."""
        return self._text.startswith(BEGUN)

    @property
    def end(self) -> RunEnd | None:
        """How it has ended without a report, where it has."""
        line = self._text.removeprefix(BEGUN)
        return decode(RunEnd, parse_json(line)) if line.endswith(b"\n") else None


def follow(service: ServiceClient, folder: RunFolder, spool: Spool, told: Told) -> None:
    """Send samples as they come, and say from time to time that the run goes on. While the service does not answer they
    wait in their file."""
    said = -math.inf
    while not told.wait(_WAIT_SECONDS):
        if not folder.plan.exists():
            continue
        try:
            run_id = run_of(service, folder)
            if _send(service, spool, run_id):
                said = time.monotonic()
            elif time.monotonic() - said > _SIGN_SECONDS:
                service.set_state(run_id, "running")
                said = time.monotonic()
        except UnreachableError as error:
            print_note(f"reporting waits: {error}")


def finish(service: ServiceClient, folder: RunFolder, spool: Spool, end: RunEnd | None = None) -> None:
    """Send every sample that the service lacks, and the report where there is one, else how the run has ended."""
    if not folder.plan.exists():
        if end is not None:  # before it had a folder
            run_id = service.create_run(end.plan_id, _name(folder), secrets.token_hex(16))
            service.set_state(run_id, end.state, end.reason)
        return
    run_id = run_of(service, folder)
    _send(service, spool, run_id)
    if folder.report.exists():
        service.post_report(run_id, read_document(folder.report, Report))
    elif end is not None:
        service.set_state(run_id, end.state, end.reason)


def _name(folder: RunFolder) -> str:
    """The folder's, as far as a service takes it for a name."""
    name = "".join(letter for letter in folder.path.name[:100] if letter.isprintable())
    return name if name.strip() else "run"


def run_of(service: ServiceClient, folder: RunFolder) -> str:
    """The id of this folder's run at the service, begun there when it is asked for the first time."""
    path = folder.reported
    known: dict[str, Any] = read_json(path) if path.exists() else {}
    if known.get("url") != service.address:
        known = {"url": service.address, "key": secrets.token_hex(16)}
        write_atomically(path, to_json(known))
    if "run_id" not in known:
        plan = read_document(folder.plan, Plan)
        known["run_id"] = service.create_run(plan.id, _name(folder), known["key"])
        write_atomically(path, to_json(known))
    return str(known["run_id"])


def _send(service: ServiceClient, spool: Spool, run_id: str) -> bool:
    """Send what the service lacks; whether there was something."""
    has_sent = False
    for batch in spool.behind(service.last_sequence(run_id)):
        service.post_samples(run_id, batch)
        has_sent = True
    return has_sent


class Spool:
    """A run's samples in their file. What was read once is not read again while the file only grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._offset = 0
        self._sequence = 0
        self._last = b""

    def behind(self, after: int) -> Iterator[list[dict[str, Any]]]:
        """Batches of the samples behind line `after`, whole lines only."""
        if not self._path.exists():
            return
        batch: list[dict[str, Any]] = []
        with self._path.open("rb") as file:
            # The service may lack what was read: it did not answer. The file may have been cut by a resumed run.
            if self._sequence > after + 1 or not self._stands_where_it_was(file):
                self._begin_anew()
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                sequence = self._sequence
                self._offset, self._sequence, self._last = self._offset + len(line), sequence + 1, line
                if sequence > after:
                    batch.append({"sequence": sequence, **parse_json(line)})
                if len(batch) == BATCH:
                    yield batch
                    batch = []
        if batch:
            yield batch

    def _stands_where_it_was(self, file: BinaryIO) -> bool:
        """Whether the line read last still ends where it ended."""
        file.seek(self._offset - len(self._last))
        return file.read(len(self._last)) == self._last


if __name__ == "__main__":
    sys.exit(main())
