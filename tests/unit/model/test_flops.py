"""Multiply-adds from the registry of operators, against two counters of others: fvcore and torch's own."""

from __future__ import annotations

from random import Random

import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from torch.utils.flop_counter import FlopCounterMode

from planner.model.build import build_unit
from planner.model.flops import layer_flops, model_flops, unit_flops
from planner.model.shapes import model_sizes
from planner.model.zoo import from_zoo
from planner.operators.aten.base import Value
from planner.operators.aten.kinds import ATEN
from planner.operators.unit_graph import GraphTensor, UnitGraph
from planner.schema.model import Unit
from tests.unit.operators.aten.cases import MAKERS, Draw

PRODUCTS = [
    *(name for name in ATEN if name.startswith("conv") and "cat" not in name and name != "contiguous"),
    *("linear", "matmul", "bmm", "baddbmm", "mm", "addmm", "einsum", "scaled_dot_product_attention"),
]  # fmt: skip


def counted_by_fvcore(unit: Unit, shape: tuple[int, ...]) -> FlopCountAnalysis:
    """Of one sample's forward in evaluation."""
    analysis = FlopCountAnalysis(build_unit(unit, shape).eval(), (torch.zeros((1, *shape)),))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return analysis


@pytest.mark.parametrize("zoo", ["cnn6", "resnet18", "mobilenetv2", "mobilenetv3-small", "mlp-mixer-s"])
def test_whole_networks_count_as_fvcore_counts_them(zoo: str) -> None:
    model = from_zoo(zoo, (3, 32, 32), 10)
    shape, total = tuple(model.input), 0
    for unit, sizes in zip(model.units, model_sizes(model), strict=True):
        counted = int(counted_by_fvcore(unit, shape).total())
        assert unit_flops(unit, shape) == counted, unit.name
        shape, total = sizes.output, total + counted
    assert model_flops(model) == total


def test_a_residuals_layers_count_by_their_paths() -> None:
    model = from_zoo("resnet18", (3, 32, 32), 10)
    unit, shape = model.units[1], (64, 32, 32)
    whole = counted_by_fvcore(unit, shape).by_module()
    assert layer_flops(unit, shape) == {path: whole[path] for path in layer_flops(unit, shape)}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_count_as_torch_counts_them(name: str) -> None:
    operator, compared = ATEN[name], 0
    for seed in range(30):
        positional, named = MAKERS[name](Draw(Random(seed)))
        try:
            arguments = operator.bind(positional, named)
            given = operator.rule(**arguments)
        except ValueError:
            continue
        results = given if isinstance(given, tuple) else (given,)
        packet, _, overload = name.partition(".")
        call = getattr(getattr(torch.ops.aten, packet), overload or "default")
        if name == "einsum" and len(positional[1]) > 2:  # some of it is done element by element
            continue
        if any(value.dtype not in ("float32", "float64") for value in values([*positional, *named.values()])):
            continue
        with FlopCounterMode(display=False) as counter:
            call(**{key: tensors(value) for key, value in arguments.items()})
        counted = counter.get_total_flops()
        if (
            counted == 0
        ):  # a vector's product, an inner extent of 1, a fused kernel: torch's counter knows none of these
            continue
        assert 2 * operator.multiply_adds(arguments, results) == counted, (seed, positional, named)
        compared += 1
    assert compared >= 3


def values(arguments: object) -> list[Value]:
    if isinstance(arguments, list):
        return [value for each in arguments for value in values(each)]
    return [arguments] if isinstance(arguments, Value) else []


def tensors(argument: object) -> object:
    if isinstance(argument, list):
        return [tensors(each) for each in argument]
    if isinstance(argument, Value):
        return torch.zeros(argument.shape, dtype=getattr(torch, argument.dtype))
    return argument


def test_what_does_not_depend_on_the_samples_counts_once() -> None:
    weight = GraphTensor("w", (3, 3))
    graph = UnitGraph("graph", ("v = mm($w, $w)", "y = linear(x, v)"), "y", (weight,))
    assert unit_flops(Unit("u", (graph,)), (3,)) == 27 + 9


def test_attention_counts() -> None:
    graph = UnitGraph("graph", ("y = scaled_dot_product_attention(x, x, x)",), "y")
    assert unit_flops(Unit("u", (graph,)), (2, 5, 4)) == 2 * 5 * 5 * (4 + 4)
