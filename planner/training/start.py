"""Starting torch in a child, leanly where that works, and plainly where it does not."""

from __future__ import annotations

import os
import sys

from planner.schema.common import Policy, TorchStart
from planner.system.answers import Answers
from planner.training.lean import LeanStartError
from planner.training.runtime import Started, start_torch

_PLAINLY = "NEUROFLUX_START_PLAINLY"
"""The environment variable by which a program that began anew knows why: it holds what went wrong."""


def start_child(answers: Answers, policy: Policy, threads: int, start: TorchStart, numpy: bool = False) -> Started:
    """`start_torch`, first of all that a child does beside reading what it is told, so that it may begin anew.

    Where a lean start fails, the same program takes this one's place in the same process, with the same arguments, and
    starts torch plainly: nothing is left of what was tried. Its answers go on as if it had been the first.
    """
    if os.environ.pop(_PLAINLY, None) is not None:
        start = "plain"
    try:
        return start_torch(policy, threads, numpy, start)
    except LeanStartError as error:
        variables = {**os.environ, **answers.hand_on(), _PLAINLY: str(error)}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], variables)
