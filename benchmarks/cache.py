"""The activation cache: `python -m benchmarks.cache > benchmarks/results/cache.md`.

Three tables. Throughput of writing, and of reading with the page cache evicted (posix_fadvise DONTNEED): in order, in
the runs that training reads, and record by record. Stall share of real runs, whose shards are evicted all the while,
inside a memory group of the budget's size where one can be made. Accuracy by stored type on the bundled images.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import get_args

from benchmarks.judge import within
from planner.cli.measure import measured_profile
from planner.model.shapes import model_sizes
from planner.model.zoo import from_zoo
from planner.runner.input.order import FeistelPermutation, RunPermutation
from planner.runner.input.samples import RUN_BYTES, RUNS_PER_BATCH
from planner.runner.storage.cache import CacheReader, CacheSpec, CacheWriter
from planner.schema.codec import content_id, read_document, to_json
from planner.schema.common import CacheDtype, usual_optimizer
from planner.schema.plan import Plan
from planner.schema.report import Report
from planner.schema.request import Budget, Request, Training
from planner.schema.run_folder import RunFolder
from planner.solver.plan import least_memory, make_plan
from planner.tasks.base import class_label
from planner.units import MIB
from tests.memory_group import MemoryGroup, can_create

RECORDS = (
    (520, "512×1×1 uint8"),
    (8192, "512×2×2 float32"),
    (50_176, "64×14×14 float32"),
    (200_704, "64×28×28 float32"),
)
CACHE_BYTES = 512 * MIB
BATCH = 128
EVICT_SECONDS = 0.05
DTYPES: tuple[CacheDtype, ...] = get_args(CacheDtype)


def evict(folder: Path) -> None:
    """Let the page cache forget every file below a folder."""
    for file in folder.rglob("*"):
        try:
            fd = os.open(file, os.O_RDONLY)
        except OSError:
            continue
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


@contextmanager
def evicting(folder: Path) -> Iterator[None]:
    """Within this, do so all the while."""
    over = threading.Event()

    def loop() -> None:
        while not over.wait(EVICT_SECONDS):
            evict(folder)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def throughput(size: int, folder: Path) -> tuple[float, float, float, float]:
    """MB/s of writing, reading in order, reading in runs, and reading record by record."""
    count = CACHE_BYTES // (size + 8)
    spec = CacheSpec(count, size, "benchmark")
    record = memoryview(random.Random(1).randbytes(size))
    started = time.perf_counter()
    with CacheWriter(folder, spec) as writer:
        for index in range(count):
            writer.append(index, (record,), class_label(0))
        writer.finish()
    written = count * spec.stride / 1e6 / (time.perf_counter() - started)
    run = max(1, min(RUN_BYTES // size, BATCH // RUNS_PER_BATCH))
    orders: tuple[Sequence[int] | FeistelPermutation | RunPermutation, ...] = (
        range(count), RunPermutation(count, run, 3), FeistelPermutation(count, 3)
    )  # fmt: skip
    first, second, third = (_read(folder, spec, order) for order in orders)
    return written, first, second, third


def _read(folder: Path, spec: CacheSpec, order: Sequence[int] | FeistelPermutation | RunPermutation) -> float:
    """MB/s over at most a fifth of the cache, cold."""
    evict(folder)
    count = max(BATCH, spec.samples // 5)
    buffer = memoryview(bytearray(32 * spec.record_bytes))
    reader = CacheReader(folder, spec)
    started = time.perf_counter()
    for at in range(0, count - 31, 32):
        reader.read_many([order[index] for index in range(at, at + 32)], buffer)
    seconds = time.perf_counter() - started
    reader.close()
    return count * spec.stride / 1e6 / seconds


def run(plan: Plan, steps: int | None, grouped: bool, cold: bool) -> Report:
    """A run in a process of its own."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:  # not /tmp, which may be memory
        folder = Path(name)
        (folder / "plan.json").write_text(to_json(plan))
        command = [sys.executable, "-m", "planner.cli.main", "run", str(folder / "plan.json"), "--data", "sample"]
        command += ["--out", str(folder / "out"), "--quiet", *(["--max-steps", str(steps)] if steps else [])]
        limit = MemoryGroup(plan.budget.bytes) if grouped else nullcontext()
        with limit as group, evicting(folder / "out" / "cache") if cold else nullcontext():
            command = within(group, command) if group else command
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return read_document(RunFolder(folder / "out").report, Report)


def small_budget_plan(name: str, epochs: int, room: int = MIB) -> Plan:
    """Blocks that read caches: hardly more than the least memory there is."""
    profile = measured_profile(from_zoo(name, (1, 28, 28), 10), usual_optimizer("sgd"), BATCH)
    training = Training(BATCH, epochs, 4000, usual_optimizer("sgd"))
    anything = Request(Budget(2**40, "process"), training, strategy="neuroflux")
    least = least_memory(profile, anything)
    return make_plan(profile, replace(anything, budget=Budget(least + room, "process")))


def with_dtype(plan: Plan, dtype: CacheDtype) -> Plan:
    """The same blocks with other caches, so that accuracies compare; what converting takes has to fit its reserve."""
    blocks = tuple(
        replace(block, input=replace(block.input, dtype=dtype)) if block.input.kind == "cache" else block
        for block in plan.blocks
    )
    plan = replace(plan, blocks=blocks)
    return replace(plan, id=content_id(plan))


def main() -> None:
    """Print the tables."""
    print("Made by `python -m benchmarks.cache`.\n\n## Throughput, MB/s, page cache evicted before each reading\n")
    print("| record | bytes | write | read in order | read in training's runs | read record by record |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for size, text in RECORDS:
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            speeds = throughput(size, Path(folder) / "c")
        print(f"| {text} | {size} | {' | '.join(f'{speed:.0f}' for speed in speeds)} |", flush=True)
    grouped = can_create() is None
    where = "inside a memory group of the budget's size" if grouped else "no memory group can be made here"
    print(f"\n## Stall share: time training waited for samples, shards evicted every {EVICT_SECONDS} s, {where}\n")
    print("| network | budget, MiB | blocks | cache written, MB | stalled, s | training, s | share |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in ("cnn6", "vgg11", "resnet18"):
        plan = small_budget_plan(name, 2)
        report = run(plan, None, grouped, cold=True)
        training = sum(block.measured_seconds_per_epoch * block.epochs for block in report.blocks)
        stalled = report.cache.stall_seconds
        print(
            f"| {name} | {plan.budget.bytes / MIB:.0f} | {len(plan.blocks)} | {report.cache.bytes_written / 1e6:.0f} "
            f"| {stalled:.2f} | {training:.1f} | {100 * stalled / training:.1f} % |",
            flush=True,
        )
    plan = small_budget_plan("cnn6", 4, 24 * MIB)
    shape = [size.output for size in model_sizes(plan.model)][plan.blocks[1].units[0] - 1]
    print(f"\n## By stored type: cnn6, {len(plan.blocks)} blocks, 4 epochs of the bundled images\n")
    print("| type | bytes of a sample of block 1 | cache written, MB | accuracy |")
    print("| --- | ---: | ---: | ---: |")
    for dtype in DTYPES[::-1]:
        report = run(with_dtype(plan, dtype), None, grouped=False, cold=False)
        size = {"float32": 4, "bfloat16": 2, "uint8": 1}[dtype] * prod(shape) + (8 if dtype == "uint8" else 0) + 8
        print(
            f"| {dtype} | {size} | {report.cache.bytes_written / 1e6:.1f} | {100 * report.accuracy:.2f} % |", flush=True
        )


if __name__ == "__main__":
    main()
