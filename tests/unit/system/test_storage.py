from __future__ import annotations

import math
import os
import subprocess
from pathlib import Path

import pytest

from planner.errors import StorageError
from planner.system import storage
from planner.system.storage import file_system, measure_storage, memory_kind, scratch_folder
from tests.unit.system.support import MIB, environment, mounting, names, needs_root, run_child

# Measures in a file system of its own; prints the bytes measured, or the error, and what is left in the folder.
MEASURE = """
    import json, os, sys
    from planner.errors import StorageError
    from planner.system.storage import measure_storage
    try:
        said = measure_storage(sys.argv[1]).measured_bytes
    except StorageError as error:
        said = str(error)
    print(json.dumps([said, os.listdir(sys.argv[1])]))
"""


def test_both_speeds_are_measured_and_the_file_goes(tmp_path: Path) -> None:
    speed = measure_storage(tmp_path, 8 * MIB)
    assert speed.measured_bytes == 8 * MIB
    for rate in (speed.write_bytes_per_second, speed.read_bytes_per_second):
        assert math.isfinite(rate)
        assert rate > 0
    assert names(tmp_path) == []


def test_speed_is_bytes_over_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([100.0, 104.0, 200.0, 202.0])
    monkeypatch.setattr(storage, "perf_counter", lambda: next(ticks))
    speed = measure_storage(tmp_path, 8 * MIB)
    assert (speed.write_bytes_per_second, speed.read_bytes_per_second) == (2 * MIB, 4 * MIB)


def test_the_content_is_read_back_after_it_left_the_page_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = []
    really_read = storage._timed_read

    def look_first(fd: int, size_bytes: int) -> float:
        for offset in range(0, size_bytes, MIB):
            try:
                cached.append(os.preadv(fd, [bytearray(4096)], offset, os.RWF_NOWAIT))
            except BlockingIOError:
                cached.append(0)
        return really_read(fd, size_bytes)

    monkeypatch.setattr(storage, "_timed_read", look_first)
    try:
        measure_storage(tmp_path, 8 * MIB)
    except StorageError as error:
        pytest.skip(f"the file system of the temporary folder cannot tell what is cached: {error}")
    if cached == [4096] * 8 and "tmpfs" in os.popen(f"stat -f -c %T {tmp_path}").read():
        pytest.skip("the temporary folder is in memory, where nothing can be evicted")
    assert cached == [0] * 8


def test_no_more_than_a_tenth_of_the_free_space_is_used(tmp_path: Path) -> None:
    said, left = run_child(MEASURE, str(tmp_path), wrapper=mounting(tmp_path, "size=100m"))
    assert said in (9 * MIB, 10 * MIB)
    assert left == []


def test_too_little_room_is_a_storage_error(tmp_path: Path) -> None:
    said, left = run_child(MEASURE, str(tmp_path), wrapper=mounting(tmp_path, "size=39m"))
    assert "too little room" in said
    assert "4.0 MiB" in said
    assert left == []


