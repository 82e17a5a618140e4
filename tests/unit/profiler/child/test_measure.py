"""The measuring child's answers, asked within this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from planner.errors import ModelError
from planner.model import build
from planner.profiler.child import layouts
from planner.profiler.child.layouts import boundary_layouts, laid_out, layout_of
from planner.profiler.child.measure import Measurer, check_finite
from planner.profiler.components import components_of
from planner.profiler.job import ComponentFailed, DoesNotFit, Job, Measured, Measurement, MeasurementResult
from planner.schema.common import OptimizerConfig
from planner.schema.model import Activation, BatchNorm2d, Conv2d, Flatten, Linear, Model, Unit
from tests.heads import conv_heads
from tests.unit import joint_chains
from tests.unit.system.support import run_child

MODEL = Model(
    schema="model/1",
    name="two",
    input=(3, 8, 8),
    classes=10,
    units=(
        Unit("conv", (Conv2d("conv2d", 4, 3, padding=1), BatchNorm2d("batchnorm2d"), Activation("relu"))),
        Unit("last", (Flatten("flatten"), Linear("linear", 10))),
    ),
)
JOB = Job(MODEL, OptimizerConfig("adam", 1000.0, weight_decay=1.0), (1, 2, 4), conv_heads(16), "cpu", 1, "tight", 2**40)
CONV, LOSS = 0, len(components_of(JOB)) - 1


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def measurer() -> Measurer:
    return Measurer(JOB)


def test_the_facts_of_a_unit_are_what_arithmetic_says(measurer: Measurer) -> None:
    answer = measurer.answer(Measurement(CONV, 2, with_facts=True, with_layers=False))
    assert isinstance(answer, Measured) and answer.facts is not None
    parameters = 4 * 3 * 9 + 4 + 4 + 4
    assert answer.facts.parameter_bytes == 4 * parameters
    assert answer.facts.optimizer_bytes == 2 * 4 * parameters
    assert answer.facts.buffer_bytes == 4 * (4 + 4) + 8
    assert answer.facts.step_seconds > 0
    assert answer.facts.flops >= 8 * 8 * 4 * 3 * 9  # the convolution's; normalisation comes on top
    assert answer.costs.micro_batch == 2
    assert answer.costs.inference_kept_bytes == 4 * 2 * 4 * 8 * 8


def test_facts_are_measured_only_where_they_are_asked_for(measurer: Measurer) -> None:
    answer = measurer.answer(Measurement(CONV, 4, with_facts=False, with_layers=False))
    assert isinstance(answer, Measured)
    assert answer.facts is None


def test_the_loss_alone_has_no_module(measurer: Measurer) -> None:
    answer = measurer.answer(Measurement(LOSS, 4, with_facts=True, with_layers=False))
    assert isinstance(answer, Measured) and answer.facts is not None
    assert (answer.facts.parameter_bytes, answer.facts.flops) == (0, 0)
    assert answer.costs.inference_peak_bytes == 0


class _Broken(nn.Module):
    def __init__(self, error: Exception | None, factor: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.error = error
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        if self.error is not None:
            raise self.error
        return x * self.weight * self.factor


@pytest.fixture
def answer_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[nn.Module], MeasurementResult]:
    """The answer where a component's module is another one."""

    def answer(module: nn.Module) -> MeasurementResult:
        with monkeypatch.context() as patched:
            patched.setattr(build, "build_unit", lambda *given: module)
            return Measurer(JOB).answer(Measurement(CONV, 2, with_facts=True, with_layers=False))

    return answer


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory")],
)
def test_memory_that_is_refused_means_that_it_does_not_fit(
    error: Exception, answer_with: Callable[[nn.Module], MeasurementResult]
) -> None:
    assert isinstance(answer_with(_Broken(error)), DoesNotFit)


def test_any_other_error_is_told(answer_with: Callable[[nn.Module], MeasurementResult]) -> None:
    answer = answer_with(_Broken(RuntimeError("Expected more than 1 value per channel")))
    assert isinstance(answer, ComponentFailed)
    assert answer.problem == "Expected more than 1 value per channel"


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_output_that_is_not_finite_is_told(
    factor: float, answer_with: Callable[[nn.Module], MeasurementResult]
) -> None:
    answer = answer_with(_Broken(None, factor))
    assert isinstance(answer, ComponentFailed)
    assert (
        answer.problem == f"{2 * 3 * 8 * 8} of {2 * 3 * 8 * 8} numbers of its output on random samples are not finite"
    )


