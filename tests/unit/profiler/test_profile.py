"""What a measurement is given, and its refusals before anything is measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from planner.errors import InfeasibleError, InputError
from planner.model.zoo import from_zoo
from planner.profiler import profile as profile_module
from planner.profiler.profile import ProfileRequest, Start, micro_batches_for, start_of_gpu, take_profile
from planner.settings import Optimizer
from planner.system.machine import probe
from planner.units import MIB


@pytest.mark.parametrize(
    ("batch", "sizes"),
    [(1, (1,)), (2, (1, 2)), (32, (1, 2, 8, 32)), (128, (1, 2, 8, 32, 128)), (4096, (1, 16, 64, 256, 1024, 4096))],
)
def test_the_micro_batches_are_the_batch_and_its_quarters(batch: int, sizes: tuple[int, ...]) -> None:
    assert micro_batches_for(batch) == sizes


def _refused(kind: type[Exception], **limits: float) -> str:
    request = ProfileRequest(from_zoo("cnn6", (1, 28, 28), 10), Optimizer("sgd", 0.1), 8, 1, **limits)  # type: ignore[arg-type]  # either of two fields
    with pytest.raises(kind) as caught:
        take_profile(request, lambda done, total, name: None)
    return str(caught.value)


def test_less_memory_than_torch_takes_is_refused_with_what_torch_takes() -> None:
    message = _refused(InfeasibleError, max_bytes=32 * MIB)
    assert message.startswith("32.0 MiB are too little to measure in")
    assert "torch alone takes" in message


def test_no_time_at_all_is_refused_with_a_time_that_may_do() -> None:
    message = _refused(InputError, max_seconds=0.001)
    assert "--max-seconds" in message
    assert "allow 10 s or more" in message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gpu_name": None, "unified_memory": False}, "reaches no GPU here"),
        ({"gpu_name": "board", "unified_memory": True}, "CPU and GPU share one memory here"),
    ],
)
def test_a_gpu_that_cannot_be_measured_is_refused(
    changes: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = replace(probe(), **changes)
    monkeypatch.setattr(profile_module, "probe", lambda: machine)
    request = ProfileRequest(from_zoo("cnn6", (1, 28, 28), 10), Optimizer("sgd", 0.1), 8, 1, device="cuda")
    with pytest.raises(InputError, match=f"device is cuda, but .*{said}.* use cpu"):
        take_profile(request, lambda done, total, name: None)


def test_on_a_gpu_a_run_starts_with_its_context_and_nothing_of_the_supervisor_counts() -> None:
    machine = replace(probe(), gpu_context_bytes=300 * MIB)
    assert start_of_gpu(machine) == Start(300 * MIB, 300 * MIB, 0)
