"""Same request, same plan: `python benchmarks/same_plan.py BEFORE AFTER > benchmarks/results/same_plan.md`.

Takes two commits, asks the planner of each for a plan of every shipped profile and each of 40 requests, and compares
the answers: every field of a plan that BEFORE writes, to the last digit, but for its id; a refusal by its class and its
text. Fields that only AFTER writes are named. Profiles are BEFORE's, so that both read the same. What BEFORE planned is
also read by AFTER and planned once more from what it says of its request, where it says all of it.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

Answer = dict[str, Any]

ADAM = {"kind": "adam", "lr": 0.001}
ADAMW = {"kind": "adamw", "lr": 0.002, "weight_decay": 0.01}

# Each: the budget as a share of the least that `auto` needs for a batch of 128, then what it asks beside the usual.
# What concerns training stands under `training`; `storage` is a share of the storage that is ample for two caches.
REQUESTS: list[dict[str, Any]] = [
    {"budget": 0.9},
    {"budget": 1.0},
    {"budget": 1.02},
    {"budget": 1.1},
    {"budget": 1.3},
    {"budget": 2.0},
    {"budget": 6.0},
    {"budget": 1.1, "prefer": "speed"},
    {"budget": 1.1, "prefer": "fidelity"},
    {"budget": 1.6, "prefer": "speed"},
    {"budget": 1.6, "prefer": "fidelity"},
    {"budget": 2.0, "strategy": "backprop"},
    {"budget": 1.5, "strategy": "checkpoint"},
    {"budget": 2.5, "strategy": "classic-local"},
    {"budget": 1.5, "strategy": "neuroflux"},
    {"budget": 1.5, "strategy": "neuroflux", "grouping_threshold": 0.1},
    {"budget": 1.5, "strategy": "neuroflux", "head_time_share": 0.3},
    {"budget": 1.2, "allocator": "tight"},
    {"budget": 1.2, "allocator": "fast"},
    {"budget": 0.6, "scope": "training"},
    {"budget": 1.5, "scope": "training", "prefer": "speed"},
    {"budget": 1.2, "reserve_bytes": 0},
    {"budget": 1.2, "reserve_bytes": 32 << 20},
    {"budget": 1.1, "storage": 0},
    {"budget": 1.1, "storage": 0.3},
    {"budget": 1.1, "storage": 0.7},
    {"budget": 1.1, "cache_dtype": "uint8"},
    {"budget": 1.1, "cache_dtype": "bfloat16"},
    {"budget": 1.2, "max_cuts": 0},
    {"budget": 1.2, "max_cuts": 1},
    {"budget": 1.2, "max_cuts": 3, "prefer": "speed"},
    {"budget": 1.1, "linear_segments": True, "prefer": "speed"},
    {"budget": 1.1, "training": {"batch": 32, "epochs": 3, "samples": 1_000}},
    {"budget": 1.1, "training": {"batch": 8, "samples": 77, "seed": 5}},
    {"budget": 1.2, "training": {"schedule": "constant", "seed": 2**63 - 1}},
    {"budget": 1.1, "training": {"augment": "crop-flip", "views": 4}},
    {"budget": 1.1, "training": {"augment": "flip"}, "prefer": "speed"},
    {"budget": 1.1, "training": {"freeze": 2}},
    {"budget": 1.1, "training": {"optimizer": ADAM}},
    {"budget": 1.1, "training": {"optimizer": ADAMW, "dtype": "bfloat16", "freeze": 1}},
]
SAID = frozenset({"budget", "training", "storage", "scope", "strategy", "prefer", "reserve_bytes", "max_cuts"})
"""What a plan without `request` says of its own; the allocator and the caches' type it says only as they came out."""


