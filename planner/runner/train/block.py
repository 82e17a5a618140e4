"""One block in memory: its units, heads and optimizer, the frozen units it reads through, and one optimizer step."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from planner.model.activations import Activations
from planner.model.build import build_unit
from planner.model.decay import decaying_of_head, decaying_of_unit
from planner.runner.storage.planned_run import WeightFile
from planner.runner.storage.safetensors import CONVERTED, TensorFile
from planner.runner.storage.weights import fits, load_weights, named_tensors, read_tensor, save_tensors
from planner.runner.train.context import BlockContext, RunContext
from planner.schema.plan import Block, Segment
from planner.schema.report_parts import InitReport
from planner.training import device as devices
from planner.training.apart_gradients import ApartGradients
from planner.training.heads import build_head
from planner.training.optimizer_in_backward import optimizer_in_backward
from planner.training.optimizers import Optimizer, make_optimizer
from planner.training.segment import Spans, pass_through, train_segment
from planner.training.statistics import hold_statistics
from planner.training.tasks import make_arithmetic


@dataclass(frozen=True)
class LoadedSegment:
    """A segment's modules."""

    spec: Segment
    """What the plan says of it."""
    units: Sequence[nn.Module]
    """Its own units."""
    window: Sequence[nn.Module]
    """The unit behind these that it trains as well, if there is one; in its block it is the next segment's first."""
    head: nn.Module | None
    """Its auxiliary head."""
    apart: ApartGradients
    """The window's gradients of this segment's loss; the next segment has its own."""

    @property
    def recompute(self) -> Spans:
        """Its recomputed spans, counted from its own first unit."""
        start = self.spec.units[0]
        return tuple((first - start, last - start) for first, last in self.spec.recompute)

    def parameters(self) -> Iterator[nn.Parameter]:
        """What its loss moves: units, window and head."""
        for module in [*self.units, *self.window, *([self.head] if self.head else [])]:
            yield from module.parameters()


