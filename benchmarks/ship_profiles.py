"""Measure what is shipped under profiles/: `python benchmarks/ship_profiles.py [NETWORK ...]`.

Every network of the zoo that is made of layers (or those named) at 3×32×32 with 10 classes, batch 128, SGD with
momentum, and the device itself. Everything is measured anew. Run it on a device that does nothing else, with the
working tree that is to be shipped: what it writes replaces what was shipped before.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from planner.cli.doctor import examine
from planner.cli.measure import measured_profile
from planner.model.zoo import ZOO, from_zoo
from planner.profiler.library.shipped import FOLDER, profile_path, slug
from planner.schema.codec import encode
from planner.schema.common import usual_optimizer
from planner.system.files import write_atomically
from planner.units import format_bytes

OPTIMIZER = usual_optimizer("sgd")
BATCH = 128


def write(path: Path, document: Any) -> None:
    """Write a document without any space that it could do without."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(encode(document), separators=(",", ":"), ensure_ascii=False) + "\n")
    print(f"{path}: {format_bytes(path.stat().st_size)}", flush=True)


def main(names: list[str]) -> None:
    """Measure and write, network after network."""
    device = examine()
    write(FOLDER / "devices" / f"{slug(device.machine.name)}.json", device)
    for name in names or [name for name in ZOO if from_zoo(name).schema == "model/1"]:
        model = from_zoo(name, (3, 32, 32), 10)
        profile = measured_profile(model, OPTIMIZER, BATCH, fresh=True)
        if profile.limits is not None and profile.limits.left_out:
            sys.exit(f"{name}: micro-batches were left out for lack of memory or time; a shipped profile lacks none")
        write(profile_path(model, OPTIMIZER), profile)


if __name__ == "__main__":
    main(sys.argv[1:])