def main() -> None:
    """Print the table, and end with 1 where an answer differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", help="a commit")
    parser.add_argument("after", help="another one")
    parser.add_argument("--answers", metavar="FILE", help=argparse.SUPPRESS)  # in the process that plans
    arguments = parser.parse_args()
    if arguments.answers:
        _plan_all(Path(arguments.before), Path(arguments.after), Path(arguments.answers))
        return
    before, after = (_git("rev-parse", "--short", name) for name in (arguments.before, arguments.after))
    with tempfile.TemporaryDirectory() as folder, _tree(before) as old, _tree(after) as new:
        olds = _answers(old, old / "profiles" / "models", Path(folder) / "none", Path(folder) / "before.json")
        news = _answers(new, old / "profiles" / "models", Path(folder) / "before.json", Path(folder) / "after.json")
    if not _print_table(before, after, olds, news):
        sys.exit(1)


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def _tree(commit: str) -> Iterator[Path]:
    """The files of a commit, for a while."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        _git("worktree", "add", "--detach", str(tree), commit)
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _answers(tree: Path, profiles: Path, before: Path, into: Path) -> list[Answer]:
    """What the planner of one tree answers, asked in a process that imports that tree."""
    command = [sys.executable, str(Path(__file__).resolve()), str(profiles), str(before), "--answers", str(into)]
    subprocess.run(command, check=True, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)})
    answers: list[Answer] = json.loads(into.read_text())
    return answers


# What follows runs in a tree of either layout: only `_Planner` knows where things lie.


class _Planner:
    """The planner of the tree that this process imports, whatever its modules are called there."""

    def __init__(self) -> None:
        self.codec = _first("planner.schema.codec", "planner.document")
        self.profile = _first("planner.schema.profile", "planner.profiler.schema").Profile
        self.plan = _first("planner.schema.plan", "planner.solver.schema").Plan
        self.terms = _first("planner.schema.request", "planner.solver.schema")
        self.request = _first("planner.schema.request", "planner.solver.request").Request
        self.make = _first("planner.solver.plan")
        self.errors = _first("planner.errors")

    def read(self, path: Path) -> Any:
        """A profile."""
        return self.codec.read_document(path, self.profile)

    def asked(self, profile: Any, values: dict[str, Any], least: int) -> tuple[Any, Any]:
        """A request, and the profile as if it had been measured for it: figures are what they are."""
        values = dict(values)
        said = {"batch": 128, "epochs": 10, "samples": 50_000, **values.pop("training", {})}
        if optimizer := said.pop("optimizer", None):
            profile = replace(profile, optimizer=type(profile.optimizer)(**optimizer))
        if "dtype" in said:
            profile = replace(profile, dtype=said["dtype"])
        training = self.terms.Training(**said, optimizer=profile.optimizer)
        budget = self.terms.Budget(round(values.pop("budget") * least), values.pop("scope", "process"))
        if (share := values.pop("storage", None)) is not None:
            values["storage_bytes"] = round(share * 2 * 50_000 * 4 * 64 * 32 * 32)
        return profile, self.request(budget, training, **values)

    def answer(self, profile: Any, request: Any) -> Answer:
        """A plan as it would be written, or what was said instead."""
        try:
            plan: Answer = self.codec.encode(self.make.make_plan(profile, request))
            return plan
        except (self.errors.PlannerError, ValueError) as error:
            return {"refused": f"{type(error).__name__}: {error}"}


def _first(*names: str) -> Any:
    for name in names:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise ModuleNotFoundError(f"none of {', '.join(names)}")


def _plan_all(profiles: Path, before: Path, into: Path) -> None:
    """Write the answers; with those of `before`, the same budgets again and its plans planned once more."""
    # An installation for development finds modules of its own tree where this one has none of that name.
    sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in str(finder).lower()]
    planner = _Planner()
    earlier = json.loads(before.read_text()) if before.is_file() else None
    answers: list[Answer] = []
    for path in sorted(profiles.glob("*.json")):
        profile = planner.read(path)
        if earlier is None:
            usual = planner.asked(profile, {"budget": 1.0}, 1 << 40)[1]
            least = planner.make.least_memory(profile, usual)
        else:
            least = earlier[len(answers)]["least"]
        for values in REQUESTS:
            measured, request = planner.asked(profile, values, least)
            found = {"profile": path.stem, "least": least, "plan": planner.answer(measured, request)}
            if earlier is not None and "blocks" in (plan := earlier[len(answers)]["plan"]) and set(values) <= SAID:
                asked = planner.codec.decode(planner.plan, plan).asked
                found["again"] = planner.answer(measured, replace(asked, cache_dtype=None))
            answers.append(found)
    into.write_text(json.dumps(answers))


