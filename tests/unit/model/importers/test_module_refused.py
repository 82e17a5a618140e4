"""What is no chain of known layers: each refusal names the place and the reason."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from planner.errors import ModelError
from planner.model.importers.module import import_module
from tests.unit.model.importers.networks import Net, chain

SAMPLE = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def refused(net: nn.Module, message: str, sample: Tensor = SAMPLE, classes: int | None = None) -> None:
    with pytest.raises(ModelError, match=f"^{message}"):
        import_module(net, sample, classes)


POOL_OF_PAIRS = nn.MaxPool2d(2, return_indices=True)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Tanh(), r"layer '1': Tanh is outside the list of operators \(AdaptiveAvgPool2d, "),
        (nn.GroupNorm(2, 4), "layer '1': GroupNorm is outside the list"),
        (nn.Sequential(nn.Dropout2d()), "layer '1.0': Dropout2d is outside the list"),
        (nn.Conv2d(4, 4, (3, 1)), "layer '1': kernel is 3×1; rows and columns must be alike"),
        (nn.Conv2d(4, 4, 3, (1, 2)), "layer '1': stride is 1×2; rows and columns must be alike"),
        (nn.Conv2d(4, 4, 3, padding=(1, 0)), "layer '1': padding is 1×0; rows and columns must be alike"),
        (nn.Conv2d(4, 4, 3, dilation=2), "layer '1': dilation is 2; only 1 can be expressed"),
        (nn.Conv2d(4, 4, 2, padding="same"), "layer '1': padding 'same' around a kernel of 2 is uneven"),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), "layer '1': padding_mode is 'reflect'"),
        (nn.BatchNorm2d(4, affine=False), "layer '1': only a batch normalisation with scale, shift and running"),
        (nn.BatchNorm2d(4, track_running_stats=False), "layer '1': only a batch normalisation with scale, shift and"),
        (nn.BatchNorm2d(4, momentum=None), r"layer '1': momentum is None \(a cumulative average\)"),
        (nn.BatchNorm2d(4, eps=2.0), "layer '1': eps is 2.0; it must lie between"),
        (nn.GELU("tanh"), "layer '1': approximate is 'tanh'; only the exact gelu"),
        (nn.MaxPool2d((2, 1)), "layer '1': kernel is 2×1; rows and columns must be alike"),
        (nn.MaxPool2d(2, dilation=2), "layer '1': dilation is 2; only 1"),
        (nn.AvgPool2d(3, padding=1, count_include_pad=False), "layer '1': count_include_pad is False"),
        (nn.AvgPool2d(2, divisor_override=3), "layer '1': divisor_override cannot be expressed"),
        (nn.AdaptiveAvgPool2d((None, 4)), r"layer '1': output_size is \(None, 4\); two whole numbers"),
        (nn.Flatten(2), "layer '1': flattens dimensions 2 to -1"),
        (nn.Dropout(1.0), "layer '1': p is 1.0; it must lie between"),
        (parametrizations.weight_norm(nn.Conv2d(4, 4, 1)), "layer '1': it holds 'parametrizations"),
        (Net(lambda net, x: x * 2), "mul in layer '1': mul is outside the list"),
        (Net(lambda net, x: x + 1), "add in layer '1': add is outside the list"),
        (Net(lambda net, x: x + x), "add in layer '1': adds a tensor to itself"),
        (Net(lambda net, x: torch.add(x, net.a(x), alpha=2), a=nn.ReLU()), "add in layer '1': joins 2 tensors"),
        (Net(lambda net, x: x.view(-1, 4, 8, 8)), r"reshape in layer '1': only a reshape to \(batch, features\)"),
        (Net(lambda net, x: x.mean((1, 2), True)), r"mean in layer '1': a mean over dimensions \(1, 2\)"),
        (Net(lambda net, x: F.avg_pool2d(x, x.size(2))), "avg_pool2d in layer '1': kernel_size is computed from"),
        (Net(lambda net, x: x[:, :, ::2]), "getitem in layer '1': getitem is outside the list"),
        (Net(lambda net, x: F.max_pool2d(x, 2, return_indices=True)[0]), "getitem in layer '1': getitem is outside"),
    ],
)  # fmt: skip
def test_what_has_no_word_is_refused_by_name(layer: nn.Module, message: str) -> None:
    tail = (nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.LazyLinear(10))
    refused(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), layer, *tail), message)


def test_a_changed_layer_is_not_taken_for_its_base() -> None:
    class Standardised(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(x, self.weight - self.weight.mean(), self.bias)

    class Doubled(nn.Conv2d):
        def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            return F.conv2d(x, 2 * weight, bias)

    for layer in (Standardised(4, 4, 1), Doubled(4, 4, 1)):
        refused(chain(layer), "conv2d in layer '1': joins 3 tensors; .*conv2d is outside the list")


def test_softmax_is_refused_with_what_to_do() -> None:
    refused(nn.Sequential(*chain(), nn.LogSoftmax(1)), "layer '4': LogSoftmax is outside .*; end in the linear layer")


def split(net: Net, x: Tensor) -> object:
    """A tensor that is used inside one sum and again by another."""
    x = net.stem(x)
    a = net.a(x)
    return net.tail(net.b(a) + net.c(x) + a)


def test_two_tensors_between_units() -> None:
    tail = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    parts = {"stem": nn.Conv2d(3, 4, 1), **{name: nn.Conv2d(4, 4, 1) for name in "abc"}}
    refused(
        Net(split, **parts, tail=tail),
        "layer 'a': its output goes to layer 'b' and add in forward, which no single sum joins; between units there is",
    )


def test_tensors_that_are_joined_otherwise() -> None:
    wide = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10))
    net = Net(lambda net, x: net.tail(torch.cat([net.a(x), x], 1)), a=nn.Conv2d(3, 3, 1), tail=wide)
    refused(net, "cat in forward: joins 2 tensors; only a sum of two branches can be expressed")
    gate = Net(lambda net, x: net.a(x) * net.b(x), a=nn.Conv2d(4, 4, 1), b=nn.Conv2d(4, 4, 1))
    refused(chain(gate), "mul in layer '1': joins 2 tensors")


def test_a_residual_beyond_what_the_schema_takes() -> None:
    long = Net(lambda net, x: net.body(x) + x, body=nn.Sequential(*(nn.Conv2d(4, 4, 1) for _ in range(64))))
    refused(chain(long), "layer 1: layers: their number, nested ones included, is 65; it must lie between 1 and 64")
    deep: nn.Module = nn.Conv2d(4, 4, 1)
    for _ in range(5):
        deep = Net(lambda net, x: net.body(x) + x, body=deep)
    refused(chain(deep), r"add in layer '1.body.body.body.body': residuals nested deeper than 4")


def test_a_weight_that_is_added() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(1, 4, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.shift

    refused(chain(Shifted()), "add in layer '1': adds two tensors that do not come from the same one")


def test_shared_and_unused_weights() -> None:
    shared = nn.Conv2d(4, 4, 1)
    refused(chain(shared, nn.ReLU(), shared), "layer '1': its weights are used in two places")
    idle = Net(lambda net, x: net.body(x), body=chain(), auxiliary=nn.Linear(4, 10))
    refused(idle, "parameter 'auxiliary.weight' lies on no way from input to output")


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: net.a(x) if x.sum() > 0 else x,
        lambda net, x: net.a(x) if x.shape[0] > 1 else x,
        lambda net, x: torch.stack([net.a(row) for row in x]),
    ],
)
def test_control_flow_that_depends_on_data(forward: Callable[[Net, Tensor], object]) -> None:
    refused(chain(Net(forward, a=nn.Conv2d(4, 4, 1))), "layer '1': (what it does depends on the data|fails at batch)")


def test_data_dependence_names_the_innermost_layer() -> None:
    gate = Net(lambda net, x: x if x.mean() > 0 else -x)
    refused(chain(nn.Sequential(gate)), r"layer '1.0': what it does depends on the data, or on its shape \(symbolic")


def test_a_forward_that_cannot_be_traced() -> None:
    net = Net(lambda net, x: torch.from_numpy(x.numpy()))
    refused(chain(net), r"layer '1': cannot be traced \(TypeError: ")


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda net, x: (net.body(x), x), r"forward gives a tuple; one tensor \(batch, classes\) is needed"),
        (lambda net, x: {"scores": net.body(x)}, "forward gives a dict; one tensor"),
        (lambda net, x: x, "forward gives 4×3×8×8 at batch 4; "),
        (lambda net, x: net.body(x).sum(), "forward gives a single number at batch 4; "),
        (lambda net, x: net.body(x).t(), "forward gives 10×4 at batch 4; "),
        (lambda net, x: net.body(x).double(), "forward gives torch.float64; "),
        (lambda net, x: net.body(x)[:, :1], "getitem in forward: getitem is outside"),
    ],
)
def test_an_output_that_is_no_score_per_class(forward: Callable[[Net, Tensor], object], message: str) -> None:
    refused(Net(forward, body=chain()), message)


def test_one_class_is_none() -> None:
    refused(nn.Sequential(nn.Flatten(), nn.Linear(192, 1)), "classes is 1; it must lie between 2 and")


def test_classes_that_contradict_the_output() -> None:
    assert import_module(chain(), SAMPLE, 10).classes == 10
    refused(chain(), "classes is 11, but the output has 10 per sample", classes=11)


def test_a_layer_that_fails_at_batch_1_is_named() -> None:
    def forward(net: Net, x: Tensor) -> object:
        if len(x) == 1:
            raise ValueError("more than one, please")
        return x

    refused(chain(Net(forward)), r"layer '1': fails at batch 1 \(ValueError: more than one, please\)")
    squeezed = Net(lambda net, x: net.fc(net.pool(x).squeeze()), pool=nn.AdaptiveAvgPool2d(1), fc=nn.Linear(3, 10))
    refused(squeezed, "forward gives 10 at batch 1; ")


def test_a_layer_that_fails_on_the_sample_is_named() -> None:
    refused(chain(nn.Sequential(nn.Conv2d(5, 4, 1))), r"layer '1.0': fails at batch 4 \(RuntimeError: ")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_names_the_unit_where_it_arises(value: float) -> None:
    broken = nn.Conv2d(4, 4, 1)
    with torch.no_grad():
        broken.weight[0] = value
    net = chain(broken, nn.ReLU())
    refused(net, "unit 1: layer 1: gives NaN or infinity on the sample")
    with pytest.raises(ModelError) as raised:
        import_module(net, SAMPLE)
    assert raised.value.unit == 1


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (SAMPLE.double(), "sample: is torch.float64; profiles are of torch.float32"),
        (torch.ones(4, 3, 8, 8, dtype=torch.uint8), "sample: is torch.uint8; "),
        (SAMPLE.to("meta"), "sample: is on meta"),
        (SAMPLE[0, 0], r"sample: has 2 dimensions; \(batch, channels, height, width\) or"),
        (SAMPLE[None], "sample: has 5 dimensions; "),
        (SAMPLE[:0], r"sample: is empty \(0×3×8×8\)"),
        (SAMPLE / 0, "sample: holds NaN or infinity"),
        ([[1.0]], "sample: a tensor is needed, not a list"),
    ],
)
def test_a_sample_that_is_none(sample: Tensor, message: str) -> None:
    refused(chain(), message, sample)


def test_a_module_of_another_dtype_or_device() -> None:
    refused(chain().double(), "0.weight: is torch.float64; profiles are of torch.float32")
    refused(chain(nn.BatchNorm2d(4).half()), "1.weight: is torch.float16; ")
    refused(chain().to("meta"), "0.weight: is on meta, the sample on cpu; one real device is needed")


def test_no_module_at_all() -> None:
    refused(len, "a torch.nn.Module is needed, not a builtin_function_or_method")  # type: ignore[arg-type]
    refused(nn.Flatten(), "it has neither a convolution nor a linear layer")


def test_what_escapes_tracing_is_found_by_its_output() -> None:
    hooked = chain()
    hooked[0].register_forward_hook(lambda module, inputs, output: output * 2)
    overwritten = chain(Net(lambda net, x: net.b(net.a(x)) + x, a=nn.ReLU(inplace=True), b=nn.Conv2d(4, 4, 1)))
    always = chain(Net(lambda net, x: F.dropout(x, 0.5)))
    for net in (hooked, overwritten, always):
        refused(net, re.escape("what was traced gives other outputs than the module, by up to "))
