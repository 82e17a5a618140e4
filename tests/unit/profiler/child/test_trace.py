"""Traces against what arithmetic says, and composed traces against a whole step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from planner.model.build import build_unit
from planner.model.shapes import model_sizes
from planner.model.zoo import from_zoo
from planner.profiler.child.meter import CpuMeter, Event, Meter, Phase, meter_for, without_free
from planner.profiler.child.trace import (
    Step,
    set_gradients,
    trace_detached,
    trace_head,
    trace_inference,
    trace_step,
    trace_unit,
)
from planner.schema.common import OptimizerConfig
from planner.schema.profile import Traces
from planner.training.optimizers import make_optimizer
from planner.training.segment import train_segment

SAMPLES = 8


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def _step() -> Step:
    optimizer = make_optimizer(OptimizerConfig("sgd", 0.1, 0.9))
    optimizer.lr = 0.0
    return optimizer.step


def _trace(unit: nn.Module, inputs: torch.Tensor) -> Traces:
    trace_unit(CpuMeter(), unit, inputs, step := _step())  # makes the optimizer's state
    return trace_unit(CpuMeter(), unit, inputs, step)[0]


def test_a_linear_unit_keeps_its_output_and_makes_two_gradients() -> None:
    traces = _trace(nn.Linear(100, 50, bias=False), torch.rand(SAMPLES, 100))
    output, weight, given = 4 * SAMPLES * 50, 4 * 100 * 50, 4 * SAMPLES * 100
    assert traces.inner.kept_bytes == output
    assert traces.inner.saved_bytes <= 64  # a linear layer saves its input and weight, which were there before
    assert traces.inner.end_bytes == pytest.approx(weight + given, abs=64)
    assert traces.first.end_bytes == pytest.approx(weight, abs=64)
    assert traces.inner_accumulating.end_bytes == pytest.approx(given, abs=64)
    assert traces.first_accumulating.end_bytes <= 64
    # Output's gradient, the weight's and the input's; somebody who holds the output adds it.
    assert traces.inner.backward_peak_bytes == pytest.approx(output + weight + given, abs=64)
    assert traces.inner.held_backward_peak_bytes == pytest.approx(2 * output + weight + given, abs=64)
    # Stepping inside backward, the weight's gradient goes as soon as it is there.
    assert traces.inner_stepping.end_bytes == pytest.approx(given, abs=64)
    assert traces.first_stepping.end_bytes <= 64
    assert traces.inner_stepping.backward_peak_bytes >= output + weight


def test_max_pooling_saves_its_64_bit_indices_but_not_its_output() -> None:
    traces = _trace(nn.MaxPool2d(2), torch.rand(SAMPLES, 4, 16, 16))
    pooled = SAMPLES * 4 * 8 * 8
    assert traces.inner.kept_bytes == pytest.approx(4 * pooled + 8 * pooled, abs=64)
    assert traces.inner.saved_bytes == pytest.approx(8 * pooled, abs=64)


def test_rectified_output_is_saved_once_although_it_is_output_and_saved() -> None:
    traces = _trace(nn.ReLU(), torch.rand(SAMPLES, 1000))
    assert traces.inner.kept_bytes == traces.inner.saved_bytes == pytest.approx(4 * SAMPLES * 1000, abs=64)


def test_dropout_saves_its_mask() -> None:
    traces = _trace(nn.Dropout(0.5), torch.rand(SAMPLES, 1000))
    numel = SAMPLES * 1000
    # Output of 4 bytes an element; the mask is one byte in a fused kernel, four otherwise.
    assert traces.inner.saved_bytes in range(numel, 4 * numel + 65)
    assert traces.inner.kept_bytes == pytest.approx(4 * numel + traces.inner.saved_bytes, abs=64)


def test_inference_keeps_the_output_alone() -> None:
    found = trace_inference(CpuMeter(), nn.Sequential(nn.Linear(100, 200), nn.Linear(200, 10)), torch.rand(8, 100))
    assert found.kept_bytes == 4 * 8 * 10
    assert found.peak_bytes == 4 * 8 * (200 + 10)


def test_a_forward_that_saves_nothing_needs_less_than_one_that_saves() -> None:
    unit = nn.Sequential(nn.Linear(100, 200), nn.ReLU(), nn.Linear(200, 10))
    # Hidden output and its rectified copy together, then the latter beside the unit's own output.
    assert trace_detached(CpuMeter(), unit, torch.rand(8, 100)) == 4 * 8 * (200 + 200)
    assert unit.training


def test_somebody_who_holds_a_block_keeps_it_from_the_moment_it_would_have_gone() -> None:
    before = Phase(0, (Event(1, 100), Event(2, 30)))
    after = Phase(130, (Event(1, -100), Event(3, 50), Event(1, 20), Event(1, -20)))
    free, held = [before, after][1], without_free([before, after], frozenset([1]))[1]
    assert (free.peak, free.bytes) == (130, 80)
    assert (held.peak, held.bytes) == (200, 180)


def test_an_adam_step_needs_one_tensor_and_sgd_none() -> None:
    for kind, expected in (("sgd", 0), ("adam", 4 * 1000)):
        settings = OptimizerConfig(kind, 0.1, 0.9 if kind == "sgd" else 0.0)  # type: ignore[arg-type]  # a literal in a loop
        parameters = [nn.Parameter(torch.rand(1000)), nn.Parameter(torch.rand(10))]
        step = partial(make_optimizer(settings).step, parameters)
        set_gradients(parameters, existing=True)
        step()
        assert trace_step(CpuMeter(), step) == pytest.approx(expected, abs=64)


def _compose(units: Sequence[Traces], head: Traces, sizes: Sequence[int]) -> int:
    """A segment's peak as docs/design/memory.md composes it, written out for one segment with empty gradients."""
    pieces = [units[0].first, *(traces.inner for traces in units[1:]), head.inner]
    level = peak = 0
    for trace in pieces:
        peak = max(peak, level + trace.forward_peak_bytes)
        level += trace.kept_bytes
    gradients = 0
    for index in reversed(range(len(pieces))):
        level -= pieces[index].kept_bytes
        peak = max(peak, level + pieces[index].backward_peak_bytes + gradients)
        gradients += sizes[index]
    return peak


