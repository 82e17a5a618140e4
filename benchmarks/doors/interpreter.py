"""Unit graphs' interpreter against the module's forward and backward: `python -m benchmarks.doors.interpreter`.

Needs the environment of `benchmarks.doors.accept`. Seconds are CPU seconds of this process with one thread, forward and
backward of a micro-batch in turns, so that what disturbs one disturbs the other: the ratio of the medians. Bytes are
what a step adds at its highest (VmHWM, cleared before it) to what is resident before, in a process for each of the two.
Prints Markdown.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.doors.accept import build
from planner.system.proc import read_memory

NETWORKS = (
    ("torchvision", "resnet18", 64),
    ("torchvision", "mobilenet_v3_small", 96),
    ("torchvision", "efficientnet_b0", 64),
    ("torchvision", "densenet121", 64),
    ("torchvision", "convnext_tiny", 64),
    ("torchvision", "swin_t", 64),
    ("torchvision", "shufflenet_v2_x1_0", 96),
    ("timm", "deit_tiny_patch16_224", 224),
    ("timm", "mixer_s32_224", 224),
    ("timm", "edgenext_xx_small", 128),
)
MICRO_BATCH = 16
ROUNDS = 15


def made(package: str, name: str, side: int) -> tuple[Any, Any]:
    """The module and the chain of its units, of equal weights."""
    import torch
    from torch import nn

    from planner.model.build import build_unit
    from planner.model.importers.given import Given
    from planner.model.importers.module import import_chain
    from planner.model.shapes import model_sizes

    torch.manual_seed(0)
    torch.set_num_threads(1)
    module = build(package, name, side)
    chain = import_chain(Given(module, torch.zeros(1, 3, side, side)))
    shapes = (chain.model.input, *(sizes.output for sizes in model_sizes(chain.model)))
    pairs = zip(chain.model.units, shapes, strict=False)
    units = nn.Sequential(*(build_unit(unit, shape) for unit, shape in pairs))
    for key, tensor in units.state_dict(keep_vars=True).items():
        tensor.data = chain.tensors[f"units.{key}"].detach().clone()
    return module.train(), units.train()


def step(network: Any, data: Any) -> float:
    """CPU seconds of forward and backward."""
    network.zero_grad(set_to_none=True)
    start = time.process_time()
    network(data).sum().backward()
    return time.process_time() - start


def seconds(package: str, name: str, side: int) -> float:
    """How many times the module's own the interpreter's seconds are."""
    import torch

    networks = made(package, name, side)
    data = torch.randn(MICRO_BATCH, 3, side, side)
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for network, times in zip(networks, found, strict=True):
            times.append(step(network, data))
    own, ours = (statistics.median(times[2:]) for times in found)
    return ours / own


def highest(package: str, name: str, side: int, which: int) -> int:
    """Bytes that a step adds at its highest, by one of the two."""
    import ctypes
    import gc
    from pathlib import Path

    import torch

    networks = list(made(package, name, side))
    network = networks[which]
    del networks
    gc.collect()
    data = torch.randn(MICRO_BATCH, 3, side, side)
    for _ in range(3):
        step(network, data)
    network.zero_grad(set_to_none=True)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = read_memory().resident_bytes
    step(network, data)
    return read_memory().peak_bytes - before


def child(*words: str | int) -> Any:
    """What this module prints in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.doors.interpreter", *map(str, words)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> None:
    """See the module."""
    print("Made by `python -m benchmarks.doors.interpreter`.\n")
    print("| network | input | seconds, interpreter to module | MiB, module | MiB, interpreter | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    ratios: list[tuple[float, float]] = []
    for package, name, side in NETWORKS:
        slower = child("seconds", package, name, side)
        own, ours = (child("bytes", package, name, side, which) for which in (0, 1))
        ratios.append((slower, ours / own))
        cells = f"{slower:.3f} | {own / 2**20:.1f} | {ours / 2**20:.1f} | {ours / own:.3f}"
        print(f"| {name} | {side} | {cells} |", flush=True)
    medians = [statistics.median(column) for column in zip(*ratios, strict=True)]
    print(f"\nMedian: {medians[0]:.3f} of the seconds, {medians[1]:.3f} of the bytes.")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["seconds", package, name, side]:
            print(seconds(package, name, int(side)))
        case ["bytes", package, name, side, which]:
            print(highest(package, name, int(side), int(which)))
        case _:
            main()
