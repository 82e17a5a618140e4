"""How activations lie in a cache: float32 as they are, bfloat16, or uint8 with a scale for every sample."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from planner.model.shapes import Shape
from planner.runner.weights import bytes_of
from planner.settings import Dtype, Stored

_SCALE_BYTES = 8
"""Least value and step between two values, float32 each, before a sample's uint8 numbers."""


def stored_bytes(dtype: Stored, shape: Shape) -> int:
    """Bytes of one sample."""
    count = torch.Size(shape).numel()
    return {"float32": 4 * count, "bfloat16": 2 * count, "uint8": _SCALE_BYTES + count}[dtype]


def encode_samples(outputs: Tensor, dtype: Stored) -> Iterator[memoryview]:
    """The stored form of each of (micro-batch, …) outputs; copies at most one sample at a time."""
    for sample in outputs.contiguous():
        if dtype == "float32":
            yield bytes_of(sample.to(torch.float32))
        elif dtype == "bfloat16":
            yield bytes_of(sample.to(torch.bfloat16))
        else:
            yield _quantised(sample)


def _quantised(sample: Tensor) -> memoryview:
    sample = sample.to(torch.float32)
    least, most = sample.min(), sample.max()
    step = (most - least) / 255
    numbers = ((sample - least) / step if step > 0 else torch.zeros_like(sample)).round_().to(torch.uint8)
    return memoryview(bytes(bytes_of(torch.stack((least, step)))) + bytes(bytes_of(numbers)))


def decode_samples(records: memoryview, stored: Stored, shape: Shape, dtype: Dtype = "float32") -> Tensor:
    """Samples one behind the other, as they are stored, in `dtype` (micro-batch, …): not copied where that is equal."""
    wanted = getattr(torch, dtype)
    if stored != "uint8":
        return torch.frombuffer(records, dtype=getattr(torch, stored)).view(-1, *shape).to(wanted)
    rows = torch.frombuffer(records, dtype=torch.uint8).view(-1, stored_bytes("uint8", shape))
    scales = rows[:, :_SCALE_BYTES].contiguous().view(torch.float32)
    least, step = (scales[:, place].view(-1, *(1 for _ in shape)) for place in (0, 1))
    return rows[:, _SCALE_BYTES:].to(torch.float32).view(-1, *shape).mul_(step).add_(least).to(wanted)
