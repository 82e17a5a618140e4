"""A unit graph at work: it computes, keeps and draws what its module would."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import Tensor, nn

from planner.model.activations import first_of
from planner.model.build import build_unit
from planner.model.importers.given import Given
from planner.model.importers.module import import_chain
from planner.operators.unit_graph import GraphTensor, UnitGraph
from planner.schema.model import Unit
from planner.training.recompute import recomputed
from tests.unit.model.importers.networks import ResNet, StochasticDepth, Transformer

SAMPLE = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def graph(*nodes: str, tensors: tuple[GraphTensor, ...] = (), evaluation: tuple[str, ...] = ()) -> nn.Sequential:
    layer = UnitGraph("graph", nodes, "out", tensors, evaluation)
    return build_unit(Unit("unit", (layer,)), (3, 8, 8), torch.Generator().manual_seed(0))


def living(size: int) -> int:
    """Storages of so many bytes that somebody holds."""
    gc.collect()
    tensors = (each for each in gc.get_objects() if type(each) is Tensor)
    return len({t.untyped_storage().data_ptr() for t in tensors if t.untyped_storage().nbytes() == size})


def test_a_value_is_let_go_behind_its_last_use() -> None:
    peak = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal peak
            found = func(*args, **(kwargs or {}))
            peak = max(peak, living(4 * 3 * 8 * 8 * 1031))
            return found

    x = torch.zeros(1031, 3, 8, 8)
    unit = graph(*(f"{name} = sigmoid({given})" for given, name in zip("xabcde", [*"abcde", "out"], strict=True)))
    with torch.no_grad(), Watch():  # type: ignore[no-untyped-call]
        unit(x)
    assert peak == 3  # what the caller holds, a result, and the next


def test_results_that_nobody_reads_go_at_once() -> None:
    with torch.no_grad():
        output = graph("_, out, _ = chunk(x, 3, 1)")(SAMPLE)
    assert torch.equal(output, SAMPLE[:, 1:2])


def test_a_view_of_what_lies_in_another_order_copies() -> None:
    for view in ("view(a, [batch, 64, 3])", "view(size=[batch, 64, 3], self=a)", "_unsafe_view(a, [batch, 64, 3])"):
        unit = graph("a = permute(x, [0, 2, 3, 1])", f"b = {view}", "out = view_as(b, x)")
        assert torch.equal(unit(SAMPLE), SAMPLE.permute(0, 2, 3, 1).reshape(4, 3, 8, 8))
    straight = graph("out = view(x, [batch, 192])")(SAMPLE)
    assert straight.data_ptr() == SAMPLE.data_ptr()


def test_the_number_of_samples_and_the_mode_are_those_of_the_call() -> None:
    unit = graph("a = view(x, [2*batch, -1])", "b = dropout(a, 0.999999, training)", "out = view(b, [batch, 3, 8, 8])")
    with torch.no_grad():
        assert not unit(SAMPLE).any()
        assert torch.equal(unit.eval()(SAMPLE), SAMPLE)
        assert torch.equal(unit(SAMPLE[:1]), SAMPLE[:1])


def test_evaluation_lines_are_those_of_evaluation() -> None:
    unit = graph("out = neg(x)", evaluation=("out = mul.Tensor(x, 2.0)",))
    with torch.no_grad():
        assert torch.equal(unit(SAMPLE), -SAMPLE)
        assert torch.equal(unit.eval()(SAMPLE), 2 * SAMPLE)


def test_how_tensors_begin() -> None:
    tensors = (
        GraphTensor("a.b", (3, 1, 1), "parameter", "uniform", 0.5),
        GraphTensor("c", (3, 1, 1), "buffer", "values", values=(1.0, 2.0, 3.0)),
        GraphTensor("n", (), "counter", "constant", 7.0),
    )
    unit = graph("y = mul.Tensor(x, $a.b)", "z = add.Tensor(y, $c)", "out = add.Tensor(z, $n)", tensors=tensors)
    state = unit.state_dict()
    assert list(state) == ["0.a.b", "0.c", "0.n"]
    assert state["0.a.b"].abs().max() <= 0.5 and state["0.a.b"].std() > 0
    assert state["0.c"].flatten().tolist() == [1.0, 2.0, 3.0] and state["0.n"] == 7
    assert [name for name, _ in unit.named_parameters()] == ["0.a.b"]


@pytest.mark.parametrize("make", [ResNet, Transformer, StochasticDepth])
def test_recomputation_changes_nothing(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = import_chain(Given(make(), SAMPLE)).model
    results = []
    for again in (False, True):
        shape, units = model.input, []
        for unit in model.units:
            units.append(build_unit(unit, shape, torch.Generator().manual_seed(3)))
            shape = unit.layers[0].output(shape)
        torch.manual_seed(5)
        output = first_of(recomputed(units[1:], units[0](SAMPLE))) if again else nn.Sequential(*units)(SAMPLE)
        output.square().sum().backward()
        tensors = [tensor for unit in units for tensor in unit.state_dict(keep_vars=True).values()]
        results.append([output, *tensors, *(t.grad for t in tensors if t.grad is not None)])
    assert all(torch.equal(plain, again) for plain, again in zip(*results, strict=True))


def test_in_bfloat16_products_are_narrow_and_weights_wide() -> None:
    model = import_chain(Given(Transformer(), SAMPLE)).model
    shape, flow = model.input, SAMPLE
    for unit in model.units:
        module = build_unit(unit, shape, torch.Generator().manual_seed(3), "bfloat16")
        shape = unit.layers[0].output(shape)
        flow = module(flow)
        assert flow.dtype == torch.bfloat16
        assert all(parameter.dtype == torch.float32 for parameter in module.parameters())
    flow.float().sum().backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None for parameter in module.parameters())
