"""Memory of the machine and of this process's container: installed, available, limits, swap."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from planner.system.hierarchy import FILESYSTEM_ROOT, Hierarchy, find_hierarchy, read_value

_LIMIT_FILES = {1: ("memory.limit_in_bytes",), 2: ("memory.max", "memory.high")}
"""Beyond `memory.high` nothing is killed, but whoever allocates is held up until next to nothing gets done."""
_USAGE_FILES = {1: "memory.usage_in_bytes", 2: "memory.current"}
_RECLAIMABLE = {
    1: ("total_inactive_file", "total_active_file"),
    2: ("inactive_file", "active_file", "slab_reclaimable"),
}
"""Entries of memory.stat that a group gives up before anything is killed: page cache, and caches of the kernel."""


_OUTER_LIMIT = "hierarchical_memory_limit"
"""Version 1, in memory.stat: the smallest limit of a group and all above it, those out of sight in a container too."""


@dataclass(frozen=True)
class GroupLimit:
    """A memory limit of this process's control group, or of one above it."""

    bytes: int
    """The limit, which all processes of the group share."""
    file: Path
    """The kernel's file that holds it."""


def total_bytes(root: Path = FILESYSTEM_ROOT) -> int:
    """Installed memory that the kernel manages (MemTotal), whatever limits hold."""
    return _meminfo_bytes("MemTotal", root)


def available_bytes(root: Path = FILESYSTEM_ROOT) -> int:
    """Memory that can be allocated without swapping or being killed: MemAvailable, or less under a group's limit.

    What a group has left is its limit less what it holds and cannot reclaim. Every level up to the topmost in sight
    counts, and at each of them what other processes of the group use. Never below 0.
    """
    amounts = [_meminfo_bytes("MemAvailable", root)]
    hierarchy = find_hierarchy("memory", root)
    if hierarchy is not None:
        for limit in _limits(hierarchy):
            amounts.append(limit.bytes - _unreclaimable_bytes(limit.file.parent, hierarchy.version))
    return max(0, min(amounts))


def cgroup_limit_bytes(root: Path = FILESYSTEM_ROOT) -> int | None:
    """The smallest memory limit of this process's group and those above it; None where none binds."""
    limit = group_limit(root)
    return None if limit is None else limit.bytes


def group_limit(root: Path = FILESYSTEM_ROOT) -> GroupLimit | None:
    """The same with the file that holds it. A limit not below the installed memory is none: version 1 writes "no limit"
    as a huge number."""
    hierarchy = find_hierarchy("memory", root)
    if hierarchy is None:
        return None
    smallest = min((*_limits(hierarchy), *_outer_limits(hierarchy)), key=lambda limit: limit.bytes, default=None)
    return smallest if smallest is not None and smallest.bytes < total_bytes(root) else None


def swap_bytes(root: Path = FILESYSTEM_ROOT) -> int:
    """Size of all swap (SwapTotal); 0 where there is none."""
    return _meminfo_bytes("SwapTotal", root)


def unified_memory(root: Path = FILESYSTEM_ROOT) -> bool:
    """Whether CPU and GPU share one memory, as on NVIDIA's Jetson boards: then both count against one budget."""
    model = read_value(root / "proc/device-tree/model") or ""
    compatible = read_value(root / "proc/device-tree/compatible") or ""
    return "jetson" in model.lower() or "nvidia,tegra" in compatible


def _meminfo_bytes(name: str, root: Path) -> int:
    for line in (read_value(root / "proc/meminfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    return 0


def _limits(hierarchy: Hierarchy) -> list[GroupLimit]:
    """The limits at the levels in sight; a level may have none, and may have two."""
    files = [group / name for group in hierarchy.levels() for name in _LIMIT_FILES[hierarchy.version]]
    texts = [(file, read_value(file) or "") for file in files]
    return [GroupLimit(int(text), file) for file, text in texts if text.isdecimal()]


def _outer_limits(hierarchy: Hierarchy) -> list[GroupLimit]:
    """The limit of levels out of sight (a container's host), which version 1 gives in memory.stat; empty elsewhere."""
    file = hierarchy.group / "memory.stat"
    pairs = (line.partition(" ") for line in (read_value(file) or "").splitlines())
    return [GroupLimit(int(value), file) for name, _, value in pairs if name == _OUTER_LIMIT]


def _unreclaimable_bytes(group: Path, version: int) -> int:
    usage = int(read_value(group / _USAGE_FILES[version]) or 0)
    for line in (read_value(group / "memory.stat") or "").splitlines():
        name, _, value = line.partition(" ")
        if name in _RECLAIMABLE[version]:
            usage -= int(value)
    return max(0, usage)
