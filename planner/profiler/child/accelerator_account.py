"""What a process takes of a GPU around its tensors: `python -m planner.profiler.child.gpu_account JOB MICRO_BATCH`.

Whole training steps of the model by backpropagation, as a run takes them. Two things lie around tensors: the kernels
that are loaded when they are first used, and what the caching allocator has reserved beyond what it has given out.
Prints one line of JSON (`GpuAccountResult`). Not run on hardware yet (profiles/README.md).
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
from planner.training.runtime import start_gpu, start_torch

if TYPE_CHECKING:
    import torch

_STEPS = 3


@dataclass(frozen=True)
class GpuAccount:
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
class GpuAccountResult:
    """The child's one line."""

    account: GpuAccount | None
    """What was found; null where a step does not fit."""


def take_account(job: Job, micro_batch: int, device: torch.device) -> GpuAccount:
    """Some whole steps at `micro_batch`; torch and the GPU have been started."""
    import torch

    from planner.profiler.child.network import WholeNetwork
    from planner.training.calibration import calibration_seconds
    from planner.training.gpu import limit_gpu, read_gpu, reset_gpu_peak

    start = read_gpu(device).beside_bytes
    calibration = calibration_seconds(device)
    limit_gpu(device, job.max_bytes - start)
    reset_gpu_peak(device)
    network = WholeNetwork(job)
    data = network.data(micro_batch)
    for _ in range(_STEPS):
        network.step(*data)
    found = read_gpu(device)
    loaded = max(0, found.beside_bytes - start)
    return GpuAccount(loaded, found.peak_bytes, torch.cuda.max_memory_allocated(device), calibration)


def main(path: str, micro_batch: int) -> None:
    """Answer with the account of the job at `path`."""
    answers = Answers()
    job = read_document(Path(path), Job)
    start_torch(job.allocator, job.threads)
    from planner.training.device import device_of

    device = device_of(job.device)
    start_gpu(device)
    found: GpuAccount | None = None
    try:
        found = take_account(job, micro_batch, device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    answers.tell(to_json(GpuAccountResult(found), indent=None))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
