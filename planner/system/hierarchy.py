"""Control groups (cgroup v1 and v2): where a controller is mounted, and which group this process is in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

FILESYSTEM_ROOT = Path("/")


@dataclass(frozen=True)
class Hierarchy:
    """One controller's tree of groups, as far as this process can see it."""

    version: Literal[1, 2]
    """Of the control group interface: it decides the names of the files."""

    mount: Path
    """The topmost group in sight. In a container this is the container's own group, not the machine's."""

    group: Path
    """This process's group: `mount` or below it."""

    def levels(self) -> Iterator[Path]:
        """Go from this process's group up to the topmost in sight; a limit at any of them binds."""
        yield self.group
        if self.group != self.mount:
            for parent in self.group.parents:
                yield parent
                if parent == self.mount:
                    return


def find_hierarchy(controller: str, root: Path = FILESYSTEM_ROOT) -> Hierarchy | None:
    """Find the tree in which a controller works for this process.

    Both versions can be mounted at once, but a controller works in one of them only.

    Args:
        controller: its name in the kernel: "memory", "cpu".
        root: where /proc and the mounts are looked up; tests give a folder with another machine's files.

    Returns:
        The tree, or None where the controller is not mounted or not enabled.
    """
    memberships = _memberships(root)
    for version, mount, top, options in _mounts(root):
        key = controller if version == 1 else ""
        if key not in memberships or (version == 1 and controller not in options):
            continue
        hierarchy = Hierarchy(version, mount, _group_folder(mount, top, memberships[key]))
        if version == 1 or _has_controller(hierarchy, controller):
            return hierarchy
    return None


def read_value(file: Path) -> str | None:
    """The text of a file of the kernel's, without white space around it; None where it is absent or cannot be read."""
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return None


def _memberships(root: Path) -> dict[str, str]:
    """Map controller → this process's group, from lines like `4:memory:/a/b`; version 2 stands under the key ""."""
    groups: dict[str, str] = {}
    for line in (read_value(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        groups.update(dict.fromkeys(controllers.split(","), path))
    return groups


def _mounts(root: Path) -> list[tuple[Literal[1, 2], Path, str, list[str]]]:
    """List (version, mount point, group at its top, options) of the control group mounts."""
    found: list[tuple[Literal[1, 2], Path, str, list[str]]] = []
    for line in (read_value(root / "proc/self/mountinfo") or "").splitlines():
        mount, _, kind = line.partition(" - ")
        kinds = kind.split()
        if kinds and kinds[0] in ("cgroup", "cgroup2"):
            top, point = (name.replace("\\040", " ") for name in mount.split()[3:5])
            found.append((1 if kinds[0] == "cgroup" else 2, root / point.lstrip("/"), top, kinds[-1].split(",")))
    return found


def _group_folder(mount: Path, top: str, group: str) -> Path:
    """Translate a group's name in its tree into a folder, where the mount may show only the tree below `top`."""
    try:
        folder = mount / PurePosixPath(group).relative_to(top)
    except ValueError:
        return mount
    # A group outside the namespace reads as /../..; only what the mount shows can be looked at.
    return folder if ".." not in folder.parts and folder.is_dir() else mount


def _has_controller(hierarchy: Hierarchy, controller: str) -> bool:
    return controller in (read_value(hierarchy.mount / "cgroup.controllers") or "").split()
