"""What cannot be taken: each refusal names the place and the reason."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

from planner.errors import ModelError, RefusedModelError
from planner.model.importers.given import Given
from planner.model.importers.module import import_module
from planner.model.importers.obstacles import Obstacle
from tests.unit.model.importers.networks import Net, chain

SAMPLE = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
HERE = Path(__file__).name


@dataclass
class Scores:
    hidden: Tensor
    scores: Tensor


def refused(net: nn.Module, message: str, sample: Tensor = SAMPLE, classes: int | None = None) -> None:
    with pytest.raises(ModelError, match=f"^{message}"):
        import_module(Given(net, sample, classes))


BRANCH = "what it does depends on the values of the data"
NUMBER = "takes a number out of a tensor"


@pytest.mark.parametrize(
    ("forward", "problem"),
    [
        (lambda net, x: net.a(x) if x.sum() > 0 else x, BRANCH),
        (lambda net, x: torch.from_numpy(x.detach().numpy()), "leaves torch by numpy"),
        (lambda net, x: x if float(x.mean()) > 0 else -x, NUMBER),
        (lambda net, x: x[:, : 1 + int(x.abs().sum())], NUMBER),
    ],
)
def test_what_depends_on_the_data_names_the_line(forward: Callable[[Net, Tensor], object], problem: str) -> None:
    refused(chain(Net(forward, a=nn.Conv2d(4, 4, 1))), f".*{HERE}:[0-9]+: {problem}")


class Careless(nn.Module):
    """Everything that a graph cannot follow, one to a line."""

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            x = 2 * x
        rows = int(x.argmax())
        if rows > 2 and x.mean() > 0:
            x = x + 1
        x = x + torch.view_as_real(torch.complex(x, x))[..., 0]
        x = x + torch.from_numpy(x.detach().numpy())
        x = torch.special.i0(x) + x
        x = x + x[x > 0].sum()
        return x * x.std().item()


def test_all_of_it_is_told_at_once() -> None:
    first = inspect.getsourcelines(Careless.forward)[1]
    lines, number = {2: BRANCH, 4: NUMBER, 5: BRANCH, 8: "leaves torch by numpy"}, {11: NUMBER}
    found = refused_for(chain(Careless()))
    for line, problem in (lines | number | {7: "computes with complex", 10: "gives a tensor whose size"}).items():
        assert any(each.place.endswith(f":{first + line - 1}") and each.problem.startswith(problem) for each in found)
    assert any("'special_i0' is no operator that is known here" in each.problem for each in found)
    # Reading a tensor is as it was before.
    assert "__bool__" not in Tensor.__dict__ or Tensor.__dict__["__bool__"].__module__ == "torch._tensor"


def refused_for(net: nn.Module, sample: Tensor = SAMPLE) -> tuple[Obstacle, ...]:
    with pytest.raises(RefusedModelError) as raised:
        import_module(Given(net, sample))
    found: tuple[Obstacle, ...] = raised.value.obstacles
    return found


class Tripled(torch.autograd.Function):
    """Its backward is not that of what it computes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> Tensor:
        return 3 * given[0]


def test_a_function_with_a_backward_of_its_own_names_its_line() -> None:
    net = chain(Net(lambda net, x: Tripled.apply(x)))  # type: ignore[no-untyped-call]
    before = Function.__dict__["apply"]
    refused(net, f".*{HERE}:[0-9]+: Tripled is a torch.autograd.Function, whose own backward does not come along")
    assert Function.__dict__["apply"] is before


def test_layers_that_are_no_python_or_quantised() -> None:
    traced = torch.jit.trace(nn.Sequential(nn.Conv2d(4, 4, 1)), torch.zeros(1, 4, 8, 8))  # type: ignore[no-untyped-call]
    found = refused_for(chain(traced))
    assert [(each.place, each.problem) for each in found] == [("layer '1'", "is a ScriptModule")]
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and still met
        quantised = torch.ao.quantization.quantize_dynamic(net)  # type: ignore[no-untyped-call]
    found = refused_for(quantised)
    assert [(each.place, each.problem) for each in found] == [("layer '1'", "is quantised (Linear)")]


def test_weights_of_another_type_do_not_hide_what_else_there_is() -> None:
    spectrum = Net(lambda net, x: torch.fft.rfft2(x).abs()[..., :1].expand(-1, -1, -1, 8))
    type_, *others = refused_for(chain(spectrum).double())
    assert (type_.place, type_.remedy) == ("0.weight (and 3 more)", "call .float() on it")
    assert [each.problem for each in others] == ["computes with complex numbers"]


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: net.a(x) if x.shape[0] > 4 else x,
        lambda net, x: torch.stack([net.a(row) for row in x]),
    ],
)
def test_what_depends_on_the_number_of_samples(forward: Callable[[Net, Tensor], object]) -> None:
    net = chain(Net(forward, a=nn.Conv2d(4, 4, 1)))
    refused(net, ".*: forward does other things with 3 samples than with 5; it may not depend on their number")


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda net, x: F.dropout(x, 0.5, net.training and len(x) > 4), ".*: False with 3 samples is True with 5"),
        (lambda net, x: -x if len(x) > 4 and not net.training else x, ".*: forward does other things with 3 samples"),
    ],
)
def test_a_mode_that_depends_on_the_number_of_samples(forward: Callable[[Net, Tensor], object], message: str) -> None:
    refused(chain(Net(forward)), message)


