"""Recomputation changes memory and nothing else: every number is that of plain training, to the bit."""

from __future__ import annotations

import copy
import gc
import subprocess
import sys
import weakref
from collections.abc import Callable, Sequence
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from planner.model.activations import first_of
from planner.model.build import build_unit
from planner.schema.common import Dtype, OptimizerConfig
from planner.schema.model import (
    Activation,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    Pool2d,
    Residual,
    Unit,
)
from planner.training.optimizers import make_optimizer
from planner.training.recompute import recomputed
from planner.training.segment import train_segment
from tests.unit import joint_chains

SIDE = 8
LABELS = torch.tensor([0, 1, 2, 1])
CONV = (Conv2d("conv2d", 4, 3, padding=1), BatchNorm2d("batchnorm2d"))
RELU = Activation("relu")

MIDDLES: dict[str, tuple[Layer, ...]] = {
    "normalised, rectified in place": (*CONV, RELU),
    "dropout": (*CONV, RELU, Dropout("dropout", 0.5)),
    "residual": (Residual("residual", (*CONV, RELU, *CONV), (*CONV,)), RELU),
    "identity residual": (Residual("residual", CONV), RELU),
    "pooling and gelu": (*CONV, Activation("gelu"), Pool2d("max_pool2d", 3, 1, 1)),
    "cumulative statistics": (*CONV, RELU),
}
SETTINGS = {"sgd": OptimizerConfig("sgd", 0.1, 0.9, weight_decay=1e-2), "adam": OptimizerConfig("adam", 1e-2)}
SPANS = [((0, 1),), ((0, 2),), ((1, 3),), ((0, 1), (1, 3)), ((0, 4),)]


def recomputed_one(units: Sequence[nn.Module], inputs: Tensor) -> Tensor:
    """Where one tensor comes out."""
    return first_of(recomputed(units, inputs))


def _units(middle: str, dtype: Dtype = "float32") -> list[nn.Module]:
    """A convolution, the middle twice, a classifier."""
    generator = torch.Generator().manual_seed(1)
    inside, last = Unit("middle", MIDDLES[middle]), Unit("last", (Flatten("flatten"), Linear("linear", 3)))
    shape = (4, SIDE, SIDE)
    units = [build_unit(Unit("first", (*CONV, RELU)), (2, SIDE, SIDE), generator, dtype)]
    units += [build_unit(inside, shape, generator, dtype), build_unit(inside, shape, generator, dtype)]
    units += [build_unit(last, shape, generator, dtype)]
    if middle == "cumulative statistics":
        for part in units[1].modules():
            if isinstance(part, nn.BatchNorm2d):
                part.momentum = None
    return list(units)


def _trained(
    units: Sequence[nn.Module], settings: OptimizerConfig, recompute: Sequence[tuple[int, int]]
) -> tuple[list[Tensor], Tensor]:
    """Losses and gradients of three steps, and the generator's state behind them."""
    optimizer = make_optimizer(settings)
    parameters = [parameter for unit in units for parameter in unit.parameters()]
    torch.manual_seed(7)
    found = []
    for _ in range(3):
        loss, _ = train_segment(
            units, None, F.cross_entropy, torch.randn(4, 2, SIDE, SIDE), LABELS, recompute=recompute
        )
        found.append(loss)
        found += [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]
        optimizer.step(parameters)
        for parameter in parameters:
            parameter.grad = None
    return found, torch.get_rng_state()


@pytest.mark.parametrize("spans", SPANS, ids=str)
@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("dtype", get_args(Dtype))
@pytest.mark.parametrize("middle", MIDDLES)
def test_training_is_equal_to_the_bit(middle: str, dtype: Dtype, kind: str, spans: Sequence[tuple[int, int]]) -> None:
    plain = _units(middle, dtype)
    ours = copy.deepcopy(plain)
    expected, state = _trained(plain, SETTINGS[kind], ())
    found, our_state = _trained(ours, SETTINGS[kind], spans)
    assert len(found) == len(expected) > 3
    assert all(torch.equal(mine, other) for mine, other in zip(found, expected, strict=True))
    assert torch.equal(state, our_state)
    # Weights, running statistics and counters.
    for mine, other in zip(ours, plain, strict=True):
        states = mine.state_dict(), other.state_dict()
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("spans", [((1, 2),), ((1, 3),), ((0, 2), (2, 4)), ((2, 3), (3, 5)), ((0, 5),)])
@pytest.mark.parametrize("units", [joint_chains.UNET, joint_chains.DENSE], ids=["u-net", "dense"])
def test_spans_may_begin_and_end_where_several_tensors_pass(
    units: tuple[Unit, ...], spans: Sequence[tuple[int, int]]
) -> None:
    network = joint_chains.built(units)
    twin = copy.deepcopy(network)
    images = torch.rand(len(LABELS), *joint_chains.IMAGE)
    train_segment(network, None, F.cross_entropy, images, LABELS)
    train_segment(twin, None, F.cross_entropy, images, LABELS, recompute=spans)
    for mine, theirs in zip(network, twin, strict=True):
        for one, other in zip(mine.parameters(), theirs.parameters(), strict=True):
            assert one.grad is not None and other.grad is not None and torch.equal(one.grad, other.grad)


