"""One block, walked piece by piece: live bytes of each phase, what the peak is made of, and time.

A segment runs forward, its head, backward; its output stays until the next segment of the block is done with it.
Without accumulation every piece's gradients stay until the segment's step; with it they are static and the block steps
once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from planner.solver.costs import NANOSECONDS, Levels, PieceCost
from planner.solver.problem import Choice, Problem


class Moment(NamedTuple):
    """Dynamic bytes at one moment of training."""

    level: int
    activations: int
    """Saved by pieces below, and held between segments."""
    gradients: int
    """Not static."""


class Live(NamedTuple):
    """Live bytes of a block."""

    data: int
    weights: int
    optimizer: int
    static_gradients: int
    moment: Moment
    """The highest of training."""
    validate: int
    cache: int
    """0 for the last block."""

    @property
    def train(self) -> int:
        """Peak of training."""
        return self.data + self.weights + self.optimizer + self.static_gradients + self.moment.level

    @property
    def peak(self) -> int:
        """Peak of all phases; saving needs the weights alone, which validating needs as well."""
        return max(self.train, self.validate, self.cache)


class Time(NamedTuple):
    """Nanoseconds of a block."""

    epoch: int
    finish: int


def unit_costs(problem: Problem, choice: Choice) -> list[PieceCost]:
    """The block's units."""
    return [problem.unit_cost(unit, choice.micro_batch) for unit in range(choice.first, choice.last)]


def head_costs(problem: Problem, choice: Choice) -> list[PieceCost]:
    """The block's heads."""
    ends = zip(choice.ends, choice.filters, strict=True)
    return [problem.head_cost(end, filters, choice.micro_batch) for end, filters in ends]


def is_legal(problem: Problem, choice: Choice) -> bool:
    """Whether every batch normalisation of the block sees more than one value per channel."""
    pieces = unit_costs(problem, choice) + head_costs(problem, choice)
    return choice.micro_batch >= max(piece.minimum_micro_batch for piece in pieces)


def live_bytes(problem: Problem, choice: Choice) -> Live:
    """Live bytes of every phase."""
    units, heads = unit_costs(problem, choice), head_costs(problem, choice)
    pieces = units + heads
    data = problem.data_bytes(choice.first, choice.micro_batch)
    weights = sum(piece.weights for piece in pieces)
    optimizer = sum(piece.optimizer for piece in pieces)
    inputs = [0, *(unit.output for unit in units)]
    inference = max(held + unit.inference_peak for held, unit in zip(inputs, units, strict=False))
    heads_inference = max(
        units[end - 1 - choice.first].output + head.inference_peak for end, head in zip(choice.ends, heads, strict=True)
    )
    writer = problem.writer_bytes(choice.last, choice.micro_batch)
    return Live(
        data=data,
        weights=weights,
        optimizer=optimizer,
        static_gradients=sum(piece.static for piece in pieces) - weights - optimizer,
        moment=max(_moments(problem, choice, units, heads), key=lambda moment: moment.level),
        validate=data + weights + max(inference, heads_inference),
        cache=data + weights + inference + writer if writer else 0,
    )


def _moments(problem: Problem, choice: Choice, units: list[PieceCost], heads: list[PieceCost]) -> Iterator[Moment]:
    accumulating = problem.accumulates(choice.micro_batch)
    start, held_input = choice.first, 0
    for end, head in zip(choice.ends, heads, strict=True):
        segment = units[start - choice.first : end - choice.first]
        closing = end == choice.last
        held_output = 0 if closing else segment[-1].output
        levels = [segment[0].first, *(unit.inner for unit in segment[1:])]
        yield from _forward_moments([*levels, head.inner], held_input)
        yield from _backward_moments(segment, levels, head, held_input, closing)
        if not accumulating:
            pieces = [*segment, head]
            held = held_input + held_output
            gradients = sum(piece.gradients for piece in pieces)
            yield Moment(held + gradients + max(piece.step_transient for piece in pieces), held, gradients)
        start, held_input = end, held_output
    if accumulating:
        yield Moment(max(piece.step_transient for piece in units + heads), 0, 0)


def _forward_moments(levels: list[Levels], below: int) -> Iterator[Moment]:
    for level in levels:
        yield Moment(below + level.forward, below, 0)
        below += level.kept


def _backward_moments(
    units: list[PieceCost], levels: list[Levels], head: PieceCost, held_input: int, closing: bool
) -> Iterator[Moment]:
    below = held_input + sum(level.kept for level in levels)
    yield Moment(below + head.inner.backward, below, 0)
    gradients = head.gradients
    below -= levels[-1].kept
    last = levels[-1].backward if closing else levels[-1].held_backward
    yield Moment(below + last + gradients, below, gradients)
    held_output = 0 if closing else units[-1].output
    for index in range(len(units) - 2, -1, -1):
        gradients += units[index + 1].gradients
        below -= levels[index].kept
        held = below + held_output
        yield Moment(held + levels[index].backward + gradients, held, gradients)


def time_ns(problem: Problem, choice: Choice) -> Time:
    """One epoch, and writing the cache after the last."""
    units, heads = unit_costs(problem, choice), head_costs(problem, choice)
    samples, size = problem.training.samples, choice.micro_batch
    starts = {choice.first, *choice.ends}
    train = sum(head.train_ns for head in heads)
    for unit, cost in enumerate(units, start=choice.first):
        train += cost.first_train_ns if unit in starts else cost.train_ns
    compute = train * samples // size + problem.steps * sum(piece.step_ns for piece in units + heads)
    inference = sum(unit.inference_ns for unit in units)
    return Time(max(compute, read_ns(problem, choice.first)), finish_ns(problem, choice.last, inference, size))


def read_ns(problem: Problem, first: int) -> int:
    """Reading one pass over the cache in front of a unit; 0 where samples come from the data set."""
    if first == 0:
        return 0
    return -(-problem.cache_bytes(first, problem.count) * NANOSECONDS // problem.profile.storage.read_bytes_per_second)


def finish_ns(problem: Problem, last: int, inference_ns: int, micro_batch: int) -> int:
    """Running all samples once more and writing what comes out; 0 for the last block."""
    if last == problem.count:
        return 0
    written = -(-problem.cache_bytes(0, last) * NANOSECONDS // problem.profile.storage.write_bytes_per_second)
    return inference_ns * problem.training.samples // micro_batch + written


def total_ns(problem: Problem, choices: tuple[Choice, ...]) -> int:
    """To the end of training."""
    times = [time_ns(problem, choice) for choice in choices]
    return sum(problem.training.epochs * time.epoch + time.finish for time in times)
