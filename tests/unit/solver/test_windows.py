"""Windows are bought where they fit, the cheapest first, and cost what the plan's own figures say."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

from planner.model.zoo import from_zoo
from planner.schema.request import Budget, Request, Training
from planner.solver.memory_model import live_bytes, total_ns
from planner.solver.problem import BlockChoice, Problem
from planner.solver.search.block import INF_TIME
from planner.solver.search.heads import preferred_heads
from planner.solver.windows import with_windows
from tests.unit.solver.chains import SGD, computed_profile

ASKED = Request(Budget(2**40, "process"), Training(batch=8, epochs=2, samples=640, optimizer=SGD))
PROBLEM = Problem(computed_profile(from_zoo("cnn6", (3, 32, 32), 10), (1, 8)), ASKED)
STANDING = preferred_heads(PROBLEM)
ENDS = (1, 2, 3, PROBLEM.count)
CUTS = ENDS[:-1]
CHOICE = BlockChoice(0, 8, ENDS, tuple(STANDING[end] for end in ENDS))


def _with(windows: tuple[int, ...]) -> BlockChoice:
    heads = tuple(STANDING[end + (end in windows)] for end in ENDS)
    return replace(CHOICE, heads=heads, windows=windows)


def _live(choice: BlockChoice) -> int:
    return live_bytes(PROBLEM, choice).peak


def _time(choice: BlockChoice) -> int:
    return total_ns(PROBLEM, (choice,))


EVERY = [_with(windows) for count in range(4) for windows in combinations(CUTS, count)]


def test_with_room_and_time_every_cut_has_one() -> None:
    assert with_windows(PROBLEM, (CHOICE,), 2**40, INF_TIME) == (_with(CUTS),)


def test_memory_is_kept_and_nothing_more_would_fit() -> None:
    some = set()
    for limit in sorted({_live(choice) for choice in EVERY}):
        (found,) = with_windows(PROBLEM, (CHOICE,), limit, INF_TIME)
        assert found == _with(found.windows)
        assert _live(found) <= limit
        for more in set(CUTS) - set(found.windows):
            assert _live(_with(tuple(sorted((*found.windows, more))))) > limit
        some.add(len(found.windows))
    assert len(some) > 1 and max(some) == 3


def test_time_is_kept_and_spent_on_what_costs_least() -> None:
    added = sorted((_time(_with((end,))) - _time(CHOICE), end) for end in CUTS)
    assert with_windows(PROBLEM, (CHOICE,), 2**40, _time(CHOICE) + 1) == (CHOICE,)
    for count in (1, 2):
        cheapest = tuple(sorted(end for _, end in added[:count]))
        assert with_windows(PROBLEM, (CHOICE,), 2**40, _time(_with(cheapest)) + 1) == (_with(cheapest),)


def test_the_first_block_may_keep_none_and_the_next_one_all() -> None:
    first = replace(CHOICE, ends=(2,), heads=(STANDING[2],), caches=True)
    second = replace(CHOICE, first=2, ends=ENDS[2:], heads=CHOICE.heads[2:], source="cache")
    limit = max(_live(first), _live(second))
    bought = with_windows(PROBLEM, (first, second), limit, INF_TIME)
    assert [choice.first for choice in bought] == [0, 2]
    assert max(map(_live, bought)) <= limit