def test_weights_used_inside_and_outside_the_span_get_one_whole_gradient() -> None:
    torch.manual_seed(0)
    shared = nn.Linear(5, 5)
    inputs = torch.randn(3, 5)
    seen = []
    assert shared.weight.grad is None
    shared.weight.register_post_accumulate_grad_hook(lambda weight: seen.append(weight.grad.clone()))  # type: ignore[no-untyped-call]  # torch gives it no type
    for run in (lambda x: shared(shared(x)), lambda x: recomputed_one([shared, shared], x)):
        shared.weight.grad = None
        shared(run(shared(inputs))).sum().backward()
    assert len(seen) == 2
    assert torch.equal(seen[0], seen[1])


def test_the_inputs_gradient_is_that_of_plain_training() -> None:
    units = _units("dropout")[1:3]
    given = torch.randn(4, 4, SIDE, SIDE)
    gradients = []
    runs: tuple[Callable[[Tensor], Tensor], ...] = (lambda x: units[1](units[0](x)), lambda x: recomputed_one(units, x))
    for run in runs:
        torch.manual_seed(2)
        x = given.clone().requires_grad_()
        run(x).square().sum().backward()  # type: ignore[no-untyped-call]  # torch gives it no type
        gradients.append(x.grad)
    assert gradients[0] is not None and gradients[1] is not None
    assert torch.equal(gradients[0], gradients[1])


class _Watched(nn.Module):
    """Saves its output (an exponential does) and remembers every storage it has made."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[weakref.ref[torch.UntypedStorage]] = []

    def forward(self, x: Tensor) -> Tensor:
        output = x.exp()
        self.seen.append(weakref.ref(output.untyped_storage()))
        return output


def _alive(watched: _Watched) -> list[bool]:
    return [reference() is not None for reference in watched.seen]


def test_the_first_forward_saves_nothing_and_the_second_is_let_go_with_its_operators() -> None:
    watched, later = _Watched(), nn.Linear(3, 3)
    x = torch.randn(2, 3, requires_grad=True)
    behind: list[list[bool]] = []
    x.register_hook(lambda gradient: behind.append(_alive(watched)))  # type: ignore[no-untyped-call]  # torch gives it no type
    gc.disable()  # nothing may wait for the collector
    try:
        output = recomputed_one([watched, later], x)
        assert _alive(watched) == [False]
        output.sum().backward()  # type: ignore[no-untyped-call]  # torch gives it no type
    finally:
        gc.enable()
    assert len(watched.seen) == 2
    assert behind == [[False, False]]


def test_a_graph_never_run_backward_keeps_nothing() -> None:
    x = torch.randn(2, 3)
    holder = weakref.ref(x)
    gc.disable()
    try:
        output = recomputed_one([nn.Linear(3, 3)], x)
        del x
        assert holder() is not None
        del output
        assert holder() is None
    finally:
        gc.enable()


def test_an_overwritten_input_is_refused() -> None:
    units = [nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 3))]
    output = recomputed_one(units, torch.randn(2, 3))
    with pytest.raises(RuntimeError, match="input of a recomputed span was overwritten"):
        output.sum().backward()  # type: ignore[no-untyped-call]  # torch gives it no type


class _Fickle(nn.Module):
    """Does one operation more (or less) the second time."""

    def __init__(self, *times: int) -> None:
        super().__init__()
        self.times = list(times)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times.pop(0)):
            x = x.exp()
        return x


@pytest.mark.parametrize(("times", "word"), [((1, 2), "more"), ((2, 1), "fewer")])
def test_units_that_differ_the_second_time_are_refused(times: tuple[int, int], word: str) -> None:
    output = recomputed_one([_Fickle(*times)], torch.randn(2, 3, requires_grad=True))
    with pytest.raises(RuntimeError, match=f"saved {word} tensors the second time"):
        output.sum().backward()  # type: ignore[no-untyped-call]  # torch gives it no type


def test_statistics_that_are_not_tracked_stay_so() -> None:
    norms = [nn.BatchNorm2d(2), nn.BatchNorm2d(2, track_running_stats=False)]
    recomputed_one(norms, torch.randn(3, 2, 4, 4)).sum().backward()  # type: ignore[no-untyped-call]  # torch gives it no type
    assert [norm.track_running_stats for norm in norms] == [True, False]


def test_it_does_not_bring_in_the_compiler() -> None:
    code = (
        "import sys, torch\n"
        "from planner.training.recompute import recomputed\n"
        "recomputed([torch.nn.Linear(2, 2)], torch.ones(1, 2)).sum().backward()\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
