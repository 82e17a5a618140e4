"""The weights of an ONNX file, read as those of a safetensors file are. No torch and no numpy here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from planner.errors import ModelError, StorageError
from planner.model.importers.onnx.weights import OpenOnnx
from planner.runner.storage.safetensors import Entry

_TYPES: Final[Mapping[str, str]] = {
    "float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64", "int64": "I64",
}  # fmt: skip
"""Types that weights come in, and what they are called in a safetensors file."""


class OnnxWeights:
    """The tensors of an ONNX file, by the names that its description has. Raises StorageError where it is none."""

    def __init__(self, path: Path) -> None:
        self._stack = ExitStack()
        try:
            self._source = self._stack.enter_context(OpenOnnx(path))
            self._tensors = {name: each for name, each in self._source.names.tensors.items() if each.dtype in _TYPES}
        except ModelError as error:
            self._stack.close()
            text = str(error)
            raise StorageError(text if text.startswith(f"{path}: ") else f"{path}: {text}") from None
        self.path = path
        self.entries = tuple(Entry(name, _TYPES[each.dtype], each.dims) for name, each in self._tensors.items())

    def chunks(self, name: str, chunk_bytes: int = 2**20) -> Iterator[memoryview]:
        """The bytes of one tensor, piece by piece. Raises StorageError."""
        try:
            for chunk in self._source.chunks(self._tensors[name], chunk_bytes):
                yield memoryview(chunk)
        except ModelError as error:
            raise StorageError(f"{self.path}: {error}") from None

    def close(self) -> None:
        """Close the file."""
        self._stack.close()
