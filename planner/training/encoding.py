"""How samples lie on storage, and activations in a cache: float32, bfloat16, or uint8 and a scale a sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import torch
from torch import Tensor

from planner.model.activations import Activations, tensors_of
from planner.model.shapes import Shape
from planner.schema.common import SCALE_BYTES, CacheDtype, Dtype, stored_bytes
from planner.schema.inputs import InputDtype
from planner.schema.preprocessing import AS_THEY_ARE, Normalisation
from planner.training.device import bytes_of


def encode_activations(outputs: Activations, dtype: CacheDtype) -> Iterator[tuple[memoryview, ...]]:
    """The stored form of each sample of outputs, tensor by tensor; copies at most one sample at a time."""
    return zip(*(encode_samples(tensor, dtype) for tensor in tensors_of(outputs)), strict=True)


def decode_activations(
    records: memoryview, stored: CacheDtype, shapes: Sequence[Shape], dtype: Dtype = "float32"
) -> Activations:
    """Samples in `dtype` (micro-batch, …) of tensors of these shapes: all samples of one tensor, then of the next."""
    sizes = [stored_bytes(stored, prod(shape)) for shape in shapes]
    count = len(records) // sum(sizes)
    found, at = [], 0
    for shape, size in zip(shapes, sizes, strict=True):
        found.append(decode_samples(records[at : at + count * size], stored, shape, dtype))
        at += count * size
    return tuple(found) if len(found) > 1 else found[0]


def encode_samples(outputs: Tensor, dtype: CacheDtype) -> Iterator[memoryview]:
    """The stored form of each of (micro-batch, …) outputs; copies at most one sample at a time."""
    for sample in map(Tensor.cpu, outputs.contiguous()):
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


def decode_samples(records: memoryview, stored: CacheDtype, shape: Shape, dtype: Dtype = "float32") -> Tensor:
    """Samples one behind the other, as they are stored, in `dtype` (micro-batch, …): not copied where that is equal."""
    wanted = getattr(torch, dtype)
    if stored != "uint8":
        return torch.frombuffer(records, dtype=getattr(torch, stored)).view(-1, *shape).to(wanted)
    rows = torch.frombuffer(records, dtype=torch.uint8).view(-1, stored_bytes("uint8", prod(shape)))
    scales = rows[:, :SCALE_BYTES].clone().reshape(-1).view(torch.float32).view(-1, 2)
    least, step = (scales[:, column].view(-1, *(1 for _ in shape)) for column in (0, 1))
    return rows[:, SCALE_BYTES:].to(torch.float32).view(-1, *shape).mul_(step).add_(least).to(wanted)


def input_tensor(records: memoryview, dtype: InputDtype, shape: Shape, normalisation: Normalisation) -> Tensor:
    """Samples of a data set, one behind the other, as a network is given them: (micro-batch, …).

    Images and numbers are normalised. Numbers of float32 are those in `records`, not copied, and so normalised there.
    """
    match dtype:
        case "uint8":
            return image_tensor(records, shape, normalisation)
        case "float32":
            numbers = torch.frombuffer(records, dtype=torch.float32).view(-1, *shape)
            return numbers if normalisation == AS_THEY_ARE else _normalised(numbers, normalisation, 1)
        case "int64":
            return torch.frombuffer(records, dtype=torch.int32).view(-1, *shape).to(torch.int64)


def image_tensor(records: memoryview, shape: Shape, normalisation: Normalisation) -> Tensor:
    """uint8 images as float32, normalised: (value / 255 - mean) / std, in the one tensor that comes out."""
    raw = torch.frombuffer(records, dtype=torch.uint8).view(-1, *shape)
    return _normalised(raw.to(torch.float32), normalisation, 255)


def _normalised(samples: Tensor, normalisation: Normalisation, one: int) -> Tensor:
    """`samples`, in place, where `one` is what 1 is on their scale."""
    mean, std = (
        _by_channel([one * number for number in numbers], samples.dim() - 1)
        for numbers in (normalisation.mean, normalisation.std)
    )
    return samples.sub_(mean).div_(std)


def _by_channel(numbers: list[float], rank: int) -> Tensor | float:
    """To be broadcast over samples of so many extents where there are several."""
    return numbers[0] if len(numbers) == 1 else torch.tensor(numbers).view(-1, *(1,) * (rank - 1))
