"""What the training child tells its supervisor: one JSON object a line, on the child's standard output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from planner.data.pace import Doing
from planner.schema.child_failed import ChildFailed
from planner.schema.common import TorchStart
from planner.schema.report_parts import ExitReport, Figure, InitReport, Phase


@dataclass(frozen=True)
class PhasePeak:
    """A phase of a block, as measured."""

    phase: Phase
    """The phase."""
    peak_bytes: int
    """Highest resident bytes of the training child during the phase."""
    seconds: float | None = None
    """How long it took in the session that ended the block; null in files of earlier releases."""


@dataclass(frozen=True)
class ChildReady:
    """Torch has started and the data is open."""

    kind: Literal["ready"]
    baseline_bytes: int
    """Resident bytes of the child."""
    peak_bytes: int
    """Highest resident bytes so far."""
    start: TorchStart = "plain"
    """How torch was imported."""


@dataclass(frozen=True)
class Initialised:
    """Weights to begin with are there."""

    kind: Literal["initialised"]
    init: InitReport
    """Which tensors of the file fit the network, and which do not."""


@dataclass(frozen=True)
class BlockStarted:
    """A block enters a phase."""

    kind: Literal["phase"]
    block: int
    """Index of the block."""
    phase: Phase
    """The phase that begins."""
    total_steps: int
    """Optimizer steps of the training phase."""
    micro_batch: int
    """Samples in one forward of the phase."""
    accumulate: int
    """Micro-batches in one optimizer step."""
    fallback: int = 0
    """Which setting that is: 0 is the plan's own, 1 the first of its fallbacks."""
    done_steps: int = 0
    """Optimizer steps of the block that earlier sessions have done."""
    peak_bytes: int = 0
    """Highest resident bytes of the child over its life so far."""


@dataclass(frozen=True)
class Step:
    """One optimizer step."""

    kind: Literal["step"]
    block: int
    """Index of the block."""
    epoch: int
    """From 0."""
    step: int
    """From 0, over the block's training."""
    samples: int
    """Samples of this step."""
    loss: float
    """Of the last segment."""
    resident_bytes: int
    """Resident bytes of the child after the step."""
    peak_bytes: int
    """Highest resident bytes of the child since the step before."""


@dataclass(frozen=True)
class Checkpointed:
    """A checkpoint within a block is on storage."""

    kind: Literal["checkpoint"]
    block: int
    """Index of the block."""
    step: int
    """Optimizer steps in it."""
    seconds: float
    """Time it took."""


@dataclass(frozen=True)
class Deviation:
    """The run departs from its plan, for instance to a smaller micro-batch; the report lists it."""

    kind: Literal["deviation"]
    text: str
    """What is done differently, in which block, and why, as a sentence."""


@dataclass(frozen=True)
class Warned:
    """Something that a person should know before the run begins; no part of its report."""

    kind: Literal["warning"]
    text: str
    """The warning, as a sentence."""


@dataclass(frozen=True)
class Preparing:
    """The data is being prepared, before anything is laid into the folder; the supervisor's word, as warnings are."""

    kind: Literal["preparing"]
    doing: Doing
    """Whether pictures are being found, or samples written."""
    done: int
    """So many are."""
    total: int | None
    """Of how many; null: not known yet."""


@dataclass(frozen=True)
class BlockDone:
    """A block is trained, saved, and its outputs are cached."""

    kind: Literal["block-done"]
    block: int
    """Its index."""
    micro_batch: int
    """Samples in one forward and backward when training ended."""
    accumulate: int
    """Micro-batches in one optimizer step when training ended."""
    peak_bytes: int
    """Highest resident bytes of the child in this block, all phases."""
    seconds_per_epoch: float
    """Of whole epochs, for as many samples as the data set has to train on; 0 where there was none."""
    epochs: int
    """Whole epochs."""
    steps: int
    """Optimizer steps."""
    loss: float
    """Mean loss of the last segment over the last epoch (or what was run of it)."""
    exits: tuple[ExitReport, ...]
    """Its heads on test data, and on what was held out of training data where something was."""
    cache_bytes: int
    """Bytes written to caches."""
    stall_seconds: float
    """Time training waited for samples."""
    calibration_seconds: float | None = None
    """The calibration kernel's time as the block began."""
    seconds_per_sample: float | None = None
    """Forward from the model's first unit to the block's last, without heads; null in files of earlier releases."""
    phases: tuple[PhasePeak, ...] = ()
    """The peak of every phase, in the order in which they first began; empty in files of earlier releases."""
    waited_permille: int | None = None
    """Of the time it trained, what it waited for a processor that others had; null where nobody counted."""


@dataclass(frozen=True)
class Finished:
    """Every block is done."""

    kind: Literal["finished"]
    peak_bytes: int
    """Highest resident bytes of the child over its whole life."""


Event = (
    ChildReady
    | Initialised
    | BlockStarted
    | Step
    | Checkpointed
    | Deviation
    | Warned
    | Preparing
    | BlockDone
    | Finished
    | ChildFailed
)


@dataclass(frozen=True)
class Message:
    """One line."""

    event: Event
    """What happened."""


@dataclass(frozen=True)
class Evaluated:
    """An exported model is measured."""

    kind: Literal["evaluated"]
    samples: int
    """Test samples."""
    accuracy: float
    """Share of them that it gets right."""
    samples_per_second: float
    """Forward alone."""
    seconds: float
    """From the first byte read to the last sample counted."""
    micro_batch: int
    """Samples in one forward."""
    peak_bytes: int
    """Highest resident bytes of the child over its whole life."""
    further: tuple[Figure, ...] = ()
    """What its task tells besides."""


@dataclass(frozen=True)
class EvaluationMessage:
    """The one line of an evaluating child."""

    event: Evaluated | ChildFailed
    """What happened."""
