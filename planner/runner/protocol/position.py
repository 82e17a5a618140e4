"""How far a block's training has come: written into every checkpoint, and into a trained block's weights. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from planner.errors import DocumentError, StorageError
from planner.runner.storage.safetensors import TensorFile
from planner.schema.codec import decode, formerly, parse_json, to_json

_KEY = "position"


@dataclass(frozen=True)
class Position:
    """How far the training of a block has come, between two optimizer steps."""

    block: int
    """Index of the block."""
    fallback: int = formerly("rung", 0)
    """The setting in force: 0 is the plan's own, then its fallbacks."""
    epoch: int = 0
    """The pass over the data that the next step belongs to."""
    step_in_epoch: int = 0
    """Steps of that pass that are done."""
    step: int = 0
    """Optimizer steps done."""
    whole_epochs: int = 0
    """Passes over the whole data that are done."""
    whole_seconds: float = 0.0
    """Time they took."""
    epoch_seconds: float = 0.0
    """Time the unfinished pass took so far."""
    loss_sum: float = 0.0
    """Losses of the last pass that had a step, added up."""
    loss_count: int = 0
    """How many these are."""
    stall_seconds: float = 0.0
    """Time training waited for samples."""
    peak_bytes: int = 0
    """Highest resident bytes of the child in this block."""
    is_trained: bool = False
    """Whether no step is left."""
    losses_began_at: tuple[float, ...] = ()
    """What every segment's loss is held against, to tell when training diverges; empty before the first step."""
    high_steps: int = 0
    """How many steps in a row a loss has been far above that."""
    input_checksum: str | None = None
    """Of the weights right before the block, which it is trained behind; none where it has the data itself."""

    @property
    def loss(self) -> float:
        """Mean over the last pass, or what was run of it."""
        return self.loss_sum / max(1, self.loss_count)

    @property
    def seconds_per_epoch(self) -> float:
        """Of whole passes; 0 where there was none."""
        return self.whole_seconds / max(1, self.whole_epochs)

    def metadata(self) -> dict[str, str]:
        """Itself as metadata of a safetensors file."""
        return {_KEY: to_json(self, indent=None)}


def read_position(path: Path) -> Position | None:
    """The position in a tensor file; None where there is no file. Raises StorageError where it holds none."""
    if not path.exists():
        return None
    file = TensorFile(path)
    file.close()
    try:
        return decode(Position, parse_json(file.metadata.get(_KEY, "")))
    except DocumentError as error:
        raise StorageError(f"{path}: holds no position in training ({error})") from None
