from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import StorageError
from planner.system import files
from planner.system.files import (
    AtomicFile,
    free_bytes,
    make_folder,
    remove_partials,
    sync_folder,
    write_atomically,
)
from planner.system.locks import lock_folder
from tests.unit.system.support import BECOME_NOBODY, MIB, environment, mounting, names, needs_root, python, run_child

# Tries to write 4 MiB atomically over a file that holds "old"; prints the error, the content and the folder's names.
WRITE = """
    import json, pathlib, sys
    from planner.errors import StorageError
    from planner.system.files import write_atomically
    target = pathlib.Path(sys.argv[1]) / "target"
"""
TRY = """
    try:
        write_atomically(target, bytes(4 * 2**20))
        said = None
    except StorageError as error:
        said = str(error)
    names = sorted(entry.name for entry in target.parent.iterdir())
    print(json.dumps([said, target.read_text(), names]))
"""
PREPARE = """
    target.write_text("old")
"""


@pytest.mark.parametrize(("data", "stored"), [(b"\x00\xff", b"\x00\xff"), ("Größe", "Größe".encode()), (b"", b"")])
def test_the_content_is_what_was_given(tmp_path: Path, data: bytes | str, stored: bytes) -> None:
    write_atomically(tmp_path / "file", data)
    write_atomically(str(tmp_path / "file"), data)
    assert (tmp_path / "file").read_bytes() == stored
    assert names(tmp_path) == ["file"]


