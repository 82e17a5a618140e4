"""Samples to measure and to prove with: numbers between 0 and 1, or tokens that a network has."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from planner.model.shapes import Shape
from planner.model.tokens import drawn_tokens, token_limit
from planner.schema.common import Dtype
from planner.schema.model import Model


def example_inputs(
    shape: Shape,
    count: int,
    dtype: Dtype | Literal["int64"] = "float32",
    tokens: int = 0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """`count` samples of `shape`, of `dtype`; of int64 they are tokens below `tokens`."""
    if dtype == "int64":
        return torch.randint(drawn_tokens(tokens), (count, *shape), generator=generator)
    return torch.rand((count, *shape), generator=generator).to(getattr(torch, dtype))


def model_inputs(model: Model, count: int) -> Tensor:
    """The same as a model's first unit is given them."""
    return example_inputs(
        model.input, count, "int64" if model.input_dtype == "int64" else "float32", token_limit(model)
    )


def wants_gradient(inputs: Tensor) -> bool:
    """Whether a unit's input can have a gradient: tokens have none."""
    return inputs.is_floating_point()
