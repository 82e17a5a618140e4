"""One block, walked component by component: live bytes of each phase, what the peak is made of, and time.

A segment runs forward, its head, backward; its output stays until the next segment of the block is done with it.
Without accumulation every component's gradients stay until the segment's step; with it they are static and the block
steps once. With the optimizer in backward they go at once, and a component's own levels hold its steps. A recomputed
span keeps its output alone; when backward comes to it, it runs forward again below the gradient of that output. A
segment's window runs between its own units and its head; the next segment is given what its own units made. When
accumulating a window has gradients apart from those that its unit has as part of the next segment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from planner.solver.costs import NANOSECONDS, ComponentCost, Levels
from planner.solver.problem import BlockChoice, Problem


class DynamicLevel(NamedTuple):
    """Dynamic bytes at one moment of training."""

    level: int
    activations: int
    """Saved by components below, and held between segments."""
    gradients: int
    """Not static."""


class Live(NamedTuple):
    """Live bytes of a block."""

    data: int
    kernels: int
    """Held by libraries beside torch's allocator."""
    weights: int
    optimizer: int
    static_gradients: int
    highest: DynamicLevel
    """The highest of training."""
    validate: int
    cache: int
    """0 where no cache is written behind the block."""
    running: int
    """While samples run through the block without its heads."""
    fill: int
    """While frozen units write the cache before it, with nothing of the block in memory yet; 0 where they do not."""

    @property
    def train(self) -> int:
        """Peak of training."""
        return self.data + self.kernels + self.weights + self.optimizer + self.static_gradients + self.highest.level

    @property
    def peak(self) -> int:
        """Peak of all phases; saving needs the weights alone, which validating needs as well."""
        return max(self.train, self.validate, self.cache, self.fill)


class Time(NamedTuple):
    """Nanoseconds of a block."""

    epoch: int
    finish: int


def unit_costs(problem: Problem, choice: BlockChoice) -> list[ComponentCost]:
    """The block's units."""
    return [problem.unit_cost(unit, choice.micro_batch) for unit in range(choice.first, choice.last)]


def head_costs(problem: Problem, choice: BlockChoice) -> list[ComponentCost]:
    """The block's heads."""
    return [problem.head_cost(*placed, choice.micro_batch) for placed in choice.placed_heads]


def leaving_costs(problem: Problem, choice: BlockChoice) -> list[ComponentCost]:
    """The unit of the next block that the last segment trains as its window, if it has one."""
    return [problem.unit_cost(choice.last, choice.micro_batch)] if choice.leaves else []


def prefix_costs(problem: Problem, choice: BlockChoice) -> list[ComponentCost]:
    """The frozen units in front of a block that recomputes its input."""
    before = choice.first if choice.source == "recompute" else 0
    return [problem.unit_cost(unit, choice.micro_batch) for unit in range(before)]


def runs_from(problem: Problem, choice: BlockChoice) -> int:
    """The first unit that runs for the block's sake, its own or a frozen one."""
    return 0 if choice.source == "recompute" or problem.fills(choice.first, choice.source) else choice.first


def is_legal(problem: Problem, choice: BlockChoice) -> bool:
    """Whether the block can be run as it is meant.

    Every batch normalisation has to see more than one value per channel, recomputed spans have to rise, lie apart and
    cross no cut, and an optimizer in backward has to see the whole batch.
    """
    if choice.optimizer_in_backward and problem.accumulates(choice.micro_batch):
        return False
    starts = (choice.first, *choice.ends)
    inside = [
        span for first, end in zip(starts, choice.ends, strict=False) for span in spans_within(choice, first, end)
    ]
    if inside != list(choice.recompute) or any(one[1] > other[0] for one, other in pairwise(inside)):
        return False
    components = unit_costs(problem, choice) + leaving_costs(problem, choice) + head_costs(problem, choice)
    return choice.micro_batch >= max(component.minimum_micro_batch for component in components)


def live_bytes(problem: Problem, choice: BlockChoice) -> Live:
    """Live bytes of every phase."""
    units, heads, prefix = unit_costs(problem, choice), head_costs(problem, choice), prefix_costs(problem, choice)
    leaving = leaving_costs(problem, choice)
    components = units + leaving + heads
    shared = [units[end - choice.first] for end in choice.windows if end != choice.last]
    data = problem.data_bytes(choice.first, choice.source, choice.micro_batch)
    kernels = problem.process.kernel_bytes(choice.micro_batch, choice.first)
    frozen = sum(unit.weights for unit in prefix)
    weights = frozen + sum(component.weights for component in components)
    optimizer = sum(component.optimizer for component in components)
    before = highest_inference(problem, 0, prefix, choice.micro_batch)
    inference = max(before, highest_inference(problem, choice.first, units, choice.micro_batch))
    measured = (pair for pair in zip(choice.ends, heads, strict=True) if pair[0] not in choice.windows)
    heads_inference = max(
        (problem.made_bytes(choice.first, end, choice.micro_batch) + head.inference_peak for end, head in measured),
        default=0,
    )
    writer = problem.writer_bytes(choice.last, choice.micro_batch)
    training = [DynamicLevel(before, 0, 0), *_training_levels(problem, choice, units + leaving, heads)]
    return Live(
        data=data,
        kernels=kernels,
        weights=weights,
        optimizer=optimizer,
        static_gradients=(
            frozen
            + sum(component.static for component in components)
            + sum(_own_gradients(window) for window in shared)
            - weights
            - optimizer
        ),
        highest=max(training, key=lambda highest: highest.level),
        validate=data + kernels + weights + max(inference, heads_inference),
        cache=data + kernels + weights + inference + writer if choice.caches else 0,
        running=data + kernels + weights + inference,
        fill=fill_bytes(problem, choice.micro_batch) if problem.fills(choice.first, choice.source) else 0,
    )


