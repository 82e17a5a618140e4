"""One torch layer of somebody else's network, in the words of `model/1`. Needs torch.

A small function per layer. Whatever `model/1` has no word for (a dilated convolution, say) is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from planner.errors import ModelError
from planner.schema.model import (
    Activation,
    AdaptivePool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    Pool2d,
)


def known_type(module: nn.Module) -> type[nn.Module] | None:
    """The torch layer that `module` is, its subclasses included as long as they compute the same; None for any other.

    Identities count: they have no layer, but they are known.
    """
    for base in type(module).__mro__:
        if base in _CONVERTERS or base is nn.Identity:
            same = type(module).forward is base.forward
            return base if same and getattr(type(module), "_conv_forward", None) is _CONV_FORWARD.get(base) else None
    return None


def layer_from(module: nn.Module, place: str) -> Layer | None:
    """The layer that `module` is; None for an identity. Raises ModelError that starts with `place`."""
    base = known_type(module)
    if base is nn.Identity:
        return None
    if base is None:
        raise ModelError(f"{place}: {outside(type(module).__name__)}")
    try:
        _check_plain(module)
        return _CONVERTERS[base](module)
    except ValueError as error:
        raise ModelError(f"{place}: {error}") from None


def outside(name: str) -> str:
    """Why an operator called `name` is refused."""
    reason = f"{name} is outside the list of operators ({', '.join(_NAMES)}, and a sum of two branches)"
    if "softmax" in name.lower():
        reason += "; end in the linear layer, the loss applies the softmax itself"
    return reason


def _check_plain(module: nn.Module) -> None:
    """Refuse weights that are computed from others (parametrisations, weight norm): they cost more than the layer."""
    extra = [name for name, _ in module.named_parameters() if name not in ("weight", "bias")]
    extra += [name for name, _ in module.named_children()]
    if extra:
        raise ValueError(f"it holds {extra[0]!r} beside its weight and bias, as a parametrisation does")


def _side(value: Any, name: str) -> int:
    """One number where rows and columns must be treated alike."""
    if isinstance(value, (tuple, list)):
        if len(set(value)) != 1:
            raise ValueError(f"{name} is {'×'.join(str(part) for part in value)}; rows and columns must be alike")
        value = value[0]
    if not isinstance(value, int):
        raise ValueError(f"{name} is {value!r}; a whole number is needed")
    return value


def _check_undilated(dilation: Any) -> None:
    if _side(dilation, "dilation") != 1:
        raise ValueError(f"dilation is {_side(dilation, 'dilation')}; only 1 can be expressed")


def _conv(module: Any) -> Layer:
    if module.padding_mode != "zeros":
        raise ValueError(f"padding_mode is {module.padding_mode!r}; only 'zeros' can be expressed")
    kernel = _side(module.kernel_size, "kernel")
    _check_undilated(module.dilation)
    padding = module.padding
    if padding == "valid":
        padding = 0
    elif padding == "same":
        if kernel % 2 == 0:
            raise ValueError(f"padding 'same' around a kernel of {kernel} is uneven; an odd kernel is needed")
        padding = kernel // 2
    return Conv2d(
        "conv2d",
        module.out_channels,
        kernel,
        stride=_side(module.stride, "stride"),
        padding=_side(padding, "padding"),
        groups=module.groups,
        bias=module.bias is not None,
    )


def _linear(module: Any) -> Layer:
    return Linear("linear", module.out_features, bias=module.bias is not None)


def _batchnorm(module: Any) -> Layer:
    if not module.affine or not module.track_running_stats:
        raise ValueError("only a batch normalisation with scale, shift and running statistics can be expressed")
    if module.momentum is None:
        raise ValueError("momentum is None (a cumulative average); a number is needed")
    return BatchNorm2d("batchnorm2d", module.eps, module.momentum)


def _gelu(module: Any) -> Layer:
    if module.approximate != "none":
        raise ValueError(f"approximate is {module.approximate!r}; only the exact gelu can be expressed")
    return Activation("gelu")


def _max_pool(module: Any) -> Layer:
    _check_undilated(module.dilation)
    _check_no_indices(module)
    return Pool2d("max_pool2d", *_window(module), ceil_mode=module.ceil_mode)


def _average_pool(module: Any) -> Layer:
    if module.divisor_override is not None:
        raise ValueError("divisor_override cannot be expressed")
    if not module.count_include_pad and _side(module.padding, "padding"):
        raise ValueError("count_include_pad is False; only an average that counts the padding can be expressed")
    return Pool2d("avg_pool2d", *_window(module), ceil_mode=module.ceil_mode)


def _window(module: Any) -> tuple[int, int, int]:
    kernel = _side(module.kernel_size, "kernel")
    stride = kernel if module.stride in (None, ()) else _side(module.stride, "stride")
    return kernel, stride, _side(module.padding, "padding")


def _check_no_indices(module: Any) -> None:
    if module.return_indices:
        raise ValueError("return_indices gives two tensors; between layers there is one")


def _adaptive_average_pool(module: Any) -> Layer:
    return AdaptivePool2d("adaptive_avg_pool2d", *_extent(module))


def _adaptive_max_pool(module: Any) -> Layer:
    _check_no_indices(module)
    return AdaptivePool2d("adaptive_max_pool2d", *_extent(module))


def _extent(module: Any) -> tuple[int, int]:
    size = module.output_size
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    if not isinstance(height, int) or not isinstance(width, int):
        raise ValueError(f"output_size is {size!r}; two whole numbers are needed")
    return height, width


def _dropout(module: Any) -> Layer:
    return Dropout("dropout", float(module.p))


def _flatten(module: Any) -> Layer:
    if module.start_dim != 1 or module.end_dim != -1:
        raise ValueError(f"flattens dimensions {module.start_dim} to {module.end_dim}; only 1 to -1 can be expressed")
    return Flatten("flatten")


_CONVERTERS: dict[type[nn.Module], Callable[[Any], Layer]] = {
    nn.Conv2d: _conv,
    nn.Linear: _linear,
    nn.BatchNorm2d: _batchnorm,
    nn.ReLU: lambda module: Activation("relu"),
    nn.ReLU6: lambda module: Activation("relu6"),
    nn.GELU: _gelu,
    nn.SiLU: lambda module: Activation("silu"),
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
    nn.AdaptiveAvgPool2d: _adaptive_average_pool,
    nn.AdaptiveMaxPool2d: _adaptive_max_pool,
    nn.Dropout: _dropout,
    nn.Flatten: _flatten,
}

_CONV_FORWARD: dict[type[nn.Module], Any] = {nn.Conv2d: nn.Conv2d._conv_forward}
"""Where a subclass may change the arithmetic without touching `forward`."""

_NAMES = tuple(sorted(base.__name__ for base in _CONVERTERS))
