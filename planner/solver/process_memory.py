"""Resident bytes of a run's processes around a block's live bytes: while they start, train, and behind training."""

from __future__ import annotations

from functools import cached_property
from itertools import accumulate
from typing import Literal

from planner.schema.common import CacheDtype
from planner.schema.profile import Profile
from planner.schema.request import Scope
from planner.schema.runtime import PolicyProfile
from planner.solver.costs import interpolate

Phase = Literal["pass", "heads", "fit", "still"]
"""What is done behind training: samples run through a block, through its heads as well, exits are fitted, nothing is
computed."""


class ProcessMemory:
    """What processes take around what is allocated, and what a budget leaves for that."""

    def __init__(
        self,
        profile: Profile,
        scope: Scope,
        reserve_bytes: int,
        keeping: PolicyProfile | None,
        converts_to: CacheDtype | None,
        batch: int,
    ) -> None:
        """What holds for every block of a plan.

        Args:
            profile: what was measured.
            scope: whether the budget counts the processes, or training alone.
            reserve_bytes: part of the budget that is left free.
            keeping: what was measured under the plan's policy, where that is one that keeps what is freed.
            converts_to: how caches hold activations, where that is not what units compute in.
            batch: samples of a step, the largest micro-batch of any block.
        """
        self._runtime = profile.runtime
        self._scope = scope
        self._reserve_bytes = reserve_bytes
        self._keeping = keeping
        self._converts_to = converts_to
        self._batch = batch
        units = self._runtime.finishing.units if self._runtime.finishing else ()
        made = [*accumulate((unit.kernel_bytes for unit in units), initial=0)]
        self._made = tuple(made if made[-1] else range(len(profile.units) + 1))
        """By boundary: bytes of kernels of the units in front; their number where these were not measured."""

    def kernel_bytes(self, micro_batch: int, first: int = 0) -> int:
        """What libraries hold beside torch's allocator in a block, above what they do at a small micro-batch.

        Kernels stay for as long as the process lives. Those of the units in front of `first` were made by earlier
        blocks, whose micro-batches may have been as large as the batch: MobileNetV3's last block, at micro-batch 1
        behind others at 8 and 16, has 7 MB more than alone.
        """
        own, most = self._grown(micro_batch), self._grown(self._batch)
        return own - (-(most - own) * self._made[first] // self._made[-1])

    def _grown(self, micro_batch: int) -> int:
        """As `kernel_bytes`, where every block has this micro-batch."""
        runtime = self._runtime
        sizes, values = (runtime.small_micro_batch, runtime.large_micro_batch), (0, runtime.growing_bytes)
        if micro_batch >= sizes[1]:
            return values[1]
        return interpolate(sizes, values, micro_batch)

    @cached_property
    def baseline_bytes(self) -> int:
        """The training child before its first block."""
        return self._keeping.baseline_bytes if self._keeping else self._runtime.baseline_bytes

    @cached_property
    def runtime_bytes(self) -> int:
        """Interpreter, libraries and supervisor, where the scope counts them."""
        process = self._scope == "process"
        return self.baseline_bytes + self._runtime.supervisor_bytes if process else 0

    @cached_property
    def _overhead(self) -> tuple[int, int]:
        """Resident bytes beside live ones: a constant, and thousandths of what is live."""
        around = self._keeping or self._runtime
        constant = self.runtime_bytes + self._runtime.run_bytes + around.overhead_bytes
        return constant, around.overhead_permille

    @cached_property
    def start_bytes(self) -> int:
        """What the processes take while they start, where the scope counts it."""
        runtime = self._runtime
        highest = max(runtime.start_peak_bytes, self._keeping.start_peak_bytes if self._keeping else 0)
        return highest + runtime.supervisor_bytes if self._scope == "process" else 0

    def resident(self, live: int) -> int:
        """Resident bytes where `live` bytes are allocated."""
        constant, permille = self._overhead
        return constant + live - (-live * permille // 1000)

    def resident_behind(self, live: int, phase: Phase, units: range, images: bool = False, writes: bool = False) -> int:
        """Resident bytes where `live` bytes are allocated behind training; never more than in training.

        `units` run, and those behind them have never run. `images`: they come from the data set. `writes`: outputs go
        to a cache, which they may be converted for.
        """
        found = self._runtime.finishing
        if found is None:
            return self.resident(live)
        around = {
            "pass": found.pass_bytes,
            "heads": found.heads_bytes,
            "fit": found.fit_bytes,
            "still": found.still_bytes,
        }[phase]
        if found.units and phase == "pass":
            around = min(around, found.common_bytes + sum(found.units[unit].pass_bytes for unit in units))
        elif found.units and phase == "heads":
            around = min(around, found.common_heads_bytes + sum(found.units[unit].heads_bytes for unit in units))
        around -= sum(unit.kernel_bytes for unit in found.units[units.stop :])
        around += found.images_bytes if images else 0
        if writes and self._converts_to is not None:
            around += {
                "float32": found.float32_bytes,
                "bfloat16": found.bfloat16_bytes,
                "uint8": found.uint8_bytes,
            }[self._converts_to]
        moved = self._runtime.baseline_bytes - self.runtime_bytes - self._runtime.run_bytes
        return min(self.resident(live), max(0, around - moved) + live - (-live * self._overhead[1] // 1000))

    def live_limit(self, budget: int) -> int:
        """The most live bytes that fit a budget; negative where nothing does."""
        room = budget - self._reserve_bytes
        if room < self.start_bytes:
            return -1
        constant, permille = self._overhead
        return (room - constant) * 1000 // (1000 + permille)

    def budget_for(self, live: int) -> int:
        """The smallest budget in which `live` bytes fit; inverse of `live_limit`."""
        return max(self.resident(live), self.start_bytes) + self._reserve_bytes
