"""Results go to standard output, everything else to standard error."""

from __future__ import annotations

import json
import sys
from typing import Any

from planner.cli.streams import let_go
from planner.errors import StorageError


def print_result(text: str) -> None:
    """One result, for people or as JSON, on standard output.

    A reader that has gone away wants nothing more. Raises StorageError where somebody wants it and cannot be given it:
    standard output is a file on a full disk.
    """
    try:
        sys.stdout.write(text.rstrip("\n") + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        let_go(sys.stdout)
    except OSError as error:
        let_go(sys.stdout)
        raise StorageError(f"standard output: the result cannot be written ({error.strerror})") from None


def print_stored_result(text: str) -> None:
    """A result that lies in a file too: where it cannot be told, that is noted, and no error."""
    try:
        print_result(text)
    except StorageError as error:
        print_note(f"warning: {error}")


def print_note(text: str) -> None:
    """A remark on standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def print_error(message: str, exit_code: int, as_json: bool, minimum_bytes: int | None = None) -> None:
    """What went wrong, on standard error, and as a JSON document on standard output where JSON was asked for."""
    print_note(f"neuroflux: {message}")
    if as_json:
        document: dict[str, Any] = {"error": message, "exit_code": exit_code}
        if minimum_bytes is not None:
            document["minimum_bytes"] = minimum_bytes
        print_stored_result(json.dumps(document, ensure_ascii=False))
