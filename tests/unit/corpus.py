"""The shared corpus of documents under tests/corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from planner.schema.model import Model, ZooReference
from planner.schema.plan import Plan
from planner.schema.profile import Profile
from planner.schema.report import Report

CORPUS = Path(__file__).parents[1] / "corpus"

KINDS: dict[str, type[Any]] = {"model": Model, "profile": Profile, "plan": Plan, "report": Report}


def documents(side: str) -> list[Path]:
    """Every `good` or `bad` document of every schema."""
    return sorted(CORPUS.glob(f"*/{side}/*.json"))


def name(path: Path) -> str:
    """A short test id: `plan/bad/nan`."""
    return str(path.relative_to(CORPUS).with_suffix(""))


def kind_of(path: Path) -> type[Any]:
    """The schema a document of the corpus is written in; a model's is told by its form."""
    folder = path.parents[1].name
    if folder == "model" and (path.stem.startswith("zoo_") and path.stem != "zoo_and_units"):
        return ZooReference
    return KINDS[folder]
