"""Somebody else's modules as descriptions: which layers and units they become, and why some are refused."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from planner.errors import ModelError
from planner.model.build import build_unit
from planner.model.importers.module import import_module
from planner.model.shapes import Shape, model_sizes
from planner.model.spec import (
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
)
from planner.model.zoo import from_zoo
from tests.unit.model.importers.networks import Net, ResNet, chain, mobile

SAMPLE = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
NORM = BatchNorm2d("batchnorm2d")
RELU = Activation("relu")
RELU6 = Activation("relu6")
TAIL = (AdaptivePool2d("adaptive_avg_pool2d", 1, 1), Flatten("flatten"), Linear("linear", 10))


def conv(filters: int, kernel: int = 3, stride: int = 1, groups: int = 1, bias: bool = False) -> Conv2d:
    return Conv2d("conv2d", filters, kernel, stride, kernel // 2, groups, bias)


def layers(model: Model) -> list[tuple[Layer, ...]]:
    return [unit.layers for unit in model.units]


def flat(model: Model) -> list[Layer]:
    return [layer for unit in model.units for layer in unit.layers]


def built(model: Model) -> nn.Sequential:
    """The described network as one module, with weights of its own."""
    shape: Shape = model.input
    units = []
    for unit, sizes in zip(model.units, model_sizes(model), strict=True):
        units.append(build_unit(unit, shape, torch.Generator().manual_seed(0)))
        shape = sizes.output
    return nn.Sequential(*units)


def test_a_plain_sequential_becomes_units_that_begin_with_its_weights() -> None:
    vgg = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Sequential(nn.Conv2d(4, 6, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)),
        nn.AvgPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(24, 12),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(12, 10, bias=False),
    )
    model = import_module(vgg, SAMPLE)
    assert layers(model) == [
        (conv(4), NORM, RELU),
        (conv(6, bias=True), RELU, Pool2d("max_pool2d", 2, 2, ceil_mode=True)),
        (Pool2d("avg_pool2d", 2, 2), Dropout("dropout", 0.25), Flatten("flatten"), Linear("linear", 12), RELU,
         Dropout("dropout")),
        (Linear("linear", 10, bias=False),),
    ]  # fmt: skip
    assert [unit.name for unit in model.units] == ["layer 0", "3.0", "layer 7", "layer 10"]
    assert (model.name, model.input, model.classes) == ("Sequential", (3, 8, 8), 10)


def test_a_resnet_becomes_residuals() -> None:
    body = (conv(4), NORM, RELU, conv(4), NORM)
    wide = (conv(6, stride=2), NORM, RELU, conv(6), NORM)
    shortcut = (Conv2d("conv2d", 6, 1, 2, bias=False), NORM)
    model = import_module(ResNet(), SAMPLE)
    assert layers(model) == [
        (conv(4), NORM, RELU, Pool2d("max_pool2d", 2, 2)),
        (Residual("residual", body), RELU),
        (Residual("residual", body), RELU),
        (Residual("residual", wide, shortcut), RELU),
        TAIL,
    ]
    assert [unit.name for unit in model.units] == ["conv1", "layer1.0", "layer1.1", "layer2.0", "fc"]


def test_inverted_residuals_with_and_without_a_sum() -> None:
    body = (conv(8, 1), NORM, RELU6, conv(8, groups=8), NORM, RELU6, conv(4, 1), NORM)
    assert layers(import_module(mobile(), SAMPLE)) == [
        (conv(4),),
        (Residual("residual", body),),
        (conv(8, 1), NORM, RELU6),
        (conv(8, stride=2, groups=8), NORM, RELU6),
        (conv(6, 1), NORM),
        TAIL,
    ]


@pytest.mark.parametrize("name", ["cnn6", "vgg11", "resnet18"])
def test_a_built_network_of_the_zoo_comes_back(name: str) -> None:
    model = from_zoo(name, (1, 28, 28), 10)
    found = import_module(built(model), torch.randn(2, 1, 28, 28))
    assert layers(found) == layers(model)


def test_mobilenetv2_comes_back_layer_by_layer() -> None:
    model = from_zoo("mobilenetv2", (3, 32, 32), 10)
    assert flat(import_module(built(model), torch.randn(2, 3, 32, 32))) == flat(model)


def flatten(x: Tensor) -> Tensor:
    return x.view(x.size(0), -1)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (F.relu, [RELU]),
        (torch.relu, [RELU]),
        (lambda x: x.relu_(), [RELU]),
        (F.relu6, [RELU6]),
        (F.gelu, [Activation("gelu")]),
        (F.silu, [Activation("silu")]),
        (lambda x: F.max_pool2d(x, 3, stride=2, padding=1), [Pool2d("max_pool2d", 3, 2, 1)]),
        (lambda x: F.max_pool2d(x, 3, 2, 1, 1, True), [Pool2d("max_pool2d", 3, 2, 1, True)]),
        (lambda x: torch.max_pool2d(x, 2), [Pool2d("max_pool2d", 2, 2)]),
        (lambda x: F.avg_pool2d(x, (3, 3), 1, ceil_mode=True), [Pool2d("avg_pool2d", 3, 1, ceil_mode=True)]),
        (lambda x: F.adaptive_avg_pool2d(x, (2, 4)), [AdaptivePool2d("adaptive_avg_pool2d", 2, 4)]),
        (lambda x: F.adaptive_max_pool2d(x, 3), [AdaptivePool2d("adaptive_max_pool2d", 3, 3)]),
        (lambda x: F.dropout(x, 0.1, training=False), []),
        (lambda x: x.contiguous(), []),
        (lambda x: x.mean((2, 3), keepdim=True), [AdaptivePool2d("adaptive_avg_pool2d", 1, 1)]),
    ],
)
def test_functions_are_layers(call: Callable[[Tensor], Tensor], expected: list[Layer]) -> None:
    def forward(net: Net, x: Tensor) -> object:
        return net.fc(F.adaptive_avg_pool2d(call(net.conv(x)), 1).flatten(1))

    net = Net(forward, conv=nn.Conv2d(3, 4, 3, padding=1), fc=nn.Linear(4, 10))
    assert flat(import_module(net, SAMPLE)) == [conv(4, bias=True), *expected, *TAIL]


@pytest.mark.parametrize(
    "call",
    [
        flatten,
        lambda x: x.view(x.shape[0], -1),
        lambda x: x.view(-1, 256),
        lambda x: x.reshape((x.size()[0], 256)),
        lambda x: torch.reshape(x, (x.size(dim=0), -1)),
        lambda x: torch.flatten(x, start_dim=1),
        lambda x: x.flatten(1),
    ],
)
def test_ways_to_flatten(call: Callable[[Tensor], Tensor]) -> None:
    net = Net(lambda net, x: net.fc(call(net.conv(x))), conv=nn.Conv2d(3, 4, 3, padding=1), fc=nn.Linear(256, 10))
    assert layers(import_module(net, SAMPLE)) == [(conv(4, bias=True),), (Flatten("flatten"), Linear("linear", 10))]


def test_a_mean_over_rows_and_columns_is_a_pool() -> None:
    net = Net(lambda net, x: net.fc(net.conv(x).mean([-1, -2])), conv=nn.Conv2d(3, 4, 3), fc=nn.Linear(4, 10))
    assert layers(import_module(net, SAMPLE)) == [(Conv2d("conv2d", 4, 3),), TAIL]


def test_dropout_counts_although_the_module_was_in_evaluation() -> None:
    def forward(net: Net, x: Tensor) -> object:
        return net.fc(F.dropout(F.adaptive_avg_pool2d(net.conv(x), 1).flatten(1), 0.3, net.training))

    net = Net(forward, conv=nn.Conv2d(3, 4, 3), fc=nn.Linear(4, 10)).eval()
    assert Dropout("dropout", 0.3) in flat(import_module(net, SAMPLE))


@pytest.mark.parametrize("add", [torch.add, lambda a, b: a.add_(b), lambda a, b: b + a])
def test_a_sum_of_three_is_two_residuals(add: Callable[[Tensor, Tensor], Tensor]) -> None:
    def forward(net: Net, x: Tensor) -> object:
        x = net.stem(x)
        return net.tail(add(add(net.a(x), net.b(x)), x))

    parts = {"stem": nn.Conv2d(3, 4, 1), "a": nn.Conv2d(4, 4, 3, padding=1), "b": nn.Conv2d(4, 4, 1)}
    net = Net(forward, **parts, tail=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)))
    inner = flat(import_module(net, SAMPLE))[1]
    assert isinstance(inner, Residual) and inner.shortcut == () and len(inner.body) == 1
    assert isinstance(inner.body[0], Residual)
    found = {inner.body[0].body, inner.body[0].shortcut}
    assert found == {(conv(4, bias=True),), (conv(4, 1, bias=True),)}


def test_two_sums_in_one_forward_have_names_of_their_own() -> None:
    def forward(net: Net, x: Tensor) -> object:
        x = net.a(x) + x
        return net.tail(net.b(x) + x)

    tail = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10))
    net = Net(forward, a=nn.Conv2d(3, 3, 1), b=nn.Conv2d(3, 3, 1), tail=tail)
    assert [unit.name for unit in import_module(net, SAMPLE).units] == ["residual", "residual (2)", "tail.2"]


def test_an_argument_with_a_default_keeps_it() -> None:
    class Switched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = chain()

        def forward(self, x: Tensor, raw: bool = False) -> Tensor:
            scores: Tensor = x if raw else self.body(x)
            return scores

    assert len(import_module(Switched(), SAMPLE).units) == 2


def test_a_single_image_is_a_sample() -> None:
    assert import_module(chain(), SAMPLE[0]) == import_module(chain(), SAMPLE)


def test_normalisation_over_one_value_per_channel_is_no_error() -> None:
    model = import_module(chain(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4)), SAMPLE[:1])
    assert [sizes.minimum_micro_batch for sizes in model_sizes(model)] == [2, 1]


def test_the_module_and_the_sample_stay_as_they_were() -> None:
    net = nn.Sequential(nn.ReLU(inplace=True), *chain(nn.BatchNorm2d(4)).train())
    net[2].eval()
    flags = [part.training for part in net.modules()]
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    sample = SAMPLE.clone()
    import_module(net, sample)
    assert [part.training for part in net.modules()] == flags
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    assert torch.equal(sample, SAMPLE)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


def test_flags_and_hooks_are_restored_after_an_error() -> None:
    net = chain(nn.Tanh())
    net[0].eval()
    flags = [part.training for part in net.modules()]
    with pytest.raises(ModelError):
        import_module(net, SAMPLE)
    assert [part.training for part in net.modules()] == flags
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


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
