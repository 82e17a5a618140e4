"""A small real run, in this process or in others, that is hurt on purpose."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from planner.heads.pooled import PooledHead
from planner.model.zoo import from_zoo
from planner.runner.protocol.events import Event, Initialised
from planner.runner.protocol.job import TrainingJob
from planner.runner.supervise.resume import clear_leftovers, first_open_block
from planner.runner.train.guard import MemoryGuard
from planner.runner.train.session import Session
from planner.runner.train.stop import StopSignal
from planner.schema.codec import content_id, to_json
from planner.schema.common import OptimizerConfig
from planner.schema.plan import BatchSetting, BlockInput, Exit, Plan, Polish, Segment
from planner.schema.preprocessing import Normalisation
from planner.schema.run_folder import RunFolder
from tests.prepared import open_prepared
from tests.unit.runner.contexts import planned_run
from tests.unit.runner.train.test_block import make_plan

BATCH = 8

FROZEN = 2
"""Units that `frozen_plan` does not train: the whole first block of `small_plan`."""


def small_plan(
    optimizer: OptimizerConfig | None = None,
    dtype: str = "float32",
    blocks_at: tuple[tuple[int, ...], ...] = ((0, 2), (2, 3, 4), (4, 6)),
) -> Plan:
    """Three blocks of cnn6 on images of the sample's size, the second of two segments; ladders down to 2 samples."""
    plan = replace(make_plan(*blocks_at), model=from_zoo("cnn6", (1, 28, 28), 10))
    optimizer = optimizer or OptimizerConfig("sgd", 0.05, 0.9, weight_decay=5e-4)
    blocks = []
    for block in plan.blocks:
        ladder = tuple(BatchSetting(size, BATCH // size, block.predicted) for size in (4, 2))
        source = block.input
        if source.kind == "cache":
            source = BlockInput("cache", block.units[0], source.sample_bytes, dtype)  # type: ignore[arg-type]  # literal
        blocks.append(replace(block, ladder=ladder, input=source))
    by = Normalisation((0.3,), (0.35,))  # as no code does that was not told so
    training = replace(plan.training, optimizer=optimizer, samples=4000, normalisation=by)
    plan = replace(plan, blocks=tuple(blocks), training=training)
    return replace(plan, id=content_id(plan))


def frozen_plan(kind: str = "cache") -> Plan:
    """`small_plan` with its first block frozen instead; the first one that is left reads a cache, or runs it again."""
    plan = small_plan()
    first = plan.blocks[1]
    if kind == "recompute":
        first = replace(first, input=BlockInput("recompute", 0, 785, "uint8"))
    training = replace(plan.training, freeze=FROZEN)
    plan = replace(plan, blocks=(first, plan.blocks[2]), exits=plan.exits[1:], training=training)
    return replace(plan, id=content_id(plan))


def polished_plan(lr: float = 0.005) -> Plan:
    """`small_plan` with a polish behind it, of which a part is recomputed."""
    plan = small_plan()
    first, last = plan.blocks[0], len(plan.model.units)
    segment = Segment((0, last), None, recompute=((1, 4),))
    block = replace(
        first, units=(0, last), segments=(segment,), predicted=replace(first.predicted, fit_room_bytes=2**24), epochs=2
    )
    exits = tuple(Exit(unit, PooledHead("pooled") if unit < last else None) for unit in range(1, last + 1))
    training = replace(plan.training, polish=2, polish_lr=lr)
    plan = replace(plan, training=training, exits=exits, polish=Polish(2, lr, block))
    return replace(plan, id=content_id(plan))


def session(
    plan: Plan,
    out: Path,
    tell: Callable[[Event], None] = lambda event: None,
    steps: int = 3,
    checkpoint_seconds: float = 0.0,
    source: str = "sample",
) -> None:
    """What the training child does, in this process: begin a run in `out`, or go on with it."""
    (out / "weights").mkdir(parents=True, exist_ok=True)
    first = first_open_block(planned_run(plan, out))
    clear_leftovers(planned_run(plan, out), first)
    job = TrainingJob(str(out), source, max_steps=steps, first_block=first, checkpoint_seconds=checkpoint_seconds)
    torch.set_num_threads(1)
    with open_prepared(source, out, size=plan.model.input) as data:
        begun = Session(job, plan, data, MemoryGuard(None), tell, StopSignal())
        init = begun.compare_init()
        if init is not None:
            tell(Initialised("initialised", init))
        begun.run()


def weights(out: Path, plan: Plan) -> dict[str, bytes]:
    """All that was trained, by name, heads included; units as the polish has left them, where there is one."""
    found = {}
    for index in range(len(plan.stages)):
        for name, tensor in load_file(RunFolder(out).block_weights(index)).items():
            found[name] = tensor.numpy().tobytes()
    return found


def partials(out: Path) -> list[Path]:
    """What unfinished files are left in a run's folder."""
    return sorted(out.rglob("*.partial"))


_DRIVER = """
import json, os, signal, sys
from pathlib import Path
from planner.schema.codec import encode, read_document
from planner.errors import PlannerError
from planner.runner.supervise.supervisor import RunOptions, run_plan
from planner.schema.plan import Plan

class Killer:
    def __init__(self):
        self.left = after
        self.seen = False

    def observe(self, event):
        print(json.dumps(encode(event)), flush=True)
        name = getattr(event, "phase", event.kind)
        self.seen = self.seen or name == at
        if not self.seen:
            return
        if self.left == 0:
            pid = os.getpid()
            if whom == "child":
                pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
            os.kill(pid, number)
        self.left -= 1

plan, out, steps, seconds, at, after, whom, number, *init = sys.argv[1:]
after, number = int(after), int(number)
resume = Path(out, "plan.json").exists()
init = Path(init[0]) if init and not resume else None
options = RunOptions(max_steps=int(steps), init=init, resume=resume, checkpoint_seconds=float(seconds))
try:
    run_plan(read_document(plan, Plan), "sample", Path(out), options, Killer())
except PlannerError as error:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    sys.exit(error.exit_code)
"""


class Hurt:
    """A run in a process of its own that gets a signal when it comes to a place."""

    def __init__(
        self, plan: Plan, out: Path, steps: int = 3, checkpoint_seconds: float = 0.0, init: Path | None = None
    ) -> None:
        self._init = [] if init is None else [str(init)]
        self.plan = plan
        self.out = out
        self._file = out.with_name(out.name + ".plan.json")
        self._file.write_text(to_json(plan))
        self._steps = steps
        self._checkpoint_seconds = checkpoint_seconds
        self.events: list[dict[str, Any]] = []
        """What the last session told."""
        self.said = ""
        """What it said on standard error."""

    def run(self, at: str = "", after: int = 0, whom: str = "supervisor", number: int = signal.SIGKILL) -> int:
        """Start or resume; at the `after`-th event from the first on that is called `at`, send the signal.

        Without a place the run comes to its end. Events are called by their kind, phases by their phase. Returns the
        exit code, when nobody is left.
        """
        words = (self._file, self.out, self._steps, self._checkpoint_seconds, at, after, whom, int(number))
        command = [sys.executable, "-W", "ignore", "-c", _DRIVER, *map(str, words), *self._init]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            self.events = []
            children: dict[int, int] = {}
            for line in process.stdout:
                self.events.append(json.loads(line))
                _open_children(process.pid, children)
            assert process.stderr is not None
            self.said = process.stderr.read()
            code = process.wait()
        for child in children.values():
            select.select([child], [], [])  # readable once the child is gone
            os.close(child)
        return code

    @property
    def last(self) -> str:
        """What the last event of the last session is called."""
        return str(self.events[-1].get("phase", self.events[-1]["kind"])) if self.events else "start"


def _open_children(pid: int, found: dict[int, int]) -> None:
    """Add a descriptor for every child there is by now: one prepares data, another trains."""
    with suppress(OSError):
        for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            if child not in found:
                found[child] = os.pidfd_open(child)


@contextmanager
def failing(name: str, number: int, fail: Callable[..., Any], within: Path) -> Iterator[list[int]]:
    """Within this, call number `number` (from 1) of `os.<name>` on files below `within` is `fail`.

    Yields a list whose length counts these calls. Others (/proc, torch's libraries) are let through uncounted.
    """
    real = getattr(os, name)
    calls: list[int] = []

    def counting(*arguments: Any, **more: Any) -> Any:
        if not _path_of(arguments[0]).is_relative_to(within):
            return real(*arguments, **more)
        calls.append(1)
        if len(calls) == number:
            return fail(real, *arguments, **more)
        return real(*arguments, **more)

    setattr(os, name, counting)
    try:
        yield calls
    finally:
        setattr(os, name, real)


def _path_of(file: int | str | Path) -> Path:
    """The path of an open file, or the path that was given."""
    return Path(f"/proc/self/fd/{file}").readlink() if isinstance(file, int) else Path(file)