# The comparison.


def _print_table(before: str, after: str, olds: list[Answer], news: list[Answer]) -> bool:
    """Whether everything is equal."""
    print(
        f"Made by `python benchmarks/same_plan.py {before} {after}`: {len(REQUESTS)} requests of each shipped profile."
    )
    print(f"Before: {before}, {_git('log', '-1', '--format=%s', before)}.")
    print(f"After: {after}, {_git('log', '-1', '--format=%s', after)}.\n")
    print("| profile | plans | refused | equal | of plans planned again | equal | digest before | digest after |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | --- | --- |")
    differing: dict[str, int] = {}
    fresh: set[str] = set()
    for profile in dict.fromkeys(old["profile"] for old in olds):
        pairs = [(old, new) for old, new in zip(olds, news, strict=True) if old["profile"] == profile]
        plans = sum("blocks" in old["plan"] for old, _ in pairs)
        again = [(old["plan"], new["again"]) for old, new in pairs if "again" in new]
        both = [_compare(old["plan"], new["plan"]) for old, new in pairs]
        twice = [_compare(*pair) for pair in again]
        for others, added in both + twice:
            fresh |= added
            for path in others:
                differing[path] = differing.get(path, 0) + 1
        print(
            f"| {profile} | {plans} | {len(pairs) - plans} | {_equal(both)} | {len(again)} | {_equal(twice)} "
            f"| {_digest([old['plan'] for old, _ in pairs])} "
            f"| {_digest([_as_before(old['plan'], new['plan']) for old, new in pairs])} |"
        )
    print(f"\nFields that only the later one writes: {', '.join(sorted(fresh)) or 'none'}.")
    if differing:
        print("\nDiffering, by how many answers:\n")
        for path, count in sorted(differing.items(), key=lambda item: -item[1]):
            print(f"- `{path}`: {count}")
    return not differing


def _equal(results: list[tuple[set[str], set[str]]]) -> int:
    return sum(not others for others, _ in results)


IDENTITY = frozenset({"$.id", "$.schema"})
"""What a new field changes by itself."""


def _compare(old: Any, new: Any, path: str = "$") -> tuple[set[str], set[str]]:
    """The paths of fields that differ, and of those that only `new` has."""
    differing: set[str] = set()
    fresh: set[str] = set()
    if path in IDENTITY:
        return differing, fresh
    if isinstance(old, dict) and isinstance(new, dict):
        fresh = {f"{path}.{name}" for name in new.keys() - old.keys()}
        differing = {f"{path}.{name} (gone)" for name in old.keys() - new.keys()}
        parts = [_compare(old[name], new[name], f"{path}.{name}") for name in old.keys() & new.keys()]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        parts = [_compare(*pair, f"{path}[]") for pair in zip(old, new, strict=True)]
    else:
        return (set() if old == new else {path}), fresh
    for others, added in parts:
        differing |= others
        fresh |= added
    return differing, fresh


def _as_before(old: Any, new: Any, path: str = "$") -> Any:
    """`new` without what `old` has not."""
    if path in IDENTITY:
        return old
    if isinstance(old, dict) and isinstance(new, dict):
        return {name: _as_before(old[name], new[name], f"{path}.{name}") for name in old if name in new}
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [_as_before(*pair, f"{path}[]") for pair in zip(old, new, strict=True)]
    return new


def _digest(answers: list[Any]) -> str:
    return hashlib.sha256(json.dumps(answers, sort_keys=True).encode()).hexdigest()[:12]


if __name__ == "__main__":
    main()
