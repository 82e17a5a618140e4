"""Small problems with a question to the solver, and the oracle's answer to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from hypothesis import assume
from hypothesis import strategies as st

from planner.schema.common import CacheDtype, Policy
from planner.schema.plan import Plan
from planner.schema.request import Budget, Request
from tests.unit.solver.oracle import Feature, Oracle, Setting
from tests.unit.solver.random_profiles import Case, cases

NEVER = 2**100
"""Above every budget."""


@dataclass(frozen=True)
class Asked:
    """A case with the limits within which plans are sought."""

    case: Case
    storage_bytes: int | None
    allocator: Policy | None
    without: frozenset[Feature] = frozenset()
    """What plans must do without."""

    @cached_property
    def oracles(self) -> dict[Policy, Oracle]:
        """One for every policy that a plan may choose."""
        both: tuple[Policy, ...] = ("tight", "fast") if len(self.case.profile.policies) == 2 else ("tight",)
        case = self.case
        return {
            policy: Oracle(
                case.profile,
                case.training,
                self.storage_bytes,
                case.head_time_share,
                policy,
                self.without,
                kept=self.kept,
                linear_segments=case.linear_segments,
                overlap=case.overlap,
            )
            for policy in both
            if self.allocator in (None, policy)
        }

    @property
    def kept(self) -> CacheDtype:
        """What caches hold: what is asked for; else bfloat16 where two of the largest may be too many."""
        if self.case.cache_dtype is not None:
            return self.case.cache_dtype
        sizes = sorted((unit.output_bytes + 8 for unit in self.case.profile.units[:-1]), reverse=True)
        largest = self.case.training.samples * self.case.training.views * sum(sizes[:2])
        if self.storage_bytes is not None and largest > self.storage_bytes:
            return "bfloat16"
        return self.case.profile.dtype

    @cached_property
    def most_cuts(self) -> int:
        """Boundaries behind a trained unit that have a head, but for the last."""
        trained = {head.boundary for head in self.case.profile.heads if head.boundary > self.case.training.freeze}
        return len(trained) - 1

    def request(self, budget: int = 1) -> Request:
        """Speed, in any number of cuts."""
        return Request(
            budget=Budget(budget, self.case.scope),
            training=self.case.training,
            storage_bytes=self.storage_bytes,
            prefer="speed",
            reserve_bytes=self.case.reserve_bytes,
            head_time_share=self.case.head_time_share,
            allocator=self.allocator,
            cache_dtype=self.case.cache_dtype,
            linear_segments=self.case.linear_segments,
            overlap=self.case.overlap,
        )

    def budgets(self) -> list[int]:
        """At each of which something begins to fit."""
        return sorted({self._budget(o, level) for o in self.oracles.values() for level in o.levels()})

    def _budget(self, oracle: Oracle, live: int) -> int:
        return oracle.budget(live, self.case.scope, self.case.reserve_bytes)

    def least(self, most_cuts: int | None = None) -> int:
        """The smallest budget of a plan of at most so many cuts; `NEVER` where there is none."""
        return min(
            (
                self._budget(oracle, live)
                for oracle in self.oracles.values()
                for segments, live in oracle.smallest().items()
                if most_cuts is None or segments <= most_cuts + 1
            ),
            default=NEVER,
        )

    def frontier(self, budget: int) -> dict[int, int]:
        """Least time for each number of segments, under whichever policy."""
        found: dict[int, int] = {}
        for oracle in self.oracles.values():
            fitting = [level for level in oracle.levels() if self._budget(oracle, level) <= budget]
            for segments, time in oracle.frontier(fitting[-1] if fitting else -1).items():
                found[segments] = min(time, found.get(segments, time))
        return found

    def settings(self, plan: Plan) -> list[Setting]:
        """The plan's blocks, played out."""
        nexts = [block.input.kind == "cache" for block in plan.blocks[1:]]
        return [
            self.oracles[plan.allocator].setting(
                block.units,
                block.micro_batch,
                tuple(segment.units[1] for segment in block.segments),
                tuple(segment.head.rank if segment.head else 0 for segment in block.segments),
                tuple(span for segment in block.segments for span in segment.recompute),
                block.optimizer_in_backward,
                block.input.kind,
                caches,
            )
            for block, caches in zip(plan.blocks, [*nexts, False], strict=True)
        ]

    def stored(self, storage_bytes: int | None) -> Asked:
        """The same with other storage."""
        return replace(self, storage_bytes=storage_bytes)


@st.composite
def questions(draw: st.DrawFn) -> tuple[Asked, int]:
    """A question, and a budget at which something just fits, or lacks one byte.

    A third of them are without storage: in a single block, static bytes and dynamic peaks are traded most.
    """
    case = draw(cases())
    assume(trainable(case))
    records = [0, *(unit.output_bytes + 8 for unit in case.profile.units)]
    some = case.training.samples * sum(draw(st.lists(st.sampled_from(records), min_size=1, max_size=2)))
    allocators: tuple[Policy | None, ...] = (None, None, None, "tight")
    if len(case.profile.policies) == 2:
        allocators = (*allocators, "fast")
    asked = Asked(case, draw(st.sampled_from((None, 0, some))), draw(st.sampled_from(allocators)))
    budgets, least = asked.budgets(), asked.least()
    feasible = [budget for budget in budgets if budget >= least]
    chosen = draw(st.sampled_from((budgets, feasible, feasible[: len(feasible) // 4 + 1])))
    return asked, chosen[round(draw(st.floats(0, 1)) * (len(chosen) - 1))] - draw(st.sampled_from((0, 0, 0, 1)))


def trainable(case: Case) -> bool:
    """Whether batch normalisation sees enough at the largest micro-batch."""
    units, heads = case.profile.units, [head.cost for head in case.profile.heads]
    reach = 4 * min(component.costs[-1].micro_batch for component in (*units, *heads))
    sizes = [size for size in range(1, case.training.batch + 1) if case.training.batch % size == 0 and size <= reach]
    return max(sizes) >= max(component.minimum_micro_batch for component in (*units[case.training.freeze :], heads[-1]))
