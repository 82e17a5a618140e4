"""Find how each contestant goes about each case, then let all of them run in turn, round after round."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from benchmarks.peers.contestants import Ours, Peer, Work, largest, micro_batches
from benchmarks.peers.measure import AMPLE_BYTES, SECONDS, STEPS, Judged, judge, step_seconds
from benchmarks.peers.ours import least_budget, plan_of, profile_of, time_plan
from benchmarks.peers.results import Case, Chosen, Floor, Results, Timed
from planner.schema.plan import Plan
from planner.units import MIB

PROBE_STEPS = 2
"""In the second, the optimizer's state is there from the beginning."""


class Race:
    """Runs contestants, and keeps what they come to."""

    def __init__(self, python: Path, results: Results, file: Path) -> None:
        """`python`: of the peers' environment; `file`: where results are kept."""
        self._python, self.results, self._file = python, results, file
        self._plans: dict[tuple[Case, str], Plan] = {}

    @cached_property
    def _commit(self) -> str:
        command = ["git", "rev-parse", "--short", "HEAD"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def choose(self, case: Case, one: Peer | Ours) -> Chosen:
        """How it goes about a case, as it is known or found now."""
        found = self.results.find(case, one.name)
        if found is None or (isinstance(one, Ours) and found.refusal is None):
            self.results.chosen = tuple(other for other in self.results.chosen if other is not found)
            found = self._choose_peer(case, one) if isinstance(one, Peer) else self._choose_ours(case, one)
            self.results.chosen = (*self.results.chosen, found)
            self.results.write(self._file)
            say(f"{case_name(case)}: {one.name}: {found.refusal or found.how or found.micro_batch}")
        return found

    def _choose_ours(self, case: Case, ours: Ours) -> Chosen:
        profile = profile_of(case.work, case.threads)
        plan = plan_of(profile, case.work, ours, case.budget_bytes, case.scope)
        limit = case.budget_bytes
        if case.scope == "training":
            limit += profile.runtime.baseline_bytes + profile.runtime.supervisor_bytes
        if plan is None:
            return Chosen(case, ours.name, None, limit, "no plan fits")
        self._plans[case, ours.name] = plan
        blocks = ", ".join(f"{block.micro_batch}×{block.accumulate}" for block in plan.blocks)
        return Chosen(case, ours.name, None, limit, None, f"{plan.cuts} cuts, {plan.allocator}, {blocks}")

    def _choose_peer(self, case: Case, peer: Peer) -> Chosen:
        limit = case.budget_bytes
        if case.scope == "training":
            limit += self._baseline_bytes(case.work, peer)
        last = Judged(0, 0, 0, (), "")

        def fits(size: int) -> bool:
            nonlocal last
            found = self._run_peer(case.work, case.threads, peer, size, limit, PROBE_STEPS, small=True)
            last = last if found.is_right else found
            return found.is_right

        whole = case.work.batch
        size = largest([whole] if peer.batches == "own" else micro_batches(whole), fits)
        if size is None and last.kills == 0:
            return Chosen(case, peer.name, None, limit, said_last(last))
        told = None if peer.batches == "own" else size
        return Chosen(case, peer.name, told, limit, None if size else "killed at every size")

    def _baseline_bytes(self, work: Work, peer: Peer) -> int:
        """What its process takes before it trains."""
        found = self._run_peer(work, 1, peer, 1, AMPLE_BYTES, 0)
        return found.marks[0].resident_bytes

    def floors(self, work: Work, contestants: Sequence[Peer | Ours]) -> None:
        """Find the least memory of each that is not known: of ours the least budget, which is never exceeded."""
        for one in contestants:
            if any((floor.work, floor.contestant) == (work, one.name) for floor in self.results.floors):
                continue
            if isinstance(one, Peer):
                found = self._run_peer(work, 1, one, 1, AMPLE_BYTES, PROBE_STEPS, small=True)
                above = found.peak_bytes - found.marks[0].resident_bytes if found.is_right else None
            else:
                above = least_budget(profile_of(work, 1), work, one)
            if above is not None:
                self.results.floors = (*self.results.floors, Floor(work, one.name, above))
                self.results.write(self._file)
                say(f"{work.name}: {one.name}: at least {above / MIB:.1f} MiB above its process")

    def _run_peer(
        self, work: Work, threads: int, peer: Peer, size: int, limit: int, steps: int, small: bool = False
    ) -> Judged:
        """`small`: two micro-batches for a step, which is all that memory depends on."""
        if small and peer.batches == "accumulated":
            work = Work(work.network, work.side, min(work.batch, 2 * size))
        with tempfile.TemporaryDirectory() as folder:
            lines = Path(folder) / "lines"
            lines.touch()
            command = peer.command(self._python, work, size, steps, limit)
            return judge(command, limit, lines, threads, peer.environment(self._python))

    def time(self, case: Case, one: Peer | Ours) -> None:
        """One run that is timed, where it trains at all."""
        chosen = self.choose(case, one)
        if chosen.refusal is not None:
            return None
        if isinstance(one, Peer):
            judged, images = self._time_peer(case, one, chosen)
        else:
            judged, images = time_plan(self._plans[case, one.name], chosen.limit_bytes)
        if isinstance(one, Peer) and judged.kills and (chosen.micro_batch or 1) > 1:
            self._go_smaller(chosen)
            return self.time(case, one)
        problem = None if judged.is_right and images else f"{judged.kills} killed; {said_last(judged)}"
        cpu, wall = images or (0.0, 0.0)
        timed = Timed(case, one.name, self._commit, cpu, wall, judged.peak_bytes, problem)
        self.results.timed = (*self.results.timed, timed)
        self.results.write(self._file)
        return say(f"{case_name(case)}: {one.name}: {problem or f'{cpu:.1f} a processor second, {wall:.1f} a second'}")

    def _go_smaller(self, chosen: Chosen) -> None:
        """What was found to fit was killed in a longer run: take half, and forget what was timed before."""
        smaller = replace(chosen, micro_batch=(chosen.micro_batch or 2) // 2)
        self.results.chosen = tuple(smaller if one is chosen else one for one in self.results.chosen)
        gone = self.results.of(chosen.case, chosen.contestant)
        self.results.timed = tuple(one for one in self.results.timed if one not in gone)
        say(f"{case_name(chosen.case)}: {chosen.contestant}: killed; from here on micro-batch {smaller.micro_batch}")

    def _time_peer(self, case: Case, peer: Peer, chosen: Chosen) -> tuple[Judged, tuple[float, float] | None]:
        size = chosen.micro_batch or case.work.batch
        judged = self._run_peer(case.work, case.threads, peer, size, chosen.limit_bytes, STEPS)
        steps = [mark for mark in judged.marks if mark.line == "step"]
        if len(steps) < PROBE_STEPS:
            return judged, None
        cpu, wall = step_seconds([steps])
        batch = size if peer.batches == "fitting" else case.work.batch
        return judged, (batch / cpu, batch / wall)

    def run(self, cases: Sequence[Case], contestants: Sequence[Peer | Ours], rounds: int) -> None:
        """Until each has been timed in every case as often as there are rounds."""
        for turn in range(1, rounds + 1):
            for case in cases:
                for one in contestants:
                    if len(self.results.of(case, one.name)) < turn:
                        self.time(case, one)


def said_last(judged: Judged) -> str:
    """Why a run ended, in a line."""
    if judged.exit_code is None:
        return f"not done after {SECONDS:.0f} s"
    return (judged.said.splitlines() or [f"exit {judged.exit_code}"])[-1][:300]


def case_name(case: Case) -> str:
    """To be read."""
    return f"{case.work.name}, {case.threads} threads, {case.scope} {case.budget_bytes / MIB:.0f} MiB"


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)
