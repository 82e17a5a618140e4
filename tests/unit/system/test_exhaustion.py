"""Errors that mean memory, and errors that do not."""

from __future__ import annotations

import pytest

from planner.errors import OverBudgetError
from planner.system.exhaustion import is_out_of_memory


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (OverBudgetError("its dry step took 3 MiB"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:128] data. DefaultCPUAllocator: not enough memory: "
                      "you tried to allocate 16777216 bytes."), True),
        (RuntimeError("can't start new thread"), True),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("can't allocate memory"), False),
    ],
)  # fmt: skip
def test_which_errors_mean_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
