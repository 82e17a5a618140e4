"""Windows at some cuts of a plan that was found without any: bought as long as memory and time allow.

No search: cuts, micro-batches and recomputed spans stay as they are, and the windows that cost least time are taken
first. A plan with a window at every cut, or at none, is searched for by itself (`planner.solver.settings`).
"""

from __future__ import annotations

from dataclasses import replace

from planner.solver.memory_model import is_legal, live_bytes, total_ns
from planner.solver.problem import BlockChoice, Problem
from planner.solver.search.heads import Heads, preferred_heads
from planner.solver.search.search import Choices


def with_windows(problem: Problem, choices: Choices, limit: int, below: int) -> Choices:
    """The same blocks, with windows that fit `limit` live bytes, taking less than `below` nanoseconds together."""
    standing = preferred_heads(problem)
    blocks, time = list(choices), total_ns(problem, choices)

    def buy(index: int, end: int) -> bool:
        nonlocal time
        larger = _windowed(blocks[index], end, standing)
        taken = time + _time(problem, larger) - _time(problem, blocks[index])
        if taken >= below or not is_legal(problem, larger) or live_bytes(problem, larger).peak > limit:
            return False
        blocks[index], time = larger, taken
        return True

    def price(cut: tuple[int, int]) -> tuple[int, int]:
        choice = choices[cut[0]]
        return _time(problem, _windowed(choice, cut[1], standing)) - _time(problem, choice), cut[1]

    cuts = [(index, end) for index, choice in enumerate(choices) for end in choice.ends if problem.takes_window(end)]
    left = sorted(cuts, key=price)
    # Where the head behind a window is smaller than the usual one, what did not fit before may fit behind it.
    while any(bought := [buy(*cut) for cut in left]):
        left = [cut for cut, was_bought in zip(left, bought, strict=True) if not was_bought]
    return tuple(blocks)


def _windowed(choice: BlockChoice, end: int, standing: Heads) -> BlockChoice:
    """The block with a window behind one more of its segments, and the head that stands behind that."""
    heads = dict(zip(choice.ends, choice.heads, strict=True)) | {end: standing[end + 1]}
    return replace(choice, heads=tuple(heads.values()), windows=tuple(sorted((*choice.windows, end))))


def _time(problem: Problem, choice: BlockChoice) -> int:
    return total_ns(problem, (choice,))
