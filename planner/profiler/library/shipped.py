"""Profiles that come with the package, measured on a named machine, for planning without measuring. No torch."""

from __future__ import annotations

import re
from pathlib import Path

import planner
from planner.errors import InputError
from planner.profiler.library.applies import covers, read_profile
from planner.schema.common import Dtype, OptimizerConfig
from planner.schema.model import Model
from planner.schema.profile import Profile

FOLDER = Path(planner.__file__).parent.parent / "profiles"
"""Where they lie: beside the package, in a source tree and where it is installed alike."""


def profile_path(model: Model, optimizer: OptimizerConfig, folder: Path = FOLDER) -> Path:
    """The file of a model's profile, for instance `models/vgg16-3x32x32-10-sgd.json`."""
    shape = "x".join(str(extent) for extent in model.input)
    return folder / "models" / f"{slug(model.name)}-{shape}-{model.classes}-{optimizer.kind}.json"


def slug(text: str) -> str:
    """A name as a file name: small letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unnamed"


def find_shipped(
    model: Model, optimizer: OptimizerConfig, batch: int, folder: Path = FOLDER, dtype: Dtype = "float32"
) -> Profile:
    """The shipped profile that answers a request.

    Args:
        model: its description has to be equal.
        optimizer: of the same kind and state; learning rate and the like do not matter.
        batch: samples of one optimizer step; the profile has to reach it.
        folder: where profiles are shipped.
        dtype: type that units compute in.

    Raises:
        InputError: there is none; the message says why, and which there are.
    """
    path = profile_path(model, optimizer, folder)
    if not path.is_file():
        shape = "x".join(str(extent) for extent in model.input)
        raise _none(f"{model.name} at {shape} with {model.classes} classes and {optimizer.kind}", folder)
    profile = read_profile(path)
    measured = profile.optimizer
    if profile.model != model:
        raise _none(f"this description of {model.name} (the shipped one differs)", folder)
    if (measured.kind, measured.state_copies) != (optimizer.kind, optimizer.state_copies):
        raise _none(f"{model.name} and {optimizer.kind} with {optimizer.state_copies} copies as state", folder)
    if profile.dtype != dtype:
        raise _none(f"{model.name} in {dtype} (the shipped one was measured in {profile.dtype})", folder)
    if not covers(profile, batch):
        raise _none(f"{model.name} and a batch of {batch} (the shipped one was measured for smaller ones)", folder)
    return profile


def _none(wanted: str, folder: Path) -> InputError:
    names = ", ".join(sorted(file.stem for file in folder.glob("models/*.json")))
    return InputError(
        f"no shipped profile for {wanted}; shipped are: {names or 'none'}. Measure on this device "
        "(`neuroflux profile`, with torch), or name a profile measured before with --profile"
    )
