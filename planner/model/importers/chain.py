"""From any module that `torch.export` takes to a chain of unit graphs, proven on random data. Needs torch."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal

import torch
from torch import Tensor, nn

from planner.errors import ModelError, RefusedModelError
from planner.limits import MAX_NAME_LENGTH
from planner.model.activations import Activations, first_of, tensors_of
from planner.model.build import build_unit
from planner.model.importers.cuts import Cut, divided, graph_parts, possible_cuts, unit_cuts, unit_name
from planner.model.importers.diagnosis import functions
from planner.model.importers.exported import Exported, export
from planner.model.importers.obstacles import Obstacle, obstacles_of, refusal
from planner.model.importers.samples import Samples
from planner.model.importers.steps import SIZES, Step, StepGraph
from planner.model.importers.unit_text import UnitText
from planner.model.shapes import Shape, model_sizes
from planner.model.tokens import token_limit
from planner.operators.unit_graph import GraphTensor, UnitGraph
from planner.schema.inputs import MOST_TOKEN
from planner.schema.model import Model, Unit
from planner.tasks.kinds import CLASSIFICATION, AnyTask

_FRESH = {"running_mean": 0.0, "running_var": 1.0, "num_batches_tracked": 0.0}
"""What a batch normalisation's tensors begin with."""

_MAX_VALUES = 4096
"""Numbers of a constant that are written into the description."""


@dataclass(frozen=True)
class Chain:
    """A module as a chain of units."""

    model: Model
    """What it is."""
    tensors: dict[str, Tensor]
    """The module's tensors, by the names that a run gives them: `units.0.0.conv1.weight`."""


def chain_of(module: nn.Module, given: Samples, classes: int, task: AnyTask = CLASSIFICATION) -> Chain:
    """The chain that `module` is, which gives (samples, classes), or what else `task` takes, for samples like `given`.

    Modes of its parts are left changed. Raises ModelError naming the line of its code, or the unit.
    """
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ModelError("it has no parameter that requires a gradient; there is nothing to train")
    data = _first_of(given)
    with _buffers_kept(module):
        exported = export(module, data)
        few, many = _agreed_cuts(*exported)
        if len(many[0]) > len(few[0]):
            with suppress(ModelError):  # a unit that cannot be divided comes in whole
                return _proven(module, *exported, many, given, classes, task)
        return _proven(module, *exported, few, given, classes, task)


def _proven(
    module: nn.Module,
    training: Exported,
    evaluation: Exported,
    cuts: AgreedCuts,
    given: Samples,
    classes: int,
    task: AnyTask,
) -> Chain:
    """The chain that ends units at `cuts`, compared with the module. Raises ModelError."""
    model = _model(module, training, evaluation, cuts, given, classes, task)
    data = _random(model, given)
    tensors = training.tensors | evaluation.tensors
    chain = Chain(model, {name: tensors[each.name] for name, each in model.graph_tensors()})
    try:
        _prove(chain, module, data)
    except ModelError:
        if found := functions(module, data[: SIZES[0]]):
            raise refusal(found) from None
        raise
    return chain


def graph_obstacles(module: nn.Module, given: Samples) -> tuple[Obstacle, ...]:
    """What is in the way of an export, whatever the module gives. Modes of its parts are left changed."""
    try:
        with _buffers_kept(module):
            export(module, _first_of(given))
    except RefusedModelError as error:
        return obstacles_of(error)
    except ModelError:  # of what it gives
        pass
    return ()


@contextmanager
def _buffers_kept(module: nn.Module) -> Iterator[None]:
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    try:
        yield
    finally:
        for name, buffer in module.named_buffers():
            buffer.copy_(buffers[name])


def _first_of(given: Samples) -> Tensor:
    """As many samples as an export takes. Values do not matter there, but tokens have to be some of the network's."""
    return given.tensor[:1].expand(SIZES[1], *given.shape).clone()


def _random(model: Model, given: Samples) -> Tensor:
    """Samples to prove with. Zeros, which a person may have given, would hide what is done with them."""
    generator, shape = torch.Generator().manual_seed(0), (SIZES[1], *given.shape)
    if model.input_dtype == "int64":
        limit = token_limit(model)
        known = limit if limit <= MOST_TOKEN else int(given.tensor.max()) + 1
        return torch.randint(known, shape, generator=generator).to(given.tensor.device)
    return torch.randn(shape, generator=generator).to(given.tensor.device)


