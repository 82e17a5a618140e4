"""From any `torch.nn.Module` that `torch.export` takes to its description, proven on data. Needs torch.

Nothing is taken on trust: the description is built anew, given the module's own weights, and has to give the outputs,
gradients and running statistics that the module gives. The module comes back as it was.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from planner.errors import ModelError
from planner.model.importers.chain import Chain, chain_of, graph_obstacles
from planner.model.importers.given import Given, best_pick, odd_parts, odd_tensors, picking, unwrapped
from planner.model.importers.obstacles import Obstacle, obstacles_of, refusal
from planner.model.importers.places import line_of_error
from planner.model.importers.samples import samples_of
from planner.schema.model import Model
from planner.tasks.kinds import CLASSIFICATION, AnyTask


def import_module(given: Given) -> Model:
    """The description of a module: see `import_chain`."""
    return import_chain(given).model


def import_chain(given: Given) -> Chain:
    """A module as a chain of units.

    What does not require a gradient is not trained. Layers that get their shape from the first input get it here.

    Raises ModelError with all that is in the way: the layer, the line of its code or the unit, and the reason.
    """
    module, sample, task = given.module, given.sample, given.task
    if not isinstance(module, nn.Module):
        raise ModelError(f"a torch.nn.Module is needed, not a {type(module).__name__}")
    if not isinstance(sample, Tensor):
        raise ModelError(f"sample: a tensor is needed, not a {type(sample).__name__}")
    module = unwrapped(module)
    if found := odd_parts(module):
        raise refusal(found)
    if found := odd_tensors(module, sample):
        raise refusal([*found, *_further(replace(given, module=module))])
    with torch.compiler.set_stance("force_eager"), picking(module, given.outputs), _modes_kept(module):
        with torch.no_grad():
            _set_training(module, False)
            samples = samples_of(sample, given.inputs, partial(_how_far, module, task))
            outcomes = [_output(module, samples.tensor), _output(module, samples.tensor[:1])]
        problems = (
            _output_problem(outcome, count, task, samples.shape)
            for outcome, count in zip(outcomes, (len(samples.tensor), 1), strict=True)
        )
        found = [obstacle for obstacle in problems if obstacle is not None]
        if found:
            pick = best_pick(outcomes[0])
            with picking(module, None if pick is None else pick.take):
                raise refusal([found[0], *graph_obstacles(module, samples)])
        width = task.outputs_of(tuple(outcomes[0].shape[1:]), samples.shape)
        if given.classes not in (None, width):
            raise ModelError(f"classes is {given.classes}, but the output has {width} per sample")
        return chain_of(module, samples, width, task)


def _how_far(module: nn.Module, task: AnyTask, inputs: Tensor) -> int:
    """How far `module` comes with such samples: 0 where it fails, 1 where it gives no outputs of each, otherwise 2."""
    try:
        output = _output(module, inputs)
    except ModelError:
        return 0
    return 2 if _output_problem(output, len(inputs), task, tuple(inputs.shape[1:])) is None else 1


def _further(given: Given) -> list[Obstacle]:
    """What else is in the way of a module of other numbers, as far as that can be seen with float32."""
    module, sample = given.module, given.sample
    tensors = (sample, *module.parameters(), *module.buffers())
    if any(tensor.is_complex() or tensor.is_meta or tensor.device != sample.device for tensor in tensors):
        return []
    numbers = sample.float() if sample.is_floating_point() else sample
    try:
        import_chain(replace(given, module=copy.deepcopy(module).float(), sample=numbers))
    except ModelError as error:
        return list(obstacles_of(error))
    except Exception:  # whatever somebody else's module makes of being copied
        return []
    return []


def _show(shape: tuple[int, ...]) -> str:
    return "×".join(str(extent) for extent in shape) or "a single number"


@contextmanager
def _modes_kept(module: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def _set_training(module: nn.Module, training: bool) -> None:
    for part in module.modules():
        part.training = training


@contextmanager
def _watched(module: nn.Module, within: list[str]) -> Iterator[None]:
    """Keep in `within` the paths of the modules whose forward is going on, the innermost last."""

    def enter(name: str) -> Callable[..., None]:
        return lambda *_: within.append(name)

    def leave(*_: object) -> None:
        within.pop()

    handles = []
    for name, part in module.named_modules():
        handles += [part.register_forward_pre_hook(enter(name)), part.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _output(module: nn.Module, inputs: Tensor) -> Any:
    """What `module` gives. Raises ModelError where it fails."""
    count = len(inputs)
    within: list[str] = []
    with _watched(module, within):
        try:
            return module(inputs.clone())  # it may write into its input
        except Exception as error:  # whatever somebody else's forward raises
            layer = f"layer {within[-1]!r}" if within and within[-1] else "forward"
            problem = f"fails at batch {count} ({type(error).__name__}: {str(error)[:300]})"
            line = line_of_error(error)
            raise refusal([Obstacle(problem + (f" at {line}" if line else ""), layer)]) from error


def _output_problem(output: object, count: int, task: AnyTask, shape: tuple[int, ...]) -> Obstacle | None:
    """Why an output is not one tensor as the task has it, (batch, classes) for instance; None where it is."""
    right = "(batch, classes)" if len(task.output_shape(1, shape)) == 1 else f"what {task.kind} takes"
    if not isinstance(output, Tensor):
        problem = f"forward gives a {type(output).__name__}; one tensor {right} is needed"
        pick = best_pick(output)
        return Obstacle(problem, remedy="" if pick is None else f"pick one: outputs=lambda out: {pick.words}")
    problem = f"forward gives {_show(output.shape)} at batch {count}; "
    if output.dim() < 2 or len(output) != count:
        return Obstacle(f"{problem}{right} is needed")
    try:
        task.outputs_of(tuple(output.shape[1:]), shape)
    except ValueError as error:
        if len(task.output_shape(1, shape)) == 1:
            kinds = "task='segmentation' and others take more" if task == CLASSIFICATION else ""
            return Obstacle(f"{problem}{right} is needed", remedy=kinds)
        return Obstacle(f"forward {error}")
    if output.dtype != torch.float32:
        return Obstacle(f"forward gives {output.dtype}; profiles are of torch.float32")
    return None
