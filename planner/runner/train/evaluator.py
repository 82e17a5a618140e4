"""The evaluating child: `python -m planner.runner.train.evaluator JOB PID`, the job as JSON. One line comes back.

Like the training child it is the process that the budget is for: it imports torch and little else.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from planner.data.records import Records
from planner.errors import OverBudgetError, PlannerError
from planner.runner.protocol.events import Evaluated, EvaluationMessage
from planner.runner.protocol.job import EvaluationJob
from planner.runner.storage.exported import find_exported
from planner.runner.train.guard import MemoryGuard, describe
from planner.schema.child_failed import ChildFailed
from planner.schema.codec import decode, parse_json, to_json
from planner.system.answers import Answers
from planner.system.exhaustion import is_out_of_memory
from planner.system.rlimit import die_with_parent
from planner.training.start import start_child


def _evaluate(answers: Answers, job: EvaluationJob) -> Evaluated:
    exported = find_exported(Path(job.weights))
    with Records(Path(job.records)) as data:
        started = start_child(answers, "tight", job.threads, "lean")
        from planner.runner.train.evaluation import evaluate_split

        guard = MemoryGuard(job.allowed_bytes, started.baseline_bytes)
        guard.take()
        return evaluate_split(exported, data.test, guard, started)


def main(text: str, supervisor_pid: int) -> int:
    """Do the job; what goes wrong is told as a `ChildFailed` event."""
    die_with_parent(supervisor_pid)
    answers = Answers()
    outcome: Evaluated | ChildFailed
    try:
        outcome = _evaluate(answers, decode(EvaluationJob, parse_json(text)))
    except PlannerError as error:
        outcome = ChildFailed.of(error)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        outcome = ChildFailed.of(OverBudgetError(describe(error)))
    answers.emit(to_json(EvaluationMessage(outcome), indent=None))
    return outcome.exit_code if isinstance(outcome, ChildFailed) else 0


if __name__ == "__main__":
    # Torch's tear-down takes a second and touches memory.
    os._exit(main(sys.argv[1], int(sys.argv[2])))
