"""What `describe` finds, as text."""

from __future__ import annotations

from planner.model.importers.description import Description
from planner.model.importers.obstacles import Obstacle
from planner.operators.unit_graph import GraphTensor, UnitGraph
from planner.schema.model import Model, Unit
from tests.unit import joint_chains


def unit(name: str, layers: int, last: str = "x", width: int = 4) -> Unit:
    """So many linear layers in one unit."""
    lines, tensors = [], []
    for index in range(layers):
        lines.append(f"a{index} = linear({last}, $w{name}{index})")
        tensors.append(GraphTensor(f"w{name}{index}", (4, width if index == 0 else 4), "parameter", "uniform", 0.5))
        last = f"a{index}"
    return Unit(name, (UnitGraph("graph", tuple(lines), last, tuple(tensors), ()),))


def model(*units: Unit) -> Model:
    flat = Unit("flat", (UnitGraph("graph", ("f = flatten.using_ints(x, 1)",), "f", (), ()),))
    return Model("model/2", "net", (1, 2, 2), 4, (flat, *units))


def test_a_network_that_comes_in() -> None:
    found = Description.of(model(unit("a", 1), unit("b", 2)))
    assert (found.accepted, found.parameters, found.notes) == (True, 3 * 16, ())
    assert str(found).splitlines() == [
        "net comes in: 1×2×2 in, 4 classes, 48 parameters in 3 units",
        "  flat              0 parameters  gives 4",
        "  a                16 parameters  gives 4",
        "  b                32 parameters  gives 4",
    ]


def test_a_unit_that_holds_most_of_it_is_told() -> None:
    found = Description.of(model(unit("a", 1), unit("b", 3)), ["b.weight"])
    assert found.notes == (
        "b is one unit with 3 of the 5 operators, which is never split: long skips or shared weights span it",
        "b.weight has no shape before the module is run; run it once on a sample before its weights are used",
    )
    assert str(found).endswith(f"note: {found.notes[0]}\nnote: {found.notes[1]}")


def test_a_network_that_does_not() -> None:
    found = Description(None, (Obstacle("is wrong", "net.py:7", "mend it"), Obstacle("fails")))
    assert (found.accepted, found.parameters) == (False, 0)
    assert str(found) == (
        "The network does not come in; 2 things are in the way:\n  - net.py:7: is wrong; mend it\n  - fails"
    )


def test_what_a_unit_carries_along_is_told() -> None:
    lines = str(Description.of(joint_chains.model(joint_chains.UNET))).splitlines()
    assert [line.partition("gives ")[2] for line in lines[1:]] == [
        "16×16×16", "32×8×8 and 16×16×16", "32×8×8 and 16×16×16", "16×16×16", "10"
    ]  # fmt: skip
