"""A stand-in for a GPU: an accelerator of its own kind, whose tensors the processor cannot reach.

Torch takes it for any other device. Every operator runs on the hidden content by the processor's kernels, so that
results are equal to the bit to the processor's own. A tensor of the processor's among an operator's operands is an
error, unless it is a scalar or the operator is a copy; so is reading content through a pointer. It has no memory of its
own that could be measured.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from planner.training.device import Accelerator, DeviceMemory

NAME = "standin"
_COPIES = ("aten::_copy_from", "aten::copy_", "aten::_to_copy")
_libraries: list[torch.library.Library] = []


class Hidden(Tensor):
    """A tensor on the stand-in."""

    raw: Tensor

    @staticmethod
    def __new__(cls, raw: Tensor) -> Hidden:
        """With so much content."""
        found: Hidden = Tensor._make_wrapper_subclass(
            cls, raw.shape, raw.stride(), raw.storage_offset(), dtype=raw.dtype, device=torch.device(NAME, 0)
        )
        found.raw = raw
        return found

    def untyped_storage(self) -> torch.UntypedStorage:
        """The content's: it tells which tensors share one."""
        return self.raw.untyped_storage()

    def tolist(self) -> Any:
        """As a GPU's tensor does, but torch refuses it to every subclass."""
        return self.raw.tolist()

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch declares it as a method of instances
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(func, *args, **(kwargs or {}))

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # torch's own idiom


class _Standin:
    """What the product asks of a kind of device. It takes no memory, and draws by the processor's stream."""

    name = "stand-in"

    def __init__(self) -> None:
        self.device = torch.device(NAME, 0)

    def is_available(self) -> bool:
        return True

    def prepare(self) -> None:
        pass

    def computes_bfloat16(self) -> bool:
        return True

    def synchronize(self) -> None:
        pass

    def generators(self) -> list[torch.Generator]:
        return [torch.default_generator]

    def memory(self) -> DeviceMemory:
        return DeviceMemory(total_bytes=2**40, reserved_bytes=0, peak_bytes=0, allocated_peak_bytes=0, beside_bytes=0)

    def reset_peak(self) -> None:
        pass

    def limit(self, most_bytes: int | None) -> None:
        pass

    def release_cached(self) -> None:
        pass


def install() -> torch.device:
    """Make the device known to this process, once and for all, and to the product as the one that plans call cuda."""
    _setup_privateuseone_for_python_backend(NAME)
    module = ModuleType(NAME)
    backend: Accelerator = _Standin()
    vars(module)["BACKEND"] = backend
    for kind in (NAME, "cuda"):
        sys.modules[f"planner.training.devices.{kind}"] = module
    library = torch.library.Library("_", "IMPL")  # type: ignore[no-untyped-call]  # torch gives it no type
    # What makes tensors, and copies to here.
    library.fallback(_run, "PrivateUse1")  # type: ignore[no-untyped-call]  # torch gives it no type
    _libraries.append(library)
    return torch.device(NAME, 0)


def _run(operator: Any, *arguments: Any, **named: Any) -> Any:
    name = operator._schema.name

    def reach(value: Any) -> Any:
        if isinstance(value, Hidden):
            return value.raw
        if isinstance(value, torch.device):
            return torch.device("cpu")
        if isinstance(value, Tensor) and value.dim() and name not in _COPIES:
            raise RuntimeError(f"{name}: a tensor of {tuple(value.shape)} is on {value.device}, others on {NAME}")
        return value

    if name == "aten::_copy_from":
        source, target = map(reach, arguments[:2])
        target.copy_(source)
        return arguments[1]
    goes_back = name == "aten::_to_copy" and named.get("device") == torch.device("cpu")
    result = operator(*tree_map(reach, arguments), **tree_map(reach, named))
    if operator._schema.is_mutable and not isinstance(result, tuple):
        return arguments[0]
    if goes_back:
        return result
    return tree_map(lambda found: Hidden(found) if isinstance(found, Tensor) else found, result)
