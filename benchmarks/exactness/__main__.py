"""Predicted against the kernel's peak, beside other tools: `python -m benchmarks.exactness [--dtype D] [NETWORK...]`.

Profiles every network once, says from that profile alone what each case will take, then runs each case in a fresh
process and reads VmHWM less the baseline. Writes `benchmarks/results/exactness.md` and `exactness.svg`, in bfloat16
`exactness-bfloat16.md` alone. About half an hour on two quiet cores. torchinfo has to be installed
(`pip install torchinfo`); nothing else of the project needs it.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from tqdm import tqdm

from benchmarks.exactness.case import BATCH, OPTIMIZER, Case, cases, networks
from benchmarks.exactness.picture import draw
from benchmarks.exactness.step import Stepped
from benchmarks.exactness.trackers import Tracked
from planner.profiler.profile import ProfileRequest, take_profile
from planner.schema.codec import decode, parse_json, to_json
from planner.schema.common import Dtype
from planner.schema.profile import Profile
from planner.schema.request import Budget, Request, Training
from planner.solver.costs import NANOSECONDS
from planner.solver.memory_model import live_bytes, time_ns
from planner.solver.problem import BlockChoice, Problem
from planner.units import MIB

RESULTS = Path(__file__).resolve().parents[1] / "results"


@dataclass(frozen=True)
class Outcome:
    """A case, what was said of it, and what it came to."""

    case: Case
    predicted_bytes: int
    stepped: Stepped
    tracked: Tracked

    @property
    def excess(self) -> float:
        """Of the prediction over the kernel's peak, in per cent."""
        return 100 * (self.predicted_bytes / self.stepped.peak_bytes - 1)

    def other(self, predicted_bytes: int | None) -> float | None:
        """Excess of another tool's prediction, in per cent; none where it has no prediction."""
        return None if predicted_bytes is None else 100 * (predicted_bytes / self.stepped.peak_bytes - 1)


def predict(profile: Profile, case: Case) -> tuple[int, float]:
    """Bytes above the baseline and seconds of one optimizer step; no data is read and no cache written in it."""
    profile = replace(profile, runtime=replace(profile.runtime, run_bytes=0))
    batch = case.micro_batch * case.accumulate
    training = Training(batch, 1, batch, OPTIMIZER, dtype=case.dtype)
    problem = Problem(profile, Request(Budget(2**40, "training"), training))
    choice = BlockChoice(0, case.micro_batch, case.ends, case.filters, case.recompute, case.optimizer_in_backward)
    buffers = 2 * case.micro_batch * problem.record_bytes(0)
    live = live_bytes(problem, choice).train - buffers
    return problem.process.resident(live), time_ns(problem, choice).epoch / NANOSECONDS


def _child(module: str, path: Path) -> str:
    command = [sys.executable, "-m", f"benchmarks.exactness.{module}", str(path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def outcomes(names: list[str], dtype: Dtype) -> Iterator[Outcome]:
    """All predictions of a network first, then its measurements."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.json"
        for name in names:
            model = networks()[name]
            profile = take_profile(ProfileRequest(model, OPTIMIZER, BATCH, 2, dtype), lambda *_: None)
            asked = [replace(case, dtype=dtype) for case in cases(model)]
            predictions = [(case, predict(profile, case)[0]) for case in asked]
            for case, size in tqdm(predictions, desc=name, file=sys.stderr):
                path.write_text(to_json(case))
                stepped = decode(Stepped, parse_json(_child("step", path)))
                tracked = decode(Tracked, parse_json(_child("trackers", path)))
                yield Outcome(case, size, stepped, tracked)


def table(found: list[Outcome], dtype: Dtype) -> Iterator[str]:
    """Markdown."""
    options = "" if dtype == "float32" else f" --dtype {dtype}"
    yield f"Made by `python -m benchmarks.exactness{options}`. MiB above the child's baseline; excess of each"
    yield "prediction over the kernel's peak (VmHWM of a fresh process) in per cent."
    yield ""
    yield "| network | manner | micro-batch | predicted | measured | excess | MemTracker | torchinfo |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for one in found:
        case, tracked = one.case, one.tracked
        size = f"{case.micro_batch}" + (f" x {case.accumulate}" if case.accumulate > 1 else "")
        yield (
            f"| {case.model.name} | {case.manner} | {size} | {one.predicted_bytes / MIB:.1f} "
            f"| {one.stepped.peak_bytes / MIB:.1f} | {one.excess:+.2f} | {_cell(one.other(tracked.mem_tracker_bytes))} "
            f"| {_cell(one.other(tracked.torchinfo_bytes))} |"
        )
    yield ""
    yield from summary(found)


def _cell(excess: float | None) -> str:
    return "-" if excess is None else f"{excess:+.1f}"


def summary(found: list[Outcome]) -> Iterator[str]:
    """Least, median and largest of each predictor, over segments and over all."""
    yield "| predictor | cases | least | median | largest | median distance |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    plain = [one for one in found if one.case.manner.endswith(("segment", "segments"))]
    predictors: dict[str, Callable[[Outcome], float | None]] = {
        "ours": lambda one: one.excess,
        "MemTracker": lambda one: one.other(one.tracked.mem_tracker_bytes),
        "torchinfo": lambda one: one.other(one.tracked.torchinfo_bytes),
    }
    for name, value in predictors.items():
        for label, chosen in (("1 and 4 segments", plain), ("all", found)):
            values = [each for each in map(value, chosen) if each is not None]
            distance = statistics.median(abs(each) for each in values)
            yield (
                f"| {name} | {label}: {len(values)} | {min(values):+.2f} | {statistics.median(values):+.2f} "
                f"| {max(values):+.2f} | {distance:.2f} |"
            )


def main(names: list[str], dtype: Dtype) -> None:
    """Measure and write the results."""
    found: list[Outcome] = []
    file = RESULTS / ("exactness.md" if dtype == "float32" else f"exactness-{dtype}.md")
    for one in outcomes(names or list(networks()), dtype):
        found.append(one)
        file.write_text("\n".join(table(found, dtype)) + "\n")
    if dtype != "float32":
        return
    predictors: dict[str, Callable[[Outcome], float | None]] = {
        "this planner": lambda one: one.excess,
        "MemTracker": lambda one: one.other(one.tracked.mem_tracker_bytes),
        "torchinfo": lambda one: one.other(one.tracked.torchinfo_bytes),
    }
    points = {
        name: [(one.stepped.peak_bytes, excess) for one in found if (excess := value(one)) is not None]
        for name, value in predictors.items()
    }
    draw(RESULTS / "exactness.svg", points)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("networks", nargs="*")
    parser.add_argument("--dtype", choices=get_args(Dtype), default="float32")
    arguments = parser.parse_args()
    main(arguments.networks, arguments.dtype)
