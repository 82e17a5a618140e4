"""Terms of a plan that are all unlike their defaults, and a profile that answers them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from planner.profiler.library.applies import read_profile
from planner.profiler.library.shipped import FOLDER
from planner.schema.codec import content_id
from planner.schema.common import OptimizerConfig
from planner.schema.profile import Profile
from planner.units import MIB

EVERY_TERM: dict[str, Any] = {
    "budget": {"bytes": 700 * MIB, "scope": "training"},
    "training": {
        "batch": 64,
        "epochs": 5,
        "early_epochs": 3,
        "samples": 1000,
        "optimizer": {"kind": "adam", "lr": 0.002, "weight_decay": 0.001, "weight_decay_on": "all"},
        "schedule": "constant",
        "warmup": 2,
        "polish": 3,
        "polish_lr": 0.0005,
        "augment": "crop",
        "views": 2,
        "dtype": "bfloat16",
        "seed": 7,
        "freeze": 1,
        "normalisation": {"mean": [0.485, 0.456, 0.406], "std": [0.229]},
        "resize": "bilinear",
        "shorter_side": 40,
    },
    "storage_bytes": 2**30,
    "cache_dtype": "uint8",
    "strategy": "neuroflux",
    "prefer": "fidelity",
    "max_cuts": 5,
    "linear_segments": True,
    "allocator": "fast",
    "reserve_bytes": MIB,
    "head": "auto",
    "overlap": "auto",
    "head_time_share": 0.1,
    "grouping_threshold": 0.2,
    "max_accuracy_loss": 12.5,
}


def fitting_profile() -> Profile:
    """cnn6's shipped profile, as if it had been taken with the optimizer and arithmetic of `EVERY_TERM`."""
    shipped = read_profile(FOLDER / "models" / "cnn6-3x32x32-10-sgd.json")
    profile = replace(shipped, optimizer=OptimizerConfig("adam", 0.002, weight_decay=0.001), dtype="bfloat16")
    return replace(profile, id=content_id(profile))


def values(document: Any, path: str = "") -> dict[str, Any]:
    """What stands in a document of objects, by its path."""
    if not isinstance(document, dict):
        return {path: document}
    return {
        name: value
        for key, inner in document.items()
        for name, value in values(inner, f"{path}.{key}" if path else key).items()
    }
