"""What a run and each of its blocks go by in the training child: computed once, and passed on as one thing."""

from __future__ import annotations

import hashlib
from pathlib import Path

from planner.model.shapes import Shape, model_sizes
from planner.runner.protocol.job import RunLength
from planner.runner.protocol.sizes import sizes_of
from planner.runner.storage.planned_run import PlannedRun, WeightFile
from planner.runner.storage.safetensors import content_checksum
from planner.schema.plan import BatchSetting, Plan
from planner.schema.run_folder import RunFolder
from planner.training import device as devices


class RunContext(PlannedRun):
    """A planned run as the training child executes it."""

    def __init__(self, plan: Plan, folder: RunFolder, length: RunLength) -> None:
        super().__init__(plan, folder)
        self.length = length
        """How long to train, and from which seed."""
        self.device = devices.device_of(plan.device.kind)
        """Where the run's tensors lie."""
        self.sizes = model_sizes(plan.model)
        """Shapes and counts of every unit."""
        self.shapes: tuple[Shape, ...] = (plan.model.input, *(sizes.output for sizes in self.sizes))
        """The shape that enters each unit, and behind the last the shape that leaves the model."""
        self.stages = tuple(BlockContext(self, index) for index in range(len(plan.stages)))
        """What each block goes by, and the polish as one more."""

    @property
    def init(self) -> Path | None:
        """The weights that the run begins with, as its folder keeps them; none without."""
        return self.folder.init if self.folder.init.exists() else None

    def parameters_before(self, unit: int) -> int:
        """Parameters of the units before unit number `unit`, heads left out."""
        return sum(sizes.parameters for sizes in self.sizes[:unit])


class BlockContext:
    """One block of a run, or its polish: what the plan says of it, the sizes it may have, and where its files lie."""

    def __init__(self, run: RunContext, index: int) -> None:
        self.run = run
        """The run that it is of."""
        self.index = index
        """Its place among the plan's stages, from 0."""
        self.name = run.plan.stage_name(index)
        """What it is called."""
        self.spec = run.plan.stages[index]
        """What the plan says of it."""
        polish = run.plan.polish if index == len(run.plan.blocks) else None
        self.is_polish = polish is not None
        """Whether it trains anew what the blocks have trained."""
        self.lr = run.plan.training.optimizer.lr if polish is None else polish.lr
        """Learning rate at the start, behind warming up."""
        self.settings = self.spec.settings
        """The settings that it may train with: the plan's own, then its fallbacks."""
        self.micro_batches = sizes_of(self.spec)
        """The micro-batches of `settings`, and behind them smaller ones for what runs without gradients."""
        folder = run.folder
        self.weights_path = folder.block_weights(index)
        """Where its weights lie, once it is trained."""
        self.result_path = folder.block_result(index)
        """Where its result lies, once it is done."""
        self.exits_path = folder.block_exits(index)
        """Where the weights of its pooled exits lie."""

    @property
    def plan(self) -> Plan:
        """The plan that it is of."""
        return self.run.plan

    @property
    def epochs(self) -> int:
        """Its passes over the data: the plan's, or in the same proportion to those that the run was asked for. Those of
        a polish are the plan's in any case."""
        if self.is_polish:
            return self.plan.training.polish
        asked, planned = self.run.length.epochs, self.plan.training.epochs
        own = planned if self.spec.epochs is None else self.spec.epochs
        return max(1, (2 * asked * own + planned) // (2 * planned))

    @property
    def warmup(self) -> int:
        """The first of them, in which the learning rate rises; a polish has none."""
        return 0 if self.is_polish else min(self.plan.training.warmup, self.epochs)

    @property
    def input_shape(self) -> Shape:
        """The shape that enters its first unit; of several tensors the first one's."""
        return self.input_shapes[0]

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """The shapes that enter its first unit."""
        first = self.spec.units[0]
        return (self.run.shapes[first], *(self.run.sizes[first - 1].further if first else ()))

    @property
    def reads_cache(self) -> bool:
        """Whether its samples come from an activation cache."""
        return self.spec.input.kind == "cache"

    @property
    def preceding(self) -> BlockContext | None:
        """The block in front of it; none in front of the first."""
        return self.run.stages[self.index - 1] if self.index else None

    @property
    def following(self) -> BlockContext | None:
        """The stage behind it; none behind the last."""
        return self.run.stages[self.index + 1] if self.index + 1 < len(self.run.stages) else None

    def setting(self, fallback: int) -> BatchSetting:
        """What is in force at a fallback: 0 is the plan's own setting; the last holds for all smaller micro-batches."""
        return self.settings[min(fallback, len(self.settings) - 1)]

    def cache_path(self, part: str) -> Path:
        """Where the activation cache that it reads lies; `part` is one of `PARTS`."""
        return self.run.folder.block_cache(self.index, part)

    def weight_files_before(self) -> list[WeightFile]:
        """Where the weights of all units before it lie, in the order of the chain."""
        return [found for found in self.run.weight_files(self.index) if found.units.start < self.spec.units[0]]

    def weight_files_to_begin_with(self) -> list[WeightFile]:
        """Where the weights of its own units lie that it begins with; none where it is the first to train them."""
        return [found for found in self.run.weight_files(self.index) if found.units.start >= self.spec.units[0]]

    def input_checksum(self) -> str | None:
        """Of what it is trained behind: the weights right before it, and all that it begins with; none where it has the
        data itself, and begins with nothing. Raises StorageError.
        """
        files = [*self.weight_files_before()[-1:], *self.weight_files_to_begin_with()]
        found = [content_checksum(file.path) for file in files]
        return found[0] if len(found) == 1 else hashlib.sha256(" ".join(found).encode()).hexdigest() if found else None
