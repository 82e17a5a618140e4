"""`report/1`: what a run did, beside what the plan said. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from planner.schema.codec import added
from planner.schema.data import DataDescription
from planner.schema.inputs import InputDtype
from planner.schema.plan import check_calibration
from planner.schema.preprocessing import Normalisation, Resize
from planner.schema.report_parts import ExitReport, Figure, InitReport, Phase
from planner.schema.request import Scope
from planner.tasks.kinds import CLASSIFICATION, AnyTask
from planner.units import format_bytes

_DOING: Mapping[Phase, str] = {
    "data": "while its data was prepared",
    "start": "while torch was started",
    "prepare": "while it was prepared",
    "train": "while it was trained",
    "save": "while its weights were saved",
    "fit": "while its pooled exits were fitted",
    "validate": "while its heads were measured",
    "cache": "while the cache behind it was written",
    "repair": "while a part of its input was computed anew",
}


@dataclass(frozen=True)
class PhaseReport:
    """One phase of a block, predicted against measured."""

    phase: Phase
    """Which part of the block's work."""
    predicted_peak_bytes: int | None
    """Predicted peak resident bytes under the budget's scope; null: the plan does not predict this phase."""
    measured_peak_bytes: int
    """Peak resident bytes (VmHWM), counted as the budget's scope says."""
    seconds: float | None = added(None)
    """How long it took in the session that ended the block; null: an earlier release did not tell."""


@dataclass(frozen=True)
class PeakPosition:
    """When a run was at its peak."""

    phase: Phase
    """What it did."""
    block: int | None
    """Index of the block; null: before the first."""
    steps: int
    """Optimizer steps done by then, of all blocks and sessions."""
    is_polish: bool = added(False)
    """Whether `block` is the polish, which counts as one more."""

    @property
    def words(self) -> str:
        """To be read: `in block 0 while its weights were saved, behind 40 optimizer steps`."""
        doing = _DOING[self.phase]
        stage = "the polish" if self.is_polish else f"block {self.block}"
        where = doing if self.block is None else f"in {stage} {doing}"
        return f"{where}, behind {self.steps} optimizer {'step' if self.steps == 1 else 'steps'}"


@dataclass(frozen=True)
class BlockReport:
    """One block, predicted against measured."""

    units: tuple[int, int]
    """First unit, and the one behind the last."""
    micro_batch: int
    """Samples in one forward and backward, as run."""
    accumulate: int
    """Micro-batches in one optimizer step, as run."""
    predicted_peak_bytes: int
    """Predicted peak resident bytes under the budget's scope."""
    measured_peak_bytes: int
    """Peak resident bytes (VmHWM), counted as the budget's scope says."""
    predicted_seconds_per_epoch: float
    """Predicted wall time of one pass over the data."""
    measured_seconds_per_epoch: float
    """Measured wall time of one pass over all training samples of the data set; 0 where no whole epoch was run."""
    epochs: int
    """Whole passes over the data."""
    steps: int
    """Optimizer steps."""
    loss: float
    """Mean training loss of the last segment over the last epoch."""
    calibration_seconds: float | None = None
    """The calibration kernel's time as the block began; null: not timed."""
    phases: tuple[PhaseReport, ...] = ()
    """Its phases, in the order of their first; empty: an earlier release told them not apart."""
    waited_permille: int | None = None
    """Of the time it trained, what it waited for a processor that others had; null: nobody counted."""

    def __post_init__(self) -> None:
        check_calibration(self.calibration_seconds)


@dataclass(frozen=True)
class PolishReport:
    """The end-to-end training behind the blocks, predicted against measured."""

    block: BlockReport
    """As of a block."""
    before: ExitReport
    """The full model as the blocks have left it, measured on the same samples as the exits."""


