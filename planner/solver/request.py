"""Whether a profile can answer what is asked."""

from __future__ import annotations

from planner.errors import InputError
from planner.heads.base import HeadKind
from planner.heads.kinds import may_stand
from planner.schema.model import Model
from planner.schema.profile import Profile
from planner.schema.request import Request, Training


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


def settled(request: Request) -> tuple[HeadKind | None, int]:
    """The kind of head and the overlap of a request that leaves neither to the planner (`planner.solver.settings`)."""
    if request.head == "auto" or request.overlap == "auto":
        raise ValueError("a problem has one kind of head, and windows at all of its cuts or at none")
    return request.head, request.overlap


def check_heads(profile: Profile, request: Request) -> None:
    """Refuse a kind of head that the profile has at no boundary, though it has others. Raises InputError."""
    kind = request.head
    auxiliary = [found.head for found in profile.heads if found.head is not None]
    if kind is None or kind == "auto" or not auxiliary or any(may_stand(head, kind) for head in auxiliary):
        return
    raise InputError(
        f"head is {kind}, but the profile has no such head behind any unit: either it was not asked for when that was "
        f"measured (neuroflux profile --head {kind} does), or it fits nowhere in this network; leave head out for the "
        "usual ones"
    )
