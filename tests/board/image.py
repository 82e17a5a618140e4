"""A disk for an emulated arm64 board: Debian, torch and what the base install needs, made without running any of it.

Debian's packages come by way of this machine's apt (from its mirror, with lists and state of our own, so no root is
needed), wheels by way of its pip. They are unpacked here and become a file system by `mke2fs -d`. What their install
scripts would do is left undone, but for the little that a shell and Python need. Python's modules are compiled by the
same Python for this machine's processor: an emulated one would take many minutes for what torch brings.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

PACKAGE = "/mnt/package"
"""Where the board finds this checkout's package."""
PAGES = {4096: "linux-image-arm64", 16384: "linux-image-arm64-16k"}
"""Debian's kernels, by the size of their pages."""

_RECIPE = "2"
"""To be raised when what this module makes changes: kept disks are then made anew."""
_SUITE = "trixie"
_PYTHON = "3.13"
"""What `_SUITE` brings as python3."""
_DEBS = ("?essential", "python3", "kmod", "procps", "busybox-static")
_WHEELS = ("numpy", "tqdm")
_WHEELS_OF_TORCH = ("filelock", "typing_extensions", "sympy", "mpmath", "networkx", "Jinja2", "MarkupSafe", "fsspec")
"""What torch asks for, and what that asks for; not setuptools, which is for compiling."""
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
_LEFT_OUT = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/i18n")
_COMPILER = ("libc6", f"python{_PYTHON}-minimal", f"libpython{_PYTHON}-minimal", f"libpython{_PYTHON}-stdlib")
_COMPILER_LIBRARIES = ("zlib1g", "libexpat1")
_FREE_BYTES = 256 * 2**20
"""Left on the disk."""
_PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_TOOLS = {
    "qemu-system-aarch64": "qemu-system-arm",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "mke2fs": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "depmod": "kmod",
    "modprobe": "kmod",
    "cpio": "cpio",
}
"""Programs, and the Debian packages they are in."""

_INIT = """\
#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc; $B mount -t sysfs sys /sys; $B mount -t devtmpfs dev /dev
for f in $($B cat /m/order); do
  case $f in
    *.xz) $B xz -dc /m/$f > /m/module.ko; $B insmod /m/module.ko; $B rm /m/module.ko ;;
    *) $B insmod /m/$f ;;
  esac
done
i=0; while [ ! -b /dev/vda ] && [ $i -lt 100 ]; do $B sleep 0.1; i=$((i+1)); done
$B mount -t ext4 -o rw,noatime /dev/vda /newroot || { echo "no disk"; $B poweroff -f; }
$B mount -t ext4 -o rw,noatime /dev/vdb /newroot/mnt || { echo "no second disk"; $B poweroff -f; }
$B umount /proc /sys; $B mount -o move /dev /newroot/dev
exec $B switch_root /newroot /bin/sh /mnt/jobs/init.sh
"""
"""The first program of the first file system: finds the disks and goes on with what the second one holds."""

_COMMAND = "#!/usr/bin/python3\nimport sys\n\nfrom planner.cli.main import main\n\nsys.exit(main())\n"
"""What pip would write as `neuroflux`."""


class UnavailableError(Exception):
    """A board cannot be had here: a program or a download is missing. The message says which."""


@dataclass(frozen=True)
class Kernel:
    """What a board boots with."""

    image: Path
    """The kernel."""
    initrd: Path
    """Busybox and the modules that lead to the disk."""


def cache_folder() -> Path:
    """Where downloads and disks are kept, outside the checkout."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neuroflux-board"


def check_tools() -> None:
    """Raise UnavailableError, naming the packages to install, where a program is missing."""
    lacking = {package for tool, package in _TOOLS.items() if shutil.which(tool, path=_environment()["PATH"]) is None}
    if not _KEYRING.exists():
        lacking.add("debian-archive-keyring")
    if lacking:
        raise UnavailableError(f"this machine lacks {', '.join(sorted(lacking))} (Debian's names)")


def disk(torch: str) -> Path:
    """The root disk with this version of torch, made where it is not there yet."""
    with _kept(f"disk-{torch}-{_key(torch, *_DEBS, *_wheels())}") as (kept, work):
        if work is not None:
            tree = work / "tree"
            _unpack(_download_debs(_DEBS, work / "debs"), tree)
            _install_wheels([f"torch=={torch}", *_wheels()], work / "wheels", tree)
            _settle(tree)
            _compile(tree, "/")
            _make_disk(tree, work / "made" / "root.img")
    return kept / "root.img"


def kernel(page_bytes: int) -> Kernel:
    """Debian's kernel with pages of this size, and a first file system for it."""
    name = PAGES[page_bytes]
    with _kept(f"{name}-{_key(name)}") as (kept, work):
        if work is not None:
            tree = work / "tree"
            _unpack(_download_kernel(name, work / "debs"), tree)
            shutil.copy(next((tree / "boot").glob("vmlinuz-*")), work / "made" / "vmlinuz")
            _make_initrd(tree, work / "initrd", work / "made" / "initrd.gz")
    return Kernel(kept / "vmlinuz", kept / "initrd.gz")


