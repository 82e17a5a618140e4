"""One torch layer of somebody else's network, in the words of `model/1`. Needs torch.

Each operator reads its own torch class (`Operator.from_torch`). Whatever `model/1` has no word for (a dilated
convolution, say) is refused with the reason.
"""

from __future__ import annotations

from torch import nn

from planner.errors import ModelError
from planner.operators.layers import OPERATORS
from planner.schema.model import Layer

_READERS: dict[type[nn.Module], tuple[type[Layer], str]] = {
    getattr(nn, name): (operator, op)
    for operator in OPERATORS
    for op, name, *_ in operator.in_torch
    if hasattr(nn, name)
}
"""The operator that a class of torch's is, and its `op`. A sum of two branches is no class."""
_ARITHMETIC = ("forward", "_conv_forward")


def known_type(module: nn.Module) -> type[nn.Module] | None:
    """The torch layer that `module` is, its subclasses included as long as they compute the same; None for any other.

    Identities count: they have no layer, but they are known.
    """
    for base in type(module).__mro__:
        if base in _READERS or base is nn.Identity:
            # A subclass may change a convolution's arithmetic without touching `forward`.
            same = all(getattr(type(module), name, None) is getattr(base, name, None) for name in _ARITHMETIC)
            return base if same else None
    return None


def layer_from(module: nn.Module, where: str) -> Layer | None:
    """The layer that `module` is; None for an identity. Raises ModelError that starts with `where`."""
    base = known_type(module)
    if base is nn.Identity:
        return None
    if base is None:
        raise ModelError(f"{where}: {outside(type(module).__name__)}")
    try:
        _check_plain(module)
        operator, op = _READERS[base]
        return operator.from_torch(op, module)
    except ValueError as error:
        raise ModelError(f"{where}: {error}") from None


def outside(name: str) -> str:
    """Why an operator called `name` is refused."""
    names = sorted(base.__name__ for base in _READERS)
    reason = f"{name} is outside the list of operators ({', '.join(names)}, and a sum of two branches)"
    if "softmax" in name.lower():
        reason += "; end in the linear layer, the loss applies the softmax itself"
    return reason


def _check_plain(module: nn.Module) -> None:
    """Refuse weights that are computed from others (parametrisations, weight norm): they cost more than the layer."""
    extra = [name for name, _ in module.named_parameters() if name not in ("weight", "bias")]
    extra += [name for name, _ in module.named_children()]
    if extra:
        raise ValueError(f"it holds {extra[0]!r} beside its weight and bias, as a parametrisation does")
