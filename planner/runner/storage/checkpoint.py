"""Checkpoints within a block: weights, optimizer state and position, streamed to one file that replaces the last.

Memory of saving lies below that of training: nothing is copied, and activations and gradients are gone between steps.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from planner.errors import StorageError
from planner.runner.protocol.position import Position, read_position
from planner.runner.storage.safetensors import TensorFile
from planner.runner.storage.weights import fill_modules, named_tensors, read_tensor, save_tensors
from planner.runner.train.block import LoadedBlock
from planner.system.files import storage_errors

_STATE = "optimizer."


class Checkpoints:
    """The checkpoint of a run, taken when it is due."""

    def __init__(self, path: Path, every_seconds: float) -> None:
        """Every 0 seconds is after every step."""
        self._path = path
        self._every_seconds = every_seconds
        self._last = time.monotonic()

    def describe(self, block: int) -> str:
        """What is kept of a block in training, as part of a sentence."""
        try:
            position = self.find(block)
        except StorageError:
            return "its last checkpoint is damaged"
        if position is None or position.block != block:
            return "it had no checkpoint yet"
        return (
            f"its last checkpoint, behind step {position.step}, is kept in {self._path}, where --init can begin with it"
        )

    def restart_clock(self) -> None:
        """Let the interval begin now."""
        self._last = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether the interval is over."""
        return time.monotonic() - self._last >= self._every_seconds

    def find(self, block: int) -> Position | None:
        """Where the checkpoint of a block stands; None without one. Raises StorageError where it is damaged."""
        position = read_position(self._path)
        if position is None or position.block != block:
            return None
        file = TensorFile(self._path)
        try:
            file.verify()
        finally:
            file.close()
        return position

    def save(self, block: LoadedBlock, position: Position) -> None:
        """Put a checkpoint in the place of the last one. Raises StorageError, and then the last one is still there."""
        save_tensors(self._path, _tensors(block), position.metadata())
        self.restart_clock()

    def load(self, block: LoadedBlock, position: Position) -> None:
        """Set a fresh block to the checkpoint, whose position `find` has given."""
        file = TensorFile(self._path)
        try:
            fill_modules(file, block.named_modules())
            kept: dict[str, dict[str, Tensor]] = {}
            for entry in file.entries:
                if entry.name.startswith(_STATE):
                    tensor = torch.empty(entry.shape, device=block.device)
                    read_tensor(file, entry.name, tensor)
                    parameter, _, key = entry.name.removeprefix(_STATE).rpartition(".")
                    kept.setdefault(parameter, {})[key] = tensor
        finally:
            file.close()
        parameters = dict(block.named_parameters())
        if not kept.keys() <= parameters.keys():
            raise StorageError(f"{self._path}: holds optimizer state of another network")
        for name, state in kept.items():
            moved = parameters[name]
            block.optimizer.restore(moved, state, position.step * block.steps_of(moved))

    def remove(self) -> None:
        """Delete the checkpoint: what came out of it is safe elsewhere. Raises StorageError."""
        with storage_errors(self._path):
            self._path.unlink(missing_ok=True)


def _tensors(block: LoadedBlock) -> Iterator[tuple[str, Tensor]]:
    yield from named_tensors(block.named_modules())
    for name, parameter in block.named_parameters():
        for key, tensor in block.optimizer.state(parameter).items():
            yield f"{_STATE}{name}.{key}", tensor
