"""Whether a profile can answer what is asked."""

from __future__ import annotations

from planner.errors import InputError
from planner.schema.model import Model
from planner.schema.profile import Profile
from planner.schema.request import Training


def check_freeze(model: Model, training: Training) -> None:
    """Refuse to freeze more units than a network has, or all of them. Raises InputError."""
    try:
        training.check_freeze(len(model.units))
    except ValueError as error:
        raise InputError(str(error)) from None


def check_images(model: Model, training: Training) -> None:
    """Refuse to augment, resize or normalise what are no images. Raises InputError."""
    try:
        training.check_images(model.input, model.input_dtype)
    except ValueError as error:
        raise InputError(str(error)) from None


def check_normalisation(model: Model, training: Training) -> None:
    """Refuse as many numbers as a network's input has no channels. Raises InputError."""
    try:
        (training.normalisation or model.normalised_by).check(model.input)
    except ValueError as error:
        raise InputError(str(error)) from None


def check_measured(profile: Profile, training: Training) -> None:
    """Refuse an optimizer or arithmetic that the profile has not measured. Raises InputError."""
    if profile.dtype != training.dtype:
        raise InputError(
            f"dtype is {training.dtype}, but the profile measured {profile.dtype}; ask for that, or profile again"
        )
    measured, asked = profile.optimizer, training.optimizer
    if (measured.kind, measured.state_copies) != (asked.kind, asked.state_copies):
        raise InputError(
            f"optimizer is {asked.kind} with {asked.state_copies} copies of the parameters as state, but the profile "
            f"measured {measured.kind} with {measured.state_copies}; profile again with this optimizer"
        )
