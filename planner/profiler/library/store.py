"""Profiles kept on this device, so that nothing is measured twice.

A profile is a file under `objects/`, named by its id, the hash of its content. `index/` has a folder for what was
measured and where (a hash of model, device fingerprint, dtype, optimizer, heads, method), and in it a file for each
batch that was measured, which holds the id. Objects stay when a newer measurement replaces them in the index, since
plans name their profile by id.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from planner.errors import PlannerError
from planner.profiler.library.applies import covers, read_profile
from planner.profiler.library.observed import Observations
from planner.profiler.library.place import usual_folder
from planner.profiler.profile import ProfileRequest
from planner.schema.codec import content, to_json
from planner.schema.profile import Profile
from planner.system.files import make_folder, write_atomically
from planner.system.locks import waiting_lock
from planner.system.machine import fingerprint, probe

_METHOD = 14
"""Version of the method of measuring: raised when it changes, so that older profiles are not found any more."""

_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ProfileStore:
    """A folder of profiles, found again by what was measured and where."""

    folder: Path
    """Where they lie."""

    @classmethod
    def default(cls) -> ProfileStore:
        """The user's own: under $XDG_DATA_HOME, or ~/.local/share."""
        return cls(usual_folder())

    def find(self, request: ProfileRequest) -> Profile | None:
        """The profile measured on this device for an equal request, or for a larger batch that covers it; its times are
        those that runs have found since, where there were any (`planner.profiler.library.observed`).

        Of several the one of the smallest batch, whose measured micro-batches are closest. One that was measured for
        exactly this batch is taken even where limits kept its largest micro-batches from being measured. Damaged files
        are passed over.
        """
        here = probe()
        device = fingerprint(here, here.torch_version, request.threads, request.device)
        folder = self._index(request, device)
        names = [file.name for file in folder.iterdir()] if folder.is_dir() else []
        for batch in sorted(int(name) for name in names if name.isdecimal() and int(name) >= request.batch):
            profile = self._read(folder / str(batch))
            if profile is None or profile.device.fingerprint != device or not _answers(profile, request):
                continue
            if batch == request.batch or covers(profile, request.batch):
                return self._as_observed(profile)
        return None

    def keep(self, request: ProfileRequest, profile: Profile) -> Path:
        """Store a profile and return its file. Files are written atomically, so that processes may do so at once."""
        path = self.folder / "objects" / f"{profile.id}.json"
        entry = self._index(request, profile.device.fingerprint) / str(request.batch)
        for file, text in ((path, to_json(profile, indent=None)), (entry, profile.id)):
            make_folder(file.parent)
            write_atomically(file, text)
        return path

    def obtain(
        self,
        request: ProfileRequest,
        measure: Callable[[], Profile],
        fresh: bool = False,
        waiting: Callable[[], None] = lambda: None,
    ) -> Profile:
        """Find a profile, or measure and store it.

        One process at a time measures: two would disturb each other's times, and the second may find afterwards what
        it wanted.

        Args:
            request: what is wanted.
            measure: takes the profile; what it raises is passed on.
            fresh: measure in any case.
            waiting: called once where another process is measuring, before the wait.
        """
        found = None if fresh else self.find(request)
        if found is not None:
            return found
        make_folder(self.folder)
        with waiting_lock(self.folder / "measuring.lock", waiting):
            found = None if fresh else self.find(request)
            if found is None:
                found = measure()
                self.keep(request, found)
        return found

    def _as_observed(self, profile: Profile) -> Profile:
        """With times as runs have found them, where such are known."""
        try:
            return Observations(self.folder).corrected(profile)
        except OSError:
            return profile

    def _read(self, entry: Path) -> Profile | None:
        try:
            identity = entry.read_text().strip()
            if not _ID.fullmatch(identity):
                return None
            profile = read_profile(self.folder / "objects" / f"{identity}.json")
        except (OSError, UnicodeDecodeError, PlannerError):
            return None
        return profile if profile.id == identity else None

    def _index(self, request: ProfileRequest, device: str) -> Path:
        key = {
            "method": _METHOD,
            "model": content(request.model),
            "device": device,
            "dtype": request.dtype,
            "optimizer": [request.optimizer.kind, request.optimizer.state_copies],
            "filters": [head.filter_count or content(head) for head in request.heads],
        }
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return self.folder / "index" / digest


def _answers(profile: Profile, request: ProfileRequest) -> bool:
    measured, asked = profile.optimizer, request.optimizer
    same = profile.model == request.model and profile.dtype == request.dtype
    return same and (measured.kind, measured.state_copies) == (asked.kind, asked.state_copies)
