"""From what a person names (a zoo name, a file) to a checked `Model`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from planner.errors import DocumentError, InputError, ModelError
from planner.limits import MAX_LAYERS_PER_UNIT, MAX_UNITS
from planner.model.shapes import model_sizes
from planner.model.zoo import ZOO, from_zoo, nearest
from planner.schema.codec import decode, read_json
from planner.schema.model import Model, ZooReference


def model_from_json(value: Any) -> Model:
    """Decode a value of either form, expand a zoo name, and check that the chain holds."""
    if isinstance(value, dict) and "zoo" in value:
        reference = decode(ZooReference, value)
        model = from_zoo(
            reference.zoo,
            reference.input if "input" in value else None,
            reference.classes if "classes" in value else None,
        )
    else:
        _check_counts(value)
        return _from_description(value)
    model_sizes(model)
    return model


def _from_description(value: Any) -> Model:
    try:
        model = decode(Model, value)
        model_sizes(model)
    except (DocumentError, ModelError):  # loaded for what people write, not for what runs have written
        from planner.model.written.expand import WrittenModel, expand

        model = expand(decode(WrittenModel, value))
        model_sizes(model)
    return model


def model_faults(value: Any) -> list[InputError]:
    """Everything that keeps a value from being a description, as far as it can be told at once; none: it is one.

    Where every field is right, the first place where the chain does not hold.
    """
    from planner.model.written.expand import WrittenModel
    from planner.schema.faults import faults

    try:
        model_from_json(value)
    except (DocumentError, ModelError) as error:
        kind = ZooReference if isinstance(value, dict) and "zoo" in value else WrittenModel
        is_long = isinstance(error, DocumentError) and _too_long(value)
        return [error] if is_long else [*faults(kind, value)] or [error]
    return []


def _too_long(value: Any) -> bool:
    try:
        _check_counts(value)
    except DocumentError:
        return True
    return False


def _check_counts(value: Any) -> None:
    """Refuse lists that are too long before their items are read, which takes time. Raises DocumentError.

    What is no list or no object is left to the decoder, as are layers nested in layers.
    """
    units = value.get("units") if isinstance(value, dict) else None
    if not isinstance(units, list):
        return
    _check_length("$", "units: their number", units, MAX_UNITS)
    for index, unit in enumerate(units):
        layers = unit.get("layers") if isinstance(unit, dict) else None
        if isinstance(layers, list):
            _check_length(f"$.units[{index}]", "layers: their number", layers, MAX_LAYERS_PER_UNIT)


def _check_length(path: str, what: str, items: list[Any], most: int) -> None:
    if len(items) > most:
        raise DocumentError(path, f"{what} is {len(items)}; it must lie between 1 and {most}")


def load_model(name: str, shape: tuple[int, ...] | None, classes: int | None) -> Model:
    """The model a person means by `name`: of the zoo, or a `.json` description.

    `shape` and `classes` choose the zoo network's input and width (what it is made for when absent: of most 3×32×32
    and 10); a description carries its own, and a request that contradicts it is an error.
    """
    if name in ZOO:
        model = from_zoo(name, shape, classes)
        model_sizes(model)
        return model
    if not name.endswith(".json"):
        raise ModelError(f"{name[:60]!r} is neither in the zoo ({nearest(name)}) nor a .json or .onnx file")
    model = _read(Path(name))
    check_asked(name, model, shape, classes)
    return model


def check_asked(name: str, model: Model, shape: tuple[int, ...] | None, classes: int | None) -> None:
    """Raise InputError where the network of a file contradicts what was asked for."""
    if shape is not None and shape != model.input:
        raise InputError(f"{name}: the model takes {_show(model.input)}, but {_show(shape)} was asked for")
    if classes is not None and classes != model.classes:
        raise InputError(f"{name}: the model has {model.classes} classes, but {classes} were asked for")


def _read(path: Path) -> Model:
    value = read_json(path)
    try:
        return model_from_json(value)
    except DocumentError as error:
        raise DocumentError(f"{path}: {error.path}", error.problem) from None
    except ModelError as error:
        named = ModelError(f"{path}: {error}")
        named.unit = error.unit
        raise named from None


def _show(shape: tuple[int, ...]) -> str:
    return "x".join(str(extent) for extent in shape)
