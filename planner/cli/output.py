"""Results go to standard output, everything else to standard error."""

from __future__ import annotations

import json
import sys
from typing import Any


def print_result(text: str) -> None:
    """One result, for people or as JSON, on standard output."""
    sys.stdout.write(text.rstrip("\n") + "\n")
    sys.stdout.flush()


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
        print_result(json.dumps(document, ensure_ascii=False))
