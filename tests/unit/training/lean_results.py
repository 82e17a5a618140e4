"""What torch computes, as hashes: `python -m tests.unit.training.lean_results plain|lean`, a line of JSON.

Networks are trained by what profiler and runner share, whole and in pieces; every ATen operator of unit graphs runs on
its cases, forward and backward. The test compares what processes say that started torch differently.
"""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from collections.abc import Iterable
from random import Random
from typing import TYPE_CHECKING, Any

from planner.model.load import model_from_json
from planner.model.zoo import from_zoo
from planner.operators.aten import elementwise
from planner.operators.aten.base import DTYPES, Value
from planner.operators.aten.kinds import ATEN
from planner.schema.common import Dtype, OptimizerConfig, usual_optimizer
from planner.schema.model import Model
from planner.training.runtime import start_torch
from tests.unit.operators.aten.cases import MAKERS, Draw

if TYPE_CHECKING:
    from torch import Tensor

_LSTM = {
    "schema": "model/2",
    "name": "steps",
    "input": [6, 5],
    "input_dtype": "float32",
    "classes": 3,
    "units": [
        {"name": "lstm", "layers": [{"op": "lstm", "hidden": 4, "layers": 2, "bidirectional": True}]},
        {"name": "top", "layers": [{"op": "flatten"}, {"op": "linear", "out_features": 3}]},
    ],
}
_STEPS = 2
_CASES = 2
"""Of each operator."""


def _hash(tensors: Iterable[Tensor]) -> str:
    import torch

    found = hashlib.sha256()
    for tensor in tensors:
        found.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
        row = torch.empty(tensor.numel(), dtype=tensor.dtype).copy_(tensor.detach().reshape(-1))
        found.update(bytes(row.view(torch.uint8).tolist()))
    return found.hexdigest()[:16]


def _trained(model: Model, optimizer: OptimizerConfig, dtype: Dtype = "float32", *spans: tuple[int, int]) -> str:
    """The losses and the weights at the end."""
    import torch

    from planner.model.build import build_unit
    from planner.model.shapes import model_sizes
    from planner.training.examples import model_inputs
    from planner.training.optimizers import make_optimizer
    from planner.training.segment import train_segment
    from planner.training.tasks import make_arithmetic

    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    shapes = [model.input, *(sizes.output for sizes in model_sizes(model))]
    units = [build_unit(*pair, generator, dtype) for pair in zip(model.units, shapes, strict=False)]
    parameters = [parameter for unit in units for parameter in unit.parameters()]
    task, step = make_arithmetic(model.task), make_optimizer(optimizer)
    losses = []
    for _ in range(_STEPS):
        inputs = model_inputs(model, 4)
        labels = inputs if model.label_form.is_input else task.examples(4, model.classes, model.input)
        losses.append(train_segment(units, None, task.loss, inputs, labels, recompute=spans)[0])
        step.step(parameters)
        for parameter in parameters:
            parameter.grad = None
    return _hash([*losses, *parameters, *(buffer for unit in units for buffer in unit.buffers())])


def _real(name: str, kind: str, value: Any, generator: Any) -> Any:
    """What an operator gets: random numbers where it takes any."""
    import torch

    if isinstance(value, Value):
        dtype = getattr(torch, value.dtype)
        if dtype.is_floating_point:
            numbers = torch.rand(value.shape, generator=generator).to(dtype)
            return numbers if name.partition(".")[0].endswith("_") else numbers.requires_grad_()  # no leaf is written
        return torch.full(value.shape, 1 if name in elementwise.OPERATORS else 0, dtype=dtype)
    if kind.rstrip("?").endswith("]") and isinstance(value, int):
        return [value] * int(kind.partition("[")[2].partition("]")[0] or 0) or value
    if isinstance(value, list):
        return [_real(name, "", item, generator) for item in value]
    if kind.startswith("ScalarType") and value in DTYPES:
        return getattr(torch, value)
    return torch.device("cpu") if kind == "Device" else value


def _operated(name: str, number: int) -> str:
    """An operator's results and gradients on one of its cases, or what it raises."""
    import torch

    kinds = {argument.name: argument.kind for argument in ATEN[name].arguments}
    placed, named = MAKERS[name](Draw(Random(f"{name} {number}")))
    generator = torch.Generator().manual_seed(number)
    torch.manual_seed(number)
    packet, _, overload = name.partition(".")
    call = getattr(getattr(torch.ops.aten, packet), overload or "default")
    given = [_real(name, kind, value, generator) for kind, value in zip(kinds.values(), placed, strict=False)]
    more = {key: _real(name, kinds[key], value, generator) for key, value in named.items()}
    try:
        results = call(*given, **more)
        tensors = [results] if isinstance(results, torch.Tensor) else list(results or ())
        outputs = [tensor for tensor in tensors if tensor.requires_grad]
        leaves = [one for value in (*given, *more.values()) for one in (value if isinstance(value, list) else [value])]
        inputs = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.requires_grad]
        ones = [torch.ones_like(output) for output in outputs]
        gradients = torch.autograd.grad(outputs, inputs, ones, materialize_grads=True) if outputs else ()
    except (RuntimeError, ValueError, IndexError, TypeError, NotImplementedError) as error:
        return f"{type(error).__name__}: {error}"[:80]
    return _hash([*tensors, *gradients])


def main(start: str) -> None:
    """Say how torch was started, what it computed, and which of its modules are whole."""
    warnings.simplefilter("ignore")
    started = start_torch("tight", 1, start="lean" if start == "lean" else "plain")
    images, momentum = from_zoo("cnn6", (3, 16, 16), 5), usual_optimizer("sgd")
    text = from_zoo("gpt-nano", (8,), 16)
    found = {
        "convolutions": _trained(images, momentum),
        "recomputed": _trained(images, momentum, "float32", (1, 3)),
        "bfloat16": _trained(images, momentum, "bfloat16"),
        "residual": _trained(from_zoo("resnet8", (3, 16, 16), 5), usual_optimizer("adam")),
        "attention": _trained(text, usual_optimizer("adamw")),
        "recurrent": _trained(model_from_json(_LSTM), momentum),
    }
    names = [name for name in sorted(ATEN) if "empty" not in name]  # what those hold is chance
    operators = {f"{name} {number}": _operated(name, number) for name in names for number in range(_CASES)}
    print(json.dumps({"start": started.start, "networks": found, "operators": operators}))


if __name__ == "__main__":
    main(sys.argv[1])
