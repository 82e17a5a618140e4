"""The network and the data that options name: what is to be trained on what."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from planner.cli.options import USUAL_INPUT, framing_from
from planner.cli.output import print_note
from planner.cli.task_options import for_task, task_from
from planner.errors import InputError
from planner.limits import MAX_MODEL_BYTES, MAX_UNITS
from planner.schema.inputs import InputDtype
from planner.schema.preprocessing import Normalisation, Resize
from planner.schema.terms import TrainingTerms
from planner.tasks.kinds import CLASSIFICATION, AnyTask
from planner.units import format_bytes

if TYPE_CHECKING:
    from planner.schema.data import DataDescription
    from planner.schema.model import Model


@dataclass(frozen=True)
class ModelAndData:
    """What is to be trained on what."""

    model: Model
    """The network."""
    samples: int | None
    """Training samples, where data was named."""
    prepared_bytes: int = 0
    """Storage that the data takes in the run's folder, prepared."""
    data: DataDescription | None = None
    """What the data holds."""
    normalisation: Normalisation | None = None
    """How the model's description has images normalised: that of a trained network says it."""
    resize: Resize | None = None
    """How it has images of other sizes resized."""
    shorter_side: int | None = None
    """To what shorter side, before the middle is cut out."""


def subject_from(arguments: argparse.Namespace, work_dir: Path, validation: str | None = None) -> ModelAndData:
    """The model asked for, shaped by the data where there is some. Data is unpacked into `work_dir`; `validation`
    is what `--validation` names."""
    from planner.model.tokens import token_limit
    from planner.model.zoo import ZOO

    described = None if _is_made(arguments.model) else _described(arguments)
    task = task_from(arguments, CLASSIFICATION if described is None else described.task)
    if arguments.data is None:
        if validation is not None:
            raise InputError("--validation names a part of the data; name the data with --data")
        model = described or _made(arguments.model, _resized_input(arguments), arguments.classes, task=task)
        model = for_task(model, task)
        _check_resize(arguments, model)
        return _subject(model)
    from planner.cli.line import DataProgress
    from planner.data.dataset import check_fits, open_data
    from planner.data.describe import describe
    from planner.data.pace import Pace
    from planner.data.records import file_bytes

    wanted = arguments.input if described is None else described.input
    # A network of the zoo, and an ONNX file's, may be given images and arrays of the same shape.
    is_open = described is None or (arguments.model.endswith(".onnx") and described.input_dtype == "uint8")
    dtype, tokens = (None, 0) if described is None or is_open else (described.input_dtype, token_limit(described))
    resize, shorter_side = framing_from(arguments)
    if resize is None and described is not None and described.resize is not None:
        resize, shorter_side = (described.input[1], described.input[2]), described.shorter_side  # as it was trained
    reading = {
        "resize": resize,
        "shorter_side": shorter_side,
        "layout": arguments.layout,
        "dtype": dtype,
        "tokens": tokens,
        "validation": validation,
    }
    with (
        DataProgress() as shown,
        open_data(arguments.data, work_dir, size=wanted, pace=Pace(shown), task=task, **reading) as data,
    ):
        found = describe(data, TrainingTerms.seed).description
        classes = found.input[0] if task.labels_from == "none" else found.classes
        model = for_task(
            described or _made(arguments.model, found.input, arguments.classes, classes, found.input_dtype, task), task
        )
        if is_open and (described is not None or arguments.model in ZOO) and found.input_dtype == "float32":
            model = replace(model, input_dtype="float32")
        check_fits(data.info, wanted or model.input, model.classes, model.task, "the model", model.input_dtype)
    return replace(_subject(model), samples=found.training_samples, prepared_bytes=file_bytes(found), data=found)


def named_model(arguments: argparse.Namespace) -> Model:
    """The model that `model`, `input`, `classes` and `task` name."""
    name = arguments.model
    if not _is_made(name):
        model = _described(arguments)
        return for_task(model, task_from(arguments, model.task))
    task = task_from(arguments, CLASSIFICATION)
    return for_task(_made(name, arguments.input, arguments.classes, task=task), task)


def _is_made(name: str) -> bool:
    """Whether the network is made for a shape that data has: one of the zoo, or what a person's own code makes.

    Of tokens data does not say how many there are: a network of the zoo that takes them is as it is asked for.
    """
    from planner.cli.module import is_function
    from planner.model.zoo import ZOO

    return ZOO[name].takes != "tokens" if name in ZOO else is_function(name)


def _made(
    name: str,
    shape: tuple[int, ...] | None,
    classes: int | None,
    data_classes: int | None = None,
    dtype: InputDtype | None = None,
    task: AnyTask = CLASSIFICATION,
) -> Model:
    """The network of the zoo, or of a person's own code, whose classes are what they are."""
    from planner.cli.module import model_made
    from planner.model.load import load_model
    from planner.model.zoo import ZOO

    if name in ZOO:
        return load_model(name, shape, classes or data_classes)
    return model_made(name, USUAL_INPUT if shape is None else shape, classes, dtype, task)


def _subject(model: Model) -> ModelAndData:
    """A model without what no profile is of, and is the plan's to say: names, and how images are made fit for it."""
    profiled = replace(model, class_names=(), normalisation=None, resize=None, shorter_side=None)
    return ModelAndData(
        profiled,
        None,
        normalisation=model.normalisation,
        resize=model.resize,
        shorter_side=model.shorter_side,
    )


def _resized_input(arguments: argparse.Namespace) -> tuple[int, ...] | None:
    """What is said of the shape of one sample; a zoo network's has the extents that images are resized to."""
    given: tuple[int, ...] | None = arguments.input
    wanted = framing_from(arguments)[0]
    if given is None and wanted is not None and _is_made(arguments.model):
        return (USUAL_INPUT[0], *wanted)
    return given


def _check_resize(arguments: argparse.Namespace, model: Model) -> None:
    """Raise InputError where images would be resized to what the model does not take."""
    wanted = framing_from(arguments)[0]
    if wanted is not None and model.input[1:] != wanted:
        has = "x".join(map(str, model.input[1:]))
        raise InputError(
            f"--{'resize' if arguments.crop is None else 'crop'} is {wanted[0]}x{wanted[1]}, but the model takes {has}"
        )


def _described(arguments: argparse.Namespace) -> Model:
    """The network of a file. An ONNX file does not say what it is for; what is to be known of it is told."""
    from planner.model.load import check_asked, load_model

    name = arguments.model
    if not name.endswith(".onnx"):
        check_length(Path(name))
        return load_model(name, arguments.input, arguments.classes)
    from planner.model.importers.onnx.chain import import_onnx

    found = import_onnx(Path(name), task_from(arguments, CLASSIFICATION))
    check_asked(name, found.model, arguments.input, arguments.classes)
    for note in found.notes:
        print_note(f"{name}: {note}")
    return found.model


def check_length(path: Path) -> None:
    """Refuse before it is parsed what would take seconds to parse. What cannot be read is not refused here."""
    length = path.stat().st_size if path.is_file() else 0
    if length > MAX_MODEL_BYTES:
        raise InputError(
            f"{path}: is {format_bytes(length)} long; the description of a model has at most {MAX_UNITS} units and "
            f"{format_bytes(MAX_MODEL_BYTES)}"
        )