@dataclass(frozen=True)
class ComparisonReport:
    """The same network trained by backpropagation besides: outside the budget, and after the run."""

    problem: str | None
    """Why there is nothing to compare with; null: there is."""
    accuracy: float | None = None
    """The metric of the task on the same test samples, of the full model that backpropagation has trained."""
    validation_accuracy: float | None = None
    """On the same held-out samples; null: none were held out."""
    points_behind: float | None = None
    """By how many points the network that came out of the run is behind that; below 0: it is better."""
    full_points_behind: float | None = None
    """By how many points its full model is."""
    micro_batch: int | None = None
    """Samples in one forward and backward of it."""
    accumulate: int | None = None
    """Micro-batches in one optimizer step of it."""
    epochs: int | None = None
    """Whole passes over the data."""
    steps: int | None = None
    """Optimizer steps."""
    peak_bytes: int | None = None
    """Highest resident bytes of its processes together, counted as the budget's scope says."""
    seconds: float | None = None
    """Wall time of its last session."""


@dataclass(frozen=True)
class CacheReport:
    """The activation cache."""

    bytes_written: int
    """Over the whole run."""
    stall_seconds: float
    """Time training waited for samples."""


@dataclass(frozen=True)
class DataReport:
    """The data that a run was trained and tested on, as it was prepared."""

    description: DataDescription
    """What it holds, which samples are held out, and what it is known again by."""
    storage_bytes: int
    """Length of the prepared file."""
    prepare_peak_bytes: int
    """Highest resident bytes of the supervisor and the process that prepared it, together."""


@dataclass(frozen=True)
class Report:
    """What a run did."""

    schema: Literal["report/1"]
    plan_id: str
    """The plan that was run."""
    budget_bytes: int
    """The user's memory limit."""
    scope: Scope
    """What the budget covers."""
    peak_bytes: int
    """Highest measured under the scope."""
    child_peak_bytes: int
    """Highest resident bytes of the training child (its VmHWM over the whole run)."""
    supervisor_peak_bytes: int
    """Highest resident bytes of the supervisor."""
    baseline_bytes: int
    """Resident bytes of the child alone before the first block."""
    within_budget: bool
    """Whether peak_bytes ≤ budget_bytes."""
    blocks: tuple[BlockReport, ...]
    """In order."""
    exits: tuple[ExitReport, ...]
    """In order; the last is the full model. Where there is a polish, as they are behind it."""
    chosen_exit: int
    """The smallest exit that is good enough, by its units: the best, or one exported beside it."""
    accuracy: float
    """Test accuracy of the best exit."""
    seconds: float
    """Wall time of the run."""
    cache: CacheReport
    """The activation cache."""
    deviations: tuple[str, ...]
    """Where the run had to leave its plan."""
    init: InitReport | None = None
    """What training began with; null: all weights began at random."""
    deviation_steps: tuple[int, ...] = ()
    """Of each of the deviations, how many lines of memory.jsonl were there before it; empty: not known."""
    exit_tolerance: float | None = None
    """Points of accuracy, on samples held out of training data, that the chosen exit may lose to the best; null: there
    was nothing to choose by, and the full model is both."""
    best_exit: int | None = None
    """Where the network that comes out ends, by its units: the exit that is best on samples held out of training data.
    Null: the full model, which reports took for the best before there was this field."""
    peak: PeakPosition | None = None
    """When peak_bytes were reached; null: not known."""
    samples: int | None = None
    """How many test samples `accuracy` is a share of; null: an earlier release did not tell."""
    accuracy_interval: tuple[float, float] | None = None
    """Lower and upper bound of the accuracy, with 95 % confidence (Wilson's score interval); null as for `samples`."""
    stored_in_memory_bytes: int = 0
    """What the run kept in its output folder at most, where that is memory (tmpfs): part of peak_bytes, and of no
    block's. 0 where the folder is storage."""
    task: AnyTask = CLASSIFICATION
    """What was trained for: whose metric `accuracy` is."""
    data: DataReport | None = None
    """What was trained on; null: an earlier release told it not."""
    normalisation: Normalisation | None = added(None)
    """How images were normalised, as they have to be wherever the network is used; null: an earlier release told it
    not, and it was (value / 255 - 0.5) / 0.25."""
    resize: Resize | None = added(None)
    """How images of another size were brought to the model's; null: there were none, or it was not told."""
    shorter_side: int | None = added(None)
    """The shorter side that they were resized to before the middle was cut out; null: both sides were brought to the
    model's."""
    polish: PolishReport | None = added(None)
    """The end-to-end training that ended it; null: there was none."""
    comparison: ComparisonReport | None = added(None)
    """Backpropagation in ample memory; null: it was not asked for."""

    @property
    def stages(self) -> tuple[BlockReport, ...]:
        """What was trained one after another: the blocks, and the polish as one more."""
        return self.blocks if self.polish is None else (*self.blocks, self.polish.block)

    @property
    def exceeded(self) -> str:
        """By how much and when the run was above its budget, in words, where it was."""
        over = format_bytes(self.peak_bytes - self.budget_bytes)
        when = f" {self.peak.words}" if self.peak else ""
        peak, budget = format_bytes(self.peak_bytes), format_bytes(self.budget_bytes)
        return f"the run was above its budget{when}: {peak}, {over} more than {budget}; what it trained is kept"

    def __post_init__(self) -> None:
        count = len(self.deviation_steps)
        if count and count != len(self.deviations):
            raise ValueError(f"deviation_steps: there are {count} of them, but {len(self.deviations)} deviations")
        if count and min(self.deviation_steps) < 0:
            raise ValueError(f"deviation_steps: {min(self.deviation_steps)} is below 0")
        if self.best_exit is not None and all(found.unit != self.best_exit for found in self.exits):
            raise ValueError(f"best_exit: none of the exits is behind unit {self.best_exit}")

    @property
    def best(self) -> ExitReport:
        """The exit in which the network that comes out ends."""
        wanted = self.exits[-1].unit if self.best_exit is None else self.best_exit
        return next(found for found in self.exits if found.unit == wanted)

    @property
    def missed(self) -> ExitReport | None:
        """The exit that is best on test samples, if better than the full model, where none were held out to choose it
        by."""
        if not self.exits or self.best.validation_accuracy is not None:
            return None
        metric = self.task.metric
        found = max(self.exits, key=lambda found: metric.goodness(found.accuracy))
        return found if metric.is_better(found.accuracy, self.best.accuracy) else None


