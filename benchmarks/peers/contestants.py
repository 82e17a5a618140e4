"""Who takes part: other people's ways to train in little memory, and our strategies."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from planner.schema.request import Preference, Strategy

Batches = Literal["fitting", "accumulated", "own"]
"""The batch of a step is as large as fits; or whole, in micro-batches as large as fit; or the peer sees to it."""


@dataclass(frozen=True)
class Peer:
    """Somebody else's code."""

    name: str
    """In tables."""
    script: str
    """Its file in `theirs`, without the ending."""
    batches: Batches
    """Who chooses what is in memory at a time."""
    settings: tuple[str, ...] = ()
    """Further arguments of the script."""
    launcher: tuple[str, ...] = ()
    """What starts the script instead of Python, `{budget}` being the budget in bytes."""
    needs_numpy: bool = False
    """Others do without it, which leaves them 17 MiB."""

    def environment(self, python: Path) -> dict[str, str]:
        """What its process is told besides."""
        found = [Path.cwd(), *([python.parents[1] / "numpy"] if self.needs_numpy else [])]
        return {"PYTHONPATH": os.pathsep.join(map(str, found))}

    def command(self, python: Path, work: Work, micro_batch: int, steps: int, budget_bytes: int) -> list[str]:
        """What is run, from the root of the repository."""
        module = f"benchmarks.peers.theirs.{self.script}"
        start = ["-m", module]
        if self.launcher:
            start = [word.format(budget=budget_bytes) for word in self.launcher]
            start.append(f"benchmarks/peers/theirs/{self.script}.py")
        batch = micro_batch if self.batches == "fitting" else work.batch
        command = [str(python), *start, work.network, "--side", str(work.side), "--batch", str(batch)]
        command += ["--micro", str(micro_batch), "--steps", str(steps), "--budget", str(budget_bytes)]
        return command + list(self.settings)


@dataclass(frozen=True)
class Ours:
    """One of our strategies."""

    name: str
    """In tables."""
    strategy: Strategy
    """Which."""
    prefer: Preference = "speed"
    """What `auto` prefers."""


@dataclass(frozen=True)
class Work:
    """What is trained."""

    network: str
    """By the zoo's name."""
    side: int
    """Rows and columns of an image."""
    batch: int
    """Samples of an optimizer step."""

    @property
    def name(self) -> str:
        """In tables."""
        return f"{self.network}, 3×{self.side}×{self.side}, batch {self.batch}"


PEERS = (
    Peer("plain loop", "plain", "fitting"),
    Peer("accumulation", "accumulation", "accumulated"),
    Peer("checkpoint, √n parts", "checkpointing", "accumulated"),
    Peer("optimizer in backward", "optimizer_in_backward", "fitting"),
    *(
        Peer(f"torch.compile, budget {ratio}", "compiled", "accumulated", ("--ratio", ratio))
        for ratio in ("0.2", "0.5", "0.8", "1.0")
    ),
    Peer("memopro.train_session", "memopro_session", "own", needs_numpy=True),
    Peer("memopro run", "plain", "own", launcher=("-m", "memopro", "run", "--budget", "{budget}B"), needs_numpy=True),
    Peer("ckptplan", "ckptplan_plan", "own", needs_numpy=True),
)

OURS = (
    Ours("classic-local", "classic-local"),
    Ours("neuroflux", "neuroflux"),
    Ours("auto --prefer speed", "auto", "speed"),
    Ours("auto --prefer balanced", "auto", "balanced"),
    Ours("auto --prefer fidelity", "auto", "fidelity"),
)


def micro_batches(batch: int) -> list[int]:
    """Powers of two that divide a batch, and the batch, the smallest first."""
    return [
        size for size in (2**power for power in range(batch.bit_length())) if batch % size == 0 and size < batch
    ] + [batch]


def largest(sizes: Iterable[int], fits: Callable[[int], bool]) -> int | None:
    """The largest that fits, where every smaller one does as well; None where none fits. Asks as seldom as it can."""
    ordered = sorted(sizes)
    low, high = 0, len(ordered)
    while low < high:
        middle = (low + high + 1) // 2
        if fits(ordered[middle - 1]):
            low = middle
        else:
            high = middle - 1
    return ordered[low - 1] if low else None
