"""Files of `torch.save` as safetensors files, read by a process of its own: what reads them would stay in this one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from planner.schema.child_failed import ChildFailed
from planner.system.child import ask

SUFFIXES: Final = (".pt", ".pth")
"""What such files end in."""


def as_safetensors(source: Path, target: Path) -> None:
    """Write the tensors of `source` to `target`. Raises InputError where it holds no plain state dict, StorageError."""
    done = ask(["-m", "planner.runner.storage.torch_weights", str(source), str(target), str(os.getpid())])
    if done.code or done.text:
        raise done.decoded(ChildFailed, f"reading {source}", "free some").error()