def test_finite_output_passes_and_a_single_other_number_is_counted() -> None:
    check_finite(nn.Identity(), torch.rand(2, 3))
    with pytest.raises(ModelError, match="1 of 6 numbers"):
        check_finite(nn.Identity(), torch.tensor([[0.0, 1.0, 2.0], [3.0, float("nan"), 5.0]]))


def test_after_a_task_that_does_not_fit_the_next_one_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    measurer = Measurer(JOB)
    with monkeypatch.context() as patched:
        patched.setattr(build, "build_unit", lambda *given: _Broken(MemoryError()))
        assert isinstance(measurer.answer(Measurement(CONV, 4, with_facts=True, with_layers=False)), DoesNotFit)
    assert isinstance(measurer.answer(Measurement(CONV, 2, with_facts=True, with_layers=False)), Measured)


def test_measuring_steps_leave_the_weights_where_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """At this learning rate and weight decay a step multiplies them by -999: a few, and no number is finite."""
    module = nn.Linear(8, 8)
    before = module.weight.detach().clone()
    monkeypatch.setattr(build, "build_unit", lambda *given: module)
    answer = Measurer(JOB).answer(Measurement(CONV, 2, with_facts=True, with_layers=False))
    assert isinstance(answer, Measured)
    assert torch.equal(module.weight, before)


_ELSEWHERE = """
import json
from dataclasses import replace
from tests.standin import install
device = install()
import torch
from planner.profiler.job import Measurement
from planner.profiler.child import layouts
from planner.profiler.child.layouts import boundary_layouts, laid_out, layout_of
from planner.profiler.child.measure import Measurer
from planner.profiler.child.network import WholeNetwork
from planner.profiler.components import components_of
from planner.training.calibration import calibration_seconds
from tests.unit.profiler.child.test_measure import JOB
job = replace(JOB, dtype=DTYPE, device="cuda")
measurer = Measurer(job)
kinds = [measurer.answer(Measurement(index, 2, True, not component.is_head)).kind
         for index, component in enumerate(components_of(job))]
whole = WholeNetwork(job)
whole.step(*whole.data(2))
print(json.dumps([sorted(set(kinds)), {parameter.device.type for parameter in whole.parameters} == {"standin"},
                  calibration_seconds(device) > 0]))
"""


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_on_another_device_everything_is_where_it_has_to_be(dtype: str) -> None:
    """The device is a stand-in (`tests.standin`), which has no memory to be measured."""
    assert run_child(_ELSEWHERE.replace("DTYPE", repr(dtype))) == [["measured"], True, True]


ROWS = ("p = permute(x, [0, 2, 3, 1])", "q = linear(p, $rows.w)", "r = permute(q, [0, 3, 1, 2])")
PERMUTED = Model(
    "model/2",
    "permuted",
    (3, 8, 8),
    10,
    (
        joint_chains.unit("rows", ROWS, ("r",), (), 3, 3),
        joint_chains.unit("flat", ("f = reshape(x, [-1, 192])", "r = linear(f, $flat.w)"), ("r",), (), 10, 192),
    ),
)
"""The first unit's output lies as rows × columns × channels, so the second has to copy it."""
FLAT = next(i for i, component in enumerate(components_of(replace(JOB, model=PERMUTED))) if component.name == "flat")


def test_a_unit_is_measured_with_inputs_that_lie_as_the_chain_leaves_them() -> None:
    measurer = Measurer(replace(JOB, model=PERMUTED))
    assert measurer._layouts == ((None,), ((0, 2, 3, 1),), (None,))
    answer = measurer.answer(Measurement(FLAT, 2, with_facts=False, with_layers=False))
    assert isinstance(answer, Measured)
    assert answer.costs.inference_peak_bytes == 4 * 2 * (192 + 10)


def test_a_tensor_is_laid_out_as_another_lies() -> None:
    other = torch.rand(2, 8, 9, 3).permute(0, 3, 1, 2)
    tensor = torch.rand(2, 3, 8, 9)
    found = laid_out(tensor, layout_of(other))
    assert found.stride() == other.stride()
    assert torch.equal(found, tensor)
    assert laid_out(tensor, layout_of(tensor)) is tensor


def test_behind_a_unit_that_fails_inputs_lie_in_their_own_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layouts, "build_unit", lambda *others, **more: _Broken(RuntimeError("no")))
    units = [component for component in components_of(JOB) if not component.is_head]
    assert boundary_layouts(units, torch.device("cpu")) == ((None,), (None,), (None,))
