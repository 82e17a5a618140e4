"""Facts of a device that only torch knows: `python -m planner.profiler.torch_facts [KIND ...]` answers with JSON.

`complete` runs that as a child, since the process that asks does without torch.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, get_args

from planner.errors import RunError
from planner.schema.codec import decode, parse_json, to_json
from planner.schema.common import DeviceKind, Machine, is_accelerator
from planner.system.answers import Answers
from planner.system.child import STANDARD_ERROR, ChildProcess, ask
from planner.units import format_seconds

if TYPE_CHECKING:
    from planner.training.device import Accelerator

ACCELERATORS: tuple[DeviceKind, ...] = tuple(kind for kind in get_args(DeviceKind) if is_accelerator(kind))
"""The kinds of device that torch is asked about."""

_PATIENCE_SECONDS = 120.0

_HOLD_A_CONTEXT = """
import sys
from planner.system.answers import Answers
from planner.training.runtime import start_accelerator
Answers().emit(str(start_accelerator(sys.argv[1]).memory().reserved_bytes))
sys.stdin.read()
"""


@dataclass(frozen=True)
class TorchFacts:
    """The child's answer."""

    threads: int
    """Threads that torch computes with by default."""
    gpu_total_bytes: int | None = None
    """Memory of the first GPU; None where torch reaches none."""
    gpu_context_bytes: int | None = None
    """Memory that one more process takes of it before its tensors: the driver's context, and a tiny step's kernels."""


def complete(
    machine: Machine, max_seconds: float | None = None, kinds: tuple[DeviceKind, ...] = ACCELERATORS
) -> Machine:
    """Fill in the fields of a machine that only torch knows. Takes as long as importing torch.

    Args:
        machine: as `probe` gives it.
        max_seconds: most time that it may take; None: two minutes.
        kinds: accelerators to ask for; the first that torch reaches counts. None is asked for on a machine without GPU.

    Returns:
        The machine with these fields; unchanged where torch is not installed.

    Raises:
        RunError: torch cannot be imported, or takes too long.
    """
    patience = _PATIENCE_SECONDS if max_seconds is None else max_seconds
    if machine.torch_version is None:
        return machine
    arguments = ["-m", "planner.profiler.torch_facts", *(kinds if machine.gpu_name else ())]
    try:
        done = ask(arguments, patience)
    except TimeoutError:
        raise RunError(
            f"torch {machine.torch_version} gave no answer within {format_seconds(patience)}; allow it more "
            "(--max-seconds)"
        ) from None
    if done.code != 0:
        raise RunError(
            f"torch {machine.torch_version} cannot be asked about this device: the process that asks it was "
            f"{done.end.explained}: {done.last_words}"
        )
    found = decode(TorchFacts, parse_json(done.text))
    return replace(
        machine,
        torch_threads=found.threads,
        gpu_total_bytes=found.gpu_total_bytes,
        gpu_context_bytes=found.gpu_context_bytes,
    )


def ask_torch(kinds: Sequence[str] = ()) -> TorchFacts:
    """Ask the torch of this process, also about the first of the accelerators `kinds` that it reaches."""
    import torch

    from planner.training.device import accelerator_of

    threads = torch.get_num_threads()
    for kind in kinds:
        backend = accelerator_of(kind)
        if backend.is_available():
            return TorchFacts(threads, backend.memory().total_bytes, _context_bytes(kind, backend))
    return TorchFacts(threads)


def _context_bytes(kind: str, backend: Accelerator) -> int:
    """Memory that the device loses while another process opens a context, as seen from a context of our own.

    The driver reports free memory of the whole device, and asking for it opens a context already: a process cannot see
    the size of its own. What other processes allocate or free meanwhile is an error of the figure.
    """
    before = backend.memory().used_bytes
    with ChildProcess(["-c", _HOLD_A_CONTEXT, kind], STANDARD_ERROR, stdin=subprocess.PIPE) as other:
        reserved = int(other.answers.readline())
        after = backend.memory().used_bytes
    return max(0, after - before - reserved)


if __name__ == "__main__":
    answers = Answers()
    answers.emit(to_json(ask_torch(sys.argv[1:]), indent=None))
