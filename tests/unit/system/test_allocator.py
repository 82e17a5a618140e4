from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from planner.system import allocator
from planner.system.allocator import detect
from tests.unit.system.support import MIB, environment, python, run_child

PAGE = mmap.PAGESIZE

on_glibc = pytest.mark.skipif(detect() != "glibc", reason=f"about glibc; here it is {detect()}")

# Allocates 200 blocks of a size, each followed by a guard that stays in use where a guard has a size, and frees them:
# what a step of training leaves behind. Prints anonymous bytes before, at the top, after freeing and after release().
ALLOCATE_AND_FREE = """
    import ctypes, json, sys
    from planner.system import allocator
    from planner.system.proc import read_memory
    size, guard = int(sys.argv[2]), int(sys.argv[3])
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    applied = allocator.apply_policy(sys.argv[1])
    # glibc raises its own thresholds to the largest mapped block that was freed: what any first step does.
    libc.free(libc.malloc(16 * 2**20))
    blocks = [0] * 200
    allocator.release()  # or the blocks would come from what the start left free
    levels = [read_memory().anonymous_bytes]
    for k in range(200):
        blocks[k] = libc.malloc(size)
        ctypes.memset(blocks[k], 1, size)
        if guard:
            libc.malloc(guard)
    levels.append(read_memory().anonymous_bytes)
    for block in blocks:
        libc.free(block)
    levels.append(read_memory().anonymous_bytes)
    released = allocator.release()
    levels.append(read_memory().anonymous_bytes)
    print(json.dumps([applied, released, *levels]))
"""
FRAGMENTS = (str(256 * 1024), str(40 * 1024))
FREE_TOP = (str(32 * 1024), "0")


@on_glibc
@pytest.mark.parametrize(("case", "total_bytes"), [(FRAGMENTS, 50 * MIB), (FREE_TOP, 6.25 * MIB)])
def test_tight_gives_freed_blocks_back_at_once(case: tuple[str, str], total_bytes: int) -> None:
    applied, _, before, top, freed, _ = run_child(ALLOCATE_AND_FREE, "tight", *case)
    assert applied is True
    assert top - before == pytest.approx(total_bytes, abs=MIB + 200 * PAGE)  # a guard touches one page
    assert freed - before < MIB


@on_glibc
@pytest.mark.parametrize(("case", "total_bytes"), [(FRAGMENTS, 50 * MIB), (FREE_TOP, 6.25 * MIB)])
def test_fast_keeps_freed_blocks_until_they_are_released(case: tuple[str, str], total_bytes: int) -> None:
    applied, released, before, top, freed, after_release = run_child(ALLOCATE_AND_FREE, "fast", *case)
    assert applied is True
    assert top - before == pytest.approx(total_bytes, abs=MIB + 200 * PAGE)
    assert freed - before > 0.9 * total_bytes
    assert released is True
    assert after_release - before < MIB + 200 * PAGE


def test_the_c_library_is_named() -> None:
    try:
        version = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        version = ""
    assert (detect() in ("glibc", "mimalloc")) == version.startswith("glibc")


DETECT = "from planner.system.allocator import detect; print(detect())"


# Debian's is at a fixed address and has an entry of its own for malloc, pyenv's and others' are not.
INTERPRETERS = {str(Path(path).resolve()) for path in (sys.executable, "/usr/bin/python3") if Path(path).exists()}


