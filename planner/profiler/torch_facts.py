"""What only torch knows of a device: `python -m planner.profiler.torch_facts [gpu]` answers with it as JSON.

The process that asks imports no torch; this module is its child.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace

from planner.errors import RunError
from planner.schema.codec import decode, parse_json, to_json
from planner.schema.common import Machine
from planner.system.answers import Answers
from planner.system.child import STANDARD_ERROR, ChildProcess, ask
from planner.units import format_seconds

_PATIENCE_SECONDS = 120.0

_HOLD_A_CONTEXT = """
import sys, torch
from planner.system.answers import Answers
from planner.training.device import device_of
from planner.training.runtime import start_gpu
start_gpu(device_of("cuda"))
Answers().tell(str(torch.cuda.memory_reserved()))
sys.stdin.read()
"""


@dataclass(frozen=True)
class TorchFacts:
    """What torch says."""

    threads: int
    """Threads it computes with unless told otherwise."""
    gpu_total_bytes: int | None = None
    """Memory of the first GPU; None where torch reaches none."""
    gpu_context_bytes: int | None = None
    """What one more process takes of it before its tensors: the driver's context, and the kernels of a tiny step."""


def complete(machine: Machine, max_seconds: float | None = None) -> Machine:
    """Fill in what torch knows and `probe` does not; the same machine where torch is not installed.

    Takes the seconds that importing torch takes, at most `max_seconds` (none: two minutes). Raises RunError where torch
    cannot be asked.
    """
    patience = _PATIENCE_SECONDS if max_seconds is None else max_seconds
    if machine.torch_version is None:
        return machine
    arguments = ["-m", "planner.profiler.torch_facts", *(["gpu"] if machine.gpu_name else [])]
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


def ask_torch(gpu: bool) -> TorchFacts:
    """Ask the torch of this process, about a GPU as well where `gpu` is true."""
    import torch

    threads = torch.get_num_threads()
    if not gpu or not torch.cuda.is_available():
        return TorchFacts(threads)
    return TorchFacts(threads, torch.cuda.mem_get_info()[1], _context_bytes())


def _context_bytes() -> int:
    """Watch, from a context of our own, what the device loses while another process opens one.

    The driver counts free memory for the device as a whole, and asking for it opens a context already: a process
    cannot see the size of its own. What other processes take or give back meanwhile counts as well.
    """
    import torch

    torch.cuda.synchronize()
    before = torch.cuda.mem_get_info()[0]
    with ChildProcess(["-c", _HOLD_A_CONTEXT], STANDARD_ERROR, stdin=subprocess.PIPE) as other:
        reserved = int(other.answers.readline())
        after = torch.cuda.mem_get_info()[0]
    return max(0, before - after - reserved)


if __name__ == "__main__":
    answers = Answers()
    answers.tell(to_json(ask_torch("gpu" in sys.argv[1:]), indent=None))
