"""Which components a model has, and at which micro-batches each is wanted."""

from __future__ import annotations

import pytest

from planner.heads.base import HeadKind
from planner.heads.kinds import HEAD_WORDS, measured_heads
from planner.model.zoo import from_zoo
from planner.profiler.components import Component, components_of
from planner.profiler.job import Job
from planner.schema.common import OptimizerConfig
from tests.heads import conv_heads, heads
from tests.unit import joint_chains
from tests.unit.joint_chains import WIDTH


def _components(
    micro_batches: tuple[int, ...] = (1, 2, 8, 32, 128), filters: tuple[int, ...] = (64, 16)
) -> list[Component]:
    model = from_zoo("cnn6", (3, 32, 32), 10)
    return list(
        components_of(
            Job(model, OptimizerConfig("sgd", 0.1), micro_batches, conv_heads(*filters), "cpu", 1, "tight", 2**40)
        )
    )


def test_every_unit_has_a_head_of_each_width_and_the_last_one_the_loss() -> None:
    units = from_zoo("cnn6", (3, 32, 32), 10).units
    components = _components()
    assert [component.name for component in components if component.unit is not None] == [unit.name for unit in units]
    assert [component.unit for component in components if component.unit is not None] == list(range(len(units)))
    found = [(component.boundary, component.head) for component in components if component.is_head]
    assert found == [*((at, head) for at in range(1, len(units)) for head in heads(64, 16)), (len(units), None)]
    assert components[-1].spec is None and components[-1].output_bytes == 0


@pytest.mark.parametrize("kind", HEAD_WORDS)
def test_a_kind_that_is_asked_for_is_measured_in_every_width_besides_the_usual_heads(kind: HeadKind) -> None:
    """Also where what answers of it is a usual head's: a decoder is beside it."""
    model = from_zoo("cnn6", (3, 32, 32), 10)
    optimizer = OptimizerConfig("sgd", 0.1)
    job = Job(model, optimizer, (1, 8), measured_heads(kind), "cpu", 1, "tight", 2**40)
    found = [component.head for component in components_of(job) if component.boundary == 1 and component.head]
    assert [head.asked_as for head in found] == ["pooled-conv"] * 3 + [kind] * (0 if kind == "pooled-conv" else 3)


def test_heads_are_wanted_at_every_other_micro_batch_the_largest_included() -> None:
    assert {component.micro_batches for component in _components() if component.is_head} == {(1, 8, 128)}
    assert {component.micro_batches for component in _components((1, 2, 8, 32)) if component.is_head} == {(1, 2, 8, 32)}


def test_no_piece_is_wanted_below_the_least_that_its_normalisation_needs() -> None:
    components = _components((1,))
    assert all(component.micro_batches[0] >= component.sizes.minimum_micro_batch for component in components)
    flat = from_zoo("vgg11", (3, 32, 32), 10)
    deep = components_of(Job(flat, OptimizerConfig("sgd", 0.1), (1,), conv_heads(16), "cpu", 1, "tight", 2**40))
    assert (2,) in {component.micro_batches for component in deep}


def test_the_least_a_piece_takes_is_counted_from_its_description() -> None:
    first = _components()[0]
    weights = 4 * first.sizes.parameters
    images, output = 4 * 3 * 32 * 32, first.output_bytes
    # Weights, gradients and two copies of state; running statistics once.
    assert first.least_bytes(8, 2) == 4 * weights + 4 * first.sizes.buffers + 8 * (images + output)


def test_where_several_tensors_pass_a_head_reads_the_first_and_the_bytes_of_all_count() -> None:
    model = joint_chains.model(joint_chains.UNET)
    job = Job(model, OptimizerConfig("sgd", 0.1), (1, 2), conv_heads(16), "cpu", 1, "tight", 2**40)
    found = list(components_of(job))
    heads = [component for component in found if component.is_head]
    assert [(head.boundary, head.shape) for head in heads[1:3]] == [(2, (2 * WIDTH, 8, 8)), (3, (2 * WIDTH, 8, 8))]
    assert [head.boundary for head in heads] == [1, 2, 3, 4, 5]
    units = [component for component in found if not component.is_head]
    skip, half = WIDTH * 16 * 16, 2 * WIDTH * 8 * 8
    assert [unit.output_bytes for unit in units] == [4 * skip, 4 * (half + skip), 4 * (half + skip), 4 * skip, 40]
    assert [unit.further for unit in units] == [(), (), ((WIDTH, 16, 16),), ((WIDTH, 16, 16),), ()]
    weights = 4 * 2 * units[2].sizes.parameters
    assert units[2].least_bytes(3, 0) == weights + 3 * 2 * 4 * (half + skip)