@pytest.mark.parametrize(("name", "batch"), [("cnn6", 4), ("cnn6", 32), ("vgg11", 3), ("resnet18", 4)])
def test_composed_traces_predict_a_whole_step(name: str, batch: int) -> None:
    model = from_zoo(name, (3, 32, 32), 10)
    shapes = [model.input, *(sizes.output for sizes in model_sizes(model))]
    generator = torch.Generator().manual_seed(0)
    modules = [build_unit(unit, shape, generator) for unit, shape in zip(model.units, shapes, strict=False)]
    meter = CpuMeter()
    labels = torch.zeros(batch, dtype=torch.int64)
    units = [
        trace_unit(meter, module, torch.rand(batch, *shape), _step())[0]
        for module, shape in zip(modules, shapes, strict=False)
    ]
    head = trace_head(meter, None, F.cross_entropy, torch.rand(batch, 10), labels, _step())
    sizes = [*(sum(p.nbytes for p in module.parameters()) for module in modules), 0]
    predicted = _compose(units, head, sizes)

    inputs = torch.rand(batch, *model.input)

    def step() -> None:
        meter.mark()
        train_segment(modules, None, F.cross_entropy, inputs, labels)
        meter.mark()

    start, end = meter.record(step)
    real = end.peak - start.bytes
    assert 0.99 * real <= predicted <= 1.03 * real


def _on(meter: Meter, module: nn.Module, *shape: int) -> Traces:
    return trace_unit(meter, module.to(meter.device), torch.rand(*shape).to(meter.device), _step())[0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_cuda_traces_follow_the_same_arithmetic_rounded_to_512_bytes() -> None:
    traces = _on(meter_for("cuda"), nn.Linear(1000, 500, bias=False), 64, 1000)
    output, weight, given = 4 * 64 * 500, 4 * 1000 * 500, 4 * 64 * 1000
    assert traces.inner.kept_bytes == pytest.approx(output, abs=1024)
    assert traces.inner.end_bytes == pytest.approx(weight + given, abs=2048)
    # cuBLAS' workspace comes on top.
    assert traces.inner.backward_peak_bytes >= output + weight + given


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_cuda_events_give_the_peak_of_the_allocators_own_statistics() -> None:
    meter = meter_for("cuda")
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()

    def run() -> None:
        meter.mark()
        torch.rand(1000, 1000, device=meter.device) @ torch.rand(1000, 1000, device=meter.device)
        meter.mark()

    start, end = meter.record(run)
    assert end.peak - start.bytes == torch.cuda.max_memory_allocated() - before
