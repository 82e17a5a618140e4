"""Markdown and an SVG of what the race came to."""

from __future__ import annotations

from math import prod
from pathlib import Path

from benchmarks.peers.contestants import OURS, PEERS
from benchmarks.peers.results import Case, Results, Speed, speed
from planner.units import MIB

_BEST = "auto --prefer speed"
_PEERS = tuple(peer.name for peer in PEERS)


def grouped(results: Results) -> dict[tuple[str, str, int], list[Case]]:
    """Cases by work, scope and threads, budgets in order."""
    found: dict[tuple[str, str, int], list[Case]] = {}
    for case in sorted({one.case for one in results.chosen}, key=lambda case: case.budget_bytes):
        found.setdefault((case.work.name, case.scope, case.threads), []).append(case)
    return found


def tables(results: Results, by_wall: bool = False) -> str:
    """A table for each work, scope and number of threads, and how `auto` stands beside the best peer."""
    machine = results.machine
    lines = [
        f"Made by `python -m benchmarks.peers` on {machine.cores} cores of {machine.cpu_model}, torch "
        f"{machine.torch_version}, kernel {machine.kernel}; commits {', '.join(commits(results))}. Images per second "
        + ("by the clock" if by_wall else "of processor time")
        + ", median (least–most) of the runs; micro-batch behind ×. —: does not train there.",
    ]
    for (work, scope, threads), cases in grouped(results).items():
        above = "everything resident" if scope == "process" else "above the process's own"
        lines += ["", f"**{work}**, {threads} thread{'s'[: threads - 1]}, budgets of {above}, MiB:", ""]
        lines.append(f"| | {' | '.join(f'{case.budget_bytes / MIB:.0f}' for case in cases)} |")
        lines.append(f"| --- |{' ---: |' * len(cases)}")
        for name in [*_PEERS, *(ours.name for ours in OURS)]:
            if any(results.find(case, name) for case in cases):
                lines.append(f"| {name} | {' | '.join(_cell(results, case, name, by_wall) for case in cases)} |")
        ratios = [ratio for case in cases if (ratio := against_best(results, case, by_wall)) is not None]
        if ratios:
            mean = prod(ratios) ** (1 / len(ratios))
            lines += ["", f"`{_BEST}` beside the best peer: {mean:.2f} times as fast (geometric mean over "]
            lines[-1] += f"{len(ratios)} budgets), least {min(ratios):.2f}."
    for least in dict.fromkeys(floor.work for floor in results.floors):
        found = [f"{one.contestant} {one.above_bytes / MIB:.1f}" for one in results.floors if one.work == least]
        lines += ["", f"Least MiB above the process's own, {least.name}: {', '.join(found)}."]
    return "\n".join(lines) + "\n"


def commits(results: Results) -> list[str]:
    """Of this project, in order."""
    return list(dict.fromkeys(one.commit for one in results.timed))


def against_best(results: Results, case: Case, by_wall: bool = False) -> float | None:
    """How many times as fast as the best peer `auto` is; None where one of the two was not timed."""
    ours = speed(results.of(case, _BEST), by_wall)
    peers = [found for name in _PEERS if (found := speed(results.of(case, name), by_wall)) is not None]
    return ours.median / max(found.median for found in peers) if ours and peers else None


def _cell(results: Results, case: Case, name: str, by_wall: bool) -> str:
    chosen, found = results.find(case, name), speed(results.of(case, name), by_wall)
    if chosen is None:
        return ""
    if chosen.refusal is not None:
        return "—"
    if found is None:
        return "failed" if results.of(case, name) else ""
    size = f" ×{chosen.micro_batch}" if chosen.micro_batch else ""
    return f"{_text(found)}{size}"


def _text(found: Speed) -> str:
    return f"{found.median:.1f} ({found.least:.1f}–{found.most:.1f})"


def draw(results: Results, path: Path) -> None:
    """Speed against budget, a picture for each work, scope and number of threads, side by side."""
    from matplotlib.figure import Figure

    from planner.report.style import matplotlib_style, write_svg

    groups = {key: cases for key, cases in grouped(results).items() if any(results.of(c, _BEST) for c in cases)}
    if not groups:
        return
    with matplotlib_style():
        figure = Figure(figsize=(5.2 * len(groups), 4.4), layout="constrained")
        figure.suptitle("Images per second of processor time against the budget")
        for place, ((work, scope, threads), cases) in enumerate(groups.items(), start=1):
            axes = figure.add_subplot(1, len(groups), place)
            for name in [*_PEERS, *(ours.name for ours in OURS)]:
                found = [(case.budget_bytes / MIB, speed(results.of(case, name))) for case in cases]
                points = [(budget, one.median) for budget, one in found if one is not None]
                if points:
                    own = name not in _PEERS
                    style, width = ("-", 2.0) if own else ("--", 1.0)
                    budgets, speeds = zip(*points, strict=True)
                    axes.plot(budgets, speeds, style, linewidth=width, marker="o", markersize=4, label=name)
            axes.set_xscale("log")
            axes.set_ylim(bottom=0)
            axes.set_xlabel(f"budget (MiB, scope {scope})")
            axes.set_title(f"{work}, {threads} thread{'s'[: threads - 1]}", fontsize=10)
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(frameon=False, fontsize=7)
        write_svg(figure, path)
