"""Predicted against measured step time: `python -m benchmarks.step_time [NETWORK ...]`, kept in results/step_time.md.

Each network is profiled, and a few cases of `benchmarks.exactness` are run right behind, each in a fresh process. The
error stands as it is, and normalised by the calibration kernel, timed in the profile and in the case's process.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.exactness.__main__ import predict
from benchmarks.exactness.case import BATCH, OPTIMIZER, Case, cases, networks
from benchmarks.exactness.step import Stepped
from planner.profiler.profile import ProfileRequest, take_profile
from planner.schema.codec import decode, parse_json, to_json

MICRO_BATCHES = (3, 16, 32)


def measure(case: Case, path: Path) -> Stepped:
    """One case in a process of its own."""
    path.write_text(to_json(case))
    command = [sys.executable, "-m", "benchmarks.exactness.step", str(path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return decode(Stepped, parse_json(done.stdout))


def main(names: list[str]) -> None:
    """Print the table and the medians."""
    print("Made by `python -m benchmarks.step_time`. Seconds of one optimizer step; errors in per cent.\n")
    print("| network | manner | micro-batch | predicted | measured | error | calibration | error, normalised |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    errors: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names or list(networks()):
            profile = take_profile(ProfileRequest(networks()[name], OPTIMIZER, BATCH, threads=2), lambda *_: None)
            for case in cases(networks()[name]):
                if case.micro_batch not in MICRO_BATCHES:
                    continue
                _, seconds = predict(profile, case)
                stepped = measure(case, Path(folder) / "case.json")
                slower = stepped.calibration_seconds / (profile.calibration_seconds or stepped.calibration_seconds)
                error, normalised = (100 * (seconds * factor / stepped.seconds - 1) for factor in (1.0, slower))
                errors.append((abs(error), abs(normalised)))
                print(
                    f"| {name} | {case.manner} | {case.micro_batch} | {seconds:.3f} | {stepped.seconds:.3f} "
                    f"| {error:+.1f} | {slower:.2f}x | {normalised:+.1f} |",
                    flush=True,
                )
    plain, normalised = (statistics.median(column) for column in zip(*errors, strict=True))
    print(f"\n{len(errors)} cases: median error {plain:.1f} % as it is, {normalised:.1f} % normalised.")


if __name__ == "__main__":
    main(sys.argv[1:])
