"""Cuts where several tensors pass: the head reads the first, the others go on cut off, and are cached beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from planner.heads.convolution import ConvHead
from planner.model.activations import Activations, tensors_of
from planner.model.build import build_unit
from planner.model.shapes import model_sizes
from planner.runner.input.samples import Samples
from planner.runner.storage.cache import CacheReader, CacheSpec, CacheWriter
from planner.runner.supervise.exits import exit_model
from planner.runner.train.block import LoadedBlock
from planner.runner.train.post_training import Target
from planner.schema.common import CacheDtype, stored_bytes
from planner.schema.plan import BlockInput, Exit, Plan, Segment
from planner.schema.preprocessing import USUAL
from planner.tasks.base import CLASS_NUMBER
from planner.training.segment import infer
from tests.unit import joint_chains
from tests.unit.runner.contexts import block_context, loaded_block
from tests.unit.runner.test_methods import equal_states, with_recomputed_input
from tests.unit.runner.train.test_block import BATCH, make_plan

NETWORKS = {"u-net": joint_chains.UNET, "dense": joint_chains.DENSE}
HEAD = ConvHead("auxiliary", 8)


def joint_plan(name: str, *cuts_of_blocks: tuple[int, ...], micro_batch: int = BATCH) -> Plan:
    """As `make_plan`, for a network whose skips are carried along."""
    model, (pattern, *_) = joint_chains.model(NETWORKS[name]), make_plan((0, 6), micro_batch=micro_batch).blocks
    blocks, exits = [], []
    for bounds in cuts_of_blocks:
        ends = [(first, last, None if last == len(model.units) else HEAD) for first, last in pairwise(bounds)]
        segments = tuple(Segment((first, last), head) for first, last, head in ends)
        kind = BlockInput("cache" if bounds[0] else "data", bounds[0], 64, "float32")
        blocks.append(replace(pattern, units=(bounds[0], bounds[-1]), input=kind, segments=segments))
        exits += [Exit(last, head) for _, last, head in ends]
    return replace(make_plan((0, 6)), model=model, blocks=tuple(blocks), exits=tuple(exits))


def batch() -> tuple[Tensor, Tensor]:
    """Images and labels."""
    generator = torch.Generator().manual_seed(5)
    return torch.randn(BATCH, *joint_chains.IMAGE, generator=generator), torch.arange(BATCH) % joint_chains.CLASSES


def micro_batches(inputs: Activations, labels: Tensor, size: int) -> Iterator[tuple[Activations, Tensor]]:
    """In equal parts."""
    for at in range(0, BATCH, size):
        parts = tuple(tensor[at : at + size] for tensor in tensors_of(inputs))
        yield parts if len(parts) > 1 else parts[0], labels[at : at + size]


@pytest.mark.parametrize("micro_batch", [BATCH, BATCH // 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_segment_is_trained_by_its_own_loss_to_the_bit(name: str, micro_batch: int) -> None:
    """Against the same arithmetic written out: each segment's loss, and no gradient through what passes."""
    plan = joint_plan(name, (0, 2, 3, 5), micro_batch=micro_batch)
    block, expected = loaded_block(plan, 0, 3), loaded_block(plan, 0, 3)
    images, labels = batch()
    accumulates = micro_batch < BATCH
    loss = block.train_batch(micro_batches(images, labels, micro_batch), BATCH, accumulates)
    total = 0.0
    for inputs, wanted in micro_batches(images, labels, micro_batch):
        passing = inputs
        for segment in expected.segments:
            for unit in segment.units:
                passing = unit(passing)
            first, *others = tensors_of(passing)
            found = F.cross_entropy(segment.head(first) if segment.head else first, wanted)
            share = found * (micro_batch / BATCH) if accumulates else found
            share.backward()  # type: ignore[no-untyped-call]  # torch gives it no type
            passing = (first.detach(), *(other.detach() for other in others)) if others else first.detach()
        total += found.item() * micro_batch / BATCH
    for segment in expected.segments:
        assert all(parameter.grad is not None for parameter in segment.parameters())
        expected.optimizer.step(segment.parameters())
    assert loss == total
    assert equal_states(block, expected)


