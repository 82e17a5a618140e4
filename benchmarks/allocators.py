"""What allocator policies cost: `python -m benchmarks.allocators [NETWORK ...]`, kept in results/allocators.md.

Every candidate is a process of its own that takes steps by backpropagation, a batch in micro-batches, one thread. After
one step to warm up: processor seconds of the fastest of three (user and system), page faults of that, the highest
resident bytes of all three above those after torch's first tiny step, and what the same steps had in live tensors.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field

from planner.system.pages import without_huge_pages
from planner.units import MIB

NETWORKS = {"vgg16": (8, 16), "mobilenetv2": (8, 4), "cnn6": (32, 4)}
"""Micro-batch and micro-batches of a step."""

_HUGE = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


@dataclass(frozen=True)
class Candidate:
    """A way of setting the allocator up."""

    name: str
    """In the table."""
    variables: dict[str, str] = field(default_factory=dict)
    """In the process's environment."""
    mmap_bytes: int | None = None
    """M_MMAP_THRESHOLD; none: glibc's own, which adapts."""
    trim_bytes: int | None = None
    """M_TRIM_THRESHOLD; none: glibc's own."""
    trims: bool = False
    """Whether `malloc_trim(0)` follows every step."""


CANDIDATES = (
    Candidate("fast: glibc's own"),
    Candidate("tight: mmap 64 KiB, trim 0", {}, 64 * 1024, 0),
    Candidate("mmap 256 KiB, trim 0", {}, 256 * 1024, 0),
    Candidate("mmap 1 MiB, trim 0", {}, MIB, 0),
    Candidate("mmap 4 MiB, trim 0", {}, 4 * MIB, 0),
    Candidate("huge pages", _HUGE),
    Candidate("huge pages, trimmed after every step", _HUGE, trims=True),
    Candidate("huge pages, mmap 64 KiB, trim 0", _HUGE, 64 * 1024, 0),
    Candidate("huge pages, mmap 1 MiB, trim 0", _HUGE, MIB, 0),
    Candidate("huge pages, mmap 4 MiB, trim 0", _HUGE, 4 * MIB, 0),
    Candidate("huge pages, mmap 32 MiB, trim 0", _HUGE, 32 * MIB, 0),
    Candidate("huge pages, mmap 32 MiB, trim 8 MiB", _HUGE, 32 * MIB, 8 * MIB),
    Candidate("torch's THP_MEM_ALLOC_ENABLE", {"THP_MEM_ALLOC_ENABLE": "1"}),
)

_CHILD = """
import ctypes, json, resource, sys
name, micro, count, mmap_bytes, trim_bytes, trims = json.loads(sys.argv[1])
libc = ctypes.CDLL(None)
if mmap_bytes is not None: libc.mallopt(-3, mmap_bytes)
if trim_bytes is not None: libc.mallopt(-1, trim_bytes)
from planner.training.runtime import start_torch
baseline = start_torch("fast", 1, start="lean").baseline_bytes
from planner.model.zoo import from_zoo
from planner.profiler.child.network import WholeNetwork
from planner.profiler.job import Job
from planner.schema.common import OptimizerConfig
from planner.system.proc import read_memory, reset_peak
from planner.training.runtime import trim_after_each
from planner.training.segment import train_segment
job = Job(from_zoo(name), OptimizerConfig("sgd", 0.1, momentum=0.9), (micro,), (), "cpu", 1, "fast", 2**34)
network = WholeNetwork(job)
data = network.data(micro)
def step():
    for _ in range(count):
        train_segment(network.units, None, network.task.loss, *data)
    network.optimizer.step(network.parameters)
    for p in network.parameters: p.grad = None
    if trims: libc.malloc_trim(0)
with trim_after_each(network.units):
    step()
libc.malloc_trim(0)
step()
found = []
peak = 0
for _ in range(3):
    reset_peak()
    a = resource.getrusage(resource.RUSAGE_SELF)
    step()
    b = resource.getrusage(resource.RUSAGE_SELF)
    peak = max(peak, read_memory().peak_bytes)
    user = b.ru_utime - a.ru_utime
    found.append((user + b.ru_stime - a.ru_stime, user, b.ru_minflt - a.ru_minflt))
print(json.dumps([*min(found), peak - baseline, baseline]))
"""


def measure(network: str, candidate: Candidate) -> list[float]:
    """Processor seconds, of those in user mode, faults, bytes above the baseline, baseline."""
    micro, count = NETWORKS[network]
    told = json.dumps([network, micro, count, candidate.mmap_bytes, candidate.trim_bytes, candidate.trims])
    variables = {**os.environ, **candidate.variables, "OMP_NUM_THREADS": "1"}
    with without_huge_pages():
        done = subprocess.run([sys.executable, "-c", _CHILD, told], env=variables, stdout=subprocess.PIPE, check=True)
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(names: list[str]) -> None:
    """Print a table for every network."""
    for network in names or list(NETWORKS):
        micro, count = NETWORKS[network]
        print(f"\n{network}, {count} micro-batches of {micro}\n")
        print("| | s a step | of it system | thousand faults | MiB above baseline | baseline, MiB |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |", flush=True)
        for candidate in CANDIDATES:
            seconds, user, faults, above, baseline = measure(network, candidate)
            print(
                f"| {candidate.name} | {seconds:.2f} | {seconds - user:.2f} | {faults / 1000:.1f} "
                f"| {above / MIB:.1f} | {baseline / MIB:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