def _model(
    module: nn.Module,
    training: Exported,
    evaluation: Exported,
    agreed: AgreedCuts,
    given: Samples,
    classes: int,
    task: AnyTask,
) -> Model:
    cuts, others = agreed
    names: list[str] = []
    units: list[Unit] = []
    parts = zip(graph_parts(training, cuts), graph_parts(evaluation, others), strict=True)
    trained = training.trained
    state = set(module.state_dict(keep_vars=True))
    for (entry, steps, results), (other_entry, other_steps, other_results) in parts:
        text = UnitText(training, entry, steps, results, {})
        reserved = {
            other: name for other, name in zip(other_results, text.results, strict=True) if other not in other_entry
        }
        other = UnitText(evaluation, other_entry, other_steps, other_results, reserved)
        if other.results != text.results:
            raise ModelError(f"{steps[0].place}: what leaves the unit differs between training and evaluation")
        same = _in_evaluation(text.lines) == other.lines
        read = text.tensors if same else [*text.tensors, *(name for name in other.tensors if name not in text.tensors)]
        known = evaluation.tensors | training.tensors
        try:
            tensors = tuple(_tensor(name, known[name], name in trained, name in state) for name in read)
            graph = UnitGraph(
                "graph",
                tuple(text.lines),
                text.results[0],
                tensors,
                () if same else tuple(other.lines),
                "int64" if given.dtype == "int64" and not units else "float32",
                text.inputs,
                text.results[1:],
            )
            names.append(unit_name(training, steps, names))
            units.append(Unit(names[-1], (graph,)))
        except ValueError as error:
            raise ModelError(f"{steps[0].place}: {error}") from None
    try:
        name = type(module).__name__[:MAX_NAME_LENGTH]
        model = Model("model/2", name, given.shape, classes, tuple(units), task, input_dtype=given.dtype)
    except ValueError as error:
        raise ModelError(str(error)) from None
    model_sizes(model)
    return model


def _in_evaluation(lines: Sequence[str]) -> list[str]:
    """As an export in evaluation would write them."""
    kept = (line for line in lines if not line.endswith(" if training"))
    return [line.replace(", training", ", false").replace("=training", "=false") for line in kept]


AgreedCuts = tuple[list[Cut], list[Cut]]
"""The same cuts in both graphs."""


def _agreed_cuts(training: Exported, evaluation: Exported) -> tuple[AgreedCuts, AgreedCuts]:
    """Where units end, in both graphs: behind what is the same step in both. Second with large units divided."""
    found, others = possible_cuts(training), possible_cuts(evaluation)
    keys, other_keys = _keys(training, found), _keys(evaluation, others)
    counts, other_counts = Counter(keys), Counter(other_keys)
    by_key = {key: cut for key, cut in zip(other_keys, others, strict=True) if other_counts[key] == 1}
    allowed = {cut: by_key[key] for key, cut in zip(keys, found, strict=True) if counts[key] == 1 and key in by_key}
    few = unit_cuts(training, list(allowed))
    many = divided(training, few, list(allowed))
    return (few, [allowed[cut] for cut in few]), (many, [allowed[cut] for cut in many])


def _keys(graph: StepGraph, cuts: list[Cut]) -> list[tuple[object, ...]]:
    """What tells a cut: the steps that give its values (operator, module, line), and how often each came before."""
    seen: dict[tuple[object, ...], int] = {}
    at: dict[Step, tuple[object, ...]] = {}
    for step in graph.steps:
        key = (step.operator, step.path, step.place, step.shape)
        seen[key] = seen.get(key, 0) + 1
        at[step] = (*key, seen[key])
    return [tuple(at[value] for value in cut.values) for cut in cuts]


def _tensor(name: str, tensor: Tensor, is_trained: bool, persistent: bool) -> GraphTensor:
    """How a tensor of the module begins, where no weights are brought: parameters at random, others as they are."""
    if tensor.dtype not in (torch.float32, torch.int64):
        raise ModelError(f"{name}: is {tensor.dtype}; tensors of float32 and int64 are known here")
    if not tensor.numel():
        raise ModelError(f"{name}: is empty ({list(tensor.shape)}); a tensor of a network holds a number at least")
    shape, last = tuple(tensor.shape), name.rpartition(".")[2]
    kind: Literal["parameter", "buffer", "counter"] = "parameter" if is_trained else "buffer"
    kind = kind if tensor.is_floating_point() else "counter"
    if last in _FRESH:  # a trained module's would be those of other weights
        return GraphTensor(name, shape, kind, "constant", _FRESH[last], persistent=persistent)
    if float(tensor.min()) == float(tensor.max()):
        return GraphTensor(name, shape, kind, "constant", float(tensor.flatten()[0]), persistent=persistent)
    if kind == "parameter":
        return GraphTensor(name, shape, kind, *_distribution(tensor), persistent=persistent)
    if tensor.numel() > _MAX_VALUES:
        return GraphTensor(name, shape, kind, "given", persistent=persistent)
    values = tuple(float(value) for value in tensor.flatten().tolist())
    return GraphTensor(name, shape, kind, "values", values=values, persistent=persistent)