@given(pieces=st.lists(st.binary(max_size=3000), max_size=20))
def test_pieces_are_joined_in_order(tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("pieces") / "file"
    with AtomicFile(path) as file:
        for index, piece in enumerate(pieces):
            file.write((bytes, bytearray, memoryview)[index % 3](piece))
    assert path.read_bytes() == b"".join(pieces)
    assert file.written_bytes == len(b"".join(pieces))


def test_elements_wider_than_a_byte_are_written_whole(tmp_path: Path) -> None:
    words = memoryview(bytes(range(64))).cast("I")
    with AtomicFile(tmp_path / "file") as file:
        file.write(words)
    assert (tmp_path / "file").read_bytes() == bytes(range(64))


def test_an_exception_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", "old")
    with pytest.raises(ZeroDivisionError), AtomicFile(tmp_path / "file") as file:
        file.write(b"new")
        assert len(names(tmp_path)) == 2
        raise ZeroDivisionError
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_nothing_is_there_under_its_name_before_the_end(tmp_path: Path) -> None:
    with AtomicFile(tmp_path / "file") as file:
        file.write(b"new")
        assert not (tmp_path / "file").exists()
    assert (tmp_path / "file").read_bytes() == b"new"


def test_content_then_name_then_folder_reach_the_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(fd: int) -> None:
        order.append("sync folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else f"sync {os.fstat(fd).st_size} bytes")
        real_fsync(fd)

    def replace(source: Path, target: Path) -> None:
        order.append(f"rename to {Path(target).name}")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write_atomically(tmp_path / "file", bytes(1234))
    assert order == ["sync 1234 bytes", "rename to file", "sync folder"]


def test_the_name_of_a_new_folder_reaches_the_storage_from_the_top(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.append(os.path.relpath(Path(f"/proc/self/fd/{fd}").readlink(), tmp_path))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    make_folder(tmp_path / "runs" / "first" / "weights", 0o700)
    assert synced == [".", "runs", "runs/first"]
    assert (tmp_path / "runs/first/weights").stat().st_mode & 0o777 == 0o700
    make_folder(tmp_path / "runs" / "first" / "weights")
    assert len(synced) == 3, "a folder that was there is as durable as it was"
    monkeypatch.chdir(tmp_path / "runs")
    make_folder("second")
    assert synced[3:] == ["runs"]


def test_a_folder_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match=f"{place}: a file stands where a folder is to be"):
            make_folder(place)


@needs_root
def test_a_folder_is_made_where_one_may_write_and_not_read(tmp_path: Path) -> None:
    dark = tmp_path / "dark"
    dark.mkdir()
    dark.chmod(0o733)
    for place in (tmp_path, *tmp_path.parents):
        if place.owner() == "root" and place != Path("/") and place.name.startswith(("popen", "pytest", "test")):
            place.chmod(place.stat().st_mode | 0o055)
    code = f"""
        import json, sys
        from planner.system.files import make_folder
        {BECOME_NOBODY.strip().replace(chr(10) + "    ", chr(10) + "        ")}
        make_folder(sys.argv[1])
        print(json.dumps(os.path.isdir(sys.argv[1])))
    """
    assert run_child(code, str(dark / "new"))


def test_a_writer_killed_at_any_moment_leaves_one_whole_version(tmp_path: Path) -> None:
    code = """
        import sys
        from planner.system.files import AtomicFile
        for count in range(10**9):
            with AtomicFile(sys.argv[1]) as file:
                for _ in range(64):
                    file.write(b"%c" % (65 + count % 26) * 16384)
                    print(flush=True)
    """
    for steps in (70, 130, 200, 333, 400):
        with subprocess.Popen(python(code, str(tmp_path / "file")), stdout=subprocess.PIPE, env=environment()) as child:
            assert child.stdout is not None
            for _ in range(steps):
                child.stdout.readline()
            child.kill()
        content = (tmp_path / "file").read_bytes()
        assert len(content) == MIB
        assert len(set(content)) == 1
    leftover = [entry for entry in tmp_path.iterdir() if entry.name != "file"]
    assert leftover  # five kills in the middle of writing: the test would prove nothing without one
    assert remove_partials(tmp_path) <= 5 * MIB
    assert names(tmp_path) == ["file"]


def test_partials_are_removed_and_counted_and_nothing_else_is(tmp_path: Path) -> None:
    writer = AtomicFile(tmp_path / "weights.safetensors").__enter__()
    writer.write(bytes(5000))
    os.close(writer._fd)  # as a killed process would leave it
    for name in (".hidden", "a.partial", "file"):
        (tmp_path / name).write_text("kept")
    assert remove_partials(tmp_path) == 5000
    assert names(tmp_path) == [".hidden", "a.partial", "file"]
    assert remove_partials(tmp_path) == 0


def test_a_full_storage_is_a_storage_error_and_the_old_file_stays(tmp_path: Path) -> None:
    said, content, left = run_child(WRITE + PREPARE + TRY, str(tmp_path), wrapper=mounting(tmp_path, "size=1m"))
    assert "storage is full (0 B left)" in said
    assert (content, left) == ("old", ["target"])


def test_a_read_only_storage_is_a_storage_error(tmp_path: Path) -> None:
    remount = """
    import subprocess
    subprocess.run(["mount", "-o", "remount,ro", sys.argv[1]], check=True)
    """
    said, content, left = run_child(
        WRITE + PREPARE + remount + TRY, str(tmp_path), wrapper=mounting(tmp_path, "size=8m")
    )
    assert "can only be read" in said
    assert (content, left) == ("old", ["target"])


@needs_root
def test_a_folder_without_permission_is_a_storage_error(tmp_path: Path) -> None:
    mode = """
    target.parent.chmod(0o555)
    import os
    os.chdir(target.parent)  # the folders above may be closed to nobody as well
    target = pathlib.Path("target")
    """
    code = WRITE + PREPARE + mode + BECOME_NOBODY + TRY
    said, content, left = run_child(code, str(tmp_path), wrapper=mounting(tmp_path, "size=8m,mode=755"))
    assert "may not write here" in said
    assert (content, left) == ("old", ["target"])


def test_a_write_that_the_kernel_cuts_short_is_not_taken_for_whole(tmp_path: Path) -> None:
    cut = """
    import resource
    from planner.system.files import AtomicFile
    resource.setrlimit(resource.RLIMIT_FSIZE, (40 * 1024, 40 * 1024))
    try:
        with AtomicFile(target) as file:
            file.write(memoryview(bytes(64 * 1024)).cast("I"))
        said = None
    except StorageError as error:
        said = str(error)
    print(json.dumps([said, file.written_bytes, target.read_text()]))
    """
    said, written_bytes, content = run_child(WRITE + PREPARE + cut, str(tmp_path))
    assert said is not None
    assert said.startswith(f"{tmp_path}/target: ")
    assert written_bytes == 40 * 1024
    assert content == "old"
    assert names(tmp_path) == ["target"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="absent/file: the folder does not exist"):
        write_atomically(tmp_path / "absent" / "file", b"")
    with pytest.raises(StorageError, match="absent: the folder does not exist"):
        sync_folder(tmp_path / "absent")


def test_a_rename_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "target" / "occupied").mkdir(parents=True)
    with pytest.raises(StorageError, match="target: "):
        write_atomically(tmp_path / "target", b"data")
    assert names(tmp_path) == ["target"]


def test_a_file_in_place_of_a_folder_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for call in (sync_folder, lock_folder):
        with pytest.raises(StorageError, match="file: "):
            call(tmp_path / "file")
    with pytest.raises(StorageError, match="file/inner: "):
        write_atomically(tmp_path / "file" / "inner", b"")


def test_a_name_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    write_atomically(tmp_path / ("n" * 255), b"data")
    assert (tmp_path / ("n" * 255)).read_bytes() == b"data"
    with pytest.raises(StorageError):
        write_atomically(tmp_path / ("n" * 256), b"data")
    assert names(tmp_path) == ["n" * 255]


def test_free_bytes_is_what_the_file_system_has_left(tmp_path: Path) -> None:
    code = """
        import json, pathlib, sys
        from planner.system.files import free_bytes
        folder = pathlib.Path(sys.argv[1])
        before = free_bytes(folder), free_bytes(folder / "not" / "yet")
        (folder / "file").write_bytes(bytes(3 * 2**20))
        print(json.dumps([*before, free_bytes(folder)]))
    """
    empty, future, after = run_child(code, str(tmp_path), wrapper=mounting(tmp_path, "size=8m"))
    assert empty == future
    assert 7 * MIB < empty <= 8 * MIB
    assert empty - after == pytest.approx(3 * MIB, abs=64 * 1024)
    assert free_bytes(".") == free_bytes(Path.cwd())


def test_where_a_file_cannot_be_written_is_known_beforehand(tmp_path: Path) -> None:
    files.check_target(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StorageError, match="the folder does not exist; create it first"):
        files.check_target(tmp_path / "none" / "file")
    with pytest.raises(StorageError, match="Is a directory"):
        files.check_target(tmp_path)


def test_folders_that_were_made_go_again_while_they_are_empty(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    missing = files.missing_folders(folder)
    assert missing == [folder, folder.parent]
    folder.mkdir(parents=True)
    assert files.missing_folders(folder) == []
    (tmp_path / "a" / "kept").touch()
    files.remove_empty(missing)
    assert names(tmp_path / "a") == ["kept"]
