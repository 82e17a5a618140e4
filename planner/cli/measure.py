"""Get the profile a command needs: from a file, from the store of this device, or by measuring now."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from planner.cli.output import print_note
from planner.settings import Optimizer

if TYPE_CHECKING:
    from planner.model.spec import Model
    from planner.profiler.schema import Profile


def measured_profile(model: Model, optimizer: Optimizer, batch: int, fresh: bool = False) -> Profile:
    """The profile of `model` on this device: from the store, or measured with a progress bar and stored.

    `fresh` measures in any case.
    """
    from tqdm import tqdm

    from planner.profiler.profile import ProfileRequest, take_profile
    from planner.profiler.store import ProfileStore
    from planner.system.machine import probe

    request = ProfileRequest(model, optimizer, batch, probe().cores)
    store = ProfileStore.default()
    found = None if fresh else store.find(request)
    if found is not None:
        return found
    print_note(f"measuring {model.name} on this device; the result is kept for next time")
    with tqdm(total=1, file=sys.stderr, unit="part", leave=False, dynamic_ncols=True) as bar:

        def tell(done: int, total: int, name: str) -> None:
            bar.total = total
            bar.set_postfix_str(name, refresh=False)
            bar.update(done - bar.n)

        profile = take_profile(request, tell)
    store.keep(request, profile)
    return profile


def read_profile(path: Path) -> Profile:
    """The profile in a file."""
    from planner.document import content_id, read_document
    from planner.errors import InputError
    from planner.profiler.schema import Profile

    profile = read_document(path, Profile)
    if content_id(profile) != profile.id:
        raise InputError(
            f"{path}: its content does not match its id {profile.id[:12]}…; it was changed after measuring"
        )
    return profile