def install_project(folder: Path) -> None:
    """Put this checkout's package into a folder, as pip installs it without its dependencies, and the command."""
    source = folder.parent / "source"
    for name in ("planner", "api", "profiles"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--no-compile", "--target", str(folder)]
    _run([*_PIP, "install", *options, str(source)])
    command = folder / "bin" / "neuroflux"
    command.write_text(_COMMAND)
    command.chmod(0o755)
    shutil.rmtree(source)
    _compile(folder, PACKAGE)


def make_disk_of(folder: Path, path: Path, size_bytes: int) -> None:
    """An ext4 file system of this size that holds what a folder holds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size_bytes)
    _run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", str(folder), str(path)])


def read_disk(path: Path, folder: Path) -> None:
    """Copy everything on an ext4 file system into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    _run(["debugfs", "-R", f"rdump / {folder}", str(path)])


def _wheels() -> list[str]:
    """What is installed beside torch, as the lock pins it."""
    lock = (ROOT / "requirements.lock").read_text().splitlines()
    return [line for line in lock if line.split("==")[0] in {*_WHEELS, *_WHEELS_OF_TORCH}]


def _key(*parts: str) -> str:
    """Name what something is made of: these parts, Debian's suite and how it is made."""
    return hashlib.sha256("\n".join((_RECIPE, _SUITE, *parts)).encode()).hexdigest()[:12]


@contextmanager
def _kept(name: str) -> Iterator[tuple[Path, Path | None]]:
    """A folder of the cache, and where it is not there yet a folder to work in, whose `made` becomes it."""
    kept = cache_folder() / name
    if kept.exists():
        yield kept, None
        return
    check_tools()
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="making-", dir=cache_folder()) as work:
        (Path(work) / "made").mkdir()
        yield kept, Path(work)
        (Path(work) / "made").replace(kept)


def _download_debs(names: Iterable[str], folder: Path) -> list[Path]:
    """Fetch Debian packages for arm64 with all that they depend on."""
    apt = _apt(folder)
    _fetch([*apt, "-y", "--download-only", "install", *names])
    return sorted((folder / "archives").glob("*.deb"))


def _download_kernel(name: str, folder: Path) -> list[Path]:
    """Fetch the kernel that a package without content stands for, and a busybox that needs no libraries."""
    apt = _apt(folder)
    shown = _run(["apt-cache", *apt[1:], "depends", name])
    real = next(word for word in shown.split() if word.startswith("linux-image-") and word != name)
    _fetch([*apt, "download", real, "busybox-static"], folder / "archives")
    return sorted((folder / "archives").glob("*.deb"))


def _compile(folder: Path, seen_as: str) -> None:
    """Compile Python's modules below a folder, which the board sees at another place. What does not compile is left."""
    python = _compiler()
    library = next(python.rglob("libc.so.6")).parent
    loader = next(python.rglob("ld-linux*.so.*"))
    command = [str(loader), "--library-path", str(library), str(python / "usr" / "bin" / f"python{_PYTHON}"), "-I"]
    options = ["-q", "-q", "-s", str(folder), "-p", seen_as, "--invalidation-mode", "unchecked-hash"]
    subprocess.run([*command, "-m", "compileall", *options, str(folder)], check=False)


def _compiler() -> Path:
    """The board's Python for this machine's processor, with the C library that it needs."""
    with _kept(f"python-{_key(*_COMPILER)}") as (kept, work):
        if work is not None:
            architecture = _run(["dpkg", "--print-architecture"]).strip()
            apt = _apt(work / "debs", architecture)
            archives = work / "debs" / "archives"
            _fetch([*apt, "download", *_COMPILER, *_COMPILER_LIBRARIES], archives)
            _unpack(archives.glob("*.deb"), work / "tree")
            (work / "tree").rename(work / "made" / "tree")
    return kept / "tree"


def _apt(folder: Path, architecture: str = "arm64") -> list[str]:
    """The beginning of an apt-get command with lists and state of its own for an architecture, its lists fetched."""
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources.list").write_text(f"deb [signed-by={_KEYRING}] {_mirror()} {_SUITE} main\n")
    settings = {
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": folder / "status",
        "Dir::State::extended_states": folder / "extended_states",
        "Dir::Cache": folder,
        "Dir::Cache::archives": folder / "archives",
        "APT::Architecture": architecture,
        "APT::Architectures::": architecture,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "true",
    }
    apt = ["apt-get", "-q", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))]
    _fetch([*apt, "update"])
    return apt


def _mirror() -> str:
    """Where this machine's apt has Debian from."""
    shown = _run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Origin: Debian", "Component: main"])
    if not shown.strip():
        raise UnavailableError("this machine's apt knows no mirror of Debian's (run apt-get update)")
    return shown.split()[0]


