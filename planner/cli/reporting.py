"""Telling a service what was measured or trained here: its options, and the process that follows a run."""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from planner.cli.output import print_note
from planner.errors import InputError, InterruptedRunError
from planner.extras import lacks
from planner.schema.codec import to_json

_FAREWELL_SECONDS = 90
_REASON_LENGTH = 1000


def add_service(parser: argparse.ArgumentParser, what: str) -> None:
    """`--report-to`, `--token-file`."""
    parser.add_argument("--report-to", metavar="URL", help=f"{what} to this service")
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="authenticate there with the token in this file (default: the one that `neuroflux enroll` keeps)",
    )


def check_client() -> None:
    """Raise InputError where what reaches a service is not installed."""
    missing = lacks("httpx", "reaching a service")
    if missing is not None:
        raise InputError(missing)


def given(token_file: Path | None) -> list[str]:
    """The argument that names a token's file to another process, where there is one."""
    return [] if token_file is None else [str(token_file)]


@contextlib.contextmanager
def reporting(url: str | None, token_file: Path | None, out: Path, plan_id: str) -> Iterator[Callable[[], None]]:
    """While this lasts another process reports the run to the service, from the call of what this gives on.

    A run that is refused never makes that call, so that what an earlier run left in the folder is not reported. One
    that fails or is interrupted is told of, before its first step too. The end of its input ends the other process.
    """
    if url is None:
        yield lambda: None
        return
    check_client()
    command = [sys.executable, "-m", "planner.cli.follow", str(out), url, str(os.getpid()), *given(token_file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0) as follower:
        telling = _Telling(follower)
        try:
            yield telling
        except InputError:
            raise  # it was refused
        except (InterruptedRunError, KeyboardInterrupt) as error:
            telling.end("interrupted", str(error) or "it was interrupted", plan_id)
            raise
        except Exception as error:
            telling.end("failed", str(error), plan_id)
            raise
        finally:
            assert follower.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                follower.stdin.close()
            try:
                follower.wait(_FAREWELL_SECONDS)
            except subprocess.TimeoutExpired:
                print_note("the service takes too long; what it lacks stays in the output folder")
                follower.kill()


class _Telling:
    """Tells the reporting process once that the run has begun, and how it has ended where there is no report."""

    def __init__(self, follower: subprocess.Popen[bytes]) -> None:
        self._follower = follower
        self._has_begun = False

    def __call__(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            self._say(b"begun\n")

    def end(self, state: str, reason: str, plan_id: str) -> None:
        """It has ended."""
        told = {"state": state, "reason": reason[:_REASON_LENGTH], "plan_id": plan_id}
        self._say(to_json(told, indent=None).encode() + b"\n")

    def _say(self, text: bytes) -> None:
        assert self._follower.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended and said why
            self._follower.stdin.write(text)
            self._follower.stdin.flush()