def _own_gradients(component: ComponentCost) -> int:
    """What a component has of gradients throughout training."""
    return component.static - component.weights - component.optimizer


def fill_bytes(problem: Problem, micro_batch: int) -> int:
    """Live bytes while frozen units write the cache that the first trained block reads."""
    units = [problem.unit_cost(unit, micro_batch) for unit in range(problem.start)]
    data = problem.data_bytes(0, "data", micro_batch) + problem.process.kernel_bytes(micro_batch)
    writer = problem.writer_bytes(problem.start, micro_batch)
    return data + sum(unit.weights for unit in units) + highest_inference(problem, 0, units, micro_batch) + writer


def highest_inference(problem: Problem, first: int, units: Sequence[ComponentCost], micro_batch: int) -> int:
    """Highest level while `units`, from `first` on, run without gradients one behind the other; 0 without any.

    What the first is given is no part of it, however far it is carried along.
    """
    given = (problem.made_bytes(first, first + index, micro_batch) for index in range(len(units)))
    return max((held + unit.inference_peak for held, unit in zip(given, units, strict=True)), default=0)


class _Segment(NamedTuple):
    """A segment at work: its own units, and levels and gradients of these, window and head."""

    units: list[ComponentCost]
    levels: list[Levels]
    """Where backward is to come."""
    passing: list[Levels]
    """In forward, where recomputed units keep nothing."""
    gradients: list[int]
    """What each leaves until the step."""
    spans: list[tuple[int, int]]
    """Recomputed, counted from the segment's first unit."""
    closing: bool
    """Whether the block ends here."""
    held_input: int
    """What passes to it from the segment before, without what the block was given."""
    held_output: list[int]
    """By unit: what outlives the segment of what it and the units behind it make. Of what those before it make, that is
    among what these keep; what was made before the segment is there anyway."""
    step_transient: int


def spans_within(choice: BlockChoice, first: int, end: int) -> tuple[tuple[int, int], ...]:
    """The recomputed spans that lie inside the units [first, end)."""
    return tuple(span for span in choice.recompute if first <= span[0] < span[1] <= end)


def _segments(
    problem: Problem, choice: BlockChoice, units: list[ComponentCost], heads: list[ComponentCost]
) -> Iterator[_Segment]:
    held_input, stepping = 0, choice.optimizer_in_backward
    for start, end, head in zip((choice.first, *choice.ends), choice.ends, heads, strict=False):
        inside = units[start - choice.first : end - choice.first]
        behind = end - choice.first
        components = [*inside, *(units[behind : behind + 1] if end in choice.windows else ()), head]
        levels = [component.inner_stepping if stepping else component.inner for component in components]
        levels[0] = inside[0].first_stepping if stepping else inside[0].first
        spans = [(first - start, last - start) for first, last in spans_within(choice, start, end)]
        closing = end == choice.last
        outlives = [0 if closing else problem.made_bytes(index, end, choice.micro_batch) for index in range(start, end)]
        yield _Segment(
            units=inside,
            levels=levels,
            passing=_passing(problem, choice.micro_batch, start, inside, levels, spans),
            gradients=[0 if stepping else component.gradients for component in components],
            spans=spans,
            closing=closing,
            held_input=held_input,
            held_output=outlives,
            step_transient=max(component.step_transient for component in components),
        )
        held_input = problem.made_bytes(choice.first, end, choice.micro_batch)


def _passing(
    problem: Problem,
    micro_batch: int,
    start: int,
    units: list[ComponentCost],
    levels: list[Levels],
    spans: list[tuple[int, int]],
) -> list[Levels]:
    """A recomputed span keeps its output alone; inside it, a unit's input is there while the unit runs.

    What is carried along from before the span is there already.
    """
    found = list(levels)
    for first, end in spans:
        for index in range(first, end):
            given = problem.made_bytes(start + first, start + index, micro_batch) if index > first else 0
            kept = problem.made_bytes(start + first, start + end, micro_batch) if index == end - 1 else 0
            found[index] = levels[index]._replace(forward=given + units[index].detached_peak, kept=kept)
    return found