def test_an_operator_that_is_not_known_is_named_with_its_line() -> None:
    net = chain(Net(lambda net, x: torch.fft.rfft2(x).abs()[..., :1].expand(-1, -1, -1, 8)))
    refused(net, r".*networks\.py:[0-9]+: computes with complex numbers; compute with their real and imaginary parts")
    net = chain(Net(lambda net, x: torch.special.i0(x) + x))
    refused(net, r".*networks\.py:[0-9]+: 'special_i0' is no operator that is known here \(in module '1'\)")


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (
            lambda net, x: (x, net.body(x)),
            r"forward gives a tuple; one .*; pick one: outputs=lambda out: out\[1\]$",
        ),
        (lambda net, x: {"scores": net.body(x)}, r"forward gives a dict; .*: outputs=lambda out: out\['scores'\]$"),
        (lambda net, x: Scores(x, net.body(x)), r"forward gives a Scores; .*: outputs=lambda out: out\.scores$"),
        (lambda net, x: "scores", r"forward gives a str; one tensor \(batch, classes\) is needed$"),
        (lambda net, x: x, "forward gives 4×3×8×8 at batch 4; "),
        (lambda net, x: net.body(x).sum(), "forward gives a single number at batch 4; "),
        (lambda net, x: net.body(x).t(), "forward gives 10×4 at batch 4; "),
        (lambda net, x: net.body(x).double(), "forward gives torch.float64; "),
    ],
)
def test_an_output_that_is_no_score_per_class(forward: Callable[[Net, Tensor], object], message: str) -> None:
    refused(Net(forward, body=chain()), message)


def test_one_class_is_none() -> None:
    refused(nn.Sequential(nn.Flatten(), nn.Linear(192, 1)), "classes is 1; it must lie between 2 and")


def test_classes_that_contradict_the_output() -> None:
    assert import_module(Given(chain(), SAMPLE, 10)).classes == 10
    refused(chain(), "classes is 11, but the output has 10 per sample", classes=11)


def test_a_layer_that_fails_at_batch_1_is_named() -> None:
    def forward(net: Net, x: Tensor) -> object:
        if len(x) == 1:
            raise ValueError("more than one, please")
        return x

    refused(chain(Net(forward)), r"layer '1': fails at batch 1 \(ValueError: more than one, please\) at .*:[0-9]+$")
    squeezed = Net(lambda net, x: net.fc(net.pool(x).squeeze()), pool=nn.AdaptiveAvgPool2d(1), fc=nn.Linear(3, 10))
    refused(squeezed, "forward gives 10 at batch 1; ")


def test_a_layer_that_fails_on_the_sample_is_named() -> None:
    refused(chain(nn.Sequential(nn.Conv2d(5, 4, 1))), r"layer '1.0': fails at batch 4 \(RuntimeError: ")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_names_the_unit_where_it_arises(value: float) -> None:
    broken = nn.Conv2d(4, 4, 1)
    with torch.no_grad():
        broken.weight[0] = value
    with pytest.raises(ModelError, match="gives NaN or infinity") as raised:
        import_module(Given(chain(broken, nn.ReLU()), SAMPLE))
    assert raised.value.unit == 1


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (SAMPLE.double(), "sample: is torch.float64; profiles are of torch.float32"),
        (torch.ones(4, 3, 8, 8, dtype=torch.bool), "sample: is torch.bool; "),
        (SAMPLE.to("meta"), "sample: is on meta"),
        (SAMPLE[0, 0], "layer '0': fails at batch"),
        (SAMPLE[None], "layer '0': fails at batch"),
        (SAMPLE[None, None], "sample: input has 5 dimensions; a sample has 1 to 4"),
        (SAMPLE[:0], r"sample: is empty \(0×3×8×8\)"),
        (SAMPLE / 0, "sample: holds NaN or infinity"),
        ([[1.0]], "sample: a tensor is needed, not a list"),
    ],
)
def test_a_sample_that_is_none(sample: Tensor, message: str) -> None:
    refused(chain(), message, sample)


def test_a_module_of_another_dtype_or_device() -> None:
    refused(chain().double(), r"0.weight \(and 3 more\): is torch.float64; .*; call .float\(\) on it$")
    refused(chain(nn.BatchNorm2d(4).half()), r"1.weight \(and 3 more\): is torch.float16; ")
    refused(chain().to("meta"), r"0.weight \(and 3 more\): is on meta, the sample on cpu; one real device is needed")


def test_what_has_nothing_to_train() -> None:
    refused(len, "a torch.nn.Module is needed, not a builtin_function_or_method")  # type: ignore[arg-type]
    refused(nn.Flatten(), "it has no parameter that requires a gradient")
    refused(chain().requires_grad_(False), "it has no parameter that requires a gradient")


def test_gradients_that_forward_turns_off() -> None:
    def forward(net: Net, x: Tensor) -> object:
        with torch.no_grad():
            x = net.a(x)
        return net.b(x)

    net = chain(Net(forward, a=nn.Conv2d(4, 4, 1), b=nn.Conv2d(4, 4, 1)))
    refused(net, f".*{HERE}:[0-9]+: works under torch.no_grad.* call requires_grad_")


@pytest.mark.parametrize("around", [True, False])
def test_autocast_within_forward(around: bool) -> None:
    def forward(net: Net, x: Tensor) -> object:
        with torch.autocast("cpu", enabled=around):
            x = net.a(x)
            with torch.autocast("cpu", enabled=True):
                return net.b(x).float()

    net = chain(Net(forward, a=nn.Conv2d(4, 4, 1), b=nn.Conv2d(4, 4, 1)))
    refused(net, f".*{HERE}:[0-9]+: works under autocast; leave the precision to `dtype`")


def test_a_hook_that_export_does_not_follow_is_found_by_its_gradient() -> None:
    hooked = chain(nn.Conv2d(4, 4, 1))
    hooked[1].register_full_backward_hook(lambda module, given, _: (2 * given[0],))  # type: ignore[index]
    refused(hooked, "the gradient of 0.weight is another than that of its description")
