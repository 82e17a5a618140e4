"""Parameters and buffers of modules, to and from safetensors files without a copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from planner.runner.storage.safetensors import Entry, TensorFile, write_tensors
from planner.training.device import bytes_of

_DTYPES = {torch.float32: "F32", torch.int64: "I64"}


def fits(entry: Entry | None, tensor: Tensor) -> bool:
    """Whether a file's tensor is one like `tensor`."""
    return entry is not None and (entry.dtype, entry.shape) == (_DTYPES[tensor.dtype], tuple(tensor.shape))


def named_tensors(named_modules: Iterable[tuple[str, nn.Module]]) -> Iterator[tuple[str, Tensor]]:
    """Every parameter and buffer as (`<module's name>.<own name>`, tensor)."""
    for prefix, module in named_modules:
        for name, tensor in module.state_dict(keep_vars=True).items():
            yield f"{prefix}.{name}", tensor.detach()


def save_tensors(path: Path, tensors: Iterable[tuple[str, Tensor]], metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors; the file appears whole or not at all."""
    listed = list(tensors)
    entries = [Entry(name, _DTYPES[tensor.dtype], tuple(tensor.shape)) for name, tensor in listed]
    # One at a time, where they have to be copied at all.
    write_tensors(path, entries, lambda: (bytes_of(tensor.cpu().contiguous()) for _, tensor in listed), metadata)


def load_weights(path: Path, named_modules: Iterable[tuple[str, nn.Module]]) -> None:
    """Fill the modules' tensors from a file that `save_tensors` wrote.

    Raises StorageError where the file is damaged, or a tensor is missing or of another size.
    """
    file = TensorFile(path)
    try:
        file.verify()
        fill_modules(file, named_modules)
    finally:
        file.close()


def fill_modules(file: TensorFile, named_modules: Iterable[tuple[str, nn.Module]]) -> None:
    """Fill the modules' tensors from an open file. Raises StorageError where one is missing or of another size."""
    for name, tensor in named_tensors(named_modules):
        read_tensor(file, name, tensor)


def read_tensor(file: TensorFile, name: str, tensor: Tensor) -> None:
    """Fill a tensor, wherever it lies, from an open file. Raises StorageError where it is missing or of another size.

    One that lies elsewhere than in the processor's memory has its content copied through it.
    """
    near = tensor if tensor.device.type == "cpu" else torch.empty(tensor.shape, dtype=tensor.dtype)
    file.read_into(name, bytes_of(near))
    if near is not tensor:
        tensor.copy_(near)