def _distribution(tensor: Tensor) -> tuple[Literal["normal", "uniform"], float]:
    """What its values look drawn from. Those of a uniform distribution end at √3 standard deviations."""
    deviation, bound = float(tensor.square().mean().sqrt()), float(tensor.abs().max())
    if bound <= 1.05 * sqrt(3) * deviation:
        return "uniform", bound
    return "normal", deviation


def _prove(chain: Chain, module: nn.Module, samples: Tensor) -> None:
    """Compare with the module: outputs in both modes, gradients and buffers. Raises ModelError.

    In evaluation all samples are taken, another number than was exported with.
    """
    data = samples[: SIZES[0]]
    try:
        twin = copy.deepcopy(module, _detached(module))
    except Exception as error:  # whatever somebody else's module holds
        raise ModelError(f"cannot be copied ({type(error).__name__}: {str(error)[:300]})") from error
    units = _built(chain)
    twin.train()
    units.train()
    expected, found = _trained(twin, data), _trained(units, data)
    evaluated = _evaluated(units, samples)
    _compare("the output in training", expected, found)
    own = {name.split(".", 2)[2]: tensor for name, tensor in units.state_dict(keep_vars=True).items()}
    for name, tensor in twin.state_dict(keep_vars=True).items():
        its = own.get(name)
        if its is None:
            continue
        if (tensor.grad is None) != (its.grad is None):
            raise ModelError(f"{name}: only one of the module and its description has a gradient")
        if tensor.grad is not None and its.grad is not None:
            _compare(f"the gradient of {name}", tensor.grad, its.grad)
        elif not tensor.requires_grad:
            _compare(name, tensor, its)
    with torch.no_grad():
        _compare("the output in evaluation", _seeded(twin.eval(), samples), evaluated)


def _detached(module: nn.Module) -> dict[int, Any]:
    """For `copy.deepcopy`: what a module keeps of an earlier forward (LeViT's biases, say), without its graph.

    A tensor that was computed cannot be copied itself.
    """
    found: dict[int, Any] = {}
    open_values: list[object] = [vars(part) for part in module.modules()]
    while open_values:
        value = open_values.pop()
        if isinstance(value, Tensor) and not value.is_leaf:
            found[id(value)] = value.detach()
        elif isinstance(value, dict):
            open_values += value.values()
        elif isinstance(value, list | tuple):
            open_values += value
    return found


def _seeded(network: nn.Module, data: Tensor) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        output: Tensor = network(data.clone())  # it may write into its input
    return output


def _trained(network: nn.Module, data: Tensor) -> Tensor:
    """The output, after gradients were left in the parameters."""
    output = _seeded(network, data)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(output.device)
    (output * weights).sum().backward()  # type: ignore[no-untyped-call]  # torch gives it no type
    return output.detach()


@torch.no_grad()
def _evaluated(units: nn.Sequential, data: Tensor) -> Tensor:
    """The output in evaluation. Raises ModelError naming a unit that gives something else than numbers."""
    passing: Activations = data
    units.eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # as `_seeded`
        for index, unit in enumerate(units):
            passing = unit(passing)
            if not all(bool(tensor.isfinite().all()) for tensor in tensors_of(passing)):
                raise ModelError("gives NaN or infinity on random numbers", unit=index)
    return first_of(passing)


def _compare(what: str, expected: Tensor, found: Tensor) -> None:
    if torch.equal(expected, found):
        return
    if expected.shape != found.shape:
        raise ModelError(f"{what} is {tuple(expected.shape)}, that of its description {tuple(found.shape)}")
    tolerance = 1e-5 * max(1.0, float(expected.abs().max()))
    if not torch.allclose(found, expected, rtol=1e-4, atol=tolerance):
        raise ModelError(
            f"{what} is another than that of its description, by up to {float((found - expected).abs().max()):.3g}; "
            "something in forward escapes torch.export: a hook, or a layer that overwrites a tensor still in use"
        )


def _built(chain: Chain) -> nn.Sequential:
    units: list[nn.Module] = []
    shape: Shape = chain.model.input
    for unit, sizes in zip(chain.model.units, model_sizes(chain.model), strict=True):
        units.append(build_unit(unit, shape))
        shape = sizes.output
    built = nn.Sequential(*units)
    for name, tensor in built.state_dict(keep_vars=True).items():
        tensor.data = chain.tensors[f"units.{name}"].clone()
    return built.to(next(iter(chain.tensors.values())).device)
