"""Describing this device: hardware and software facts, and the fingerprint by which a profile is known to apply."""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from planner.errors import InputError
from planner.limits import MAX_NAME_LENGTH
from planner.schema.common import Device, DeviceKind, Dtype, Machine, is_accelerator
from planner.system import memory
from planner.system.allocator import detect
from planner.system.hierarchy import FILESYSTEM_ROOT, find_hierarchy, read_value
from planner.system.pages import huge_pages

_ISA_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "neon", "asimd", "asimdhp", "bf16", "sve")
"""Instruction sets that decide which kernels torch picks, in the kernel's spelling (/proc/cpuinfo)."""

_USUAL_PAGE_BYTES = 4096

_WORDS = {
    "name": "the device",
    "architecture": "the architecture",
    "cpu_model": "the processor",
    "cores": "the number of cores",
    "isa": "the instruction sets",
    "gpu": "the GPU",
    "unified_memory": "unified memory",
    "allocator": "the allocator",
    "python": "Python",
    "torch": "torch",
    "threads": "the number of threads",
    "huge_pages": "who gets huge pages",
    "page_bytes": "the size of pages",
}
"""What a person calls the facts of a fingerprint."""

_USUAL = "as usual"
"""What is said of a fact that a fingerprint has only where it is something else."""

_PLACEHOLDER_NAMES = frozenset({"", "to be filled by o.e.m.", "system product name", "default string", "none", "n/a"})


def probe(root: Path = FILESYSTEM_ROOT) -> Machine:
    """Describe this device, in milliseconds and without importing torch.

    Args:
        root: where /proc and /sys are looked up; tests give a folder with another machine's files.

    Returns:
        The device. Fields that only torch knows are None until `planner.profiler.torch_facts.complete` fills them in.
    """
    cpuinfo = _parse_cpuinfo(read_value(root / "proc/cpuinfo") or "")
    cpu_model = _cpu_model(cpuinfo)
    name = _machine_name(root) or cpu_model
    unified = memory.unified_memory(root)
    return Machine(
        name=name,
        architecture=platform.machine(),
        cpu_model=cpu_model,
        cores=_usable_cores(root),
        isa=_isa(cpuinfo),
        total_bytes=memory.total_bytes(root),
        available_bytes=memory.available_bytes(root),
        limit_bytes=memory.cgroup_limit_bytes(root),
        swap_bytes=memory.swap_bytes(root),
        allocator=detect(),
        kernel=platform.release(),
        python_version=platform.python_version(),
        torch_version=installed_torch_version(),
        unified_memory=unified,
        gpu_name=_gpu_name(root) or (name if unified else None),
        huge_pages=huge_pages(root),
        page_bytes=mmap.PAGESIZE,
    )


def installed_torch_version() -> str | None:
    """The version of the installed torch, from its package's metadata; None where there is none."""
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return None


def has_atomics(root: Path = FILESYSTEM_ROOT) -> bool:
    """Whether every core of an Arm processor has the atomic instructions of Armv8.1 (LSE)."""
    return "atomics" in _flags(_parse_cpuinfo(read_value(root / "proc/cpuinfo") or ""))