@dataclass(frozen=True)
class Evaluation:
    """An exported model, measured on a data set's test part after it was read back from storage."""

    schema: Literal["evaluation/1"]
    model: str
    """Its name."""
    parameters: int
    """Trainable numbers."""
    data: str
    """The data set, as it was named."""
    samples: int
    """Test samples."""
    accuracy: float
    """Share of them that it gets right."""
    samples_per_second: float
    """Forward alone; reading weights and samples is not counted."""
    seconds: float
    """All of it but starting up: samples and weights are read as they are needed."""
    micro_batch: int
    """Samples in one forward."""
    peak_bytes: int
    """Highest resident bytes of both processes together."""
    budget_bytes: int | None = None
    """What they had to stay under; null: nothing."""
    notes: tuple[str, ...] = ()
    """What a person should know of the data: what was left out or converted, which classes are absent."""
    accuracy_interval: tuple[float, float] | None = None
    """Lower and upper bound of the accuracy, with 95 % confidence (Wilson's score interval); null: an earlier release
    did not tell."""
    task: AnyTask = CLASSIFICATION
    """What the model was trained for: whose metric `accuracy` is."""
    further: tuple[Figure, ...] = ()
    """What its task tells besides."""
    normalisation: Normalisation | None = added(None)
    """How images were normalised for it, as its description says; null: an earlier release told it not."""
    resize: Resize | None = added(None)
    """How images of another size were brought to its, as its description says; null: it says nothing."""
    shorter_side: int | None = added(None)
    """The shorter side that they were resized to before the middle was cut out, as its description says."""
    input_dtype: InputDtype = added("uint8")
    """What the network is given samples as."""
    input: tuple[int, ...] = added(())
    """Shape of a sample as the network is given it; empty: an earlier release told it not."""