def _unpack(debs: Iterable[Path], tree: Path) -> None:
    """Lay out what packages contain; base-files comes first, for it says which folders are links."""
    tree.mkdir()
    for deb in sorted(debs, key=lambda path: (not path.name.startswith("base-files_"), path.name)):
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as opened:
            command = ["tar", "--extract", "--keep-directory-symlink", "--no-same-owner", "--directory", str(tree)]
            subprocess.run(command, stdin=opened.stdout, check=True)
        if opened.returncode:
            raise RuntimeError(f"{deb.name} cannot be unpacked")


def _install_wheels(requirements: list[str], folder: Path, tree: Path) -> None:
    """Fetch wheels for the board's Python and lay them out where Debian's Python looks for what is not Debian's."""
    platforms = [word for name in _PLATFORMS for word in ("--platform", name)]
    target = ["--python-version", _PYTHON, "--abi", f"cp{_PYTHON.replace('.', '')}", "--only-binary=:all:", "--no-deps"]
    _fetch([*_PIP, "download", "--dest", str(folder), *platforms, *target, *requirements])
    wheels = sorted(str(path) for path in folder.glob("*.whl"))
    site = tree / "usr" / "local" / "lib" / f"python{_PYTHON}" / "dist-packages"
    _run([*_PIP, "install", "--no-deps", "--no-compile", "--target", str(site), *platforms, *target, *wheels])
    (site / "project.pth").write_text(f"{PACKAGE}\n")


def _settle(tree: Path) -> None:
    """What install scripts would have done, as far as a shell and Python need it."""
    for name in _LEFT_OUT:
        shutil.rmtree(tree / name, ignore_errors=True)
    for link, target in {"usr/bin/sh": "dash", "usr/bin/awk": "busybox", "etc/mtab": "../proc/self/mounts"}.items():
        (tree / link).unlink(missing_ok=True)
        (tree / link).symlink_to(target)
    for name in ("passwd", "group"):
        shutil.copy(tree / "usr" / "share" / "base-passwd" / f"{name}.master", tree / "etc" / name)
    for name in ("proc", "sys", "dev", "run", "tmp", "mnt", "root"):
        (tree / name).mkdir(exist_ok=True)


def _make_disk(tree: Path, path: Path) -> None:
    used = sum(file.lstat().st_blocks * 512 for file in tree.rglob("*"))
    make_disk_of(tree, path, -(-(used * 11 // 10 + _FREE_BYTES) // 4096) * 4096)


def _make_initrd(tree: Path, work: Path, path: Path) -> None:
    """Pack busybox and the modules that a file system on a virtual disk needs."""
    version = next((tree / "usr" / "lib" / "modules").iterdir()).name
    if not (tree / "lib").exists():
        (tree / "lib").symlink_to("usr/lib")
    _run(["depmod", "-b", str(tree), version])
    for name in ("bin", "proc", "sys", "dev", "newroot", "m"):
        (work / name).mkdir(parents=True)
    order: list[str] = []
    for module in ("virtio_pci", "virtio_blk", "ext4"):
        shown = _run(["modprobe", "-d", str(tree), "-S", version, "--show-depends", module])
        for line in shown.splitlines():
            kind, _, rest = line.partition(" ")
            file = Path(rest.split()[0])
            if kind == "insmod" and file.name not in order:
                order.append(file.name)
                shutil.copy(file, work / "m" / file.name)
    (work / "m" / "order").write_text("\n".join(order))
    shutil.copy(tree / "usr" / "bin" / "busybox", work / "bin" / "busybox")
    (work / "init").write_text(_INIT)
    (work / "init").chmod(0o755)
    files = "\n".join(str(file.relative_to(work)) for file in [work, *sorted(work.rglob("*"))])
    packed = path.with_suffix("")
    with packed.open("wb") as output:
        command = ["cpio", "--create", "--format=newc", "--quiet", "--owner=0:0"]
        subprocess.run(command, input=files.encode(), stdout=output, cwd=work, check=True)
    _run(["gzip", "-9", str(packed)])


def _fetch(command: list[str], folder: Path | None = None) -> None:
    """Run a program that downloads. Raises UnavailableError where it fails."""
    try:
        _run(command, folder)
    except RuntimeError as error:
        raise UnavailableError(str(error)) from None


def _environment() -> dict[str, str]:
    """This process's, with the folders of root's programs, where mke2fs and depmod are."""
    return {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin", "LC_ALL": "C"}


def _run(command: list[str], folder: Path | None = None) -> str:
    """Run a program and return what it printed. Raises RuntimeError with its last words where it fails."""
    done = subprocess.run(command, cwd=folder, env=_environment(), capture_output=True, text=True)
    if done.returncode:
        said = " ".join(done.stderr.strip().splitlines()[-3:])[:500]
        raise RuntimeError(f"{Path(command[0]).name} ended with {done.returncode}: {said}")
    return done.stdout
