"""Samples of a program's own data set as the 8-bit values that a run reads."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

from planner.data.dataset import check_fits, open_data
from planner.data.describe import describe
from planner.data.masks import resize_mask
from planner.data.pictures import import_pillow
from planner.data.records import file_bytes
from planner.data.statistics import measure, measure_values
from planner.data.write import Part
from planner.errors import InputError
from planner.model.tokens import token_limit
from planner.python.sources import is_numbered, pair_of, source_of
from planner.python.values import image_shape, sample_values
from planner.schema.common import CHECKSUM_BYTES, check_class_names
from planner.schema.inputs import sample_bytes
from planner.schema.model import Model
from planner.schema.preprocessing import Normalisation
from planner.system.files import storage_errors
from planner.tasks.base import Label

_MOST_WRAPPED = 8


class MapDataset(Protocol):
    """Any map-style data set, a `torch.utils.data.Dataset` for instance: `dataset[index]` is an image and its label."""

    def __len__(self) -> int:
        """How many samples there are."""

    def __getitem__(self, index: int, /) -> Any:
        """Sample `index`: (image, label)."""


Samples: TypeAlias = MapDataset | Iterable[Any] | Callable[[], Iterable[Any]]
"""What a program may give as a data set: numbered samples, or what is iterated over, or a function that returns it."""


def mapped_part(
    dataset: Any, model: Model, prefix: str, name: str, resize: bool | int = False, scratch: Path | None = None
) -> Part:
    """A data set as a part of a file to be written; its samples are asked for one by one, as they are written.

    What has no numbered samples is read here, once, into a nameless file: only then it is known how many there are.

    Args:
        dataset: what is to be written: pairs of input and label (`planner.python.sources`).
        model: what it is for: its input (channels, height, width) and its classes.
        prefix: of the part's arrays in the file, `test_` for the samples to measure on.
        name: what errors call the data set.
        resize: whether images of another size are resized; a number: the shorter side that all of them are resized to
            before the middle is cut out.
        scratch: a folder for what is read once; none: that of temporary files.

    Returns:
        The part. Its samples raise InputError where one of them does not fit `model`.

    Raises:
        InputError: it is no data set; of what is read here also where a sample does not fit `model`.
        StorageError: what is read here cannot be written.
    """
    source = source_of(dataset, name, labelled=_is_labelled(model))
    samples = _samples_of(source, model, name, resize)
    if is_numbered(source):
        return Part(prefix, len(source), samples, model.label_form)
    count, samples = _read_once(samples, scratch)
    return Part(prefix, count, samples, model.label_form)


def _samples_of(source: Any, model: Model, name: str, resize: bool | int) -> Iterator[tuple[bytes, Label]]:
    """Of what `source_of` gives: its samples, one by one."""
    if resize:
        import_pillow(name, "resizing images")
    if is_numbered(source):
        return _samples(((f"{name}[{index}]", source[index]) for index in range(len(source))), model, resize)
    return _samples(((f"{name}, sample {index}", sample) for index, sample in enumerate(source)), model, resize)


def _read_once(
    samples: Iterator[tuple[bytes, Label]], scratch: Path | None
) -> tuple[int, Iterator[tuple[bytes, Label]]]:
    """How many samples there are, and the same again. Raises StorageError."""
    folder = Path(tempfile.gettempdir()) if scratch is None else scratch
    count = size = label_size = 0
    with storage_errors(folder):
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed behind the last sample
    try:
        for values, label in samples:
            size, label_size, count = len(values), len(label), count + 1
            with storage_errors(folder):
                file.write(values + label)
    except BaseException:
        file.close()
        raise

    def again() -> Iterator[tuple[bytes, Label]]:
        with file:
            file.seek(0)
            for _ in range(count):
                yield file.read(size), file.read(label_size)

    return count, again()


def class_names(dataset: object, classes: int) -> tuple[str, ...]:
    """What a data set calls its classes, in its attribute `classes` as torchvision's do; empty where it says nothing.

    That of what it is a part of (`torch.utils.data.Subset`) counts too. Names of more than `classes` are none of them.
    """
    for _ in range(_MOST_WRAPPED):
        names = getattr(dataset, "classes", None)
        if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
            found = tuple(names)
            return found if len(found) <= classes and _are_names(found) else ()
        dataset = getattr(dataset, "dataset", None)
    return ()


def _are_names(names: tuple[str, ...]) -> bool:
    try:
        check_class_names(names, len(names))
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Looked:
    """What planning asks of data."""

    class_names: tuple[str, ...]
    """What its classes are called; empty where it says nothing."""
    training_samples: int
    """How many samples there are to train on."""
    stored_bytes: int
    """What a run of it holds on storage beside caches."""


def look(
    data: Samples | str | Path,
    model: Model,
    seed: int,
    resize: bool | int,
    samples: int | None = None,
) -> Looked:
    """Look at data before it is planned for; `resize` as for `mapped_part`.

    Of a program's own data set its samples are all that it has: what is held out to test on is not known before a run.
    They are written down for the run, which prepares what was written. `samples` is how many a person says there are.

    Raises DataError, InputError where data and model do not fit.
    """
    if not isinstance(data, str | Path):
        source = _checked_source(data, samples, _is_labelled(model))
        # A label of another kind would end the run, after minutes of measuring.
        if next(_samples_of(source, model, "data", resize), None) is None:
            raise InputError("data: holds no samples")
        count = samples or len(source)
        return Looked(class_names(source, model.classes), count, count * _stored_bytes(model))
    with (
        tempfile.TemporaryDirectory(prefix="neuroflux-") as work,
        open_data(
            str(data),
            Path(work),
            size=model.input,
            dtype=model.input_dtype,
            tokens=token_limit(model),
            resize=(model.input[1], model.input[2]) if resize else None,
            shorter_side=shorter_side_of(resize),
            task=model.task,
        ) as opened,
    ):
        check_fits(opened.info, model.input, model.classes, model.task, "the model", model.input_dtype)
        found = describe(opened, seed).description
    return Looked(found.class_names, found.training_samples, file_bytes(found))


def _stored_bytes(model: Model) -> int:
    """Of one sample of a program's own data set: as it is written down, and as that is prepared."""
    values = sample_bytes(model.input_dtype, model.input) + model.label_form.bytes_behind(cached=False)
    return 2 * values + CHECKSUM_BYTES