class LoadedBlock:
    """A block's modules with fresh weights, a function of the run's seed, ready to train."""

    def __init__(self, context: BlockContext, frozen: Sequence[nn.Module] = ()) -> None:
        """`frozen` are the units that samples run through first, from `load_frozen`; blocks may share them."""
        self.spec = context.spec
        self.frozen = frozen
        self.device = context.run.device
        self.task = make_arithmetic(context.plan.model.task)
        # Made by the processor, so that a seed gives the same weights wherever they come to lie.
        self.segments = _load_segments(context.run, self.spec)
        self._beyond = list(enumerate(self.segments[-1].window, start=self.spec.units[1]))
        for _, module in self.named_modules():
            devices.to_device(module, self.device)
        self._settings = context.plan.training.optimizer
        is_for_all = self._settings.weight_decay_on == "all"
        self._decaying = None if is_for_all else frozenset(self._decaying_parameters(context.run))
        self.optimizer: Optimizer = make_optimizer(self._settings, self._decaying)
        self.losses = [0.0] * len(self.segments)
        """Every segment's loss over the last batch."""

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """What is trained: units as `units.<index>`, heads as `heads.<units before it>`.

        A head behind a window is `window_heads.<units before it>`, and a window that is a unit of the next block
        `windows.<index>`: that block begins with it.
        """
        for segment in self.segments:
            yield from _named(segment)
        for index, unit in self._beyond:
            yield f"windows.{index}", unit

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """What the optimizer moves, named as in `named_modules`."""
        for prefix, module in self.named_modules():
            for name, parameter in module.named_parameters():
                yield f"{prefix}.{name}", parameter

    def _decaying_parameters(self, run: RunContext) -> Iterator[nn.Parameter]:
        model = run.plan.model
        for segment in self.segments:
            for index, unit in enumerate([*segment.units, *segment.window], start=segment.spec.units[0]):
                yield from _chosen(unit, decaying_of_unit(model.units[index], run.shapes[index]))
            if segment.head is not None and segment.spec.head is not None:
                shape = run.shapes[segment.spec.head_behind]
                yield from _chosen(segment.head, decaying_of_head(segment.spec.head, shape, model.output))

    def modules(self) -> list[nn.Module]:
        """All that a micro-batch runs through."""
        return [*self.frozen, *(module for _, module in self.named_modules())]

    def enter(self, samples: Activations) -> Activations:
        """What comes into the block's first unit: the samples, run through the frozen units where there are any."""
        return pass_through(self.frozen, samples)

    def run_through(self, samples: Activations) -> Activations:
        """What leaves the block's last unit, without gradients. Its modules have to be in evaluation mode."""
        return pass_through([unit for segment in self.segments for unit in segment.units], self.enter(samples))

    def train_batch(self, micro_batches: Iterator[tuple[Activations, Tensor]], batch: int, accumulate: bool) -> float:
        """One optimizer step over a batch of `batch` samples.

        `micro_batches` yields samples (micro-batch, …) and labels. With `accumulate` all gradients live until the last
        micro-batch is done, otherwise each segment steps right behind its own backward, or within it where the plan
        says so. In both cases segments step in order, so that a window moves before it moves as a part of the next
        segment: with gradients that are that segment's alone, of the weights that the batch began with where it
        accumulates, else of those that the window's step left. Returns the last segment's loss.
        """
        totals = [0.0] * len(self.segments)
        for inputs, labels in micro_batches:
            weight = len(labels) / batch
            losses = []
            inputs = self.enter(inputs)
            for segment in self.segments:
                loss, held = self._train_segment(segment, inputs, labels, weight, accumulate)
                losses.append(loss)
                if held is not None:
                    inputs = held
                del held
            found = torch.stack(losses).tolist()  # one wait for an accelerator, however many there are
            totals = [total + loss * weight for total, loss in zip(totals, found, strict=True)]
        if accumulate:
            for segment in self.segments:
                self._step(segment)
        self.losses = totals
        return totals[-1]

    def _train_segment(
        self, segment: LoadedSegment, inputs: Activations, labels: Tensor, weight: float, accumulate: bool
    ) -> tuple[Tensor, Activations | None]:
        """Forward, backward and, without `accumulate`, the step; loss and output as `train_segment` gives them."""
        is_last = segment is self.segments[-1]
        within = self.spec.optimizer_in_backward and not accumulate
        stepping = optimizer_in_backward(segment.parameters(), self.optimizer.step) if within else nullcontext()
        with stepping, segment.apart.in_place():
            loss, held = train_segment(
                segment.units,
                segment.head,
                self.task.loss,
                inputs,
                labels,
                weight,
                not is_last,
                segment.recompute,
                segment.window,
            )
        if not accumulate and not within:
            self._step(segment)
        return loss, held

    def _step(self, segment: LoadedSegment) -> None:
        with segment.apart.in_place():
            self.optimizer.step(segment.parameters())
            for parameter in segment.parameters():
                parameter.grad = None

    def steps_of(self, parameter: nn.Parameter) -> int:
        """How often a batch moves it: once for every segment that trains it."""
        return sum(any(other is parameter for other in segment.parameters()) for segment in self.segments)

    def drop_gradients(self) -> None:
        """Free all gradients, as after a batch that was given up."""
        for segment in self.segments:
            segment.apart.drop()
            for parameter in segment.parameters():
                parameter.grad = None

    def forget_steps(self) -> None:
        """Free gradients and optimizer state, as before the first step."""
        self.optimizer = make_optimizer(self._settings, self._decaying)
        self.drop_gradients()

    def stop_training(self) -> None:
        """Free gradients and optimizer state, and set every module to evaluation."""
        self.forget_steps()
        for _, module in self.named_modules():
            module.eval()

    def begin_with(self, path: Path) -> None:
        """Take what a file holds of the weights, in name and shape; the others stay as they are."""
        begin_with(path, [*self.named_modules(), *((f"units.{index}", unit) for index, unit in self._beyond)])

    def go_on_from(self, before: BlockContext) -> None:
        """Take what the block before has made of the first unit, where that was its window. Raises StorageError."""
        first = self.spec.units[0]
        if before.spec.segments[-1].window:
            load_weights(before.weights_path, [(f"windows.{first}", self.segments[0].units[0])])

    def begin_with_trained(self, files: Iterable[WeightFile]) -> None:
        """Take the weights that blocks before have trained, statistics included, which stay. Raises StorageError."""
        units = dict(self.named_modules())
        for file in files:
            load_weights(file.path, ((f"units.{unit}", units[f"units.{unit}"]) for unit in file.units))
        hold_statistics(units.values())

    def save(self, path: Path, metadata: Mapping[str, str] | None = None) -> None:
        """Write all weights."""
        save_tensors(path, named_tensors(self.named_modules()), metadata)

    def load(self, path: Path) -> None:
        """Read all weights."""
        load_weights(path, self.named_modules())


