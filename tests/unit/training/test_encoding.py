"""Activations come back from a cache as they went in, or as close as their type allows."""

from __future__ import annotations

from math import prod
from typing import get_args

import numpy as np
import pytest
import torch

from planner.schema.common import CacheDtype, stored_bytes
from planner.schema.preprocessing import AS_THEY_ARE
from planner.training.encoding import (
    decode_activations,
    decode_samples,
    encode_activations,
    encode_samples,
    input_tensor,
)

SHAPE = (3, 4, 5)


def _there_and_back(outputs: torch.Tensor, dtype: CacheDtype) -> torch.Tensor:
    records = [bytes(record) for record in encode_samples(outputs, dtype)]
    assert [len(record) for record in records] == [stored_bytes(dtype, prod(SHAPE))] * len(outputs)
    return decode_samples(memoryview(bytearray(b"".join(records))), dtype, SHAPE)


@pytest.fixture
def outputs() -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    # Samples of very different ranges, one of them all alike.
    scales = torch.tensor([1.0, 1000.0, 1e-3, 0.0]).view(4, 1, 1, 1)
    return torch.randn(4, *SHAPE, generator=generator) * scales + 7 * scales


def test_float32_is_kept_to_the_bit_and_not_copied(outputs: torch.Tensor) -> None:
    assert torch.equal(_there_and_back(outputs, "float32"), outputs)
    memory = bytearray(torch.arange(60, dtype=torch.float32).numpy().tobytes())
    found = decode_samples(memoryview(memory), "float32", SHAPE)
    memory[0:4] = b"\x00\x00\x80\x3f"
    assert found.flatten()[0].item() == 1.0


def test_bfloat16_is_rounded_as_torch_rounds(outputs: torch.Tensor) -> None:
    assert torch.equal(_there_and_back(outputs, "bfloat16"), outputs.to(torch.bfloat16).to(torch.float32))


def test_uint8_is_off_by_half_a_step_of_the_samples_own_range(outputs: torch.Tensor) -> None:
    found = _there_and_back(outputs, "uint8")
    for sample, other in zip(outputs, found, strict=True):
        step = (sample.max() - sample.min()).item() / 255
        assert (sample - other).abs().max().item() <= 0.5 * step + 1e-6 * sample.abs().max().item()


@pytest.mark.parametrize("dtype", get_args(CacheDtype))
def test_several_tensors_are_each_stored_as_one_alone_would_be(outputs: torch.Tensor, dtype: CacheDtype) -> None:
    other = torch.randn(4, 7, generator=torch.Generator().manual_seed(3))
    records = [[bytes(part) for part in record] for record in encode_activations((outputs, other), dtype)]
    expected = [[bytes(record) for record in encode_samples(tensor, dtype)] for tensor in (outputs, other)]
    assert records == [list(pair) for pair in zip(*expected, strict=True)]
    size = sum(map(len, records[0]))
    assert size == stored_bytes(dtype, prod(SHAPE) + 7, tensors=2)
    memory = memoryview(bytearray(b"".join(map(b"".join, zip(*records, strict=True)))))
    first, second = decode_activations(memory, dtype, (SHAPE, (7,)))
    assert torch.equal(first, _there_and_back(outputs, dtype))
    assert torch.equal(second, decode_samples(memoryview(bytearray(b"".join(expected[1]))), dtype, (7,)))
    assert first.is_contiguous() and second.is_contiguous()


@pytest.mark.parametrize(("dtype", "expected"), [("float32", 240), ("bfloat16", 120), ("uint8", 68)])
def test_bytes_of_a_sample(dtype: CacheDtype, expected: int) -> None:
    assert stored_bytes(dtype, prod(SHAPE)) == expected


@pytest.mark.parametrize("numbers", [1, 10, 13])
def test_one_sample_of_any_length_comes_back_from_uint8(numbers: int) -> None:
    """Its bytes need not be a multiple of the scale's."""
    sample = torch.linspace(-1, 1, numbers)[None]
    (record,) = encode_samples(sample, "uint8")
    found = decode_samples(memoryview(bytearray(record)), "uint8", (numbers,))
    assert (found - sample).abs().max().item() <= 1 / 255 + 1e-6


def test_numbers_are_those_that_were_read_and_tokens_are_widened() -> None:
    numbers = np.array([[1.5, -2.0], [0.0, 3e38]], np.float32)
    buffer = bytearray(numbers.tobytes())
    found = input_tensor(memoryview(buffer), "float32", (2,), AS_THEY_ARE)
    assert found.tolist() == numbers.tolist()
    buffer[:4] = np.float32(7).tobytes()
    assert found[0, 0] == 7  # not copied, as the plan counts on
    tokens = input_tensor(
        memoryview(bytearray(np.array([3, 2**31 - 1], np.int32).tobytes())), "int64", (1,), AS_THEY_ARE
    )
    assert (tokens.dtype, tokens.tolist()) == (torch.int64, [[3], [2**31 - 1]])
