"""What units take by themselves, from the traces of shipped profiles."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.operators.unit_graph import GraphTensor, UnitGraph
from planner.profiler.library.applies import read_profile
from planner.profiler.library.shipped import FOLDER
from planner.schema.model import Activation, Model, Unit
from planner.schema.plan import Block, Plan
from planner.schema.profile import Profile
from planner.schema.request import Budget, Request, Strategy, Training
from planner.solver.plan import make_plan
from planner.solver.unit_bytes import UnitBytes, largest_unit, unit_bytes
from planner.units import MIB
from tests.unit.solver.two_units import FIRST, SECOND, SGD, tiny_profile

BATCH = 32  # measured, so that nothing is interpolated


@pytest.fixture(scope="module")
def profile() -> Profile:
    return read_profile(FOLDER / "models" / "cnn6-3x32x32-10-sgd.json")


def _plan(profile: Profile, strategy: Strategy, budget: int = 2000 * MIB) -> Plan:
    training = Training(BATCH, 1, 1000, profile.optimizer)
    request = Request(Budget(budget, "process"), training, strategy=strategy, allocator="tight")
    return make_plan(profile, request)


def _total(unit: UnitBytes) -> int:
    kept = unit.parameters_bytes + unit.gradients_bytes + unit.optimizer_bytes
    return kept + unit.activations_bytes + unit.transient_bytes


def test_the_parts_of_a_unit_sum_to_what_was_traced(profile: Profile) -> None:
    plan = _plan(profile, "backprop")
    (block,) = plan.blocks
    assert (block.micro_batch, block.accumulate, block.optimizer_in_backward) == (BATCH, 1, False)
    for unit in unit_bytes(profile, plan)[:-1]:
        component = profile.units[unit.unit]
        cost = next(each for each in component.costs if each.micro_batch == BATCH)
        trace = cost.traces.first if unit.unit == 0 else cost.traces.inner
        static = component.parameter_bytes + component.buffer_bytes + component.optimizer_bytes
        assert _total(unit) == static + max(trace.forward_peak_bytes, trace.backward_peak_bytes)
        assert unit.activations_bytes == trace.kept_bytes
        assert unit.gradients_bytes == component.parameter_bytes
        assert unit.transient_bytes >= 0


def test_heads_stand_behind_the_units_they_read(profile: Profile) -> None:
    plan = _plan(profile, "classic-local")
    found = unit_bytes(profile, plan)
    ends = [segment.units[1] - 1 for block in plan.blocks for segment in block.segments]
    assert [unit.unit for unit in found if unit.kind == "head"] == ends
    assert [unit.unit for unit in found if unit.kind == "unit"] == list(range(len(plan.model.units)))


def test_recomputed_units_keep_nothing(profile: Profile) -> None:
    checkpoint = _plan(profile, "checkpoint", _plan(profile, "checkpoint").minimum_budget_bytes)
    spans = [span for block in checkpoint.blocks for segment in block.segments for span in segment.recompute]
    inside = {unit for first, last in spans for unit in range(first, last)}
    assert inside, "the strategy recomputes nothing here"
    plain = replace(checkpoint, blocks=tuple(_without_spans(block) for block in checkpoint.blocks))
    for unit, before in zip(unit_bytes(profile, checkpoint), unit_bytes(profile, plain), strict=True):
        assert _total(unit) == _total(before)  # alone it saves nothing: what it keeps is there when it runs again
        recomputed = unit.kind == "unit" and unit.unit in inside
        assert unit.recomputed == recomputed
        assert unit.activations_bytes == (0 if recomputed else before.activations_bytes)


def _without_spans(block: Block) -> Block:
    return replace(block, segments=tuple(replace(segment, recompute=()) for segment in block.segments))


def test_a_unit_of_several_layers_that_takes_most_is_named() -> None:
    weights = tuple(GraphTensor(f"w{index}", (7, 7), scale=0.1) for index in range(3))
    lines = ("a = linear(x, $w0)", "b = linear(a, $w1)", "c = linear(b, $w2)")
    several = Unit("several", (UnitGraph("graph", lines, "c", weights),))
    large = replace(FIRST, parameter_bytes=10**6, optimizer_bytes=10**6)
    training = Training(batch=2, epochs=1, samples=4, optimizer=SGD)
    request = Request(Budget(10**7, "training"), training, strategy="backprop")
    for unit, component, told in (
        (several, large, True),
        (several, FIRST, False),
        (replace(several, layers=(Activation("relu"),)), large, False),
    ):
        profile = tiny_profile((component, SECOND))
        units = (unit, profile.model.units[1])
        profile = replace(profile, model=Model("model/2", "tiny", (1, 5, 7), 2, units))
        found = largest_unit(profile, make_plan(profile, request))
        assert (found is not None) is told
        assert found is None or (found.name, found.own_bytes) == ("several", 2 * 10**6 + 10 + 350)
