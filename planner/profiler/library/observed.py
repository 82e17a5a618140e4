"""What runs tell of a stored profile's times, so that the second plan on a device is better than the first.

Every finished run that kept to its plan leaves one line: what its epochs were predicted to take by the profile as it
was measured, and what they took, without waiting for a processor that others had. A profile that is found in the store
has its times multiplied by how the two compare, by allocator policy.

No module of the profiler that measures is imported: this is called by a run's supervisor too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from planner.errors import PlannerError
from planner.schema.codec import content_id, decode, parse_json, to_json
from planner.schema.common import Policy
from planner.schema.observed import LEAST_FACTOR, MOST_FACTOR, Observed, PolicyFactor
from planner.schema.plan import Plan
from planner.schema.profile import ComponentProfile, Costs, LayerProfile, Profile
from planner.schema.report import BlockReport, Report
from planner.system.files import make_folder, write_atomically

_LATEST = 20
"""Older runs are forgotten: a device changes."""

_SAME = 0.03
"""Times that are off by less are left as they are."""

_DISTURBED_PERMILLE = 500
"""A block that waited longer for a processor than it had one is not listened to."""


@dataclass(frozen=True)
class Observation:
    """One run."""

    policy: Policy
    """The allocator's."""
    predicted_seconds: float
    """Its whole epochs, by the profile as it was measured."""
    measured_seconds: float
    """The same as they were, without waiting for a processor."""


class Observations:
    """Those of all profiles of a store."""

    def __init__(self, store: Path) -> None:
        """`store`: the folder of the profiles."""
        self._folder, self._profiles = store / "observations", store / "objects"

    def add(self, plan: Plan, report: Report) -> bool:
        """Keep what a run tells; returns whether it tells anything of a profile in the store. Raises OSError."""
        try:
            document = parse_json(self._object(plan.profile_id).read_text())
            kept = document.get("observed")
            observed = None if kept is None else decode(Observed, kept)
        except (FileNotFoundError, UnicodeDecodeError, PlannerError):
            return False
        factors = {found.policy: found.factor for found in observed.factors} if observed else {}
        found = observation(plan, report, factors.get(plan.allocator, 1.0))
        if found is None:
            return False
        make_folder(self._folder)
        line = to_json(found, indent=None).encode() + b"\n"
        descriptor = os.open(self._file(observed.profile_id if observed else plan.profile_id), _APPEND, 0o644)
        try:
            os.write(descriptor, line)  # one call: processes may do so at once
        finally:
            os.close(descriptor)
        return True

    def corrected(self, profile: Profile) -> Profile:
        """The profile with its times as runs have found them. Raises OSError where that cannot be kept."""
        found = list(self._read(profile.id))[-_LATEST:]
        factors = factors_of(found, [each.policy for each in profile.policies] or [profile.allocator])
        if all(abs(each.factor - 1) < _SAME for each in factors):
            return profile
        better = with_times(profile, Observed(profile.id, len(found), factors))
        if not self._object(better.id).is_file():  # plans name their profile by id
            make_folder(self._profiles)
            write_atomically(self._object(better.id), to_json(better, indent=None))
        return better

    def _object(self, profile_id: str) -> Path:
        return self._profiles / f"{profile_id}.json"

    def _file(self, profile_id: str) -> Path:
        return self._folder / f"{profile_id}.jsonl"

    def _read(self, profile_id: str) -> Iterator[Observation]:
        """Lines of another form are passed over."""
        try:
            lines = self._file(profile_id).read_text(errors="replace").splitlines()
        except OSError:
            return
        for line in lines:
            try:
                yield decode(Observation, parse_json(line))
            except PlannerError:
                continue


_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT


def observation(plan: Plan, report: Report, factor: float = 1.0) -> Observation | None:
    """What a run tells of its profile's times, which the plan counted `factor` times; none where it tells nothing."""
    if report.deviations or plan.device.is_accelerator:
        return None
    told = [block for block in report.stages if _tells(block)]
    predicted = sum(block.predicted_seconds_per_epoch * block.epochs for block in told) / factor
    measured = sum(
        block.measured_seconds_per_epoch * block.epochs * (1 - (block.waited_permille or 0) / 1000) for block in told
    )
    return Observation(plan.allocator, predicted, measured) if predicted > 0 and measured > 0 else None


def _tells(block: BlockReport) -> bool:
    is_whole = block.epochs > 0 and block.measured_seconds_per_epoch > 0
    return is_whole and (block.waited_permille or 0) <= _DISTURBED_PERMILLE


def factors_of(found: Iterable[Observation], policies: Iterable[Policy]) -> tuple[PolicyFactor, ...]:
    """What times are to be multiplied by under every policy; under one without runs, by what all runs say."""
    runs = list(found)
    return tuple(
        PolicyFactor(policy, _factor([run for run in runs if run.policy == policy] or runs)) for policy in policies
    )


def _factor(runs: list[Observation]) -> float:
    predicted = sum(run.predicted_seconds for run in runs)
    if not predicted:
        return 1.0
    return round(min(MOST_FACTOR, max(LEAST_FACTOR, sum(run.measured_seconds for run in runs) / predicted)), 3)


def with_times(profile: Profile, observed: Observed) -> Profile:
    """The profile with every time multiplied by its policy's factor: those of units and heads by its own policy's."""
    factors = {found.policy: found.factor for found in observed.factors}
    own = factors[profile.allocator]
    found = replace(
        profile,
        id="",
        units=tuple(_component(unit, own) for unit in profile.units),
        heads=tuple(replace(head, cost=_component(head.cost, own)) for head in profile.heads),
        policies=tuple(
            replace(
                policy,
                steps=tuple(replace(step, seconds=step.seconds * factors[policy.policy]) for step in policy.steps),
            )
            for policy in profile.policies
        ),
        observed=observed,
    )
    return replace(found, id=content_id(found))


def _component(found: ComponentProfile, factor: float) -> ComponentProfile:
    layers = found.layers
    return replace(
        found,
        step_seconds=found.step_seconds * factor,
        costs=tuple(_scaled(cost, factor) for cost in found.costs),
        layers=layers and replace(layers, rows=tuple(_scaled(row, factor) for row in layers.rows)),
    )


_Timed = TypeVar("_Timed", Costs, LayerProfile)


def _scaled(found: _Timed, factor: float) -> _Timed:
    times = {name: getattr(found, name) * factor for name in vars(found) if name.endswith("_seconds")}
    return replace(found, **times)
