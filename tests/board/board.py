"""Boots an emulated arm64 board, has it run a job, and says what came of it.

A board is a processor, a torch, an amount of memory and a size of pages. The job is a shell script on a second disk,
with this checkout's package; it calls `step NAME COMMAND…` (`jobs/lib.sh`), which keeps a command's output, exit code
and memory. Guest time is counted in instructions (`-icount`): no limit in seconds that the product has depends on how
busy this machine is.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from planner.system.rlimit import die_with_parent
from tests.board import image

JOBS = Path(__file__).parent / "jobs"

_RESULTS_BYTES = 2**31
"""Of the second disk; it is sparse."""
_PATIENCE_SECONDS = 3 * 3600
"""How long a board may take, on a machine that is busy; none of its results depends on it."""


@dataclass(frozen=True)
class Board:
    """A machine to boot."""

    name: str
    """As the tests call it."""
    cpu: str
    """QEMU's name of the processor."""
    torch: str
    """Version."""
    memory_mib: int = 512
    """What it has."""
    page_bytes: int = 4096
    """What its kernel counts memory in."""
    huge_pages: str = "madvise"
    """`transparent_hugepage` on the kernel's command line."""


@dataclass(frozen=True)
class Step:
    """One command of a job."""

    name: str
    """As the job calls it."""
    code: int
    """What it ended with; 128 and the signal where one ended it."""
    output: str
    """What it wrote on standard output."""
    errors: str
    """What it wrote on standard error."""
    least_available_bytes: int
    """The least memory that was available while it ran, looked at every few seconds."""


@dataclass(frozen=True)
class Result:
    """What a board left behind."""

    folder: Path
    """Everything that lay on the second disk at the end."""
    console: str
    """What was shown on the serial line."""
    steps: Mapping[str, Step] = field(default_factory=dict)
    """Commands by their names in the job, in the order in which they ended."""

    def read(self, name: str) -> str:
        """What a file on the second disk holds."""
        return (self.folder / name).read_text(errors="replace")


def boot(board: Board, job: str, work: Path, inputs: Mapping[str, Path] | None = None) -> Result:
    """Boot the board and have it run `jobs/JOB`; what the second disk held at the end lies in `work` afterwards.

    `inputs` are files to put on the second disk beside the job, by the names they get there. Raises
    UnavailableError where the board cannot be made, RuntimeError where it did not come down by itself.
    """
    image.check_tools()
    kernel, root = image.kernel(board.page_bytes), image.disk(board.torch)
    content = work / "content"
    content.mkdir(parents=True)
    image.install_project(content / "package")
    shutil.copy(JOBS / job, content / "job.sh")
    shutil.copytree(JOBS, content / "jobs")
    for judge in ("benchmarks/judge.py", "tests/memory_group.py"):
        (content / "jobs" / judge).parent.mkdir()
        shutil.copy(image.ROOT / judge, content / "jobs" / judge)
    for name, path in (inputs or {}).items():
        shutil.copy(path, content / name)
    image.make_disk_of(content, work / "results.img", _RESULTS_BYTES)
    shutil.rmtree(content)
    console = work / "console.log"
    subprocess.run(
        [
            "qemu-system-aarch64", "-M", "virt", "-cpu", board.cpu, "-smp", "1", "-m", str(board.memory_mib),
            "-accel", "tcg,tb-size=512", "-icount", "shift=0,sleep=off",
            "-kernel", str(kernel.image), "-initrd", str(kernel.initrd),
            "-append", f"console=ttyAMA0 quiet panic=-1 transparent_hugepage={board.huge_pages}",
            "-no-reboot", "-nographic", "-nic", "none", "-monitor", "none", "-serial", f"file:{console}",
            *_drive(root, "root", snapshot=True), *_drive(work / "results.img", "results", snapshot=False),
        ],
        stdin=subprocess.DEVNULL,
        timeout=_PATIENCE_SECONDS,
        check=True,
        preexec_fn=die_with_parent,
    )  # fmt: skip
    image.read_disk(work / "results.img", work / "results")
    (work / "results.img").unlink()
    result = Result(work / "results", console.read_text(errors="replace"), _steps(work / "results" / "steps"))
    if "board down" not in result.console:
        raise RuntimeError(f"{board.name} did not end its job: {result.console[-2000:]}")
    return result


def _drive(path: Path, name: str, snapshot: bool) -> list[str]:
    """A virtual disk; with `snapshot` what is written to it is forgotten."""
    kept = "on" if snapshot else "off"
    return [
        "-drive", f"file={path},if=none,format=raw,id={name},cache=unsafe,snapshot={kept}",
        "-device", f"virtio-blk-pci,drive={name}",
    ]  # fmt: skip


def _steps(folder: Path) -> dict[str, Step]:
    """What `step` in `jobs/lib.sh` has kept."""
    found = {}
    for path in sorted(folder.glob("*.code"), key=lambda path: path.stat().st_mtime):
        name = path.stem
        output, errors = ((folder / f"{name}.{kind}").read_text(errors="replace") for kind in ("out", "err"))
        available = [int(line) * 1024 for line in (folder / f"{name}.available").read_text().split()]
        found[name] = Step(name, int(path.read_text()), output, errors, min(available, default=0))
    return found
