"""The judge of tests and benchmarks: a hard memory limit by the kernel around child processes.

A control group of one's own, version 1 or 2.
"""

from __future__ import annotations

import errno
import os
import secrets
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType

from planner.errors import RunError
from planner.system.hierarchy import Hierarchy, find_hierarchy

_CLOSE_SECONDS = 10.0
"""How long killed processes may take to leave a group; one that exits with gigabytes mapped needs a while."""

_FILES = {
    1: {"peak": "memory.max_usage_in_bytes", "events": "memory.oom_control"},
    2: {"peak": "memory.peak", "events": "memory.events"},
}


class MemoryGroup:
    """A group whose processes together never hold more than `limit_bytes`: beyond it the kernel kills one of them.

    Page cache and kernel memory that the group causes count as well, but clean pages are reclaimed before anything is
    killed: the limit is hard for anonymous memory and lax for library code. Swap is no way out, it counts too (version
    1) or is closed (version 2). What a process held before it entered stays charged where it was, so enter first, then
    start. Version 1 nests the group in this process's own; version 2 allows no group below one that holds processes and
    puts it beside this process's own, where this process's own limit does not reach.

    Needs write access to the control groups, usually root: `can_create` tells beforehand. Raises RunError otherwise.
    """

    def __init__(self, limit_bytes: int) -> None:
        hierarchy = find_hierarchy("memory")
        if hierarchy is None:
            raise RunError("no memory group can be made: the kernel offers no memory controller here")
        self.limit_bytes = limit_bytes
        self._version = hierarchy.version
        try:
            self.path = _make_folder(hierarchy)
        except OSError as error:
            raise RunError(f"no memory group can be made: {error.filename}: {error.strerror}") from None
        try:
            self._set_limit()
        except OSError as error:
            self.path.rmdir()
            raise RunError(f"the limit of {limit_bytes} bytes cannot be set in {self.path}: {error.strerror}") from None

    def _set_limit(self) -> None:
        if self._version == 1:
            _write(self.path / "memory.limit_in_bytes", str(self.limit_bytes))
            with_swap = self.path / "memory.memsw.limit_in_bytes"
            if with_swap.exists():
                _write(with_swap, str(self.limit_bytes))
            return
        _write(self.path / "memory.max", str(self.limit_bytes))
        swap = self.path / "memory.swap.max"
        if swap.exists():
            _write(swap, "0")

    def enter(self, pid: int | None = None) -> None:
        """Move a process into the group: `pid`, or the caller, which makes it fit for subprocess's `preexec_fn`."""
        _write(self.path / "cgroup.procs", str(pid or 0))

    def oom_kills(self) -> int:
        """Count the processes that the kernel killed because of this limit."""
        for line in (self.path / _FILES[self._version]["events"]).read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
        raise RunError(f"the kernel does not count its kills in {self.path}; Linux 4.13 or newer does")

    def peak_bytes(self) -> int | None:
        """Return the most the group ever held, page cache included; None where the kernel keeps no record.

        Version 2 records it since Linux 5.19.
        """
        try:
            return int((self.path / _FILES[self._version]["peak"]).read_text())
        except FileNotFoundError:
            return None

    def close(self) -> None:
        """Kill what still runs in the group, and remove it. Raises RunError where it stays populated."""
        deadline = time.monotonic() + _CLOSE_SECONDS
        while True:
            try:
                self.path.rmdir()
                return
            except FileNotFoundError:
                return
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise RunError(f"{self.path} cannot be removed: {error.strerror}") from None
            self._kill_members()
            time.sleep(0.01)

    def _kill_members(self) -> None:
        for pid in (self.path / "cgroup.procs").read_text().split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue

    def __enter__(self) -> MemoryGroup:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def can_create() -> str | None:
    """Try to make a memory group and to run a process in it; None where that works, else the reason why not."""
    try:
        with MemoryGroup(64 * 2**20) as group:
            subprocess.run(["/bin/true"], preexec_fn=group.enter, check=True)
    except RunError as error:
        return str(error)
    except (OSError, subprocess.SubprocessError) as error:
        return f"a memory group can be made, but no process enters it: {error}"
    return None


def _make_folder(hierarchy: Hierarchy) -> Path:
    parent = hierarchy.group if hierarchy.version == 1 else _delegating_group(hierarchy)
    folder = parent / f"neuroflux-{os.getpid()}-{secrets.token_hex(4)}"
    folder.mkdir()
    return folder


def _delegating_group(hierarchy: Hierarchy) -> Path:
    """Find the nearest group of version 2 whose children have the memory controller, or can be given it."""
    refusal: OSError = FileNotFoundError(errno.ENOENT, "no group above this process", str(hierarchy.group))
    for group in hierarchy.levels():
        control = group / "cgroup.subtree_control"
        try:
            if "memory" not in control.read_text().split():
                _write(control, "+memory")
            return group
        except OSError as error:
            refusal = error
    raise refusal


def _write(file: Path, text: str) -> None:
    """Write a control file: one write, and an error that names the file."""
    fd = os.open(file, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from None
    finally:
        os.close(fd)
