"""Writes operators of ATen, as steps of a graph that is cut into units afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Final, Literal

import numpy as np

from planner.limits import MAX_ACTIVATION_NUMEL, MAX_RANK
from planner.model.importers.onnx.document import OnnxTensor
from planner.model.importers.onnx.values import MAX_KNOWN, Dim, Known, Stored, Tensor, array_of, merged
from planner.model.importers.onnx.weights import OnnxSource
from planner.model.importers.steps import SIZES, Attribute, Step
from planner.operators.aten.base import Value as Form
from planner.operators.aten.kinds import ATEN
from planner.operators.graph_text import Batch, Training

Start = tuple[Literal["normal", "uniform", "constant"], float]
"""What a training without weights to begin with fills a tensor with: a distribution, or a number."""

_Form = tuple[tuple[Dim, ...], str]

_MEASURED: Final = 2**20
"""Most numbers of a weight that are looked at to see what they are like."""

_OTHERWISE: Final[Start] = ("normal", 0.02)


@dataclass
class Own:
    """A tensor of the network."""

    kind: Literal["parameter", "buffer", "counter"]
    dims: tuple[int, ...]
    start: Start | None = None
    """None: as its values are."""
    persistent: bool = True
    stored: OnnxTensor | None = None
    values: tuple[float, ...] = ()


class Emitter:
    """Collects steps, and the tensors that they read."""

    def __init__(self, source: OnnxSource, dims: tuple[Dim, ...], dtype: str) -> None:
        """`dims` and `dtype` are those of what goes in."""
        self.source = source
        shape = Tensor(Attribute(""), dims, dtype).form(SIZES[0]).shape
        self.input = Tensor(Step("x", "", {}, shape, dtype, True, "", "input"), dims, dtype)
        assert isinstance(self.input.source, Step)
        self.steps: list[Step] = [self.input.source]
        self.own: dict[str, Own] = {}
        """By name."""
        self.has_weights = False
        """Whether an operator with weights has been written."""
        self.place, self.path = "", ""
        """What is being written."""
        self._copies: dict[str, Tensor] = {}

    def call(self, operator: str, *positional: Any, **named: Any) -> Tensor:
        """Write an operator; its result. Raises ValueError where its arguments do not fit."""
        step, (form,) = self._written(operator, positional, named, several=False)
        return Tensor(step, *form)

    def several(self, operator: str, *positional: Any, **named: Any) -> list[Tensor]:
        """As `call`, of an operator with several results."""
        step, forms = self._written(operator, positional, named, several=True)
        found = []
        for index, form in enumerate(forms):
            item = self._step("", {"of": step}, form, 0)
            item.item = index
            found.append(Tensor(item, *form))
        return found

    def _written(
        self, operator: str, positional: tuple[Any, ...], named: Mapping[str, Any], *, several: bool
    ) -> tuple[Step, list[_Form]]:
        names = [argument.name for argument in ATEN[operator].arguments]
        arguments = dict(zip(names, positional, strict=False)) | dict(named)
        shapes = [self._results(operator, positional, named, samples) for samples in SIZES]
        forms = [_form(one, other) for one, other in zip(*shapes, strict=True)]
        given = {name: _source(value) for name, value in arguments.items()}
        return self._step(operator, given, None if several else forms[0], len(forms) if several else 0), forms

    def _results(
        self, operator: str, positional: tuple[Any, ...], named: Mapping[str, Any], samples: int
    ) -> tuple[Form, ...]:
        known = ATEN[operator]
        bound = known.bind(
            [_bound(value, samples) for value in positional],
            {name: _bound(value, samples) for name, value in named.items()},
        )
        found = known.rule(**bound)
        results = found if isinstance(found, tuple) else (found,)
        for result in results:
            if min(result.shape, default=1) < 1:
                raise ValueError(f"nothing is left of its input ({result.shape})")
            if len(result.shape) > MAX_RANK or prod(result.shape) > samples * MAX_ACTIVATION_NUMEL:
                raise ValueError(f"a result of {result.shape} is beyond the limits")
        return results

    def _step(self, operator: str, arguments: dict[str, Any], form: _Form | None, results: int) -> Step:
        shape, dtype, is_batch = None, None, False
        if form is not None:
            dims, dtype = form
            shape = tuple(d.times * SIZES[0] if isinstance(d, Batch) else d for d in dims)
            is_batch = dims[:1] == (Batch(1),) and not any(isinstance(d, Batch) for d in dims[1:])
        step = Step(f"s{len(self.steps)}", operator, arguments, shape, dtype, is_batch, self.path, self.place, results)
        self.steps.append(step)
        return step

    def parameter(self, stored: Stored, start: Start | None) -> Tensor:
        """A tensor of the file as one that is trained. `start` None: as its values are."""
        return self._of_file(stored, "parameter", start)

    def statistic(self, stored: Stored, start: float) -> Tensor:
        """A tensor of the file as one that training moves, but not by a gradient."""
        return self._of_file(stored, "buffer", ("constant", start))

    def constant_of(self, stored: Stored, shared: bool) -> Tensor:
        """A tensor of the file as one that is not trained."""
        if stored.tensor.dtype == "float32":
            found = self._of_file(stored, "buffer", None, persistent=stored.is_initializer)
        else:
            found = self._of_file(stored, "counter", None, persistent=stored.is_initializer)
        return self._copied(stored.name, found, stored.tensor.dtype, shared)

    def constant(self, name: str, value: Known, shared: bool) -> Tensor:
        """A tensor of numbers that are known. Raises ValueError where they depend on the number of samples."""
        array = value.arrays[0]
        if not value.is_fixed:
            return self._filled(value)
        dtype = _plain(array.dtype.name)
        if array.size > MAX_KNOWN:
            raise ValueError(f"a constant of {array.size} numbers is worked out; {MAX_KNOWN} are the most")
        if name not in self.own:
            values = tuple(float(number) for number in array.flatten().tolist())
            kind: Literal["buffer", "counter"] = "buffer" if dtype == "float32" else "counter"
            self.own[name] = Own(kind, array.shape, None, False, None, values)
        held = "float32" if dtype == "float32" else "int64"
        return self._copied(name, Tensor(Attribute(name), array.shape, held), dtype, shared)

    def _copied(self, name: str, tensor: Tensor, dtype: str, shared: bool) -> Tensor:
        """As it is, or in its own type. What several read is copied first: so they need not be in one unit."""
        if name not in self._copies:
            if tensor.dtype != dtype:
                self._copies[name] = self.call("to.dtype", tensor, dtype)
            elif shared:
                self._copies[name] = self.call("clone", tensor)
            else:
                return tensor
        return self._copies[name]

    def _filled(self, value: Known) -> Tensor:
        """One number, as often as there are samples."""
        one, other = value.arrays
        if one.ndim != other.ndim or np.ptp(np.concatenate([one.ravel(), other.ravel()]).astype(float)) != 0:
            raise ValueError("numbers that depend on the number of samples are computed with")
        dims = [merged(*pair) for pair in zip(one.shape, other.shape, strict=True)]
        return self.call("full", dims, one.ravel()[0].item(), dtype=_plain(one.dtype.name))

    def _of_file(
        self,
        stored: Stored,
        kind: Literal["parameter", "buffer", "counter"],
        start: Start | None,
        *,
        persistent: bool = True,
    ) -> Tensor:
        tensor, name = stored.tensor, stored.name
        if kind != "counter" and tensor.dtype != "float32":
            raise ValueError(f"its weight {tensor.name[:80]!r} is {tensor.dtype}; float32 is needed")
        if kind == "counter" and tensor.dtype not in ("int64", "int32", "bool", "uint8", "int8", "int16"):
            raise ValueError(f"its constant {tensor.name[:80]!r} is {tensor.dtype}, which is not known here")
        if kind == "counter" and tensor.dtype != "int64" and tensor.numbers > MAX_KNOWN:
            raise ValueError(
                f"its constant {tensor.name[:80]!r} is {tensor.dtype}; int64 is needed for so many numbers"
            )
        before = self.own.get(name)
        if before is not None and before.kind != kind and (before.start is not None) and kind != "counter":
            raise ValueError(f"reads {tensor.name[:80]!r}, which another node has as a {before.kind}")
        if before is None or (before.kind == "buffer" and kind == "parameter"):
            self.own[name] = Own(kind, tensor.dims, start, persistent, tensor)
        elif before.start is None:
            before.start = start
        return Tensor(Attribute(name), tensor.dims, "int64" if kind == "counter" else "float32")

    def measured(self, own: Own) -> tuple[Start, bool]:
        """What a weight's values look drawn from; and whether they are all one number."""
        tensor = own.stored
        if tensor is None or tensor.numbers > _MEASURED:
            return _OTHERWISE, False
        values = array_of(self.source, tensor).astype(np.float64)
        if not np.isfinite(values).all():
            return _OTHERWISE, False
        if values.size and np.ptp(values) == 0:
            return ("constant", float(values.ravel()[0])), True
        return ("normal", float(np.sqrt(np.square(values).mean()))), False


def _plain(dtype: str) -> str:
    """A constant's type in a unit graph."""
    return {"float64": "float32", "float16": "float32", "uint16": "int32", "uint32": "int64", "uint64": "int64"}.get(
        dtype, dtype
    )


def _source(value: Any) -> Any:
    match value:
        case Tensor():
            return value.source
        case list() | tuple():
            return [_source(item) for item in value]
    return value


def _bound(value: Any, samples: int) -> Any:
    match value:
        case Tensor():
            return value.form(samples)
        case Batch(times):
            return times * samples
        case Training():
            return True
        case list() | tuple():
            return [_bound(item, samples) for item in value]
    return value


def _form(one: Form, other: Form) -> _Form:
    return tuple(merged(*pair) for pair in zip(one.shape, other.shape, strict=True)), one.dtype
