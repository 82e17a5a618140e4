from __future__ import annotations

import os
from pathlib import Path

import pytest

from planner.system.hierarchy import find_hierarchy, read_value
from tests.unit.system import trees


def test_this_process_is_in_the_group_that_is_found() -> None:
    hierarchy = find_hierarchy("memory")
    if hierarchy is None:
        pytest.skip("the kernel offers no memory controller here")
    members = (hierarchy.group / "cgroup.procs").read_text().split()
    assert str(os.getpid()) in members


def test_version_1_beside_a_version_2_without_the_controller(tmp_path: Path) -> None:
    root = trees.write(tmp_path, {**trees.v1("/a/b"), "sys/fs/cgroup/memory/a/b/cgroup.procs": ""})
    found = find_hierarchy("memory", root)
    assert found is not None
    mount = root / "sys/fs/cgroup/memory"
    assert found.version == 1
    assert list(found.levels()) == [mount / "a/b", mount / "a", mount]


def test_a_controller_that_shares_its_mount(tmp_path: Path) -> None:
    root = trees.write(tmp_path, {**trees.v1("/a"), "sys/fs/cgroup/cpu,cpuacct/a/cgroup.procs": ""})
    found = find_hierarchy("cpu", root)
    assert found is not None
    assert found.group == root / "sys/fs/cgroup/cpu,cpuacct/a"


def test_version_2_with_nested_groups(tmp_path: Path) -> None:
    group = "/user.slice/user-1000.slice/session 3.scope"
    root = trees.write(tmp_path, {**trees.v2(group), f"sys/fs/cgroup{group}/cgroup.procs": ""})
    found = find_hierarchy("memory", root)
    assert found is not None
    mount = root / "sys/fs/cgroup"
    assert found.version == 2
    assert list(found.levels()) == [
        mount / "user.slice/user-1000.slice/session 3.scope",
        mount / "user.slice/user-1000.slice",
        mount / "user.slice",
        mount,
    ]


@pytest.mark.parametrize("group", ["/", "/docker/abc", "/../outside", "/.."])
def test_in_a_container_of_version_2_only_its_own_tree_is_in_sight(tmp_path: Path, group: str) -> None:
    root = trees.write(tmp_path, trees.v2(group))
    found = find_hierarchy("memory", root)
    assert found is not None
    assert list(found.levels()) == [root / "sys/fs/cgroup"]


def test_in_a_container_of_version_1_the_mount_shows_the_tree_below_its_own_group(tmp_path: Path) -> None:
    files = {**trees.v1("/docker/abc/inner", top="/docker/abc"), "sys/fs/cgroup/memory/inner/cgroup.procs": ""}
    root = trees.write(tmp_path, files)
    found = find_hierarchy("memory", root)
    assert found is not None
    assert list(found.levels()) == [root / "sys/fs/cgroup/memory/inner", root / "sys/fs/cgroup/memory"]


def test_without_the_controller_there_is_no_hierarchy(tmp_path: Path) -> None:
    assert find_hierarchy("memory", tmp_path) is None  # neither /proc/self/cgroup nor mounts
    root = trees.write(tmp_path, trees.v2("/", controllers="cpu pids"))  # as on a Raspberry Pi by default
    assert find_hierarchy("memory", root) is None
    assert find_hierarchy("cpu", root) is not None


def test_a_mount_point_with_a_space(tmp_path: Path) -> None:
    mounts = trees.V2_MOUNTS.format(top="/").replace("/sys/fs/cgroup ", "/sys/c\\040groups ")
    files = {**trees.v2("/"), "proc/self/mountinfo": mounts, "sys/c groups/cgroup.controllers": "memory"}
    found = find_hierarchy("memory", trees.write(tmp_path, files))
    assert found is not None
    assert found.group == tmp_path / "sys/c groups"


def test_a_value_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(" 12\n")
    assert read_value(tmp_path / "file") == "12"
    assert read_value(tmp_path / "absent") is None
    assert read_value(tmp_path) is None
