from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.system import memory
from tests.memory_group import MemoryGroup, can_create
from tests.unit.system import trees
from tests.unit.system.support import MIB, run_child

GIB = 2**30
SIZES = st.integers(0, 64 * GIB // 4096).map(lambda pages: pages * 4096)


def test_total_is_what_the_c_library_counts() -> None:
    assert memory.total_bytes() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_available_lies_within_the_machine() -> None:
    assert 0 < memory.available_bytes() <= memory.total_bytes()


def test_swap_is_what_the_kernel_lists() -> None:
    areas = Path("/proc/swaps").read_text().splitlines()[1:]
    assert memory.swap_bytes() == sum(int(area.split()[2]) * 1024 for area in areas)


def test_without_a_limit_the_machine_alone_decides(tmp_path: Path) -> None:
    root = trees.write(tmp_path, trees.meminfo(4_000_000, 1_500_000, swap_kib=2_000_000))
    assert memory.total_bytes(root) == 4_000_000 * 1024
    assert memory.available_bytes(root) == 1_500_000 * 1024
    assert memory.swap_bytes(root) == 2_000_000 * 1024
    assert memory.cgroup_limit_bytes(root) is None


def limits_v1(folder: str, limit: int | None, usage: int, cache: int) -> dict[str, str]:
    base = f"sys/fs/cgroup/memory{folder}"
    return {
        f"{base}/memory.limit_in_bytes": f"{trees.NO_LIMIT_V1 if limit is None else limit}\n",
        f"{base}/memory.usage_in_bytes": f"{usage}\n",
        # The entries without `total_` leave the groups below out.
        f"{base}/memory.stat": (
            f"cache 7\nrss 9\ninactive_file 1\nactive_file 2\ntotal_cache {cache}\n"
            f"total_inactive_anon {usage}\ntotal_inactive_file {cache // 4}\ntotal_active_file {cache - cache // 4}\n"
        ),
    }


def limits_v2(folder: str, limit: int | None, usage: int, cache: int) -> dict[str, str]:
    base = f"sys/fs/cgroup{folder}"
    return {
        f"{base}/memory.max": f"{'max' if limit is None else limit}\n",
        f"{base}/memory.current": f"{usage}\n",
        f"{base}/memory.stat": (
            f"anon {usage}\nfile {cache}\nshmem 0\ninactive_anon 5\nactive_anon 6\ninactive_file {cache // 4}\n"
            f"active_file {cache // 4}\nslab_reclaimable {cache - 2 * (cache // 4)}\nslab_unreclaimable 77\n"
        ),
    }


@pytest.mark.parametrize("version", [1, 2])
@given(data=st.data())
def test_the_tightest_level_decides(
    tmp_path_factory: pytest.TempPathFactory, version: int, data: st.DataObject
) -> None:
    total, available = 64 * GIB, data.draw(SIZES, "available")
    levels = {
        folder: (data.draw(st.none() | SIZES, "limit"), data.draw(SIZES, "usage")) for folder in ("/a/b", "/a", "")
    }
    caches = {folder: data.draw(st.integers(0, usage), "cache") for folder, (_, usage) in levels.items()}
    place, limits = (trees.v1, limits_v1) if version == 1 else (trees.v2, limits_v2)
    root = trees.write(tmp_path_factory.mktemp("root"), {**trees.meminfo(total // 1024, available // 1024)})
    trees.write(root, place("/a/b"))
    for folder, (limit, usage) in levels.items():
        trees.write(root, limits(folder, limit, usage, caches[folder]))

    given_limits = {folder: limit for folder, (limit, _) in levels.items() if limit is not None}
    room = [limit - (levels[folder][1] - caches[folder]) for folder, limit in given_limits.items()]
    assert memory.available_bytes(root) == max(0, min([available, *room]))
    smallest = min(given_limits.values(), default=total)
    assert memory.cgroup_limit_bytes(root) == (smallest if smallest < total else None)


def test_a_group_of_version_2_without_files_of_its_own(tmp_path: Path) -> None:
    """The topmost group has no memory.max, and a group may lack the controller: the levels that have a limit count."""
    files = {**trees.meminfo(8 * 2**20, 6 * 2**20), **trees.v2("/a/b"), **limits_v2("/a", GIB, 300 * MIB, 100 * MIB)}
    root = trees.write(tmp_path, {**files, "sys/fs/cgroup/a/b/cgroup.procs": ""})
    assert memory.cgroup_limit_bytes(root) == GIB
    assert memory.available_bytes(root) == GIB - 200 * MIB


def test_where_processes_are_held_up_is_a_limit_as_well(tmp_path: Path) -> None:
    files = {**trees.meminfo(8 * 2**20, 6 * 2**20), **trees.v2("/a"), **limits_v2("/a", GIB, 300 * MIB, 100 * MIB)}
    root = trees.write(tmp_path, {**files, "sys/fs/cgroup/a/memory.high": f"{GIB // 2}\n"})
    assert memory.cgroup_limit_bytes(root) == GIB // 2
    assert memory.available_bytes(root) == GIB // 2 - 200 * MIB
    trees.write(root, {"sys/fs/cgroup/a/memory.high": "max\n"})
    assert memory.cgroup_limit_bytes(root) == GIB


def test_the_limit_that_binds_is_told_by_its_file(tmp_path: Path) -> None:
    files = {**trees.meminfo(8 * 2**20, 6 * 2**20), **trees.v2("/a"), **limits_v2("/a", GIB, 300 * MIB, 100 * MIB)}
    root = trees.write(tmp_path, {**files, "sys/fs/cgroup/a/memory.high": f"{GIB // 2}\n"})
    assert memory.group_limit(root) == memory.GroupLimit(GIB // 2, root / "sys/fs/cgroup/a/memory.high")


def test_version_1_tells_of_limits_above_what_a_container_sees(tmp_path: Path) -> None:
    files = {**trees.meminfo(8 * 2**20, 6 * 2**20), **trees.v1("/docker/x", top="/docker/x")}
    root = trees.write(tmp_path, {**files, **limits_v1("", GIB, 300 * MIB, 100 * MIB)})
    stat = root / "sys/fs/cgroup/memory/memory.stat"
    stat.write_text(stat.read_text() + f"hierarchical_memory_limit {GIB // 4}\n")
    assert memory.group_limit(root) == memory.GroupLimit(GIB // 4, stat)


@pytest.mark.parametrize(
    ("files", "unified"),
    [
        ({}, False),
        ({"proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0"}, True),
        (
            {"proc/device-tree/model": "Custom board\0", "proc/device-tree/compatible": "acme,x\0nvidia,tegra234\0"},
            True,
        ),
        (
            {"proc/device-tree/model": "Raspberry Pi 5 Model B\0", "proc/device-tree/compatible": "brcm,bcm2712\0"},
            False,
        ),
    ],
)
def test_boards_with_one_memory_for_cpu_and_gpu(tmp_path: Path, files: dict[str, str], unified: bool) -> None:
    assert memory.unified_memory(trees.write(tmp_path, files)) is unified


@pytest.mark.kernel
def test_a_limit_of_the_kernel_is_found_and_page_cache_does_not_use_it_up(tmp_path: Path) -> None:
    reason = can_create()
    if reason is not None:
        pytest.skip(reason)
    (tmp_path / "file").write_bytes(os.urandom(32 * MIB))
    fd = os.open(tmp_path / "file", os.O_RDWR)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    code = """
        import json, sys
        from planner.system import hierarchy, memory
        found = hierarchy.find_hierarchy("memory")
        usage = found.group / ("memory.usage_in_bytes" if found.version == 1 else "memory.current")
        before = int(usage.read_text()), memory.available_bytes()
        with open(sys.argv[1], "rb", buffering=0) as file:
            while file.read(2**20):
                pass
        cached = int(usage.read_text()), memory.available_bytes()
        held = bytearray(b"x") * (32 * 2**20)
        print(json.dumps([memory.cgroup_limit_bytes(), before, cached, memory.available_bytes()]))
    """
    with MemoryGroup(128 * MIB) as group:
        limit, before, cached, holding = run_child(code, str(tmp_path / "file"), preexec_fn=group.enter)
    assert limit == 128 * MIB
    assert before[1] <= limit
    if cached[0] - before[0] < 30 * MIB:
        pytest.skip("the file system of the temporary folder keeps its page cache out of the group")
    assert before[1] - cached[1] < 4 * MIB
    assert cached[1] - holding == pytest.approx(32 * MIB, abs=4 * MIB)
