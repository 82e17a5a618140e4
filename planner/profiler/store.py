"""Profiles kept on this device, so that nothing is measured twice."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from planner.document import encode, read_document, to_json
from planner.errors import PlannerError
from planner.profiler.profile import ProfileRequest, micro_batches_for
from planner.profiler.schema import Profile
from planner.system.files import write_atomically
from planner.system.machine import fingerprint, installed_torch_version, probe

_METHOD = 1
"""Raised whenever the way of measuring changes, so that older profiles are measured again."""


@dataclass(frozen=True)
class ProfileStore:
    """A folder of profiles, found again by what was measured and where."""

    folder: Path
    """Where they lie."""

    @classmethod
    def default(cls) -> ProfileStore:
        """The user's own: under $XDG_DATA_HOME, or ~/.local/share."""
        base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
        return cls(Path(base) / "neuroflux" / "profiles")

    def find(self, request: ProfileRequest) -> Profile | None:
        """The profile measured for an equal request on this very device; one that cannot be read counts as none."""
        path = self._path(request)
        if not path.exists():
            return None
        try:
            return read_document(path, Profile)
        except PlannerError:
            return None

    def keep(self, request: ProfileRequest, profile: Profile) -> Path:
        """Store a profile and say where."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(request)
        write_atomically(path, to_json(profile))
        return path

    def _path(self, request: ProfileRequest) -> Path:
        key = {
            "method": _METHOD,
            "model": encode(request.model),
            "device": fingerprint(probe(), installed_torch_version(), request.threads),
            "optimizer": [request.optimizer.kind, request.optimizer.state_copies],
            "micro_batches": micro_batches_for(request.batch),
            "filters": request.filters,
        }
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{digest}.json"
