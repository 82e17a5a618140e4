"""What surrounds tensors on a GPU, from what a whole step has shown; and a measuring process's own limit there."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.errors import InfeasibleError
from planner.model.zoo import from_zoo
from planner.profiler import calibrate_accelerator as module
from planner.profiler.bounded import Bounds
from planner.profiler.calibrate_accelerator import calibrate_accelerator, calibrated_by
from planner.profiler.child.accelerator_account import AcceleratorAccount, AcceleratorAccountResult
from planner.profiler.child.accelerator_limit import OwnAcceleratorLimit
from planner.profiler.job import Job
from planner.schema.common import OptimizerConfig
from planner.training.device import accelerator_of
from planner.units import MIB
from tests.gpu import CONTEXT, OTHERS, tell_of_a_gpu
from tests.heads import conv_heads

JOB = Job(
    from_zoo("cnn6", (1, 28, 28), 10),
    OptimizerConfig("sgd", 0.1),
    (1, 2, 8),
    conv_heads(32),
    "cuda",
    1,
    "tight",
    600 * MIB,
)


def test_kernels_are_a_constant_and_what_the_allocator_keeps_a_part_of_what_is_live() -> None:
    found = calibrated_by(AcceleratorAccount(33 * MIB, 120 * MIB, 100 * MIB, 0.001), 8)
    assert (found.overhead_bytes, found.overhead_permille) == (33 * MIB, 200)
    assert (found.small_micro_batch, found.large_micro_batch, found.growing_bytes) == (8, 8, 0)
    assert (found.calibration_seconds, found.policies) == (0.001, ())


def test_a_part_of_a_thousandth_is_rounded_up() -> None:
    assert calibrated_by(AcceleratorAccount(0, 1001 * MIB + 1, 1001 * MIB, 0.001), 1).overhead_permille == 1


@pytest.mark.parametrize(("largest_that_fits", "tried"), [(8, ["8"]), (2, ["8", "2"])])
def test_a_step_that_does_not_fit_is_taken_at_the_smallest_micro_batch(
    largest_that_fits: int, tried: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _answering(monkeypatch, largest_that_fits)
    assert calibrate_accelerator(JOB, Path("job"), Bounds.begin(accelerator_bytes=600 * MIB)).small_micro_batch == int(
        tried[-1]
    )
    assert asked == tried


def test_where_no_step_fits_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    _answering(monkeypatch, 0)
    with pytest.raises(
        InfeasibleError, match=r"480\.0 MiB of the device are too little.*micro-batch 2 has to fit once"
    ):
        calibrate_accelerator(JOB, Path("job"), Bounds.begin(accelerator_bytes=600 * MIB))


def _answering(monkeypatch: pytest.MonkeyPatch, largest: int) -> list[str]:
    """In place of the child: a step fits up to this micro-batch. Returns which were asked for."""
    from planner.schema.codec import to_json

    asked: list[str] = []

    def first_line(bounds: Bounds, name: str, path: str, size: str) -> str:
        asked.append(size)
        return to_json(
            AcceleratorAccountResult(AcceleratorAccount(1, 2, 2, 0.1) if int(size) <= largest else None), indent=None
        )

    monkeypatch.setattr(module, "first_line", first_line)
    return asked


def test_a_measuring_process_keeps_to_its_part_of_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    told = tell_of_a_gpu(monkeypatch)
    limit = OwnAcceleratorLimit(accelerator_of("cuda"), 2000 * MIB)
    told.reserve(400 * MIB, kept=300 * MIB)
    # What others have is not to be had; what the allocator only keeps is given back.
    assert limit.renew() == CONTEXT + OTHERS
    assert told.limit == 2000 * MIB - CONTEXT - OTHERS