@on_glibc
@pytest.mark.parametrize("interpreter", sorted(INTERPRETERS))
@pytest.mark.parametrize("argv0", ["python3", "./python3", "nowhere/at/all", "", "/usr/bin/env"])
@pytest.mark.parametrize("here", ["/", "of the interpreter"])
def test_the_allocator_is_the_same_however_the_process_was_started(interpreter: str, argv0: str, here: str) -> None:
    """A name from PATH, a path relative to a folder that it has left, a name of its own: none says which file it is."""
    python_home = subprocess.run(
        [interpreter, "-c", "import sys; print(sys.base_prefix)"], capture_output=True, text=True, check=True
    ).stdout.strip()
    done = subprocess.run(
        [argv0, *python(DETECT)[1:]],
        executable=interpreter,
        cwd=Path(interpreter).parent if here != "/" else here,
        env=environment(PYTHONHOME=python_home),
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "glibc", done.stderr


MIMALLOC = next(iter(Path("/usr/lib").glob("*/libmimalloc.so.*")), None)

needs_mimalloc = pytest.mark.skipif(MIMALLOC is None, reason="needs mimalloc's library (Debian: libmimalloc2.0)")


@needs_mimalloc
@pytest.mark.parametrize("interpreter", sorted(INTERPRETERS))
def test_an_allocator_that_was_preloaded_is_seen(interpreter: str) -> None:
    env = environment(LD_PRELOAD=str(MIMALLOC))
    done = subprocess.run([interpreter, *python(DETECT)[1:]], env=env, capture_output=True, text=True)
    assert done.stdout.strip() == "mimalloc", done.stderr


# Of a child of ours, in a process that has mimalloc preloaded: how much of 160 MiB is had where 32 more may be mapped.
HAVE = """
    import json, os
    from planner.system.answers import Answers
    from planner.system.child import STANDARD_ERROR, ChildProcess
    child = '''
    import ctypes
    from planner.system import allocator
    from planner.system.answers import Answers
    from planner.system.rlimit import limit_data
    malloc, MIB = ctypes.CDLL(None).malloc, 2**20
    malloc.restype, malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    malloc(MIB)
    with limit_data(32 * MIB):
        had = 0
        while had < 160 and malloc(4 * MIB):
            had += 4
    Answers().emit(str(had))
    '''
    import textwrap
    with ChildProcess(["-c", textwrap.dedent(child)], STANDARD_ERROR) as started:
        print(json.dumps(int(started.answers.readline())))
"""


def _version_of(library: Path | None) -> int:
    return 0 if library is None else int(ctypes.CDLL(str(library)).mi_version())


@pytest.mark.skipif(_version_of(MIMALLOC) < 210, reason="needs mimalloc 2.1 or later, which knows the variables")
def test_a_limit_on_mapped_memory_binds_a_mimalloc_that_was_preloaded() -> None:
    assert run_child(HAVE, env=environment(LD_PRELOAD=str(MIMALLOC))) <= 32


@on_glibc
def test_mimalloc_inside_torch_is_recognised_and_told_to_map_as_needed_and_give_back(tmp_path: Path) -> None:
    library = tmp_path / "torch" / "lib" / "libc10.so"
    library.parent.mkdir(parents=True)
    (tmp_path / "torch" / "__init__.py").touch()
    code = """
        import ctypes, json, os
        from planner.system import allocator
        found, getenv = allocator.detect(), ctypes.CDLL(None).getenv
        getenv.restype = ctypes.c_char_p
        told = []
        for policy in ("fast", "tight"):
            applied = allocator.apply_policy(policy)
            # As a library that is loaded now finds it.
            names = (b"DISALLOW_ARENA_ALLOC", b"EAGER_COMMIT", b"ALLOW_THP", b"PURGE_DELAY")
            values = [getenv(b"MIMALLOC_" + name) for name in names]
            told.append([applied, *(value and value.decode() for value in values)])
        print(json.dumps([found, told]))
    """
    env = environment(tmp_path, MIMALLOC_EAGER_COMMIT="1")
    library.write_bytes(bytes(5000) + b"mimalloc: error: " + bytes(5000))
    assert run_child(code, env=env) == ["mimalloc", [[True, "1", "0", "0", None], [True, "1", "0", "0", "0"]]]
    library.write_bytes(bytes(5000))
    assert run_child(code, env=env) == ["glibc", [[True, None, "1", None, None]] * 2]


def test_torch_is_not_imported_to_find_out() -> None:
    code = """
        import json, sys
        from planner.system import allocator
        allocator.detect()
        print(json.dumps("torch" in sys.modules))
    """
    assert run_child(code) is False


def _kernel(root: Path, enabled: str, size: str) -> Path:
    folder = root / "sys/kernel/mm/transparent_hugepage"
    folder.mkdir(parents=True)
    (folder / "enabled").write_text(enabled + "\n")
    (folder / "hpage_pmd_size").write_text(size + "\n")
    return root


@on_glibc
@pytest.mark.parametrize(
    ("enabled", "size", "offered"),
    [
        ("always [madvise] never", "2097152", True),
        ("[always] madvise never", "2097152", False),  # everybody has them, and glibc does not ask
        ("always madvise [never]", "2097152", False),
        ("always [madvise] never", "536870912", False),  # small pages of 64 KiB
        ("always [madvise] never", "none", False),
    ],
)
def test_huge_pages_are_offered_where_the_kernel_gives_small_huge_ones_to_who_asks(
    tmp_path: Path, enabled: str, size: str, offered: bool
) -> None:
    assert allocator.offers_huge_pages(_kernel(tmp_path, enabled, size)) is offered


@on_glibc
@pytest.mark.parametrize(("version", "offered"), [("glibc 2.34", False), ("glibc 2.35", True), ("musl", False)])
def test_huge_pages_are_offered_by_a_glibc_that_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, offered: bool
) -> None:
    monkeypatch.setattr(os, "confstr", lambda name: version)
    root = _kernel(tmp_path, "always [madvise] never", "2097152")
    assert allocator.offers_huge_pages(root) is offered


