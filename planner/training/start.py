"""Starting torch in a child, leanly where that works, and plainly where it does not."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import NoReturn

from planner.schema.common import Policy, TorchStart
from planner.system.allocator import variables_to_begin_with
from planner.system.answers import Answers
from planner.system.pages import forbid_huge_pages
from planner.training.lean import LeanStartError
from planner.training.runtime import Started, start_torch

_PLAINLY = "NEUROFLUX_START_PLAINLY"
"""The environment variable by which a program that began anew knows why: it holds what went wrong."""


def start_child(answers: Answers, policy: Policy, threads: int, start: TorchStart, numpy: bool = False) -> Started:
    """`start_torch`, first of all that a child does beside reading what it is told, so that it may begin anew.

    The same program takes this one's place in the same process, with the same arguments, where the policy wants the
    allocator to know something from the beginning on, and where a lean start fails, to start torch plainly: nothing is
    left of what was tried. Its answers go on as if it had been the first.
    """
    if wanted := variables_to_begin_with(policy):
        forbid_huge_pages()  # the program is not to begin with them
        _begin_anew(answers, wanted)
    if os.environ.pop(_PLAINLY, None) is not None:
        start = "plain"
    try:
        return start_torch(policy, threads, numpy, start)
    except LeanStartError as error:
        _begin_anew(answers, {_PLAINLY: str(error)})


def _begin_anew(answers: Answers, variables: Mapping[str, str]) -> NoReturn:
    """Run this program from its beginning, with these environment variables besides."""
    environment = {**os.environ, **answers.hand_on(), **variables}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
