"""Weights to begin with (`--init`): kept in the output folder, so that a resumed run begins every block as it would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from planner.errors import InputError, StorageError
from planner.runner import paths
from planner.runner.safetensors import TensorFile, write_tensors


def keep_initial(source: Path, target: Path) -> None:
    """Copy a safetensors file, or a run's full model where its output folder is given, a megabyte in memory at a time.

    Raises InputError where it is none, StorageError.
    """
    if source.is_dir():
        whole = source / paths.FULL_MODEL  # what came out is an exit, where there is this one
        source = whole if whole.is_file() else source / paths.MODEL
    try:
        file = TensorFile(source)
    except StorageError as error:
        raise InputError(f"--init {error}") from None

    def pieces() -> Iterator[memoryview]:
        return (piece for entry in file.entries for piece in file.pieces(entry.name))

    try:
        write_tensors(target, file.entries, pieces)
    finally:
        file.close()
