"""One run of the campaign: a plan whose cuts are given, trained by the session that the product's child runs.

In this process and without a supervisor, a budget or a dry step's guard: what is computed is what a run computes (the
same `Session`, blocks, caches, schedule and seeds), at a fraction of the cost.
"""

from __future__ import annotations

import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.case import Case
from benchmarks.accuracy.networks import INPUT, NETWORKS
from benchmarks.make_sample import Bytes, read_idx, write_npz
from planner.data.dataset import FASHION_MNIST_FOLDER
from planner.heads.convolution import ConvHead
from planner.heads.kinds import AuxiliaryHead
from planner.heads.lookahead import LookaheadHead
from planner.heads.mlp import MlpHead
from planner.heads.reconstruct import ReconstructHead
from planner.model.heads import heads_at
from planner.model.shapes import unit_sizes
from planner.runner.protocol.events import BlockDone, Event
from planner.runner.protocol.job import TrainingJob
from planner.runner.train.guard import MemoryGuard
from planner.runner.train.session import Session
from planner.runner.train.stop import StopSignal
from planner.schema.codec import to_json
from planner.schema.common import Device, OptimizerConfig
from planner.schema.model import Model
from planner.schema.plan import Block, BlockInput, Exit, Plan, Segment
from planner.schema.prediction import PlanPrediction, unpredicted
from planner.schema.preprocessing import Normalisation
from planner.schema.request import Budget, Training
from planner.schema.run_folder import RunFolder
from planner.system.machine import fingerprint, probe
from tests.prepared import open_prepared

SAMPLES, TEST_SAMPLES, BATCH, VIEWS = 4000, 10000, 32, 4
"""Training images; test images that there are; of a step; augmented passes that a cache holds."""


def write_data(path: Path, held_out: int) -> None:
    """The first images of Fashion-MNIST's training part, and `held_out` others: test images, then, of what is left of
    the training part, the first. Every 2×2 pixels are averaged."""

    def halved(images: Bytes) -> Bytes:
        pixels = images.astype(np.uint16).reshape(len(images), 14, 2, 14, 2).sum(axis=(2, 4), dtype=np.uint16)
        return ((pixels + 2) // 4).astype(np.uint8)

    def read(part: str, count: int) -> tuple[Bytes, Bytes]:
        folder = FASHION_MNIST_FOLDER
        images = read_idx(folder / f"{part}-images-idx3-ubyte.gz", count)
        return halved(images), read_idx(folder / f"{part}-labels-idx1-ubyte.gz", count)

    tested = min(held_out, TEST_SAMPLES)
    images, labels = read("train", SAMPLES + held_out - tested)
    test_images, test_labels = read("t10k", tested)
    write_npz(
        path,
        {
            "images": images[:SAMPLES],
            "labels": labels[:SAMPLES],
            "test_images": np.concatenate((test_images, images[SAMPLES:])),
            "test_labels": np.concatenate((test_labels, labels[SAMPLES:])),
        },
    )


def boundaries(model: Model, segments: int) -> list[int]:
    """Cuts that part the units that extract features as evenly as possible; 0: behind every one of them."""
    extracting = [index for index, unit in enumerate(model.units) if unit.extracts_features]
    count = min(segments or len(extracting), len(extracting))
    ends = [extracting[round(len(extracting) * part / count) - 1] + 1 for part in range(1, count)]
    return [0, *ends, len(model.units)]


def _head(case: Case) -> AuxiliaryHead:
    heads: dict[str, AuxiliaryHead] = {
        "pooled-conv": ConvHead("auxiliary", case.width),
        "mlp": MlpHead("mlp", case.width),
        "lookahead": LookaheadHead("lookahead", case.width),
        "reconstruct": ReconstructHead("reconstruct", case.width),
    }
    return heads[case.head]


def make_plan(case: Case) -> Plan:
    """The plan of a run; what it says of bytes and seconds is not looked at."""
    model = NETWORKS[case.network]()
    shapes = [model.input]
    for unit in model.units:
        shapes.append(unit_sizes(unit, shapes[-1]).output)
    bounds = boundaries(model, case.segments)
    segments, exits = [], []
    for first, last in pairwise(bounds):
        window = case.overlap if last + case.overlap < len(model.units) else 0
        is_last = last == len(model.units)
        head = None if is_last else next(heads_at([_head(case)], model, last + window, shapes))
        segments.append(Segment((first, last), head, window=window))
        if not window:
            exits.append(Exit(last, head))
    parts = [tuple(segments)] if case.blocks == "together" else [(segment,) for segment in segments]
    blocks = []
    for part in parts:
        first, last = part[0].units[0], part[-1].units[1]
        read = BlockInput("cache" if first else "data", first, 64, "float32" if first else "uint8")
        blocks.append(Block((first, last), BATCH, 1, False, read, part, unpredicted(), ()))
    here = probe()
    kind = fingerprint(here, here.torch_version, 1, "cpu")
    return Plan(
        schema="plan/1",
        id="",
        model=model,
        device=Device("campaign", kind, "cpu", 1, here.torch_version or "", 2**34),
        strategy="auto",
        prefer="balanced",
        budget=Budget(2**33, "process"),
        storage_bytes=None,
        reserve_bytes=0,
        allocator="tight",
        profile_id="0",
        training=Training(
            BATCH,
            case.epochs,
            SAMPLES,
            OptimizerConfig("sgd", case.lr, 0.9, weight_decay=5e-4),
            augment="crop-flip",
            views=min(VIEWS, case.epochs),
            seed=case.seed,
            normalisation=Normalisation((0.286,), (0.33,)),
        ),
        baseline_bytes=1,
        blocks=tuple(blocks),
        exits=tuple(exits),
        predicted=PlanPrediction(1, 1.0, 0),
        minimum_budget_bytes=1,
        optimality_gap=0.0,
        alternatives=(),
    )


def train(case: Case, data: Path) -> dict[str, Any]:
    """Run a case, and say what came of it: percent of test images that every head gets right, the last one's first."""
    plan = make_plan(case)
    done: list[BlockDone] = []

    def tell(event: Event) -> None:
        if isinstance(event, BlockDone):
            done.append(event)

    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        (out / "weights").mkdir()
        RunFolder(out).plan.write_text(to_json(plan))
        with open_prepared(data, out, size=INPUT) as records:
            job = TrainingJob(str(out), str(data), checkpoint_seconds=1e6)
            Session(job, plan, records, MemoryGuard(None), tell, StopSignal()).run()
    found = [round(100 * exit.accuracy, 3) for block in done for exit in block.exits]
    return {
        "accuracy": found[-1],
        "exits": found,
        "ends": [segment.units[1] for block in plan.blocks for segment in block.segments],
        "units": sum(unit.extracts_features for unit in plan.model.units),
        "losses": [round(block.loss, 4) for block in done],
        "samples": SAMPLES,
        "batch": BATCH,
        "cpu_seconds": round(time.process_time() - started, 1),
    }
