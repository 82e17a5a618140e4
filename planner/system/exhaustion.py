"""Telling an out-of-memory error from any other, whichever library raises it."""

from __future__ import annotations

import re

from planner.errors import OverBudgetError

_ALLOCATOR_SAYS = re.compile(
    r"can't allocate memory|not enough memory: you tried to allocate|out of memory|can't start new thread"
    r"|could not create a primitive|STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)
"""torch's allocators (the second where mimalloc serves them), Python's threads, oneDNN when its code generator gets no
memory, cuDNN and cuBLAS."""

_PROBLEM_LENGTH = 300


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: MemoryError, OverBudgetError, or a library's RuntimeError that says so."""
    if isinstance(error, MemoryError | OverBudgetError):
        return True
    return isinstance(error, RuntimeError) and _ALLOCATOR_SAYS.search(str(error)) is not None


def problem_of(error: BaseException) -> str:
    """The first line of an exception's message, at most 300 characters: what a profile's notes say of it."""
    if is_out_of_memory(error):
        return "it does not fit"
    first = (str(error).strip().splitlines() or [""])[0][:_PROBLEM_LENGTH]
    return first or type(error).__name__
