"""Whether a profile may be used: unaltered since it was measured, of this device, of a large enough batch. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from planner.document import content_id, read_document
from planner.errors import InputError
from planner.profiler.schema import Profile
from planner.settings import Machine
from planner.system.machine import facts, fingerprint

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


def read_profile(path: Path) -> Profile:
    """Read the profile in a file. Raises InputError, also where its content does not match its id."""
    profile = read_document(path, Profile)
    if content_id(profile) != profile.id:
        raise InputError(
            f"{path}: its content does not match its id {profile.id[:12]}…; it was changed after measuring"
        )
    return profile


def differences(profile: Profile, here: Machine) -> tuple[str, ...]:
    """Say, in words, what keeps a profile from being this device's; nothing where it applies.

    Threads are no reason: a run takes as many as its profile. Where the profile does not tell its machine, only what
    stands in its `device` can be named.
    """
    threads = profile.device.threads
    if fingerprint(here, here.torch_version, threads, profile.device.kind) == profile.device.fingerprint:
        return ()
    if profile.machine is None:
        there: dict[str, Any] = {"name": profile.device.name, "torch": profile.device.torch}
    else:
        there = facts(profile.machine, profile.device.torch, threads)
    now = facts(here, here.torch_version, threads)
    known = there if profile.machine is None else there | now
    pairs = {key: (there.get(key, _USUAL), now.get(key, _USUAL)) for key in known}
    found = tuple(
        f"{_WORDS[key]} was {_shown(was)}, here it is {_shown(value)}"
        for key, (was, value) in pairs.items()
        if was != value
    )
    return found or ("its fingerprint is another one, and the profile does not tell what lies behind that",)


def covers(profile: Profile, batch: int) -> bool:
    """Tell whether every unit and head was measured up to micro-batches of `batch`."""
    pieces = [*profile.units, *(head.cost for head in profile.heads)]
    return min(piece.costs[-1].micro_batch for piece in pieces) >= batch


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
