"""A small plan, its report and a run folder, built by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from planner.heads.convolution import ConvHead
from planner.heads.pooled import PooledHead
from planner.schema.codec import to_json
from planner.schema.common import Device, OptimizerConfig
from planner.schema.model import Activation, BatchNorm2d, Layer, Linear, Model, Residual, Unit
from planner.schema.plan import Alternative, Block, BlockInput, Exit, Plan, Polish, Segment
from planner.schema.prediction import BlockPrediction, Breakdown, PhasePeaks, PlanPrediction
from planner.schema.report import BlockReport, CacheReport, PolishReport, Report
from planner.schema.report_parts import ExitReport
from planner.schema.request import Budget, Training

RELU = Activation("relu")
NORM = BatchNorm2d("batchnorm2d")


def make_model(names: tuple[str, ...], layers: tuple[Layer, ...] = (RELU,)) -> Model:
    *inner, last = names
    units = [Unit(name, layers) for name in inner]
    return Model("model/1", "small-net", (3, 20, 30), 7, (*units, Unit(last, (Linear("linear", 7),))))


def prediction(peak: int, seconds: float, binding: str = "transient") -> BlockPrediction:
    breakdown = Breakdown(90_000_001, 1_000_003, 2_500_007, 1_750_011, 3_000_013, 20_000_017, 40_000_019, 600_023)
    return BlockPrediction(peak, PhasePeaks(peak, 0, 0, 0), breakdown, seconds, 0.5, binding)


def block(first: int, ends: tuple[int, ...], filters: tuple[int | None, ...], micro_batch: int, **others: Any) -> Block:
    starts = (first, *ends[:-1])
    heads = [None if count is None else ConvHead("auxiliary", count) for count in filters]
    spans = zip(starts, ends, heads, strict=True)
    chosen: dict[str, Any] = {
        "units": (first, ends[-1]),
        "micro_batch": micro_batch,
        "accumulate": 32 // micro_batch,
        "optimizer_in_backward": False,
        "input": BlockInput("cache" if first else "data", first, 100, "float32"),
        "segments": tuple(Segment((start, end), head) for start, end, head in spans),
        "predicted": prediction(260_000_000, 3.5),
        "ladder": (),
    }
    return Block(**{**chosen, **others})


def make_plan(model: Model, blocks: tuple[Block, ...], **others: Any) -> Plan:
    chosen: dict[str, Any] = {
        "schema": "plan/1",
        "id": "abcdef0123456789" * 4,
        "model": model,
        "device": Device("board", "2" * 64, "cpu", 2, "2.13.0", 2**30),
        "strategy": "auto",
        "prefer": "balanced",
        "budget": Budget(280_000_000, "process"),
        "storage_bytes": None,
        "reserve_bytes": 4 * 2**20,
        "allocator": "tight",
        "profile_id": "1" * 64,
        "training": Training(32, 3, 640, OptimizerConfig("sgd", 0.05, 0.9)),
        "baseline_bytes": 170_000_000,
        "blocks": blocks,
        "exits": (Exit(1, PooledHead("pooled")), Exit(len(model.units), None)),
        "predicted": PlanPrediction(271_000_000, 25.0, 64_000_000),
        "minimum_budget_bytes": 210_000_000,
        "optimality_gap": 0.0,
        "alternatives": ALTERNATIVES,
    }
    return Plan(**{**chosen, **others})


ALTERNATIVES = (
    Alternative("auto", 1, 0, 279_000_000, 40.0, 0),
    Alternative("auto", 2, 2, 271_000_000, 25.0, 64_000_000),
    Alternative("auto", 2, 3, 265_000_000, 20.0, 63_000_000),
    Alternative("backprop", 1, 0, 279_000_000, 45.0, 0),
)

MODEL = make_model(("alpha", "beta", "gamma", "delta", "omega"), (NORM, RELU))
"""Five units."""

PLAN = make_plan(
    MODEL,
    (
        block(0, (1, 3), (8, 24), 16, predicted=prediction(255_000_000, 3.25)),
        block(3, (5,), (None,), 32, predicted=prediction(271_000_000, 4.75, "runtime")),
    ),
)
"""Two blocks, two cuts: alpha | beta gamma | delta omega; the first block accumulates."""

PLAIN = make_plan(MODEL, (block(0, (5,), (None,), 32),))
"""Plain backpropagation."""

RESIDUAL = (Residual("residual", (NORM, RELU)),)
"""Batch normalisation, one level down."""

REPORT = Report(
    schema="report/1",
    plan_id=PLAN.id,
    budget_bytes=280_000_000,
    scope="process",
    peak_bytes=272_629_760,
    child_peak_bytes=251_658_240,
    supervisor_peak_bytes=20_971_520,
    baseline_bytes=171_000_000,
    within_budget=True,
    blocks=(
        BlockReport((0, 3), 16, 2, 255_000_000, 260_100_000, 3.25, 6.5, 3, 60, 1.23456),
        BlockReport((3, 5), 32, 1, 271_000_000, 268_290_000, 4.75, 0.0, 0, 9, 0.5),
    ),
    exits=(ExitReport(1, 1_234, 0.25, 812.25), ExitReport(5, 5_678_901, 0.8125, 99.5)),
    chosen_exit=5,
    accuracy=0.8125,
    seconds=185.0,
    cache=CacheReport(73_400_320, 1.5),
    deviations=(),
)


POLISHED = make_plan(
    MODEL,
    PLAN.blocks,
    training=replace(PLAN.training, polish=2),
    polish=Polish(2, 0.005, block(0, (5,), (None,), 16, predicted=prediction(275_000_000, 8.0), epochs=2)),
)
"""`PLAN` with two epochs end to end behind it."""

POLISHED_REPORT = replace(
    REPORT,
    polish=PolishReport(
        BlockReport((0, 5), 16, 2, 275_000_000, 270_000_000, 8.0, 9.0, 2, 40, 0.25),
        ExitReport(5, 5_678_901, 0.75, 99.5),
    ),
)


def line(seconds: float, block: int = 0, step: int = 0, **others: Any) -> dict[str, Any]:
    """One line of memory.jsonl, as a value."""
    sizes = {"resident_bytes": 200_000_000, "peak_bytes": 250_000_000, "loss": 1.5}
    return {"seconds": seconds, "block": block, "epoch": 0, "step": step, **sizes, **others}


LINES = (line(1.0), line(2.0, step=1, peak_bytes=251_000_000), line(5.5, block=1, resident_bytes=210_000_000))


def write_run(folder: Path, memory: bytes | None = None, plan: Plan = PLAN, report: Report = REPORT) -> Path:
    """The files that a run leaves and a report reads."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(to_json(plan))
    (folder / "report.json").write_text(to_json(replace(report, plan_id=plan.id)))
    if memory is None:
        memory = b"".join(json.dumps(value).encode() + b"\n" for value in LINES)
    (folder / "memory.jsonl").write_bytes(memory)
    return folder