def test_a_missing_or_unwritable_folder_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="does not exist"):
        measure_storage(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file: "):
        measure_storage(tmp_path / "file")


@pytest.mark.parametrize("folder", ["/", "/proc", "/sys", "/dev/shm", "/tmp"])
def test_the_kind_of_a_file_system_is_what_stat_calls_it(folder: str, tmp_path: Path) -> None:
    """`stat` knows the numbers by names of its own; those that it shares with us are compared."""
    told = subprocess.run(["stat", "-f", "-c", "%t %T", folder], capture_output=True, text=True, check=True)
    number, name = told.stdout.split()
    found = file_system(folder)
    assert found in ({"ext2/ext3": "ext4", "overlayfs": "overlay"}.get(name, name), hex(int(number, 16)))


@pytest.mark.parametrize("kind", ["tmpfs", "ramfs"])
def test_memory_is_told_from_storage(tmp_path: Path, kind: str) -> None:
    code = """
        import json, sys
        from planner.system.storage import IN_MEMORY, file_system
        print(json.dumps([file_system(sys.argv[1]), file_system(sys.argv[1]) in IN_MEMORY]))
    """
    wrapper = list(mounting(tmp_path))
    wrapper[wrapper.index("sh") + 2] = wrapper[wrapper.index("sh") + 2].replace("-t tmpfs", f"-t {kind}")
    assert run_child(code, str(tmp_path), wrapper=tuple(wrapper)) == [kind, True]


@pytest.mark.parametrize("kind", ["tmpfs", "ramfs"])
def test_a_folder_in_memory_is_known_before_it_is_there(tmp_path: Path, kind: str) -> None:
    code = """
        import json, sys
        from planner.system.storage import memory_kind
        print(json.dumps([memory_kind(sys.argv[1]), memory_kind(sys.argv[1] + "/runs/first")]))
    """
    wrapper = list(mounting(tmp_path))
    wrapper[wrapper.index("sh") + 2] = wrapper[wrapper.index("sh") + 2].replace("-t tmpfs", f"-t {kind}")
    assert run_child(code, str(tmp_path), wrapper=tuple(wrapper)) == [kind, kind]
    assert run_child(code, str(tmp_path)) == [None, None]


@needs_root
def test_an_overlay_is_what_it_writes_to(tmp_path: Path) -> None:
    """As in a container, or a system that was started from a read-only medium."""
    code = """
        import json, os, subprocess, sys
        from planner.system.storage import memory_kind
        found = []
        for upper in sys.argv[1:]:
            for name in ("lower", "upper", "work", "merged"):
                os.makedirs(f"{upper}/{name}", exist_ok=True)
            options = ",".join(f"{name}dir={upper}/{name}" for name in ("lower", "upper", "work"))
            command = ["mount", "-t", "overlay", "-o", options, "overlay", f"{upper}/merged"]
            found.append(subprocess.run(command, capture_output=True).returncode or memory_kind(f"{upper}/merged"))
        print(json.dumps(found))
    """
    memory, disk = tmp_path / "memory", tmp_path / "disk"
    memory.mkdir()
    in_memory, on_disk = run_child(code, str(memory), str(disk), wrapper=mounting(memory))
    if isinstance(in_memory, int):
        pytest.skip(f"an overlay cannot be mounted here ({in_memory})")
    assert (in_memory, on_disk) == ("overlay on tmpfs", None)


def test_a_disk_that_is_memory_is_told_by_its_name(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    links = tmp_path / "sys/dev/block"
    links.mkdir(parents=True)
    link = links / f"{os.major(device)}:{os.minor(device)}"
    for name, expected in (("zram0", True), ("ram12", True), ("sda1", False), ("framework0", False)):
        link.symlink_to(f"../../devices/virtual/block/{name}")
        assert memory_kind(tmp_path, tmp_path) == (f"{file_system(tmp_path)} on {name}" if expected else None)
        link.unlink()


def test_what_was_measured_says_its_kind_and_a_missing_folder_none(tmp_path: Path) -> None:
    assert measure_storage(tmp_path, 8 * MIB).file_system == file_system(tmp_path)
    with pytest.raises(StorageError, match="the folder does not exist"):
        file_system(tmp_path / "absent")


def test_scratch_lies_beside_what_it_is_for_and_goes(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as scratch:
        assert scratch.parent == tmp_path
        (scratch / "file").touch()
    assert names(tmp_path) == []


def test_scratch_evades_memory_and_what_can_only_be_read(tmp_path: Path) -> None:
    code = """
        import json, os, sys
        from pathlib import Path
        from planner.errors import StorageError
        from planner.system.storage import scratch_folder
        beside, found = Path(sys.argv[1]), []
        for options in sys.argv[2:]:
            os.system(f"mount -o remount,{options} {beside}")
            with scratch_folder(beside) as scratch:
                found.append(str(scratch.parent))
        print(json.dumps(found))
    """
    memory, disk = tmp_path / "memory", tmp_path / "disk"
    memory.mkdir()
    disk.mkdir()
    wrapper = mounting(memory, "size=1m")
    for folder, expected in ((disk, str(disk)), (memory, "/var/tmp")):
        found = run_child(code, str(memory), "rw", "ro", wrapper=wrapper, env=environment(TMPDIR=str(folder)))
        assert found == [expected, expected]
