"""What is asked of the service, or sent to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from api.limits import (
    ENROLMENT_SECONDS,
    JOB_SECONDS,
    MAX_COMPARED,
    MAX_ENROLMENT_SECONDS,
    MAX_SAMPLES_PER_POST,
    MAX_SAMPLES_PER_RUN,
)
from planner.limits import MAX_BATCH, MAX_BYTES, MAX_NAME_LENGTH
from planner.schema.common import Dtype, Machine, Optimizer, Policy, Stored, usual_optimizer
from planner.schema.model import Model, ZooReference
from planner.schema.plan import Augment, Budget, Preference, Scope, Strategy, Training, usual_views


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; it must lie between {low} and {high}")


def _check_name(name: str) -> None:
    _check("name: its length", len(name), 1, MAX_NAME_LENGTH)
    if not name.isprintable():
        raise ValueError("name: only printable characters are allowed")


@dataclass(frozen=True)
class OptimizerTerms:
    """How parameters move; what is left out is what the command line takes."""

    kind: Literal["sgd", "adam", "adamw"] = "sgd"
    """SGD with momentum, Adam, or AdamW."""
    lr: float | None = None
    """Learning rate at the start (0.05 for SGD, else 0.001)."""
    momentum: float | None = None
    """SGD's momentum (0.9)."""
    nesterov: bool = False
    """SGD's Nesterov momentum."""
    weight_decay: float | None = None
    """Weight decay (5e-4 for SGD, else 0)."""

    def __post_init__(self) -> None:
        self.optimizer()

    def optimizer(self) -> Optimizer:
        """In full. Raises ValueError where a value lies outside its range."""
        usual = usual_optimizer(self.kind, self.lr)
        momentum = usual.momentum if self.momentum is None else self.momentum
        decay = usual.weight_decay if self.weight_decay is None else self.weight_decay
        return Optimizer(self.kind, usual.lr, momentum, self.nesterov, decay)


@dataclass(frozen=True)
class TrainingTerms:
    """How training goes."""

    batch: int = 128
    """Samples of one optimizer step."""
    epochs: int = 10
    """Passes over the data."""
    samples: int = 50_000
    """Training samples of one pass."""
    optimizer: OptimizerTerms = OptimizerTerms()
    """How parameters move."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """How the learning rate moves over a block's training."""
    augment: Augment = "none"
    """What happens to images while training, otherwise in every pass: `crop`: they move by up to an eighth of their
    height and width; `flip`: half of them are mirrored left to right."""
    views: int | None = None
    """Augmented passes that a cache between blocks holds; null: 4, or the epochs where these are fewer."""
    dtype: Dtype = "float32"
    """What units compute in, as the profile measured. `bfloat16` halves activations and caches; weights are float32."""
    seed: int = 0
    """Of every random stream."""
    freeze: int = 0
    """First units that are not trained and keep the weights that `neuroflux run --init` gives them: less than the model
    has."""

    def __post_init__(self) -> None:
        self.training()

    def training(self) -> Training:
        """In full. Raises ValueError where a value lies outside its range."""
        optimizer = self.optimizer.optimizer()
        return Training(
            self.batch,
            self.epochs,
            self.samples,
            optimizer,
            schedule=self.schedule,
            augment=self.augment,
            views=usual_views(self.augment, self.epochs) if self.views is None else self.views,
            dtype=self.dtype,
            seed=self.seed,
            freeze=self.freeze,
        )


@dataclass(frozen=True)
class BudgetTerms:
    """What must not be exceeded."""

    bytes: int
    """The budget."""
    scope: Scope = "process"
    """`process`: everything resident, Python and torch included; `training`: bytes above what these take."""

    def __post_init__(self) -> None:
        self.budget()

    def budget(self) -> Budget:
        """In full. Raises ValueError where it is out of range."""
        return Budget(self.bytes, self.scope)


@dataclass(frozen=True, kw_only=True)
class PlanTerms:
    """What a plan is asked for, the model left out."""

    budget: BudgetTerms
    """What must not be exceeded."""
    device: str | None = None
    """Id of the device to plan for, `server` for the machine that measures for this service (the default)."""
    profile: str | None = None
    """Id of the profile to plan with, in place of a device."""
    training: TrainingTerms = TrainingTerms()
    """How training goes."""
    storage_bytes: int | None = None
    """Storage the activation caches may take; null: not limited."""
    cache_dtype: Stored | None = None
    """How caches hold activations; null: as units compute, or in bfloat16 where the storage does not hold the two
    largest so."""
    strategy: Strategy = "auto"
    """The rule that chooses."""
    prefer: Preference = "balanced"
    """What `auto` prefers among the plans that fit."""
    max_cuts: int | None = None
    """Most boundaries where gradient stops; null: any number."""
    linear_segments: bool = False
    """Whether segments may do without a convolution, such as a last one of the classifier alone."""
    allocator: Policy | None = None
    """The allocator policy; null: whichever is faster of those that fit."""
    reserve_bytes: int | None = None
    """Part of the budget left free; null: 4 MiB."""

    def __post_init__(self) -> None:
        if self.device is not None and self.profile is not None:
            raise ValueError("device and profile: name one of them")


