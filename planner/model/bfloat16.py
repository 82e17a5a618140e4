"""Convolutions and linear layers that compute in bfloat16 with weights in float32.

What torch's autocast does, but for one thing: autocast keeps a copy of every weight in bfloat16 from forward to
backward, half as much again as the weights. Here backward makes it anew from the weight, one layer at a time.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Geometry = tuple[tuple[int, ...], tuple[int, ...], int]
"""Stride, padding, groups."""


def _narrowed(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.to(torch.bfloat16)


def _as_wide(gradient: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if gradient is None else gradient.to(dtype)


class BFloat16Convolution(torch.autograd.Function):
    """`F.conv2d` of (micro-batch, channels, height, width)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        """In bfloat16, whatever type `x` has."""
        ctx.dtype, ctx.geometry, ctx.bias_sizes = x.dtype, geometry, None if bias is None else [len(bias)]
        x = x.to(torch.bfloat16)
        ctx.save_for_backward(x, weight)
        stride, padding, groups = geometry
        return F.conv2d(x, weight.to(torch.bfloat16), _narrowed(bias), stride, padding, 1, groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of `x`, in its own type, and of weight and bias, in theirs."""
        x, weight = ctx.saved_tensors
        stride, padding, groups = ctx.geometry
        wanted = [*ctx.needs_input_grad[:2], ctx.bias_sizes is not None and ctx.needs_input_grad[2]]
        of_x, of_weight, of_bias = torch.ops.aten.convolution_backward(
            gradient,
            x,
            weight.to(torch.bfloat16),
            ctx.bias_sizes,
            stride,
            padding,
            (1, 1),
            False,
            (0, 0),
            groups,
            wanted,
        )
        return _as_wide(of_x, ctx.dtype), _as_wide(of_weight, weight.dtype), _as_wide(of_bias, weight.dtype), None


class BFloat16LinearFunction(torch.autograd.Function):
    """`F.linear` of (micro-batch, features)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """In bfloat16, whatever type `x` has."""
        ctx.dtype = x.dtype
        x = x.to(torch.bfloat16)
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight.to(torch.bfloat16), _narrowed(bias))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of `x`, in its own type, and of weight and bias, in theirs."""
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        of_x = gradient.mm(weight.to(torch.bfloat16)) if for_x else None
        of_weight = gradient.t().mm(x) if for_weight else None
        of_bias = gradient.sum(0) if for_bias else None
        return _as_wide(of_x, ctx.dtype), _as_wide(of_weight, weight.dtype), _as_wide(of_bias, weight.dtype)


class BFloat16Conv2d(nn.Conv2d):
    """A convolution in bfloat16."""

    def reset_parameters(self) -> None:
        """Left to whoever builds it: torch's own would draw from the global generator."""

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as in `nn.Conv2d`."""
        assert isinstance(self.padding, tuple)
        geometry = self.stride, self.padding, self.groups
        output: Tensor = BFloat16Convolution.apply(x, self.weight, self.bias, geometry)  # type: ignore[no-untyped-call]  # torch gives it no type
        return output


class BFloat16Linear(nn.Linear):
    """A linear layer in bfloat16."""

    def reset_parameters(self) -> None:
        """Left to whoever builds it: torch's own would draw from the global generator."""

    def forward(self, x: Tensor) -> Tensor:
        """(micro-batch, features)."""
        output: Tensor = BFloat16LinearFunction.apply(x, self.weight, self.bias)  # type: ignore[no-untyped-call]  # torch gives it no type
        return output
