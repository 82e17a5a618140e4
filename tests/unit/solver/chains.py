"""Profiles computed from shapes by plain formulas: of networks of the zoo, at the scale of a real measurement.

The formulas are those of a network that saves every layer's input (4 bytes a number) and computes 10^10 multiply-adds a
second; no measurement is imitated beyond that.
"""

from __future__ import annotations

from math import prod

from planner.heads.convolution import FILTERS, ConvHead
from planner.model.heads import head_unit
from planner.model.shapes import Shape, Sizes, model_sizes, unit_sizes
from planner.model.zoo import from_zoo
from planner.schema.common import Device, OptimizerConfig
from planner.schema.model import Conv2d, Linear, Model, Residual, Unit
from planner.schema.profile import ComponentProfile, Costs, HeadProfile, Profile, Storage, Trace, Traces
from planner.schema.runtime import Runtime

OPERATIONS_PER_SECOND = 1e10
SGD = OptimizerConfig(kind="sgd", lr=0.05, momentum=0.9)
DEVICE = Device("test", "0" * 64, "cpu", 1, "2.13.0", 2**34)


def zoo_profile(name: str, micro_batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)) -> Profile:
    """A profile of a zoo network on 3×32×32 images with five widths of head at every boundary."""
    return computed_profile(from_zoo(name, (3, 32, 32), 10), micro_batches)


def computed_profile(model: Model, micro_batches: tuple[int, ...]) -> Profile:
    """The same of any network."""
    shapes: list[Shape] = [model.input]
    units = []
    heads = []
    for index, (unit, sizes) in enumerate(zip(model.units, model_sizes(model), strict=True)):
        units.append(_component(unit, shapes[-1], sizes, micro_batches))
        shapes.append(sizes.output)
        if index + 1 < len(model.units):
            for filters in FILTERS[:5]:
                head = head_unit(ConvHead("auxiliary", filters), sizes.output, model.output)
                cost = _component(head, sizes.output, unit_sizes(head, sizes.output), micro_batches)
                heads.append(HeadProfile(index + 1, "auxiliary", filters, cost))
    heads.append(HeadProfile(len(units), "classifier", 0, _loss(model, micro_batches)))
    return Profile(
        schema="profile/1",
        id="f" * 64,
        model=model,
        device=DEVICE,
        dtype="float32",
        optimizer=SGD,
        allocator="tight",
        runtime=Runtime(240 * 2**20, 230 * 2**20, 12 * 2**20, 2**20, 20),
        storage=Storage(300_000_000, 800_000_000),
        units=tuple(units),
        heads=tuple(heads),
        uncounted_operators=(),
    )


def _operations(unit: Unit, shape: Shape) -> int:
    total = 0
    for layer in unit.layers:
        if isinstance(layer, Residual):
            total += _operations(Unit("body", layer.body), shape)
        sizes = unit_sizes(Unit("layer", (layer,)), shape)
        if isinstance(layer, Conv2d | Linear):
            total += sizes.parameters * prod(sizes.output[1:])
        shape = sizes.output
    return total


def _component(unit: Unit, shape: Shape, sizes: Sizes, micro_batches: tuple[int, ...]) -> ComponentProfile:
    parameter_bytes = 4 * sizes.parameters
    output = 4 * prod(sizes.output)
    layers = sum(len(layer.body) + 1 if isinstance(layer, Residual) else 1 for layer in unit.layers)
    work = layers * 4 * max(prod(shape), prod(sizes.output))
    seconds = _operations(unit, shape) / OPERATIONS_PER_SECOND
    return ComponentProfile(
        parameters=sizes.parameters,
        parameter_bytes=parameter_bytes,
        buffer_bytes=4 * sizes.buffers + 8 * sizes.counters,
        optimizer_bytes=parameter_bytes,
        step_transient_bytes=parameter_bytes // 2,
        step_seconds=sizes.parameters / 1e9,
        flops=_operations(unit, shape),
        output_bytes=output,
        minimum_micro_batch=sizes.minimum_micro_batch,
        costs=tuple(_costs(size, work, output, 4 * prod(shape), parameter_bytes, seconds) for size in micro_batches),
    )


def _loss(model: Model, micro_batches: tuple[int, ...]) -> ComponentProfile:
    width = 4 * model.classes
    costs = tuple(_costs(size, 2 * width, 4, width, 0, 1e-7) for size in micro_batches)
    return ComponentProfile(0, 0, 0, 0, 0, 0.0, 0, 4, 1, costs)


def _costs(size: int, work: int, output: int, inputs: int, parameter_bytes: int, seconds: float) -> Costs:
    def trace(gradient: int, parameters: int) -> Trace:
        kept = size * work
        peak = kept + size * output + gradient + parameters + parameter_bytes // 4
        return Trace(
            forward_peak_bytes=kept + size * output,
            kept_bytes=kept,
            saved_bytes=kept,
            backward_peak_bytes=peak,
            held_backward_peak_bytes=peak + size * output,
            end_bytes=gradient + parameters,
        )

    forward = seconds * size * (1 + 2 / size) + 2e-5
    return Costs(
        micro_batch=size,
        traces=Traces(
            inner=trace(size * inputs, parameter_bytes),
            inner_accumulating=trace(size * inputs, 0),
            first=trace(0, parameter_bytes),
            first_accumulating=trace(0, 0),
            inner_stepping=trace(size * inputs, 0),
            first_stepping=trace(0, 0),
        ),
        inference_peak_bytes=size * (work // 3 + output),
        inference_kept_bytes=size * output,
        detached_peak_bytes=size * (work // 3 + output),
        forward_seconds=forward,
        backward_seconds=2 * forward,
        first_backward_seconds=1.5 * forward,
        inference_seconds=0.8 * forward,
    )
