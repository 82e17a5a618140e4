"""Lines of the network's own code: neither torch's nor this package's. Needs torch."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import planner

_NOT_OWN = (str(Path(torch.__file__).parent) + "/", str(Path(planner.__file__).parent) + "/", "<")
"""Beginnings of files that are not the network's: torch, this package, and code that has no file."""


NO_LINE = "forward"
"""In place of a line that is not known."""


def line_of_error(error: BaseException) -> str:
    """The innermost own line of a traceback, as `file:line`; empty where there is none."""
    place, at = "", error.__traceback__
    while at is not None:
        name = at.tb_frame.f_code.co_filename
        if not name.startswith(_NOT_OWN):
            place = f"{name}:{at.tb_lineno}"
        at = at.tb_next
    return place


def line_of_caller() -> str:
    """The innermost own line of what is running now; empty where there is none."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_NOT_OWN):
            return f"{name}:{frame.f_lineno}"
        if frame.f_back is None:
            break
        frame = frame.f_back
    return ""


def line_of_trace(text: str) -> str:
    """The innermost own line of a stack as torch writes one down; `NO_LINE` where there is none."""
    lines = (line.strip() for line in text.splitlines())
    places = [line.removeprefix('File "').partition('", line ') for line in lines if line.startswith('File "')]
    own = [(name, rest) for name, _, rest in places if not name.startswith(_NOT_OWN)]
    if not own:
        return NO_LINE
    name, rest = own[-1]
    return f"{name}:{rest.partition(',')[0]}"
