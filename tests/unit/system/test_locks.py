"""Locks of folders and files: real processes hold them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from planner.errors import StorageError
from planner.system import locks
from planner.system.locks import lock_folder, waiting_lock
from tests.unit.system.support import environment, names, python

LOCK = """
    import sys
    from planner.errors import StorageError
    from planner.system.locks import lock_folder
    try:
        lock = lock_folder(sys.argv[1])
        print("locked", flush=True)
        sys.stdin.read()
    except StorageError as error:
        print(error)
"""


def test_a_second_process_is_told_who_has_the_folder(tmp_path: Path) -> None:
    with lock_folder(tmp_path):
        done = subprocess.run(python(LOCK, str(tmp_path)), capture_output=True, text=True, env=environment())
        assert done.stdout.startswith(f"{tmp_path} is in use by process {os.getpid()}:")
    done = subprocess.run(
        python(LOCK, str(tmp_path)), stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment()
    )
    assert done.stdout == "locked\n"


def test_the_same_process_cannot_take_it_twice(tmp_path: Path) -> None:
    first = lock_folder(tmp_path)
    with pytest.raises(StorageError, match=f"in use by process {os.getpid()}:"):
        lock_folder(tmp_path)
    first.release()
    first.release()
    lock_folder(tmp_path).release()


def test_a_killed_holder_gives_the_lock_back(tmp_path: Path) -> None:
    with subprocess.Popen(
        python(LOCK, str(tmp_path)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(StorageError, match=f"in use by process {holder.pid}:"):
            lock_folder(tmp_path)
        holder.kill()
        holder.wait()
        lock_folder(tmp_path).release()


def test_a_child_that_was_given_the_lock_keeps_it(tmp_path: Path) -> None:
    lock = lock_folder(tmp_path)
    wait = python("import sys; sys.stdin.read()")
    with subprocess.Popen(wait, stdin=subprocess.PIPE, pass_fds=(lock.fileno(),)) as child:
        lock.release()
        with pytest.raises(StorageError):
            lock_folder(tmp_path)
        assert child.stdin is not None
        child.stdin.close()
        child.wait()
    lock_folder(tmp_path).release()


def test_a_child_that_was_not_given_the_lock_does_not_keep_it(tmp_path: Path) -> None:
    lock = lock_folder(tmp_path)
    wait = python("import sys; print('runs', flush=True); sys.stdin.read()")
    with subprocess.Popen(wait, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()
        lock.release()
        lock_folder(tmp_path).release()
        child.stdin.close()


def test_the_lock_has_the_name_that_is_announced(tmp_path: Path) -> None:
    with lock_folder(tmp_path):
        assert names(tmp_path) == [locks.LOCK_NAME]


_WAITING = """
    import sys
    from pathlib import Path
    from planner.system.locks import waiting_lock
    with waiting_lock(Path(sys.argv[1]), lambda: print("waits", flush=True)):
        print("has it", flush=True)
"""


def test_who_waits_for_a_lock_is_told_so_and_gets_it_when_the_holder_is_done(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    command = python(_WAITING, str(file))
    with waiting_lock(file, lambda: pytest.fail("nobody has it")):
        waiter = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment())
        assert waiter.stdout is not None
        assert waiter.stdout.readline() == b"waits\n"
        assert waiter.poll() is None
    with waiter:
        assert waiter.stdout.read() == b"has it\n"


def test_a_lock_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="does not exist"), waiting_lock(tmp_path / "no folder" / "lock"):
        pass