def _training_levels(
    problem: Problem, choice: BlockChoice, units: list[ComponentCost], heads: list[ComponentCost]
) -> Iterator[DynamicLevel]:
    accumulating = problem.accumulates(choice.micro_batch)
    for segment in _segments(problem, choice, units, heads):
        yield from _forward_levels(segment.passing, segment.held_input)
        yield from _backward_levels(segment)
        if not accumulating and not choice.optimizer_in_backward:
            held, gradients = segment.held_input + segment.held_output[0], sum(segment.gradients)
            yield DynamicLevel(held + gradients + segment.step_transient, held, gradients)
    if accumulating:
        yield DynamicLevel(max(component.step_transient for component in units + heads), 0, 0)


def _forward_levels(levels: list[Levels], below: int, gradients: int = 0, given: int = 0) -> Iterator[DynamicLevel]:
    """`given` is the gradient of a recomputed span's output, resident while the span runs forward again."""
    for level in levels:
        yield DynamicLevel(below + level.forward + gradients + given, below, gradients)
        below += level.kept


def _backward_levels(segment: _Segment) -> Iterator[DynamicLevel]:
    kept = [level.kept for level in segment.passing]
    gradients = 0
    for index in range(len(kept) - 1, len(segment.units) - 1, -1):  # head and window: the output is kept anyway
        below = segment.held_input + sum(kept[:index])
        yield DynamicLevel(below + segment.levels[index].backward + gradients, below, gradients)
        gradients += segment.gradients[index]
    held_in_trace = not segment.closing
    apart = len(segment.units)  # from this unit on, what outlives the segment is no more among what units keep
    for index in range(len(segment.units) - 1, -1, -1):
        for first, end in segment.spans:
            if end == index + 1:
                apart = first
                held = segment.held_input + sum(kept[:first]) + segment.held_output[apart]
                yield from _forward_levels(segment.levels[first:end], held, gradients, segment.units[index].output)
                kept[first:end] = [level.kept for level in segment.levels[first:end]]
                # What was replayed is another tensor than the output that is held.
                held_in_trace = False
        below = segment.held_input + sum(kept[:index])
        level = segment.levels[index]
        if held_in_trace:
            yield DynamicLevel(below + level.held_backward + gradients, below, gradients)
        else:
            held = below + segment.held_output[min(apart, index)]
            yield DynamicLevel(held + level.backward + gradients, held, gradients)
        held_in_trace = False
        gradients += segment.gradients[index]


def time_ns(problem: Problem, choice: BlockChoice) -> Time:
    """One epoch, and writing caches: after the last, and of frozen units before the first."""
    units, heads = unit_costs(problem, choice), head_costs(problem, choice)
    samples, size = problem.training.samples, choice.micro_batch
    starts = {choice.first, *choice.ends}
    windows = [problem.unit_cost(end, size) for end in choice.windows]
    train = sum(component.train_ns for component in windows + heads)
    for unit, cost in enumerate(units, start=choice.first):
        train += cost.first_train_ns if unit in starts else cost.train_ns
    for first, end in choice.recompute:
        train += sum(cost.forward_ns for cost in units[first - choice.first : end - choice.first])
    before = sum(unit.inference_ns for unit in prefix_costs(problem, choice))
    compute = (train + before) * samples // size + problem.steps * sum(
        component.step_ns for component in units + windows + heads
    )
    inference = before + sum(unit.inference_ns for unit in units)
    read = read_ns(problem, choice.first) if choice.source == "cache" else 0
    finish = 0
    if choice.caches:
        finish += write_ns(problem, choice.last) + inference * problem.training.cached_samples // size
    if problem.fills(choice.first, choice.source):
        finish += fill_ns(problem, size)
    return Time(max(compute, read), finish)


def fill_ns(problem: Problem, micro_batch: int) -> int:
    """The frozen units' passes, one for each view, and writing what they leave for the first trained block."""
    inference = sum(problem.unit_cost(unit, micro_batch).inference_ns for unit in range(problem.start))
    return write_ns(problem, problem.start) + inference * problem.training.cached_samples // micro_batch


def read_ns(problem: Problem, boundary: int) -> int:
    """Reading one pass of those that the cache at a boundary holds."""
    size = problem.training.samples * problem.record_bytes(boundary)
    return -(-size * NANOSECONDS // problem.profile.storage.read_bytes_per_second)


def write_ns(problem: Problem, boundary: int) -> int:
    """Writing the cache at a boundary."""
    return -(-problem.cache_bytes(boundary) * NANOSECONDS // problem.profile.storage.write_bytes_per_second)


def stored_bytes(problem: Problem, choice: BlockChoice) -> int:
    """Storage of the caches a block reads and writes."""
    return problem.stored_bytes(choice.first, choice.last, choice.source, choice.caches)


def total_ns(problem: Problem, choices: tuple[BlockChoice, ...]) -> int:
    """To the end of training."""
    times = [(problem.epochs_of(choice.last), time_ns(problem, choice)) for choice in choices]
    return sum(epochs * time.epoch + time.finish for epochs, time in times)
