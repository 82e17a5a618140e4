"""What a program may give as a data set, made one of numbered samples or one that is read once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from planner.errors import InputError

_INPUTS = ("image", "img", "pixel_values", "input_ids", "tokens", "audio", "features", "input", "inputs", "x")
_LABELS = ("label", "labels", "target", "targets", "y", "class", "fine_label")


def source_of(data: Any, name: str, *, labelled: bool = True) -> Any:
    """What samples come from: it has a length and items, or it can be iterated over.

    Of a `DataLoader` its data set, without batches; of a Hugging Face data set, and of a dict of arrays, the two
    columns that are input and label by name; of two arrays or tensors their rows; of a generator function what it
    yields. `name` is what errors call it; without `labelled` there need be no labels.

    Raises:
        InputError: it is none of them, or its columns do not say which is which.
    """
    if hasattr(data, "dataset") and hasattr(data, "batch_sampler"):
        data = data.dataset
    if hasattr(data, "column_names") and hasattr(data, "features"):
        return (_Columns if hasattr(data, "__len__") else _ColumnStream)(data, name, labelled)
    if isinstance(data, Mapping):
        return _rows_of(data, name, labelled)
    if isinstance(data, tuple | list) and len(data) == 2 and all(hasattr(each, "shape") for each in data):
        return _Rows(data[0], data[1], name)
    if is_numbered(data):
        return data
    if callable(data) and not isinstance(data, type) and not hasattr(data, "__iter__"):
        data = data()
    if isinstance(data, Iterable):
        return data
    raise InputError(
        f"{name}: a {type(data).__name__} has no items that are numbered, and cannot be iterated over; a data set does "
        "one of the two"
    )


def is_numbered(source: Any) -> bool:
    """Whether samples can be asked for by number; otherwise they are read once, in the order in which they come."""
    streams = any(
        base.__name__ == "IterableDataset" for base in type(source).__mro__
    )  # torch's has both, and means none
    return not streams and hasattr(source, "__getitem__") and hasattr(source, "__len__")


class _Rows:
    """Two arrays or tensors: samples and their labels, if they have any."""

    def __init__(self, inputs: Any, labels: Any, name: str) -> None:
        if labels is not None and len(inputs) != len(labels):
            raise InputError(f"{name}: {len(inputs)} samples, but {len(labels)} labels")
        self._inputs, self._labels = inputs, labels

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self._inputs[index], None if self._labels is None else self._labels[index]


class _Columns:
    """A Hugging Face data set, of which two columns are taken."""

    def __init__(self, data: Any, name: str, labelled: bool) -> None:
        self._data = data
        self._input, self._label = _chosen(data.column_names or [], name, labelled)
        self.classes = _names(data, self._label)

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        row = self._data[index]
        return row[self._input], None if self._label is None else row[self._label]


class _ColumnStream:
    """The same of one that is streamed."""

    def __init__(self, data: Any, name: str, labelled: bool) -> None:
        self._data = data
        self._input, self._label = _chosen(data.column_names or [], name, labelled)
        self.classes = _names(data, self._label)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for row in self._data:
            yield row[self._input], None if self._label is None else row[self._label]


def pair_of(sample: Any, where: str, *, labelled: bool) -> tuple[Any, Any]:
    """Input and label of a sample; a dict has them by name. Raises InputError where it is no such pair."""
    if isinstance(sample, Mapping):
        given, label = _chosen(list(sample), where, labelled)
        return sample[given], None if label is None else sample[label]
    if not labelled and not isinstance(sample, tuple | list):
        return sample, None
    if not isinstance(sample, tuple | list) or len(sample) != 2:
        raise InputError(f"{where}: is a {type(sample).__name__}; a pair of input and label is needed")
    return sample[0], sample[1]


def _rows_of(data: Mapping[Any, Any], name: str, labelled: bool) -> _Rows:
    """A dict of arrays as their rows."""
    if not data or not all(hasattr(each, "shape") and not hasattr(each, "column_names") for each in data.values()):
        keys = ", ".join(map(str, data))[:200] or "nothing"
        raise InputError(f"{name}: is a dict of {keys}; give one of its data sets, and another as test=")
    given, label = _chosen(list(data), name, labelled)
    return _Rows(data[given], None if label is None else data[label], name)


def _chosen(columns: Any, name: str, labelled: bool) -> tuple[str, str | None]:
    """The columns of input and label; none of a label where there need be none."""
    if isinstance(columns, Mapping):
        raise InputError(f"{name}: has the splits {', '.join(columns)}; give one of them, and another as test=")
    inputs = [column for column in columns if column in _INPUTS]
    labels = [column for column in columns if column in _LABELS]
    if len(columns) == 2 and len(labels) == 1:
        inputs = [column for column in columns if column not in labels]
    for what, found, known in (("input", inputs, _INPUTS), ("label", labels, _LABELS)):
        if len(found) != 1 and (what == "input" or labelled):
            raise InputError(
                f"{name}: its columns are {', '.join(map(str, columns))[:200]}, and "
                f"{'none of them' if not found else 'more than one'} is the {what} by name; leave one that is called "
                f"{', '.join(known)}"
            )
    return inputs[0], labels[0] if len(labels) == 1 else None


def _names(data: Any, label: str | None) -> list[str]:
    """What the classes are called, as far as the data set says."""
    features = data.features
    names = getattr(features[label], "names", None) if isinstance(features, Mapping) and label in features else None
    return list(names) if isinstance(names, list | tuple) else []
