"""What the memory guard rests on, on this board, as JSON: `python3 guard.py POLICY`."""

from __future__ import annotations

import json
import mmap
import sys
from typing import Any, Literal, cast

from planner.system import allocator
from planner.system.exhaustion import is_out_of_memory
from planner.system.proc import read_memory, reset_peak
from planner.system.rlimit import limit_data
from planner.training.runtime import start_torch
from planner.units import MIB

SIZES = (1, 4, 24, 40)
"""Of blocks, in MiB."""
HELD_MIB = 48
LIMIT_MIB = 32
ASKED_MIB = 160


def main(policy: Literal["tight", "fast"]) -> None:
    """Start torch as a training child does, and look."""
    started = start_torch(policy, 1)
    found: dict[str, Any] = {
        "page_bytes": mmap.PAGESIZE,
        "allocator": allocator.detect(),
        "baseline_bytes": started.baseline_bytes,
        "start_peak_bytes": started.peak_bytes,
        "resets_peak": reset_peak(),
        "held": [_hold(size) for size in SIZES],
        "refused": [_refuse(size) for size in SIZES],
    }
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


def _hold(size: int) -> dict[str, int]:
    """What blocks of `size` MiB take, and what is still there when they are gone."""
    import torch

    before = read_memory().resident_bytes
    tensors = [torch.ones(size * MIB // 4) for _ in range(max(1, HELD_MIB // size))]
    asked = sum(tensor.nbytes for tensor in tensors)
    held = read_memory().resident_bytes
    tensors.clear()
    freed = read_memory().resident_bytes
    allocator.release()
    released = read_memory().resident_bytes
    return {
        "block_bytes": size * MIB,
        "asked_bytes": asked,
        "held_bytes": held - before,
        "freed_bytes": freed - before,
        "released_bytes": released - before,
    }


def _refuse(size: int) -> dict[str, Any]:
    """How many bytes can be had in blocks of `size` MiB under a limit, and how the end of it is told."""
    import torch

    reset_peak()
    before = read_memory().resident_bytes
    held: list[Any] = []
    error: BaseException | None = None
    limit = limit_data(LIMIT_MIB * MIB)
    try:
        while len(held) * size < ASKED_MIB:
            held.append(torch.ones(size * MIB // 4))
    except (RuntimeError, MemoryError) as raised:
        error = raised
    finally:
        limit.lift()
    peak = read_memory().peak_bytes
    had = sum(tensor.nbytes for tensor in held)
    held.clear()
    allocator.release()
    return {
        "block_bytes": size * MIB,
        "had_bytes": had,
        "peak_bytes": peak - before,
        "error": None if error is None else str(error)[:200],
        "is_recognised": error is not None and is_out_of_memory(error),
    }


if __name__ == "__main__":
    main(cast(Literal["tight", "fast"], sys.argv[1]))
