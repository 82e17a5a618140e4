"""`python -m planner.profiler.child.measure JOB PARENT`: one unit or head at one micro-batch at a time.

JOB is a JSON file (`Job`), PARENT the id of the process to end with. Measurements are asked for on standard input and
answered on the answer pipe, a line of JSON each (`planner.profiler.job`). The child limits its own memory first; a
measurement that does not fit is answered as such.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from planner.errors import ModelError
from planner.profiler.bounded import OwnLimit
from planner.profiler.components import Component, components_of
from planner.profiler.job import (
    ComponentFailed,
    DoesNotFit,
    Facts,
    Job,
    Measured,
    Measurement,
    MeasurementResult,
    Ready,
)
from planner.schema.codec import decode, parse_json, read_document, to_json
from planner.schema.common import is_accelerator
from planner.schema.profile import Costs, Layers
from planner.system.answers import Answers
from planner.system.exhaustion import is_out_of_memory
from planner.system.rlimit import die_with_parent
from planner.training.runtime import check_arithmetic, start_accelerator
from planner.training.start import start_child

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from planner.model.activations import Activations
    from planner.profiler.child.accelerator_limit import OwnAcceleratorLimit
    from planner.profiler.child.layouts import Layout
    from planner.training.optimizers import Optimizer


@dataclass(frozen=True)
class _Loaded:
    """A component in memory, with its optimizer's state."""

    index: int
    component: Component
    module: nn.Module | None
    optimizer: Optimizer

    @property
    def parameters(self) -> list[nn.Parameter]:
        return list(self.module.parameters()) if self.module else []


class Measurer:
    """Measures the components of a job, one in memory at a time."""

    def __init__(self, job: Job) -> None:
        from planner.profiler.child.meter import meter_for
        from planner.profiler.child.timing import ColdCaches

        self._job = job
        self._components = components_of(job)
        self._meter = meter_for(job.device, job.allocator)
        self._caches = ColdCaches(job.max_bytes)
        self._loaded: _Loaded | None = None

    @cached_property
    def _layouts(self) -> tuple[tuple[Layout | None, ...], ...]:
        from planner.profiler.child.layouts import boundary_layouts

        units = [component for component in self._components if not component.is_head]
        return boundary_layouts(units, self._meter.device)

    def warm(self) -> None:
        """Record once, so that the memory which torch.profiler keeps from then on is there before limits are set."""
        self._meter.record(lambda: None)

    def answer(self, measurement: Measurement) -> MeasurementResult:
        """Measure. Errors of torch are answers: lack of memory `DoesNotFit`, any other `ComponentFailed`."""
        try:
            found = self._measure(measurement)
            return replace(found, samples=self._meter.sampler.counted())
        except (RuntimeError, ValueError, MemoryError, ModelError) as error:
            if not is_out_of_memory(error):
                return ComponentFailed("failed", str(error))
        # Out of the handler, so that the traceback no longer holds the failed measurement's tensors.
        self._loaded = None
        return DoesNotFit("does not fit")

    def _measure(self, measurement: Measurement) -> Measured:
        import torch

        from planner.profiler.child.layouts import laid_out
        from planner.training.examples import example_inputs

        if self._loaded is None or self._loaded.index != measurement.component:
            self._loaded = None  # first, or both were in memory
            self._loaded = self._load(measurement.component)
        component = self._loaded.component
        generator = torch.Generator().manual_seed(measurement.micro_batch)
        size, device = measurement.micro_batch, self._meter.device
        given = [example_inputs(component.shape, size, component.input_dtype, component.tokens, generator)]
        given += [example_inputs(shape, size, component.dtype, 0, generator) for shape in component.further]
        boundary = component.boundary if component.is_head else component.boundary - 1
        lie = (*self._layouts[boundary], *[None] * len(given))
        first, *further = (laid_out(tensor.to(device), layout) for tensor, layout in zip(given, lie, strict=False))
        inputs: Activations = (first, *further) if further else first
        facts = self._facts(self._loaded, inputs) if measurement.with_facts else None
        if not component.is_head:
            costs = self._unit_costs(self._loaded, inputs)
            layers = self._layers(self._loaded, inputs, costs) if measurement.with_layers else None
            return Measured("measured", costs, facts, layers)
        return Measured("measured", self._head_costs(self._loaded, first, generator), facts)

    def _load(self, index: int) -> _Loaded:
        import torch

        from planner.model.build import build_unit
        from planner.profiler.child.trace import set_gradients
        from planner.training.heads import build_head
        from planner.training.optimizers import make_optimizer

        component = self._components[index]
        module: nn.Module | None = None
        generator, shape = torch.Generator().manual_seed(0), component.shape
        if component.head:
            output = self._job.model.output
            module = build_head(component.head, shape, output, generator, component.dtype).to(self._meter.device)
        elif component.spec:
            module = build_unit(component.spec, shape, generator, component.dtype).to(self._meter.device)
        optimizer = make_optimizer(self._job.optimizer)
        optimizer.lr = 0.0  # a step costs the same, and the weights stay what they are
        loaded = _Loaded(index, component, module, optimizer)
        set_gradients(loaded.parameters, existing=True)
        optimizer.step(loaded.parameters)
        set_gradients(loaded.parameters, existing=False)
        return loaded

    def _facts(self, loaded: _Loaded, inputs: Activations) -> Facts:
        from planner.model.flops import unit_flops

        module, parameters, spec = loaded.module, loaded.parameters, loaded.component.spec
        if module is None or spec is None:
            return Facts(0, 0, 0, 0, 0.0, 0)
        check_finite(module, inputs)
        seconds, transient = self._step_costs(loaded)
        return Facts(
            parameter_bytes=sum(parameter.nbytes for parameter in parameters),
            buffer_bytes=sum(buffer.nbytes for buffer in module.buffers()),
            optimizer_bytes=sum(t.nbytes for p in parameters for t in loaded.optimizer.state(p).values()),
            step_transient_bytes=transient,
            step_seconds=seconds,
            flops=unit_flops(spec, loaded.component.shape),
        )

    def _step_costs(self, loaded: _Loaded) -> tuple[float, int]:
        from planner.profiler.child.timing import time_step
        from planner.profiler.child.trace import set_gradients, trace_step

        parameters = loaded.parameters
        if not parameters:
            return 0.0, 0
        set_gradients(parameters, existing=True)
        transient = trace_step(self._meter, lambda: loaded.optimizer.step(parameters))
        seconds = time_step(self._meter, self._caches, lambda: loaded.optimizer.step(parameters))
        set_gradients(parameters, existing=False)
        return seconds, transient

    def _layers(self, loaded: _Loaded, inputs: Activations, costs: Costs) -> Layers:
        from planner.model.flops import layer_flops
        from planner.profiler.child.layers import profile_layers

        spec = loaded.component.spec
        assert loaded.module is not None and spec is not None
        flops = layer_flops(spec, loaded.component.shape)
        return profile_layers(self._meter, spec, loaded.module, inputs, loaded.optimizer, costs, flops)

    def _unit_costs(self, loaded: _Loaded, inputs: Activations) -> Costs:
        from planner.model.activations import first_of
        from planner.profiler.child.audit import unexplained_bytes
        from planner.profiler.child.timing import time_inference, time_unit
        from planner.profiler.child.trace import trace_detached, trace_inference, trace_unit

        module = loaded.module
        assert module is not None
        self._meter.take_untouched()
        traces, times = trace_unit(self._meter, module, inputs, loaded.optimizer.step)
        inference = trace_inference(self._meter, module, inputs)
        inference_seconds = inference.seconds
        if not times.are_long:
            times = time_unit(self._meter, self._caches, module, inputs)
            inference_seconds = time_inference(self._meter, self._caches, module, inputs)
        return Costs(
            len(first_of(inputs)),
            traces,
            inference.peak_bytes,
            inference.kept_bytes,
            detached_peak_bytes=trace_detached(self._meter, module, inputs),
            forward_seconds=times.forward,
            backward_seconds=times.backward,
            first_backward_seconds=times.first_backward,
            inference_seconds=inference_seconds,
            unexplained_bytes=unexplained_bytes(self._meter, module, inputs),
            untouched_bytes=self._meter.take_untouched(),
        )

    def _head_costs(self, loaded: _Loaded, inputs: Tensor, generator: Generator) -> Costs:
        from planner.profiler.child.timing import time_head
        from planner.profiler.child.trace import Inference, trace_head, trace_inference
        from planner.training.tasks import make_arithmetic

        arithmetic = make_arithmetic(self._job.model.task)
        model = self._job.model
        labels = arithmetic.examples(len(inputs), model.classes, model.input, generator).to(self._meter.device)

        self._meter.take_untouched()
        times = time_head(self._meter, self._caches, loaded.module, arithmetic.loss, inputs, labels)
        traces = trace_head(self._meter, loaded.module, arithmetic.loss, inputs, labels, loaded.optimizer.step)
        found = trace_inference(self._meter, loaded.module, inputs) if loaded.module else Inference(0, 0, 0.0)
        # Nothing of a head's inference time is predicted; its forward while training stands for it.
        seconds = times.forward, times.backward, times.first_backward, times.forward if loaded.module else 0.0
        return Costs(
            len(inputs),
            traces,
            found.peak_bytes,
            found.kept_bytes,
            found.peak_bytes,
            *seconds,
            untouched_bytes=self._meter.take_untouched(),
        )