def written(folder: Path, plan: Plan, first: LoadedBlock, dtype: CacheDtype, images: Tensor, labels: Tensor) -> Samples:
    """What the second block reads of what the first makes of images."""
    shapes = block_context(plan, 1).input_shapes
    sizes = tuple(stored_bytes(dtype, prod(shape)) for shape in shapes)
    spec = CacheSpec(BATCH, sum(sizes), "mine", CLASS_NUMBER.stored_bytes, sizes)
    with CacheWriter(folder, spec) as writer:
        for at in range(0, BATCH, 4):
            part = slice(at, at + 4)
            Target(writer, dtype, CLASS_NUMBER).append(at, first.run_through(images[part]), labels[part])
        writer.finish()
    reader = CacheReader(folder, spec)
    return Samples(reader, shapes[0], dtype, BATCH // 2, labels=CLASS_NUMBER, normalisation=USUAL, further=shapes[1:])


@pytest.mark.parametrize("cut", [2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_block_trains_alike_from_a_cache_of_several_tensors_and_through_frozen_units(
    tmp_path: Path, name: str, cut: int
) -> None:
    plan = joint_plan(name, (0, cut), (cut, 5), micro_batch=BATCH // 2)
    first = loaded_block(plan, 0, 3)
    first.stop_training()
    images, labels = batch()
    samples = written(tmp_path / "c", plan, first, "float32", images, labels)
    cached = loaded_block(plan, 1, 3)
    losses = [cached.train_batch(samples.in_order(), BATCH, True)]
    frozen = [unit for segment in first.segments for unit in segment.units]
    through = loaded_block(with_recomputed_input(plan, 1), 1, 3, frozen)
    losses.append(through.train_batch(micro_batches(images, labels, BATCH // 2), BATCH, True))
    assert losses[0] == losses[1]
    assert equal_states(cached, through)


@pytest.mark.parametrize("dtype", get_args(CacheDtype))
def test_every_tensor_comes_back_as_its_type_allows(tmp_path: Path, dtype: CacheDtype) -> None:
    plan = joint_plan("dense", (0, 3), (3, 5))
    first = loaded_block(plan, 0, 3)
    first.stop_training()
    images, labels = batch()
    samples = written(tmp_path / "c", plan, first, dtype, images, labels)
    outputs = tensors_of(first.run_through(images))
    assert len(outputs) == 3
    seen = 0
    for inputs, found in samples.in_order():
        part = slice(seen, seen + len(found))
        for tensor, output in zip(tensors_of(inputs), outputs, strict=True):
            most = 0.0 if dtype == "float32" else output.abs().max().item() / 127
            assert tensor.is_contiguous()
            assert (tensor - output[part]).abs().max().item() <= most
        seen += len(found)
    assert seen == BATCH


@pytest.mark.parametrize("cut", [2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_that_ends_there_gives_what_its_head_makes_of_the_first(name: str, cut: int) -> None:
    plan = joint_plan(name, (0, cut), (cut, 5))
    block = loaded_block(plan, 0, 3)
    block.stop_training()
    (segment,) = block.segments
    assert segment.head is not None
    described = exit_model(plan, cut)
    shapes = [described.input, *(sizes.output for sizes in model_sizes(described))]
    units = [build_unit(unit, shape).eval() for unit, shape in zip(described.units, shapes, strict=False)]
    for module, trained in zip(units, [*segment.units, segment.head], strict=True):
        own, given = module.state_dict(), trained.state_dict()
        assert own.keys() == given.keys()
        for key, tensor in own.items():  # which share the module's memory
            tensor.copy_(given[key])
    images, _ = batch()
    expected = infer([segment.head], tensors_of(block.run_through(images))[0])
    assert torch.equal(infer(units, images), expected)
