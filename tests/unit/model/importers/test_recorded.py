"""What a module does when it is run, against the graph that torch.export makes of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from planner.model.importers.recorded import Result, first_names, in_evaluation, paired, record
from planner.model.importers.steps import Attribute
from tests.unit.model.importers.networks import Net, StochasticDepth, Transformer, chain

IMAGES = torch.randn(5, 3, 8, 8)


def nodes_of(module: nn.Module) -> list[torch.fx.Node]:
    graph = torch.export.export(module, (IMAGES[:3],), strict=False).module(check_guards=False).graph
    return [node for node in graph.nodes if node.op not in ("get_attr", "output")]


def test_each_operator_is_noted_once_with_what_it_reads() -> None:
    net = chain(nn.BatchNorm2d(4), nn.ReLU(inplace=True)).train()
    calls = record(net, IMAGES)
    assert [call.operator.removeprefix("aten.").removesuffix(".default") for call in calls] == [
        "", "conv2d", "add_.Tensor", "batch_norm", "relu_", "adaptive_avg_pool2d", "flatten.using_ints", "linear"
    ]  # fmt: skip
    assert calls[1].args[:3] == [Result(0, 0), Attribute("0.weight"), Attribute("0.bias")]
    assert calls[1].shapes == ((5, 4, 8, 8),)
    assert calls[4].args == [Result(3, 0)]


def test_a_graph_and_a_run_of_the_same_network_are_paired() -> None:
    for net in (Transformer().train(), StochasticDepth().train()):  # with several results, and a constant tensor
        nodes = nodes_of(net)
        found = paired(nodes, record(net, IMAGES), first_names(net))
        assert found is not None
        assert list(found) == nodes


def test_another_operator_order_or_tensor_is_told() -> None:
    def added(net: Net, x: Tensor) -> object:
        return net.body(x) + net.a(x.flatten(1)) + 2 * net.b(x.flatten(1))

    def swapped(net: Net, x: Tensor) -> object:
        return net.body(x) + net.b(x.flatten(1)) + 2 * net.a(x.flatten(1))

    layers = {"body": chain(), "a": nn.Linear(192, 10), "b": nn.Linear(192, 10)}
    one, other = Net(added, **layers), Net(swapped, **layers)
    plain = Net(lambda net, x: net.body(x), body=chain())
    longer = Net(lambda net, x: net.body(x).clone(), body=plain.body)
    assert paired(nodes_of(one), record(one, IMAGES), first_names(one)) is not None
    assert paired(nodes_of(one), record(other, IMAGES), first_names(one)) is None
    assert paired(nodes_of(plain), record(plain, IMAGES), first_names(plain)) is not None
    assert paired(nodes_of(plain), record(longer, IMAGES), first_names(plain)) is None
    assert paired(nodes_of(longer), record(plain, IMAGES), first_names(plain)) is None


def test_evaluation_does_the_same_but_for_modes_and_counters() -> None:
    net = chain(nn.BatchNorm2d(4), nn.Dropout(0.5))
    training, evaluation = record(net.train(), IMAGES), record(net.eval(), IMAGES)
    found = in_evaluation(training, evaluation)
    assert found is not None
    assert [training[at].operator for at in sorted({*range(len(training))} - {*found})] == ["aten.add_.Tensor"]
    assert all(training[at].operator == call.operator for at, call in found.items())
    deep = StochasticDepth()
    assert in_evaluation(record(deep.train(), IMAGES), record(deep.eval(), IMAGES)) is None


def test_what_no_plain_forward_is_gives_nothing() -> None:
    def without_gradients(net: Net, x: Tensor) -> object:
        with torch.no_grad():
            x = 2 * x
        return net.body(x)

    def failing(net: Net, x: Tensor) -> object:
        raise ValueError("of the network")

    for forward in (without_gradients, failing):
        assert record(Net(forward, body=chain()), IMAGES) == []


def test_the_generator_and_the_samples_stay_as_they_were() -> None:
    net = chain(nn.Dropout(0.5)).train()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    given = IMAGES.clone()
    record(net, given)
    assert torch.equal(torch.rand(4), expected)
    assert torch.equal(given, IMAGES)


def test_what_exports_assert_is_in_no_run_and_a_forward_is_told_that_it_is_exported() -> None:
    def converted(net: Net, x: Tensor) -> object:
        x = x.clone() if torch.compiler.is_exporting() else -x
        return net.body(x.double().float())

    net = Net(converted, body=chain())
    nodes = nodes_of(net)
    found = paired(nodes, record(net, IMAGES), first_names(net))
    assert found is not None
    asserted = {str(node.target) for node in nodes if node not in found}
    assert asserted <= {"aten._assert_tensor_metadata.default"}
    assert not torch.compiler.is_exporting()
