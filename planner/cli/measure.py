"""Get the profile a command needs: from the store of this device, by measuring now, or from those that are shipped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from planner.cli.output import print_note
from planner.errors import InputError
from planner.schema.common import DeviceKind, Dtype, OptimizerConfig, is_accelerator
from planner.system.storage import IN_MEMORY

if TYPE_CHECKING:
    from planner.heads.base import HeadChoice
    from planner.profiler.profile import ProfileRequest
    from planner.schema.model import Model
    from planner.schema.profile import Profile


def measured_profile(
    model: Model,
    optimizer: OptimizerConfig,
    batch: int,
    dtype: Dtype = "float32",
    device: DeviceKind = "cpu",
    fresh: bool = False,
    max_bytes: int | None = None,
    max_seconds: float | None = None,
    folder: Path | None = None,
    head: HeadChoice | None = None,
) -> Profile:
    """The profile of `model` on this device: from the store, or measured with a progress bar and stored.

    `fresh` measures in any case, `max_bytes` and `max_seconds` bound the measurement, `folder` is where runs will lie,
    `head` is a kind of head to measure besides the usual ones.
    """
    from planner.heads.kinds import measured_heads
    from planner.profiler.library.store import ProfileStore
    from planner.profiler.profile import ProfileRequest
    from planner.system.machine import probe

    cores = probe().cores
    request = ProfileRequest(
        model, optimizer, batch, cores, dtype, device, measured_heads(head), max_bytes, max_seconds
    )
    return ProfileStore.default().obtain(
        request,
        lambda: _measure(request, folder),
        fresh,
        lambda: print_note("another process is measuring on this device; waiting until it is done"),
    )


@contextmanager
def measuring_bar() -> Iterator[Callable[[int, int, str], None]]:
    """A bar on standard error, for as long as something is measured; what is yielded moves it: done, of, name."""
    from tqdm import tqdm

    with tqdm(total=1, file=sys.stderr, unit="part", leave=False, dynamic_ncols=True) as bar:

        def on_progress(done: int, total: int, name: str) -> None:
            bar.total = total
            bar.set_postfix_str(name, refresh=False)
            bar.update(done - bar.n)

        yield on_progress


def _measure(request: ProfileRequest, folder: Path | None) -> Profile:
    from planner.profiler.profile import take_profile

    print_note(f"measuring {request.model.name} on this device; the result is kept for next time")
    with measuring_bar() as on_progress:
        profile = take_profile(request, on_progress, folder)
    kind = profile.storage.file_system
    if kind in IN_MEMORY:
        print_note(
            f"warning: the storage that was timed is memory ({kind}): caches there take what a run needs, elsewhere "
            "they are slower than the profile says; name where output folders will lie (neuroflux profile --folder)"
        )
    return profile


def unmeasured_profile(
    model: Model,
    optimizer: OptimizerConfig,
    batch: int,
    dtype: Dtype = "float32",
    device: DeviceKind = "cpu",
    head: HeadChoice | None = None,
) -> Profile:
    """The profile of `model` without measuring: from the store, else a shipped one, with a warning if it is foreign.

    Raises InputError where neither has one.
    """
    from planner.heads.kinds import measured_heads
    from planner.profiler.library import shipped
    from planner.profiler.library.applies import differences
    from planner.profiler.library.store import ProfileStore
    from planner.profiler.profile import ProfileRequest
    from planner.system.machine import probe

    here = probe()
    request = ProfileRequest(model, optimizer, batch, here.cores, dtype, device, measured_heads(head))
    found = ProfileStore.default().find(request)
    if found is not None:
        return found
    if is_accelerator(device):
        raise InputError(
            f"no profile of a GPU is shipped; measure on this device (neuroflux profile --device {device})"
        )
    profile = shipped.find_shipped(model, optimizer, batch, shipped.FOLDER, dtype)
    reasons = differences(profile, here)
    if reasons:
        print_note(
            f"warning: this profile is foreign: memory and time were measured on {profile.device.name}, not here "
            f"({'; '.join(reasons)})"
        )
    return profile
