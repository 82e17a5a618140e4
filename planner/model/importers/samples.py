"""What a sample says of a network's data: whether it is one or several, of which shape, and what its numbers are.

The first dimension is that of the samples wherever the network takes it so: it gives one row of outputs for each. A
sample of three dimensions that it takes as one image is one image, though. Numbers of float32 in three dimensions are
taken as images, which data sets hold as 8-bit values, unless `inputs` says that they are numbers as they are; in any
other number of dimensions they are such numbers. Whole numbers are tokens, and uint8 is an image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from planner.errors import ModelError
from planner.schema.inputs import InputDtype, check_input

WORKS = 2
"""The network gives outputs of every sample."""

_IMAGE_DIMENSIONS = 3


@dataclass(frozen=True)
class Samples:
    """Samples as a network takes them."""

    tensor: Tensor
    """(samples, …): float32, or tokens of int64."""
    dtype: InputDtype
    """What they are in data sets."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one."""
        return tuple(self.tensor.shape[1:])


def samples_of(sample: Tensor, inputs: InputDtype | None, how_far: Callable[[Tensor], int]) -> Samples:
    """The samples that `sample` holds.

    `how_far` says how far the network comes with so many samples: `WORKS`, or less. Where it comes as far with another
    reading, the likelier one is taken. Raises ModelError where there is none, or where that would be a guess.
    """
    if inputs is not None and inputs not in get_args(InputDtype):
        raise ModelError(f"inputs is {inputs!r}; it is one of {', '.join(get_args(InputDtype))}")
    _check_values(sample)
    readings = _readings(_as_given(sample, inputs))
    reached = [how_far(reading) for reading in readings]
    tensor = readings[reached.index(max(reached))]
    if reached == [WORKS, WORKS] and inputs == "float32" and sample.dim() == _IMAGE_DIMENSIONS:
        extents = "×".join(map(str, sample.shape))
        batch = f"{len(sample)} of {extents.partition('×')[2]}"
        raise ModelError(
            f"sample: {extents} may be one sample, or {batch}, and the network takes both; give a batch of it "
            "(sample.unsqueeze(0)), or a batch of another number of samples"
        )
    return Samples(tensor, _dtype(tensor, inputs, sample.dtype))


def _check_values(sample: Tensor) -> None:
    if sample.numel() == 0:
        extents = "×".join(map(str, sample.shape))
        raise ModelError(f"sample: is empty ({extents})")
    if sample.dim() == 0:
        raise ModelError("sample: is a single number; a sample has 1 to 4 dimensions, and a batch of them one more")
    if not bool(sample.isfinite().all()):
        raise ModelError("sample: holds NaN or infinity")


def _as_given(sample: Tensor, inputs: InputDtype | None) -> Tensor:
    """The numbers in the type that a network is given."""
    if sample.dtype == torch.bool or sample.is_complex():
        raise ModelError(f"sample: is {sample.dtype}; float32, uint8 or whole numbers are needed")
    is_tokens = inputs == "int64" or (inputs is None and not sample.is_floating_point() and sample.dtype != torch.uint8)
    if is_tokens and sample.is_floating_point():
        raise ModelError(f"sample: is {sample.dtype}, but inputs is int64; tokens are whole numbers")
    return sample.detach().to(torch.int64 if is_tokens else torch.float32)


def _readings(numbers: Tensor) -> list[Tensor]:
    """What `numbers` may be, the likelier first: several samples, or one. Raises ModelError where it is neither."""
    one = numbers.unsqueeze(0)
    if numbers.dim() == 1:
        order = [one]
    elif numbers.dim() == _IMAGE_DIMENSIONS and numbers.is_floating_point():
        order = [one, numbers]
    else:
        order = [numbers, one]
    found: list[Tensor] = []
    problem = ""
    for tensor in order:
        try:
            check_input(tuple(tensor.shape[1:]))
            found.append(tensor)
        except ValueError as error:
            problem = problem or str(error)
    if not found:
        raise ModelError(f"sample: {problem}")
    return found


def _dtype(samples: Tensor, inputs: InputDtype | None, given: torch.dtype) -> InputDtype:
    if inputs is not None:
        return inputs
    if not samples.is_floating_point():
        return "int64"
    is_image = samples.dim() == _IMAGE_DIMENSIONS + 1 or given == torch.uint8
    return "uint8" if is_image else "float32"
