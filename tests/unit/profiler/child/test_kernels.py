"""The fallback of calibration: kernels of single units, where no whole step fits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from planner.profiler.child.kernels import Overhead
from planner.profiler.job import Job
from planner.schema.codec import decode, parse_json, to_json
from planner.schema.common import OptimizerConfig
from planner.schema.model import Activation, BatchNorm2d, Conv2d, Flatten, Linear, Model, Unit
from planner.units import MIB
from tests.heads import conv_heads

CONV = Unit("conv", (Conv2d("conv2d", 16, 3, padding=1), BatchNorm2d("batchnorm2d"), Activation("relu")))
TOP = Unit("top", (Flatten("flatten"), Linear("linear", 10)))


def _take(folder: Path, *units: Unit, max_bytes: int = 2**40) -> Overhead:
    """What a process of its own says."""
    model = Model("model/1", "some", (16, 16, 16), 10, units)
    path = folder / "job.json"
    path.write_text(
        to_json(Job(model, OptimizerConfig("sgd", 0.05, 0.9), (1, 8), conv_heads(16), "cpu", 1, "tight", max_bytes))
    )
    command = [sys.executable, "-m", "planner.profiler.child.kernels", str(path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return decode(Overhead, parse_json(done.stdout))


def test_kernels_of_a_convolution_stay_resident_beside_a_matrix_products(tmp_path: Path) -> None:
    alone, both = _take(tmp_path, TOP), _take(tmp_path, CONV, TOP)
    # Code that only convolutions run is at least a hundred pages; no tensor here is as large as what is allowed.
    assert alone.growth_bytes + 100 * 4096 < both.growth_bytes < 64 * MIB
    assert 0 < both.calibration_seconds < 10


def test_a_unit_whose_kernels_could_not_be_used_is_named_with_the_reason(tmp_path: Path) -> None:
    vast = Unit("vast", (Flatten("flatten"), Linear("linear", 65536)))  # a GiB of weights
    found = _take(tmp_path, CONV, vast, Unit("last", (Linear("linear", 10),)), max_bytes=600 * MIB)
    assert found.problems == ("vast: it does not fit",)
    assert found.growth_bytes > 0


def test_what_kernels_keep_is_said_of_the_unit_that_made_them(tmp_path: Path) -> None:
    again = Unit("again", CONV.layers)
    kept = _take(tmp_path, CONV, again, TOP).kept_bytes
    # The same shape once more finds its code made.
    assert kept[0] > 4 * kept[1] >= 0
    assert len(kept) == 3 and MIB // 8 < sum(kept) < 16 * MIB
