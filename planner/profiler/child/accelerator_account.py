"""What a process takes of an accelerator around its tensors.

`python -m planner.profiler.child.accelerator_account JOB MICRO_BATCH`.

Whole training steps of the model by backpropagation, as a run takes them. Two things lie around tensors: the kernels
that are loaded when they are first used, and what the caching allocator has reserved beyond what it has given out.
Prints one line of JSON (`AcceleratorAccountResult`). Not run on hardware yet (profiles/README.md).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from planner.profiler.job import Job
from planner.schema.codec import read_document, to_json
from planner.system.answers import Answers
from planner.system.exhaustion import is_out_of_memory
from planner.training.runtime import start_accelerator, start_torch

if TYPE_CHECKING:
    from planner.training.device import Accelerator

_STEPS = 3


@dataclass(frozen=True)
class AcceleratorAccount:
    """What was found."""

    loaded_bytes: int
    """Kernels loaded since the start."""
    reserved_bytes: int
    """The most that the caching allocator took from the driver."""
    allocated_bytes: int
    """The most of it that was in use."""
    calibration_seconds: float
    """The calibration kernel's time right before."""


@dataclass(frozen=True)
class AcceleratorAccountResult:
    """The child's one line."""

    account: AcceleratorAccount | None
    """What was found; null where a step does not fit."""


def take_account(job: Job, micro_batch: int, backend: Accelerator) -> AcceleratorAccount:
    """Some whole steps at `micro_batch`; torch and the device have been started."""
    from planner.profiler.child.network import WholeNetwork
    from planner.training.calibration import calibration_seconds

    start = backend.memory().beside_bytes
    calibration = calibration_seconds(backend.device)
    backend.limit(job.max_bytes - start)
    backend.reset_peak()
    network = WholeNetwork(job)
    data = network.data(micro_batch)
    for _ in range(_STEPS):
        network.step(*data)
    found = backend.memory()
    loaded = max(0, found.beside_bytes - start)
    return AcceleratorAccount(loaded, found.peak_bytes, found.allocated_peak_bytes, calibration)


def main(path: str, micro_batch: int) -> None:
    """Answer with the account of the job at `path`."""
    answers = Answers()
    job = read_document(Path(path), Job)
    start_torch(job.allocator, job.threads)
    backend = start_accelerator(job.device)
    found: AcceleratorAccount | None = None
    try:
        found = take_account(job, micro_batch, backend)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    answers.emit(to_json(AcceleratorAccountResult(found), indent=None))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
