"""A million small pictures: `python -m benchmarks.listing [FOLDER]` prints what finding them takes, as Markdown.

One million PNG files of 8×8 pixels are made below FOLDER (default: the temporary folder), as hard links to a few: once
in a thousand classes, once in two, of which one has all but one thousandth. Each is read as `neuroflux check-data` is,
in a process of its own. Told are its processor time, the kernel's peak above what it had resident before, and the time
by the clock, which others on the machine make longer. They are removed afterwards.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from planner.units import MIB

FILES = 1_000_000
LINKS = 1000
"""Of one file: some file systems have no more than 65,000."""

SETS = {"1,000 classes": [1000] * 1000, "2 classes": [FILES - 1000, 1000]}
"""How many pictures each class has."""

READER = """
import json, sys, time
from pathlib import Path
from planner.data.dataset import open_data
from planner.data.describe import describe
from planner.system.proc import read_memory, reset_peak

data, small, work = sys.argv[1:]
with open_data(small, Path(work)) as warm:  # what is imported on first use is not the listing's
    describe(warm, 0)
reset_peak()
before, start, clock = read_memory().resident_bytes, time.process_time(), time.perf_counter()
with open_data(data, Path(work)) as found:
    listed = time.process_time()
    description = describe(found, 0).description
    samples = sum(part.samples for part in description.parts)
    growth = read_memory().peak_bytes - before
    taken = {"open": listed - start, "all": time.process_time() - start, "clock": time.perf_counter() - clock}
print(json.dumps({"samples": samples, "grown": growth, "list": found.storage_bytes, **taken}))
"""


def write_set(folder: Path, counts: list[int]) -> Path:
    """Hard links to pictures of noise, so many in each class."""
    source = folder.with_name(f"{folder.name}-source.png")
    random = np.random.default_rng(0)
    number = 0
    for label, count in enumerate(counts):
        (place := folder / f"class{label}").mkdir(parents=True)
        for index in range(count):
            if number % LINKS == 0:
                source.unlink(missing_ok=True)
                Image.fromarray(random.integers(0, 256, (8, 8, 3)).astype("u1")).save(source)
            (place / f"{index:07}.png").hardlink_to(source)
            number += 1
    return folder


def read(data: Path, small: Path, work: Path) -> dict[str, float]:
    """What finding it took."""
    done = subprocess.run(
        [sys.executable, "-c", READER, str(data), str(small), str(work)], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main(folder: Path | None) -> int:
    """Make, read and remove them."""
    print("| pictures | processor, opening | with the draw | clock | memory above start | list on storage |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory(dir=folder) as name:
        small = write_set(Path(name) / "small", [20, 20])
        for said, counts in SETS.items():
            data = write_set(Path(name) / said.replace(" ", "-"), counts)
            found = read(data, small, Path(name))
            sizes = " | ".join(f"{found[key] / MIB:.1f} MiB" for key in ("grown", "list"))
            times = " | ".join(f"{found[key]:.1f} s" for key in ("open", "all", "clock"))
            print(f"| {int(found['samples']):,} in {said} | {times} | {sizes} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if sys.argv[1:] else None))
