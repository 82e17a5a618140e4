"""Where a person's profiles lie."""

from __future__ import annotations

import os
from pathlib import Path


def usual_folder() -> Path:
    """Under $XDG_DATA_HOME, or ~/.local/share."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "neuroflux" / "profiles"
