"""Every error a user can meet, in one tree. The class decides the exit code, the message says the rest.

PlannerError
├── InputError                  2   something the person gave is wrong
│   ├── DocumentError               a JSON document: model, profile, plan, report
│   ├── ModelError                  a network that cannot be built, chained or traced
│   │   └── RefusedModelError           a module that does not come in; carries every obstacle
│   └── DataError                   a data set that cannot be read as stated
├── InfeasibleError             3   no plan fits; carries the smallest budget that does
├── RunError                    4   a run failed
│   ├── OverBudgetError             memory above the budget, every fallback tried
│   ├── ExceededError               a run ended, above its budget; carries its report
│   └── StorageError                storage full, corrupt or locked
│       └── ShardError                  a shard of an activation cache is damaged, lost or another run's
└── InterruptedRunError       130   stopped by a signal; resumable
"""

from __future__ import annotations

from typing import Any


class PlannerError(Exception):
    """Base of every error this project raises on purpose. `str(error)` is fit to be shown to a person."""

    exit_code = 4


class InputError(PlannerError):
    """Something the person gave is wrong: which field, which value, what would be right."""

    exit_code = 2


class DocumentError(InputError):
    """A document breaks its schema. `path` is the place inside it, for instance `$.units[3].layers[0].stride`."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class ModelError(InputError):
    """A network that cannot be chained, built or traced. `unit` is its index where one is to blame."""

    def __init__(self, problem: str, unit: int | None = None) -> None:
        super().__init__(problem if unit is None else f"unit {unit}: {problem}")
        self.unit = unit


class RefusedModelError(ModelError):
    """A module that does not come in. `obstacles` (of `Obstacle`) are all that is known to be in its way."""

    def __init__(self, message: str, obstacles: tuple[Any, ...], unit: int | None = None) -> None:
        super().__init__(message)
        self.obstacles = obstacles
        self.unit = unit


class DataError(InputError):
    """A data set that cannot be read as stated: the file, and the record where there is one."""

    def __init__(self, file: str, problem: str, record: int | None = None) -> None:
        where = file if record is None else f"{file}, record {record}"
        super().__init__(f"{where}: {problem}")
        self.file = file
        self.record = record


class InfeasibleError(PlannerError):
    """No plan fits. `minimum_bytes` is the smallest feasible budget (or storage), `term` what binds there."""

    exit_code = 3

    def __init__(self, message: str, minimum_bytes: int, term: str) -> None:
        super().__init__(message)
        self.minimum_bytes = minimum_bytes
        self.term = term


class RunError(PlannerError):
    """A run failed for a reason that lies in the run, not in what the person typed."""

    exit_code = 4


class OverBudgetError(RunError):
    """A step needed more memory than the budget leaves, and no fallback to a smaller one was left."""


class ExceededError(RunError):
    """A run ended, and everything is written, but its peak was above its budget. `report` (a `Report`) says when."""

    def __init__(self, message: str, report: Any) -> None:
        super().__init__(message)
        self.report = report


class StorageError(RunError):
    """Storage is full, locked by another run, or gave back something else than was written."""


class ShardError(StorageError):
    """A shard of an activation cache cannot be trained from; it can be computed anew. `shard` counts from 0."""

    def __init__(self, file: str, problem: str, shard: int) -> None:
        super().__init__(f"{file}: {problem}")
        self.file = file
        self.problem = problem
        self.shard = shard


class InterruptedRunError(PlannerError):
    """Stopped by a signal after saving; `--resume` continues."""

    exit_code = 130


def error_of(exit_code: int, message: str, minimum_bytes: int | None = None) -> PlannerError:
    """The error that another process of ours has ended with, as one of this process: the inverse of `exit_code`.

    `minimum_bytes` is what an InfeasibleError carries; none stands for every other error.
    """
    if minimum_bytes is not None:
        return InfeasibleError(message, minimum_bytes, "memory")
    kinds: dict[int, type[PlannerError]] = {kind.exit_code: kind for kind in (InputError, InterruptedRunError)}
    return kinds.get(exit_code, RunError)(message)