def _checked_source(data: Any, samples: int | None, labelled: bool) -> Any:
    """What samples come from, of what can be looked at before it is trained on. Raises InputError."""
    source = source_of(data, "data", labelled=labelled)
    if samples is None and not hasattr(source, "__len__"):
        raise InputError(
            f"data: a {type(source).__name__} does not say how many samples it has; say it with samples= beside it"
        )
    if not is_numbered(source) and iter(source) is source and not callable(data):
        raise InputError(
            f"data: a {type(source).__name__} is read once, and planning would take its first sample from the run; give"
            " a function that returns it, or something that begins anew whenever it is iterated over; or samples= alone"
        )
    return source


def measured_normalisation(data: Samples | str | Path, model: Model, seed: int, resize: bool | int) -> Normalisation:
    """By mean and deviation of the samples of data, as they are trained on. Raises DataError, InputError."""
    if not isinstance(data, str | Path):
        samples = _samples_of(source_of(data, "data", labelled=_is_labelled(model)), model, "data", resize)
        return measure_values((values for values, _ in samples), model.input_dtype, model.input)
    size = model.input
    with (
        tempfile.TemporaryDirectory(prefix="neuroflux-") as work,
        open_data(
            str(data),
            Path(work),
            size=size,
            dtype=model.input_dtype,
            resize=(size[1], size[2]) if resize else None,
            shorter_side=shorter_side_of(resize),
            task=model.task,
        ) as opened,
    ):
        return measure(opened, seed)


def _is_labelled(model: Model) -> bool:
    return model.task.labels_from != "none"


def shorter_side_of(resize: bool | int) -> int | None:
    """The shorter side that images are resized to before the middle is cut out; none where that was not asked for."""
    return None if isinstance(resize, bool) else resize


def _samples(samples: Iterable[tuple[str, Any]], model: Model, resize: bool | int) -> Iterator[tuple[bytes, Label]]:
    """Each as bytes; `samples` come with what errors call them."""
    labelled, limit = _is_labelled(model), token_limit(model)
    for where, sample in samples:
        given, label = pair_of(sample, where, labelled=labelled)
        shape, side = image_shape(given, model) if resize else model.input, shorter_side_of(resize)
        values = sample_values(given, model, limit, where, resize=bool(resize), shorter_side=side)
        yield values, _label(label, model, where, shape, side)


def _label(label: Any, model: Model, where: str, shape: tuple[int, ...], shorter_side: int | None) -> Label:
    """A sample's label as it is stored; a mask is as large as the image, of `shape`, and is resized with it."""
    is_mask = model.task.labels_from == "mask"
    if is_mask and not hasattr(label, "tolist"):
        label = np.asarray(label)  # a Pillow image's values, those of a palette its indices
    try:
        found = model.task.label(label, model.classes, shape)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    if not is_mask:
        return found
    return resize_mask(where, found, (shape[1], shape[2]), (model.input[1], model.input[2]), shorter_side)
