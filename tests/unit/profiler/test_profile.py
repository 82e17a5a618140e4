"""What a measurement is given, and its refusals before anything is measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import pytest

from planner.errors import InfeasibleError, InputError, StorageError
from planner.model.zoo import from_zoo
from planner.profiler import profile as profile_module
from planner.profiler.profile import ProfileRequest, Start, micro_batches_for, start_of_accelerator, take_profile
from planner.schema.common import OptimizerConfig
from planner.system.machine import probe
from planner.system.storage import file_system
from planner.units import MIB
from tests.unit.system.support import mounting, run_child


@pytest.mark.parametrize(
    ("batch", "sizes"),
    [(1, (1,)), (2, (1, 2)), (32, (1, 2, 8, 32)), (128, (1, 2, 8, 32, 128)), (4096, (1, 16, 64, 256, 1024, 4096))],
)
def test_the_micro_batches_are_the_batch_and_its_quarters(batch: int, sizes: tuple[int, ...]) -> None:
    assert micro_batches_for(batch) == sizes


def _refused(kind: type[Exception], **limits: float) -> str:
    request = ProfileRequest(from_zoo("cnn6", (1, 28, 28), 10), OptimizerConfig("sgd", 0.1), 8, 1, **limits)  # type: ignore[arg-type]  # either of two fields
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
    request = ProfileRequest(from_zoo("cnn6", (1, 28, 28), 10), OptimizerConfig("sgd", 0.1), 8, 1, device="cuda")
    with pytest.raises(InputError, match=f"device is cuda, but .*{said}.* use cpu"):
        take_profile(request, lambda done, total, name: None)


def test_on_a_gpu_a_run_starts_with_its_context_and_nothing_of_the_supervisor_counts() -> None:
    machine = replace(probe(), gpu_context_bytes=300 * MIB)
    assert start_of_accelerator(machine) == Start(300 * MIB, 300 * MIB, 0)


STORAGE = """
    import json, os, sys
    from pathlib import Path
    from planner.errors import StorageError
    from planner.profiler.profile import measured_storage
    os.chdir(sys.argv[1])
    try:
        print(json.dumps(measured_storage(*map(Path, sys.argv[2:])).file_system))
    except StorageError as error:
        print(json.dumps(str(error)))
"""


def test_the_storage_that_is_timed_is_where_output_folders_lie(tmp_path: Path) -> None:
    """Memory is mounted where runs lie, or here; what is elsewhere is something else."""
    runs, other = tmp_path / "runs", tmp_path / "other"
    runs.mkdir()
    other.mkdir()
    elsewhere = file_system(other)
    if elsewhere == "tmpfs":
        pytest.skip("the temporary folder is in memory itself, so that nothing can be told apart")
    room = mounting(runs, "size=200m")
    assert run_child(STORAGE, str(tmp_path), wrapper=room) == "tmpfs"
    assert run_child(STORAGE, str(runs), wrapper=room) == "tmpfs"
    assert run_child(STORAGE, str(other), wrapper=room) == elsewhere
    assert run_child(STORAGE, str(tmp_path), str(other), wrapper=room) == elsewhere


def test_where_no_run_can_write_the_temporary_folder_stands_in_unless_the_folder_was_named(tmp_path: Path) -> None:
    assert run_child(STORAGE, "/proc") == file_system(gettempdir())
    assert "/proc" in run_child(STORAGE, str(tmp_path), "/proc")


def test_a_folder_that_cannot_be_written_to_ends_it_before_anything_is_measured(tmp_path: Path) -> None:
    request = ProfileRequest(from_zoo("cnn6", (1, 28, 28), 10), OptimizerConfig("sgd", 0.1), 8, 1, max_bytes=1)
    with pytest.raises(StorageError, match="the folder does not exist"):
        take_profile(request, lambda done, total, name: None, tmp_path / "absent")
