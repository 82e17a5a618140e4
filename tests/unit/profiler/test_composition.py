"""Traces of single units, composed by the solver, against the allocator's peak of whole steps that really happen."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from planner.heads.base import HeadKind
from planner.heads.convolution import ConvHead
from planner.heads.kinds import AuxiliaryHead
from planner.heads.lookahead import LookaheadHead
from planner.heads.mlp import MlpHead
from planner.heads.reconstruct import ReconstructHead
from planner.model.activations import Activations
from planner.model.build import build_unit
from planner.model.heads import heads_at
from planner.model.shapes import model_sizes
from planner.profiler.child.meter import Meter, meter_for
from planner.profiler.child.trace import set_gradients, trace_detached, trace_head, trace_unit
from planner.schema.common import Dtype
from planner.schema.model import (
    Activation,
    AdaptivePool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    Model,
    Pool2d,
    Residual,
    Unit,
)
from planner.schema.profile import ComponentProfile, Costs, HeadProfile, Profile, Traces
from planner.schema.request import Budget, Request, Training
from planner.solver.memory_model import is_legal, live_bytes
from planner.solver.problem import BlockChoice, Problem
from planner.training.heads import build_head
from planner.training.optimizer_in_backward import optimizer_in_backward
from planner.training.optimizers import Optimizer, make_optimizer
from planner.training.segment import train_segment
from tests.heads import heads
from tests.unit import joint_chains
from tests.unit.solver.two_units import SGD, tiny_profile

BATCH = 4
FILTERS = 16
IMAGE = (3, 16, 16)
CUT = 2
CLASSES = 10


def _conv(filters: int, *more: Layer) -> tuple[Layer, ...]:
    convolution = Conv2d("conv2d", filters, 3, padding=1, bias=False)
    return (convolution, BatchNorm2d("batchnorm2d"), Activation("relu"), *more)


HEADS: dict[HeadKind, AuxiliaryHead] = {
    "pooled-conv": ConvHead("auxiliary", FILTERS),
    "mlp": MlpHead("mlp", FILTERS),
    "lookahead": LookaheadHead("lookahead", 2),
    "reconstruct": ReconstructHead("reconstruct", FILTERS),
}
LAST = (AdaptivePool2d("adaptive_avg_pool2d", 2, 2), Flatten("flatten"), Linear("linear", CLASSES))
NETWORKS: dict[str, tuple[tuple[Layer, ...], ...]] = {
    "plain": (_conv(16), _conv(32), _conv(32), LAST),
    "pooling and dropout": (
        _conv(16),
        _conv(32, Pool2d("max_pool2d", 2, 2)),
        _conv(32, Dropout("dropout", 0.3)),
        LAST,
    ),
    "residual": (
        _conv(16),
        (Residual("residual", _conv(16)), Activation("relu")),
        (Conv2d("conv2d", 32, 3, padding=1), Activation("gelu")),
        LAST,
    ),
}


@dataclass(frozen=True)
class _Network:
    """Units, heads behind some, their optimizer with its state made, and a profile of what was traced."""

    meter: Meter
    units: list[nn.Module]
    heads: dict[int, nn.Module]
    """By boundary."""
    optimizer: Optimizer
    profile: Profile

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [parameter for module in (*self.units, *self.heads.values()) for parameter in module.parameters()]


@cache
def _joint_network(name: str) -> _Network:
    """The same of a network whose skips are carried along, with heads where several tensors pass."""
    torch.set_num_threads(1)
    units, meter, optimizer = JOINT[name], meter_for("cpu"), make_optimizer(SGD)
    shapes, modules = joint_chains.shapes(units), joint_chains.built(units)
    pieces = []
    for module, given, made in zip(modules, shapes, shapes[1:], strict=False):
        inputs = tuple(torch.rand(BATCH, *shape) for shape in given)
        _make_state(optimizer, list(module.parameters()))
        activations = inputs if len(inputs) > 1 else inputs[0]
        traces, _ = trace_unit(meter, module, activations, optimizer.step)
        output, detached = 4 * sum(map(prod, made)), trace_detached(meter, module, activations)
        pieces.append(_piece(list(module.parameters()), traces, output, detached))
    spec, built, found = ConvHead("auxiliary", FILTERS), {}, []
    for boundary in (2, 3):
        first = shapes[boundary][0]
        built[boundary] = build_head(spec, first, (CLASSES,), torch.Generator().manual_seed(0))
        cost = _head(meter, optimizer, built[boundary], torch.rand(BATCH, *first))
        found.append(HeadProfile.of(boundary, spec, cost))
    loss = HeadProfile(len(units), "classifier", 0, _head(meter, optimizer, None, torch.rand(BATCH, CLASSES)))
    profile = replace(tiny_profile(tuple(pieces)), model=joint_chains.model(units), heads=(*found, loss))
    return _Network(meter, modules, built, optimizer, profile)


JOINT = {"u-net": joint_chains.UNET, "dense": joint_chains.DENSE}
JOINT_SPANS = [(), ((1, 2),), ((1, 3),), ((2, 4),), ((0, 2), (2, 4)), ((0, 5),), ((0, 1), (1, 2), (2, 3), (3, 4))]


@pytest.mark.parametrize("way", ["stepping after", "accumulating"])
@pytest.mark.parametrize("spans", JOINT_SPANS, ids=str)
@pytest.mark.parametrize("name", JOINT)
def test_skips_that_are_carried_along_are_counted_as_long_as_they_live(
    name: str, spans: tuple[tuple[int, int], ...], way: str
) -> None:
    network, accumulating = _joint_network(name), way == "accumulating"
    choice = BlockChoice(0, BATCH, (5,), heads(0), recompute=spans)
    real = _real(network, choice, accumulating)
    # What passes at one boundary is counted until backward is there, though nobody may need it: a `cat` saves nothing.
    passing = max(4 * BATCH * sum(map(prod, shapes)) for shapes in joint_chains.shapes(JOINT[name]))
    assert real - 1024 <= _predicted(network, choice, accumulating) <= 1.01 * real + passing


JOINT_CUTS = [
    ((2, 5), ()),
    ((3, 5), ()),
    ((2, 3, 5), ()),
    ((3, 5), ((0, 2),)),
    ((3, 5), ((1, 3), (3, 5))),
    ((2, 3, 5), ((0, 2), (2, 3))),
]


@pytest.mark.parametrize("way", ["stepping after", "stepping within", "accumulating"])
@pytest.mark.parametrize(("ends", "spans"), JOINT_CUTS, ids=str)
@pytest.mark.parametrize("name", JOINT)
def test_skips_that_pass_a_cut_are_counted_once(
    name: str, ends: tuple[int, ...], spans: tuple[tuple[int, int], ...], way: str
) -> None:
    network, accumulating = _joint_network(name), way == "accumulating"
    found = heads(*(FILTERS for _ in ends[1:]), 0)
    choice = BlockChoice(0, BATCH, ends, found, spans, optimizer_in_backward=way == "stepping within")
    real = _real(network, choice, accumulating)
    passing = max(4 * BATCH * sum(map(prod, shapes)) for shapes in joint_chains.shapes(JOINT[name]))
    assert real - 1024 <= _predicted(network, choice, accumulating) <= 1.01 * real + passing


@cache
def _network(name: str, dtype: Dtype = "float32", kind: HeadKind = "pooled-conv") -> _Network:
    torch.set_num_threads(1)
    units = tuple(Unit(f"unit{index}", layers) for index, layers in enumerate(NETWORKS[name]))
    model = Model("model/1", name.replace(" ", "-"), IMAGE, CLASSES, units)
    shapes = [IMAGE, *(sizes.output for sizes in model_sizes(model))]
    generator = torch.Generator().manual_seed(0)
    modules: list[nn.Module] = [
        build_unit(unit, shape, generator, dtype) for unit, shape in zip(units, shapes, strict=False)
    ]
    (spec,) = heads_at((HEADS[kind],), model, CUT, shapes)
    head = build_head(spec, shapes[CUT], (CLASSES,), generator, dtype)
    meter, optimizer = meter_for("cpu"), make_optimizer(SGD)
    inner = getattr(torch, dtype)
    came = [torch.rand(BATCH, *shape).to(torch.float32 if shape == IMAGE else inner) for shape in shapes]
    pieces = [_unit(meter, optimizer, module, inputs) for module, inputs in zip(modules, came, strict=False)]
    heads = (
        HeadProfile.of(CUT, spec, _head(meter, optimizer, head, came[CUT])),
        HeadProfile(len(units), "classifier", 0, _head(meter, optimizer, None, came[-1])),
    )
    return _Network(meter, modules, {CUT: head}, optimizer, replace(tiny_profile(tuple(pieces)), heads=heads))


def _unit(meter: Meter, optimizer: Optimizer, module: nn.Module, inputs: Tensor) -> ComponentProfile:
    parameters = list(module.parameters())
    _make_state(optimizer, parameters)
    traces, _ = trace_unit(meter, module, inputs, optimizer.step)
    output = module(inputs).detach()
    return _piece(parameters, traces, output[0].nbytes, trace_detached(meter, module, inputs))


def _head(meter: Meter, optimizer: Optimizer, module: nn.Module | None, inputs: Tensor) -> ComponentProfile:
    parameters = list(module.parameters()) if module else []
    _make_state(optimizer, parameters)
    labels = torch.zeros(BATCH, dtype=torch.int64)
    return _piece(parameters, trace_head(meter, module, F.cross_entropy, inputs, labels, optimizer.step), 0, 0)


def _make_state(optimizer: Optimizer, parameters: list[nn.Parameter]) -> None:
    set_gradients(parameters, existing=True)
    optimizer.step(parameters)


def _piece(parameters: list[nn.Parameter], traces: Traces, output: int, detached: int) -> ComponentProfile:
    size = sum(parameter.nbytes for parameter in parameters)
    costs = Costs(BATCH, traces, detached, BATCH * output, detached, 0.0, 0.0, 0.0, 0.0)
    return ComponentProfile(size // 4, size, 0, size, 0, 0.0, 0, output, 1, (costs,))


def _predicted(network: _Network, choice: BlockChoice, accumulating: bool) -> int:
    """Dynamic bytes at the peak, as the solver composes them."""
    training = Training(batch=BATCH * (1 + accumulating), epochs=1, samples=BATCH, optimizer=SGD)
    kind = next((head.asked_as for head in choice.heads if head is not None), None)
    problem = Problem(network.profile, Request(Budget(10**9, "training"), training, head=kind))
    assert is_legal(problem, choice)
    return live_bytes(problem, choice).highest.level


def _real(network: _Network, choice: BlockChoice, accumulating: bool) -> int:
    """The same, of one micro-batch trained as the runner does, seen by the allocator."""
    images, labels = torch.rand(BATCH, *IMAGE), torch.zeros(BATCH, dtype=torch.int64)
    parameters, fused = network.parameters, choice.optimizer_in_backward
    set_gradients(parameters, accumulating)

    def run() -> None:
        network.meter.mark()
        inputs: Activations = images
        for start, end in zip((0, *choice.ends), choice.ends, strict=False):
            spans = [(first - start, last - start) for first, last in choice.recompute if start <= first < end]
            head = network.heads.get(end) if end < len(network.units) else None
            _, held = train_segment(
                network.units[start:end],
                head,
                F.cross_entropy,
                inputs,
                labels,
                hold_output=head is not None,
                recompute=spans,
            )
            if not accumulating and not fused:
                network.optimizer.step(parameters)
                set_gradients(parameters, existing=False)
            inputs = images if held is None else held
            del held
        network.meter.mark()

    with optimizer_in_backward(parameters, network.optimizer.step) if fused else nullcontext():
        before, step = network.meter.record(run)
    return step.peak - before.bytes


UNCUT = BlockChoice(0, BATCH, (4,), heads(0))
CUT_ONCE = BlockChoice(0, BATCH, (CUT, 4), heads(FILTERS, 0))
CHOICES = [
    UNCUT,
    replace(UNCUT, recompute=((0, 2),)),
    replace(UNCUT, recompute=((1, 3),)),
    replace(UNCUT, recompute=((0, 1), (2, 4))),
    replace(CUT_ONCE, recompute=((0, 2),)),
    replace(CUT_ONCE, recompute=((0, 1), (2, 3))),
]


@pytest.mark.parametrize("way", ["stepping after", "stepping within", "accumulating"])
@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: f"{choice.ends} {choice.recompute}")
@pytest.mark.parametrize("dtype", get_args(Dtype))
@pytest.mark.parametrize("name", NETWORKS)
def test_composed_traces_are_the_allocators_peak(name: str, dtype: Dtype, choice: BlockChoice, way: str) -> None:
    network, accumulating = _network(name, dtype), way == "accumulating"
    choice = replace(choice, optimizer_in_backward=way == "stepping within")
    real = _real(network, choice, accumulating)
    assert real - 1024 <= _predicted(network, choice, accumulating) <= 1.01 * real


@pytest.mark.parametrize("way", ["stepping after", "stepping within", "accumulating"])
@pytest.mark.parametrize("kind", HEADS)
def test_traces_of_every_kind_of_head_are_the_allocators_peak(kind: HeadKind, way: str) -> None:
    """Also where the segment's input, which one kind looks at, has another shape than what the head was traced with."""
    network, accumulating = _network("plain", "float32", kind), way == "accumulating"
    (measured, _) = network.profile.heads
    choice = replace(CUT_ONCE, heads=(measured.head, None), optimizer_in_backward=way == "stepping within")
    real = _real(network, choice, accumulating)
    assert real - 1024 <= _predicted(network, choice, accumulating) <= 1.01 * real


def test_recomputing_and_stepping_within_backward_take_less() -> None:
    network = _network("plain")
    plain = _real(network, UNCUT, accumulating=False)
    # While the third unit runs backward, all that the first saved is not there (the outputs of its convolution and its
    # rectifier), nor what the second did beside its output (that of its convolution).
    spared = 4 * BATCH * 16 * 16 * (16 + 16 + 32)
    recomputed = _real(network, replace(UNCUT, recompute=((0, 2),)), accumulating=False)
    assert plain - recomputed == pytest.approx(spared, rel=0.01)
    assert _real(network, replace(UNCUT, optimizer_in_backward=True), accumulating=False) < plain