needs_huge_pages = pytest.mark.skipif(
    not allocator.offers_huge_pages(), reason="no huge pages for a heap here (glibc 2.35, `madvise`)"
)

ASKED = "glibc.malloc.hugetlb=1"


@needs_huge_pages
def test_a_program_begins_with_what_a_person_set_and_what_huge_pages_want(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    assert [allocator.variables_to_begin_with(policy) for policy in ("tight", "fast")] == [{}, {}]
    assert allocator.variables_to_begin_with("huge") == {"GLIBC_TUNABLES": ASKED}
    assert allocator.apply_policy("huge") is False  # too late for this process
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.perturb=0")
    wanted = f"glibc.malloc.perturb=0:{ASKED}"
    assert allocator.variables_to_begin_with("huge") == {"GLIBC_TUNABLES": wanted}
    monkeypatch.setenv("GLIBC_TUNABLES", wanted)
    assert allocator.variables_to_begin_with("huge") == {}


@needs_huge_pages
def test_huge_keeps_freed_blocks_until_they_are_released() -> None:
    env = environment(GLIBC_TUNABLES=ASKED)
    applied, released, before, top, freed, after_release = run_child(ALLOCATE_AND_FREE, "huge", *FREE_TOP, env=env)
    assert applied is True
    assert 0 < top - before <= 6.25 * MIB + 2 * 2 * MIB  # whole huge pages
    assert freed >= top
    assert released is True
    assert after_release < top - 4 * MIB


BEGIN = """
    import json, os, sys
    from pathlib import Path
    from planner.system.answers import Answers
    from planner.training.start import start_child
    answers = Answers()
    start_child(answers, sys.argv[1], 1, "lean")
    import torch
    from planner.system.allocator import release, taking_steps
    def huge():
        rollup = Path("/proc/self/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in rollup if line.startswith("AnonHugePages"))
    found = [huge()]
    with taking_steps(sys.argv[1]):
        kept = [torch.ones(2**16) for _ in range(100)]  # 25 MiB
        found.append(huge())
    del kept
    release()
    found.append(huge())
    kept = [torch.ones(2**16) for _ in range(100)]
    found.append(huge())
    answers.emit(json.dumps([sys.argv[1:], *found]))
"""


@needs_huge_pages
@pytest.mark.parametrize("policy", ["huge", "fast"])
def test_a_child_begins_anew_for_huge_pages_and_has_them_in_its_steps_alone(policy: str) -> None:
    """KiB of huge pages: at the start, in steps, behind them, and when the same is allocated once more."""
    env = environment()
    env.pop("GLIBC_TUNABLES", None)
    arguments, start, steps, behind, again = run_child(BEGIN, policy, "b", env=env)
    assert arguments == [policy, "b"]
    assert start == 0
    assert (steps >= 20 * 1024) if policy == "huge" else (steps == 0)
    assert again <= behind <= 8 * 1024
