"""`python -m planner.runner.supervise.preflighter PARENT_PID`: a `PreflightQuestion` in, a `PreflightAnswer` out.

No torch here.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from planner.errors import InputError, PlannerError
from planner.runner.supervise.initial import input_difference
from planner.runner.supervise.preflight import PreflightAnswer, PreflightQuestion
from planner.runner.supervise.room import check_room
from planner.schema.child_failed import ChildFailed
from planner.schema.codec import decode, parse_json, to_json
from planner.schema.plan import Plan
from planner.system.answers import Answers
from planner.system.machine import differences, probe
from planner.system.proc import read_memory
from planner.system.rlimit import die_with_parent


def answer(question: PreflightQuestion) -> PreflightAnswer:
    """Look at device and memory. Raises PlannerError where the run cannot begin."""
    plan = question.plan
    found: tuple[str, ...] = ()
    warnings: list[str] = []
    if question.trains:
        found = check_device(plan, question.any_device)
    if question.trains and question.in_memory:
        # Both are in use now: the supervisor is part of the plan's peak, and this process ends before training begins.
        ours = read_memory().anonymous_bytes + read_memory(os.getppid()).anonymous_bytes
        warnings += filter(None, [check_room(plan, ours, ignore_limit=question.ignore_limit)])
    if question.init is not None:
        warnings += filter(None, [input_difference(Path(question.init), plan)])
    return PreflightAnswer(None, found, tuple(warnings))


def check_device(plan: Plan, any_device: bool) -> tuple[str, ...]:
    """What makes this another device than the plan's. Raises InputError where that is not allowed."""
    found = differences(plan.device, plan.machine, probe())
    if found and not any_device:
        raise InputError(
            f"the plan was made for another device, or for this one before it changed: {'; '.join(found)}. Memory and "
            "time are others here: measure and plan on this device (neuroflux profile, neuroflux plan), or run it all "
            "the same: --any-device"
        )
    return found


def main(parent_pid: int) -> int:
    """Answer the question on standard input."""
    die_with_parent(parent_pid)
    try:
        found = answer(decode(PreflightQuestion, parse_json(sys.stdin.buffer.read())))
    except PlannerError as error:
        found = PreflightAnswer(ChildFailed.of(error))
    Answers().emit(to_json(found, indent=None))
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