def begin_with(path: Path, named_modules: Iterable[tuple[str, nn.Module]]) -> None:
    """Give modules what a file holds of their weights, in name and shape; the others stay as they are."""
    file = TensorFile(path)
    try:
        given = {entry.name: entry for entry in file.entries}
        for name, tensor in named_tensors(named_modules):
            if fits(given.get(name), tensor):
                read_tensor(file, name, tensor)
    finally:
        file.close()


def load_frozen(context: BlockContext) -> list[nn.Module]:
    """The units before a block that its samples run through: an empty list where it does not recompute its input."""
    return load_before(context) if context.spec.input.kind == "recompute" else []


def load_before(context: BlockContext) -> list[nn.Module]:
    """The units before a block in evaluation mode, with the weights that the run has stored. Raises StorageError."""
    units: list[nn.Module] = []
    for stored in context.weight_files_before():
        found = [fresh_unit(context.run, unit, seeded=False).eval() for unit in stored.units]
        load_weights(stored.path, zip((f"units.{unit}" for unit in stored.units), found, strict=True))
        units += [devices.to_device(unit, context.run.device) for unit in found]
    return units


def compare_init(run: RunContext, path: Path) -> InitReport:
    """What a file of weights holds of a run's network and heads. Makes no tensor with content. Raises StorageError."""
    file = TensorFile(path)
    try:
        file.verify()
    finally:
        file.close()
    given = {entry.name: entry for entry in file.entries}
    taken, left = set(), []
    with torch.device("meta"):
        for name, tensor in named_tensors(_all_named(run)):
            if fits(given.get(name), tensor):
                taken.add(name)
            else:
                left.append(name)
    unused = tuple(name for name in given if name not in taken)
    return InitReport(len(taken), tuple(left), unused, int(file.metadata.get(CONVERTED, 0)))


def _all_named(run: RunContext) -> Iterator[tuple[str, nn.Module]]:
    """All units and heads, one segment at a time, with whatever weights are there."""
    for index in range(run.plan.training.freeze):
        yield f"units.{index}", fresh_unit(run, index, seeded=False)
    for block in run.plan.blocks:  # a polish begins with what they have trained
        for segment in block.segments:
            yield from _named(_load_segment(run, segment, {}, seeded=False))


def _chosen(module: nn.Module, names: Collection[str]) -> Iterator[nn.Parameter]:
    """A module's parameters of these names; a name that is none is an error of ours."""
    parameters = dict(module.named_parameters())
    yield from (parameters[name] for name in names)


def _named(segment: LoadedSegment) -> Iterator[tuple[str, nn.Module]]:
    first, last = segment.spec.units
    for index, unit in zip(range(first, last), segment.units, strict=True):
        yield f"units.{index}", unit
    if segment.head is not None:
        kind = "window_heads" if segment.spec.window else "heads"
        yield f"{kind}.{segment.spec.head_behind}", segment.head


def _generator(run: RunContext, kind: str, index: int) -> torch.Generator:
    digest = hashlib.sha256(f"{run.length.seed} {kind} {index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


def fresh_unit(run: RunContext, index: int, seeded: bool = True) -> nn.Module:
    """A unit whose weights are a function of the run's seed and its index; not `seeded`: with whatever is there."""
    generator = _generator(run, "unit", index) if seeded else None
    return build_unit(run.plan.model.units[index], run.shapes[index], generator, run.plan.training.dtype)


def _load_segments(run: RunContext, block: Block) -> list[LoadedSegment]:
    """A block's; segments that train the same unit share its module."""
    there: dict[int, nn.Module] = {}
    return [_load_segment(run, segment, there) for segment in block.segments]


def _load_segment(run: RunContext, segment: Segment, there: dict[int, nn.Module], seeded: bool = True) -> LoadedSegment:
    """`there` are units by index that are not made again; those that are made join them."""
    (first, last), behind = segment.units, segment.head_behind
    for index in range(first, behind):
        if index not in there:
            there[index] = fresh_unit(run, index, seeded)
    window = [there[index] for index in range(last, behind)]
    head: nn.Module | None = None
    if segment.head is not None:
        generator = _generator(run, "head", behind) if seeded else None
        shape, output = run.shapes[behind], run.plan.model.output
        head = build_head(segment.head, shape, output, generator, run.plan.training.dtype)
    apart = ApartGradients(parameter for unit in window for parameter in unit.parameters())
    return LoadedSegment(segment, [there[index] for index in range(first, last)], window, head, apart)
