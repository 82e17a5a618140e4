"""SGD, Adam and AdamW, one tensor after another.

`torch.optim` imports `torch._dynamo` on its first step and its `foreach` path makes a transient copy of all parameters;
neither has room on a small device. These are equal to `torch.optim.*(foreach=False)` to the bit (the tests prove it)
and their state is made on the first step, as there.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import Protocol, assert_never

import torch
from torch import Tensor

from planner.schema.common import OptimizerConfig


class Optimizer(Protocol):
    """Moves parameters by their gradients."""

    lr: float

    def step(self, parameters: Iterable[Tensor]) -> None:
        """One step over `parameters` that have a gradient. The gradients' values are used up."""

    def state(self, parameter: Tensor) -> dict[str, Tensor]:
        """The state kept for one parameter, empty before its first step."""

    def restore(self, parameter: Tensor, state: dict[str, Tensor], steps: int) -> None:
        """Go on with what `state` said of a parameter after so many steps."""


class SGD:
    """Stochastic gradient descent with momentum, Nesterov momentum and weight decay (Sutskever et al., 2013)."""

    def __init__(self, settings: OptimizerConfig, decaying: Container[Tensor] | None = None) -> None:
        self.lr = settings.lr
        self._decaying = decaying
        self._momentum = settings.momentum
        self._nesterov = settings.nesterov
        self._weight_decay = settings.weight_decay
        self._state: dict[Tensor, dict[str, Tensor]] = {}

    @torch.no_grad()
    def step(self, parameters: Iterable[Tensor]) -> None:
        """One step; works inside the gradients, so that no transient copy is made."""
        for parameter in _with_gradient(parameters):
            gradient = parameter.grad
            assert gradient is not None
            if self._weight_decay and _decays(parameter, self._decaying):
                gradient.add_(parameter, alpha=self._weight_decay)
            if self._momentum:
                gradient = self._moved(parameter, gradient)
            parameter.add_(gradient, alpha=-self.lr)

    def _moved(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        state = self._state.setdefault(parameter, {})
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = gradient.clone()
        else:
            state["momentum_buffer"].mul_(self._momentum).add_(gradient)
        if self._nesterov:
            return gradient.add_(state["momentum_buffer"], alpha=self._momentum)
        return state["momentum_buffer"]

    def state(self, parameter: Tensor) -> dict[str, Tensor]:
        """`momentum_buffer`, where there is momentum."""
        return self._state.get(parameter, {})

    def restore(self, parameter: Tensor, state: dict[str, Tensor], steps: int) -> None:
        """Keep `state` as this parameter's own."""
        self._state[parameter] = state


class Adam:
    """Adam (Kingma and Ba, 2015) or AdamW (Loshchilov and Hutter, 2019), with torch's default betas and eps."""

    _BETAS = (0.9, 0.999)
    _EPS = 1e-8

    def __init__(self, settings: OptimizerConfig, decaying: Container[Tensor] | None = None) -> None:
        self.lr = settings.lr
        self._decaying = decaying
        self._decoupled = settings.kind == "adamw"
        self._weight_decay = settings.weight_decay
        self._state: dict[Tensor, dict[str, Tensor]] = {}
        self._steps: dict[Tensor, int] = {}

    @torch.no_grad()
    def step(self, parameters: Iterable[Tensor]) -> None:
        """One step; its transient is one tensor of the parameter's size."""
        for parameter in _with_gradient(parameters):
            gradient = parameter.grad
            assert gradient is not None
            if self._weight_decay and _decays(parameter, self._decaying):
                self._decay(parameter, gradient)
            self._move(parameter, gradient)

    def _decay(self, parameter: Tensor, gradient: Tensor) -> None:
        if self._decoupled:
            parameter.mul_(1 - self.lr * self._weight_decay)
        else:
            gradient.add_(parameter, alpha=self._weight_decay)

    def _move(self, parameter: Tensor, gradient: Tensor) -> None:
        beta1, beta2 = self._BETAS
        state = self._state.setdefault(parameter, {})
        if not state:
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        step = self._steps[parameter] = self._steps.get(parameter, 0) + 1
        state["exp_avg"].lerp_(gradient, 1 - beta1)
        state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        root = state["exp_avg_sq"].sqrt()
        root.div_((1 - beta2**step) ** 0.5).add_(self._EPS)
        parameter.addcdiv_(state["exp_avg"], root, value=-(self.lr / (1 - beta1**step)))

    def state(self, parameter: Tensor) -> dict[str, Tensor]:
        """`exp_avg` and `exp_avg_sq`."""
        return self._state.get(parameter, {})

    def restore(self, parameter: Tensor, state: dict[str, Tensor], steps: int) -> None:
        """Keep `state` as this parameter's own; the corrections of bias go on from `steps`."""
        self._state[parameter] = state
        self._steps[parameter] = steps


def _with_gradient(parameters: Iterable[Tensor]) -> Iterator[Tensor]:
    return (parameter for parameter in parameters if parameter.grad is not None)


def _decays(parameter: Tensor, decaying: Container[Tensor] | None) -> bool:
    return decaying is None or parameter in decaying


def make_optimizer(settings: OptimizerConfig, decaying: Container[Tensor] | None = None) -> Optimizer:
    """The optimizer that `settings` describes. Weight decay is for `decaying` alone; none: for all parameters."""
    match settings.kind:
        case "sgd":
            return SGD(settings, decaying)
        case "adam" | "adamw":
            return Adam(settings, decaying)
    assert_never(settings.kind)
