"""Whether a profile may be used: its content is unaltered, its device is this one, its batch large enough. No torch."""

from __future__ import annotations

from pathlib import Path

from planner.errors import InputError
from planner.schema.codec import content_id, read_document
from planner.schema.common import Machine
from planner.schema.profile import Profile
from planner.system import machine


def read_profile(path: Path) -> Profile:
    """Read the profile in a file. Raises InputError, also where its content does not match its id."""
    profile = read_document(path, Profile)
    if content_id(profile) != profile.id:
        raise InputError(
            f"{path}: its content does not match its id {profile.id[:12]}…; it was changed after measuring"
        )
    return profile


def differences(profile: Profile, here: Machine) -> tuple[str, ...]:
    """How a profile's device differs from this machine, in words; empty where the profile applies."""
    return machine.differences(profile.device, profile.machine, here)


def covers(profile: Profile, batch: int) -> bool:
    """Whether every unit and head was measured up to micro-batches of `batch` samples."""
    components = [*profile.units, *(head.cost for head in profile.heads)]
    return min(component.costs[-1].micro_batch for component in components) >= batch
