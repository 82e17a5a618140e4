"""Weights of a program's own modules, to and from the files of runs. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from planner.errors import InputError, StorageError
from planner.model.importers.given import lazy_tensors, plain, state_of, unwrapped
from planner.runner.storage.exported import find_full, state_names
from planner.runner.storage.safetensors import TensorFile
from planner.runner.storage.weights import read_tensor, save_tensors

_TORCH_FILES = (".pt", ".pth")


def initial_file(init: nn.Module | Mapping[str, Tensor] | str | Path, scratch: Path) -> Path:
    """A file of weights that `neuroflux run --init` takes. Raises InputError for what holds none."""
    if isinstance(init, str | Path):
        if Path(init).suffix not in _TORCH_FILES:
            return Path(init)
        state = _from_torch_file(Path(init))
    elif isinstance(init, nn.Module):
        state = state_of(_ready(init, "init: "))
    elif isinstance(init, Mapping):
        state = dict(init)
    else:
        raise InputError(f"init: a module, a state dict or a path is needed, not a {type(init).__name__}")
    tensors = {str(name): tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
    if not tensors:
        raise InputError("init: holds no tensors; give a module, or its state_dict()")
    target = scratch / "init.safetensors"
    save_tensors(target, ((name, plain(tensor)) for name, tensor in tensors.items()))
    return target


def _ready(module: nn.Module, what: str) -> nn.Module:
    """The network inside a module's wrappers. Raises InputError where its weights have no shape yet."""
    inner = unwrapped(module)
    if lazy := lazy_tensors(inner):
        raise InputError(f"{what}{lazy[0]} has no shape yet; run the module once on a sample")
    return inner


def _from_torch_file(path: Path) -> dict[str, Any]:
    """The state dict in a file of `torch.save`; nothing in it is run."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"init: {path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # whatever a file that is none makes of it
        raise InputError(
            f"init: {path}: holds no plain state dict ({str(error).splitlines()[0][:200]}); save "
            "module.state_dict() with torch.save, or as safetensors"
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict):
        raise InputError(f"init: {path}: holds a {type(found).__name__}, not a state dict")
    return found


@torch.no_grad()
def load_into(module: nn.Module, folder: Path) -> None:
    """See `RunReport.load_into`."""
    exported = find_full(folder)
    ours = state_names(exported.model)
    state = _ready(module, "").state_dict(keep_vars=True)
    if strange := sorted(set(ours) - set(state)):
        raise InputError(f"the module has no {strange[0]!r}, which {exported.model.name!r} has: it is another network")
    file = TensorFile(exported.weights)
    try:
        file.verify()
        shapes = {entry.name: entry.shape for entry in file.entries}
        for name, tensor in state.items():
            if name in ours and shapes[ours[name]] != tuple(tensor.shape):
                raise InputError(f"{name} is {tuple(tensor.shape)}, the trained one {shapes[ours[name]]}")
        for name, tensor in state.items():
            if name in ours:
                fresh = torch.empty(tensor.shape, dtype=torch.float32 if tensor.is_floating_point() else torch.int64)
                read_tensor(file, ours[name], fresh)
                tensor.copy_(fresh)
    except StorageError as error:
        raise InputError(str(error)) from None
    finally:
        file.close()
