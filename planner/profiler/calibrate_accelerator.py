"""Measuring a process's overhead beside tensors on an accelerator, by whole training steps."""

from __future__ import annotations

from pathlib import Path

from planner.errors import InfeasibleError
from planner.profiler.bounded import Bounds
from planner.profiler.calibrate import Calibrated, step_sizes
from planner.profiler.child.accelerator_account import AcceleratorAccount, AcceleratorAccountResult
from planner.profiler.job import Job
from planner.profiler.schedule import first_line
from planner.schema.codec import decode, parse_json
from planner.units import format_bytes


def calibrate_accelerator(job: Job, path: Path, bounds: Bounds) -> Calibrated:
    """Measure the overhead of training a job's model on its accelerator; as `calibrate` otherwise.

    Raises:
        InfeasibleError: not even the smallest whole step fits.
    """
    small, large = step_sizes(job)
    for size in dict.fromkeys((large, small)):
        line = first_line(bounds, "planner.profiler.child.accelerator_account", str(path), str(size))
        found = decode(AcceleratorAccountResult, parse_json(line)).account
        if found is not None:
            return calibrated_by(found, size)
    raise InfeasibleError(
        f"{format_bytes(bounds.max_bytes)} of the device are too little to measure in (--max-bytes, or what there is): "
        f"a whole step at micro-batch {small} has to fit once",
        bounds.max_bytes,
        "runtime",
    )


def calibrated_by(found: AcceleratorAccount, micro_batch: int) -> Calibrated:
    """The overhead by an account: loaded kernels are constant, what the caching allocator reserves grows."""
    kept = max(0, found.reserved_bytes - found.allocated_bytes)
    permille = -(-kept * 1000 // max(1, found.allocated_bytes))
    return Calibrated(found.loaded_bytes, permille, micro_batch, micro_batch, 0, found.calibration_seconds, (), None)