@dataclass(frozen=True, kw_only=True)
class PlanRequest(PlanTerms):
    """One question to the solver."""

    model: str | Model | ZooReference
    """A name of the zoo, the id of a stored model, or a description."""


@dataclass(frozen=True, kw_only=True)
class CompareTerms(PlanTerms):
    """Several questions that differ in budget or strategy, the model left out."""

    budgets_bytes: tuple[int, ...] = ()
    """Budgets to compare, in place of the one in `budget`; its scope holds for all."""
    strategies: tuple[Strategy, ...] = ()
    """Strategies to compare, in place of the one in `strategy`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        count = max(1, len(self.budgets_bytes)) * max(1, len(self.strategies))
        _check("budgets_bytes × strategies: their number", count, 1, MAX_COMPARED)
        for value in self.budgets_bytes:
            _check("budgets_bytes", value, 1, MAX_BYTES)


@dataclass(frozen=True, kw_only=True)
class CompareRequest(CompareTerms):
    """Several questions to the solver."""

    model: str | Model | ZooReference
    """A name of the zoo, the id of a stored model, or a description."""


@dataclass(frozen=True, kw_only=True)
class JobTerms:
    """What is to be measured, the model left out."""

    kind: Literal["profile"]
    """Measuring a model on the machine that measures for this service."""
    batch: int = 128
    """Measure micro-batches up to this."""
    optimizer: OptimizerTerms = OptimizerTerms()
    """The optimizer whose state and step are measured."""
    dtype: Dtype = "float32"
    """What units compute in while they are measured."""
    max_seconds: int = 600
    """Longest measurement; what it leaves out is extrapolated."""
    max_bytes: int | None = None
    """Most memory of each measuring process; null: 80 % of what is available."""

    def __post_init__(self) -> None:
        _check("batch", self.batch, 1, MAX_BATCH)
        _check("max_seconds", self.max_seconds, 1, JOB_SECONDS)
        _check("max_bytes", self.max_bytes or 1, 1, MAX_BYTES)


@dataclass(frozen=True, kw_only=True)
class JobRequest(JobTerms):
    """A measurement."""

    model: str | Model | ZooReference
    """A name of the zoo, the id of a stored model, or a description."""


@dataclass(frozen=True)
class EnrolmentRequest:
    """Permission for one device to enrol."""

    seconds: int = ENROLMENT_SECONDS
    """How long the token is good for."""

    def __post_init__(self) -> None:
        _check("seconds", self.seconds, 1, MAX_ENROLMENT_SECONDS)


@dataclass(frozen=True)
class DeviceRequest:
    """A device that enrols."""

    name: str
    """What a person calls it."""
    machine: Machine
    """The device as `neuroflux doctor` sees it."""
    threads: int
    """Threads for arithmetic of profiles taken there."""

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check("threads", self.threads, 1, 4096)


@dataclass(frozen=True)
class RunRequest:
    """A run that begins."""

    plan_id: str
    """What it executes."""
    name: str = "run"
    """What a person calls it."""

    def __post_init__(self) -> None:
        _check_name(self.name)


@dataclass(frozen=True)
class Sample:
    """Memory at one optimizer step; bytes are counted as the budget's scope counts them."""

    sequence: int
    """Counts the run's samples, from 0."""
    seconds: float
    """Since the run began."""
    block: int
    """Index of the block."""
    epoch: int
    """From 0."""
    step: int
    """From 0, over the block's training."""
    resident_bytes: int
    """Resident after the step; below 0 where the scope's baseline is undercut."""
    peak_bytes: int
    """Highest during the step."""
    loss: float
    """Of the last segment."""

    def __post_init__(self) -> None:
        _check("sequence", self.sequence, 0, MAX_SAMPLES_PER_RUN)
        _check("seconds", self.seconds, 0, 1e9)
        for name in ("block", "epoch", "step"):
            _check(name, getattr(self, name), 0, 2**31 - 1)
        for name in ("resident_bytes", "peak_bytes"):
            _check(name, getattr(self, name), -MAX_BYTES, MAX_BYTES)


@dataclass(frozen=True)
class SampleBatch:
    """Samples of one run. One that was sent before (the same `sequence`) changes nothing."""

    samples: tuple[Sample, ...]
    """In any order."""

    def __post_init__(self) -> None:
        _check("samples: their number", len(self.samples), 1, MAX_SAMPLES_PER_POST)