def check_finite(module: nn.Module, inputs: Activations) -> None:
    """Raise ModelError where the module's output on `inputs`, random ones, holds NaN or infinity."""
    import torch

    from planner.model.activations import tensors_of

    with torch.no_grad():
        outputs = tensors_of(module(inputs))
    count = sum(int((~torch.isfinite(output)).sum()) for output in outputs)
    if count:
        numbers = sum(output.numel() for output in outputs)
        raise ModelError(f"{count} of {numbers} numbers of its output on random samples are not finite")


def _limit(job: Job) -> OwnLimit | OwnAcceleratorLimit:
    if not is_accelerator(job.device):
        return OwnLimit(job.max_bytes)
    from planner.profiler.child.accelerator_limit import OwnAcceleratorLimit
    from planner.training.device import accelerator_of

    return OwnAcceleratorLimit(accelerator_of(job.device), job.max_bytes)


def main(path: str, parent_pid: int, measurements: Iterable[str]) -> None:
    """Answer every measurement that `measurements` ask for, lines of JSON, of the job at `path`."""
    die_with_parent(parent_pid)
    answers = Answers()

    def emit(line: Ready | MeasurementResult) -> None:
        answers.emit(to_json({"line": line}, indent=None))

    job = read_document(Path(path), Job)
    start_child(answers, job.allocator, job.threads, job.start, numpy=True)
    if is_accelerator(job.device):
        start_accelerator(job.device)
        check_arithmetic(job.dtype, job.device)
    measurer = Measurer(job)
    measurer.warm()
    limit = _limit(job)
    emit(Ready("ready", limit.renew()))
    for line in measurements:
        limit.renew()
        emit(measurer.answer(decode(Measurement, parse_json(line))))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.stdin)