def last_level_cache_bytes(root: Path = FILESYSTEM_ROOT) -> int:
    """Size of the first core's largest cache; 0 where the kernel does not say."""
    sizes = [read_value(path) or "" for path in (root / "sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    return max((int(size[:-1]) * 1024 for size in sizes if size.endswith("K") and size[:-1].isdecimal()), default=0)


def fingerprint(machine: Machine, torch_version: str | None, threads: int, kind: DeviceKind = "cpu") -> str:
    """The sha256 (hex) of everything that decides what a layer costs in bytes and seconds here (`facts`).

    Args:
        machine: the device.
        torch_version: of the torch that computes; None where none is installed.
        threads: that torch computes with.
        kind: where tensors live.
    """
    found = facts(machine, torch_version, threads)
    if is_accelerator(kind):
        found["kind"] = kind
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def facts(machine: Machine, torch_version: str | None, threads: int) -> dict[str, Any]:
    """What the fingerprint is made of, as JSON values.

    Left out are amounts of memory, which decide what fits, not what it costs, and differ from boot to boot; and the
    kernel's release and Python's patch level, or every security update would invalidate all profiles. Huge pages for
    everybody count, though our processes go without them now: profiles taken before they did have more bytes.
    """
    found: dict[str, Any] = {
        "name": machine.name,
        "architecture": machine.architecture,
        "cpu_model": machine.cpu_model,
        "cores": machine.cores,
        "isa": list(machine.isa),
        "gpu": machine.gpu_name,
        "unified_memory": machine.unified_memory,
        "allocator": machine.allocator,
        "python": ".".join(machine.python_version.split(".")[:2]),
        "torch": torch_version,
        "threads": threads,
    }
    # What most machines have is left out, as it was before anybody looked: their profiles stay theirs.
    if machine.huge_pages == "always":
        found["huge_pages"] = "always"
    if machine.page_bytes not in (None, _USUAL_PAGE_BYTES):
        found["page_bytes"] = machine.page_bytes
    return found


def differences(device: Device, then: Machine | None, here: Machine) -> tuple[str, ...]:
    """How a document's device differs from this one, in words.

    The number of threads makes no difference: a run takes as many as its document says.

    Args:
        device: of a profile or plan.
        then: the machine as the same document describes it; None in documents of earlier releases, of which only what
            `device` holds can be compared.
        here: this machine.

    Returns:
        A phrase for every difference; empty where the fingerprints agree.
    """
    threads = device.threads
    if fingerprint(here, here.torch_version, threads, device.kind) == device.fingerprint:
        return ()
    now = facts(here, here.torch_version, threads)
    if then is None:
        there: dict[str, Any] = {"name": device.name, "torch": device.torch}
        known = there
    else:
        there = facts(then, device.torch, threads)
        known = there | now
    pairs = {key: (there.get(key, _USUAL), now.get(key, _USUAL)) for key in known}
    found = tuple(
        f"{_WORDS[key]} was {_shown(was)}, here it is {_shown(value)}"
        for key, (was, value) in pairs.items()
        if was != value
    )
    return found or ("its fingerprint is another one, and what lies behind that is not told",)


def check_dtype(machine: Machine, dtype: Dtype) -> None:
    """Raise InputError where the processor cannot compute in `dtype`, unless number by number."""
    if dtype == "bfloat16" and not {"avx512f", "bf16"}.intersection(machine.isa):
        raise InputError(
            f"dtype is bfloat16, but this processor ({machine.cpu_model}) has neither AVX-512 nor Arm's bf16: torch "
            "would compute number by number; use float32"
        )


def _parse_cpuinfo(text: str) -> dict[str, set[str]]:
    """By key of /proc/cpuinfo: its values over all cores."""
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        key, separator, value = line.partition(":")
        if separator:
            found.setdefault(key.strip(), set()).add(value.strip())
    return found


def _cpu_model(cpuinfo: dict[str, set[str]]) -> str:
    names = cpuinfo.get("model name")
    if not names:
        implementers = sorted(cpuinfo.get("CPU implementer", ()))
        names = {f"implementer {' '.join(implementers)} part {part}" for part in cpuinfo.get("CPU part", ())}
    return _clean(", ".join(sorted(names))) or platform.machine()


def _isa(cpuinfo: dict[str, set[str]]) -> tuple[str, ...]:
    """The instruction sets that every core has: on a mixed processor a thread may run on any."""
    return tuple(sorted(_flags(cpuinfo).intersection(_ISA_FLAGS)))


def _flags(cpuinfo: dict[str, set[str]]) -> set[str]:
    per_core = [set(flags.split()) for key in ("flags", "Features") for flags in cpuinfo.get(key, ())]
    return set.intersection(*per_core) if per_core else set()


def _machine_name(root: Path) -> str:
    board = _clean(read_value(root / "proc/device-tree/model") or "")
    if board:
        return board
    words = [_clean(read_value(root / "sys/class/dmi/id" / file) or "") for file in ("sys_vendor", "product_name")]
    vendor, product = ("" if word.lower() in _PLACEHOLDER_NAMES else word for word in words)
    return _clean(f"{vendor} {product}") if product else ""


def _gpu_name(root: Path) -> str:
    """The models that NVIDIA's driver lists (/proc/driver/nvidia/gpus/*/information), each once."""
    names = set()
    for file in (root / "proc/driver/nvidia/gpus").glob("*/information"):
        for line in (read_value(file) or "").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "Model":
                names.add(_clean(value))
    return _clean(", ".join(sorted(names - {""})))


def _clean(text: str) -> str:
    """Text of firmware (NUL-terminated, padded) as one printable line that fits into a document."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(printable.split())[:MAX_NAME_LENGTH]


def _usable_cores(root: Path) -> int:
    cores = len(os.sched_getaffinity(0))
    hierarchy = find_hierarchy("cpu", root)
    if hierarchy is None:
        return cores
    quotas = [_cpu_quota(group, hierarchy.version) for group in hierarchy.levels()]
    return min([cores, *(math.ceil(quota) for quota in quotas if quota is not None)])


def _cpu_quota(group: Path, version: int) -> float | None:
    """The cores' worth of processor time that a group may use; None where it is not limited."""
    if version == 1:
        quota, period = read_value(group / "cpu.cfs_quota_us"), read_value(group / "cpu.cfs_period_us")
    else:
        quota, _, period = (read_value(group / "cpu.max") or "").partition(" ")
    if quota is None or period is None or not (quota.isdecimal() and period.isdecimal()):
        return None
    return int(quota) / int(period)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
