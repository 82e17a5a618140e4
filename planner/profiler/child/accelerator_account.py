"""Memory of an accelerator beside tensors: `python -m planner.profiler.child.accelerator_account JOB MICRO_BATCH`.

The child takes whole training steps of the model by backpropagation, as a run does. Beside tensors there are kernels,
loaded when they are first used, and what the caching allocator has reserved and not given out. Answers with one line of
JSON (`AcceleratorAccountResult`). Not run on hardware yet (profiles/README.md).
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
    """Memory of an accelerator during whole training steps."""

    loaded_bytes: int
    """Memory outside the caching allocator since the start: loaded kernels."""
    reserved_bytes: int
    """Most that the caching allocator had from the driver."""
    allocated_bytes: int
    """Most that tensors took of it."""
    calibration_seconds: float
    """Time of the calibration kernel, right before."""


@dataclass(frozen=True)
class AcceleratorAccountResult:
    """The child's one line."""

    account: AcceleratorAccount | None
    """What was found; null where a step does not fit."""


def take_account(job: Job, micro_batch: int, backend: Accelerator) -> AcceleratorAccount:
    """Take three whole steps at `micro_batch`; torch and the device have been started. Raises as torch does."""
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
