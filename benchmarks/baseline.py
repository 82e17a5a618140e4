"""What torch costs before any training: `python benchmarks/baseline.py > benchmarks/results/baseline.md`.

The training child after its first tiny step beside the obvious script, which imports torch, makes a tiny network, and
takes one step of torch.optim.SGD. Each is a process of its own; medians of five, interleaved.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

from planner.units import MIB

OURS = """
import json
from planner.runner.train import child
from planner.training.runtime import start_torch
started = start_torch("tight", 2)
print(json.dumps([started.baseline_bytes, started.peak_bytes]))
"""

OBVIOUS = """
import json, torch
torch.set_num_threads(2)
net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
images, labels = torch.ones(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64)
torch.nn.functional.cross_entropy(net(images).mean((2, 3)), labels).backward()
optimizer.step()
from planner.system.proc import read_memory
memory = read_memory()
print(json.dumps([memory.resident_bytes, memory.peak_bytes]))
"""

REPEATS = 5


def measure(code: str) -> list[int]:
    """Resident and peak bytes that a program reports."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: list[int] = json.loads(done.stdout)
    return found


def main() -> None:
    """Print the table."""
    runs = [(measure(OURS), measure(OBVIOUS)) for _ in range(REPEATS)]
    print("Made by `python benchmarks/baseline.py`. MiB, medians of five processes each.\n")
    print("| process | resident after its first tiny step | peak until then |")
    print("| --- | ---: | ---: |")
    for place, name in enumerate(("training child", "obvious torch.optim script")):
        resident, peak = (statistics.median(run[place][which] for run in runs) / MIB for which in (0, 1))
        print(f"| {name} | {resident:.1f} | {peak:.1f} |")


if __name__ == "__main__":
    main()
