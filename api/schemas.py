"""What the service's own requests and answers look like. Documents of the planner have their schemas beside it."""

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
from planner.model.spec import Model, ZooReference
from planner.report.schema import Report
from planner.settings import Machine, Optimizer, Policy, usual_optimizer
from planner.solver.point import Point
from planner.solver.schema import Alternative, Budget, Preference, Scope, Strategy, Training
from planner.solver.unit_bytes import UnitBytes


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
    strategy: Strategy = "auto"
    """The rule that chooses."""
    prefer: Preference = "balanced"
    """What `auto` prefers among the plans that fit."""
    max_cuts: int | None = None
    """Most boundaries where gradient stops; null: any number."""
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


@dataclass(frozen=True)
class SamplesTaken:
    """Samples are on storage."""

    accepted: int
    """How many came."""
    last_sequence: int
    """The highest sequence number among them."""


@dataclass(frozen=True)
class SampleChart:
    """Samples thinned for a chart: neighbours of one block in one, their highest peak and mean resident bytes."""

    samples: tuple[Sample, ...]
    """In order; each carries the sequence number, time, epoch and step of the last one it stands for."""
    count: int
    """How many samples they stand for."""
    last_sequence: int | None
    """Ask for what comes `after` this next time; null where there is nothing new."""


@dataclass(frozen=True)
class BudgetItem:
    """A budget."""

    bytes: int
    """The budget."""
    scope: Scope
    """What it counts."""


@dataclass(frozen=True)
class ModelItem:
    """A model of the zoo or of the store."""

    id: str
    """sha256 of its canonical description."""
    name: str
    """Shown to people; of the zoo: good as a reference."""
    input: tuple[int, int, int]
    """Channels, height and width of one sample."""
    classes: int
    """Width of the last unit's output."""
    units: int
    """Units of the chain."""
    parameters: int
    """Trainable numbers."""
    created_at: str | None
    """When it was stored (UTC); null for the zoo's."""


@dataclass(frozen=True)
class ModelPage:
    """Models, newest first; the zoo's come last."""

    items: tuple[ModelItem, ...]
    """The models."""
    next_cursor: str | None
    """Ask with this `cursor` for the next page; null: this was the last one."""


@dataclass(frozen=True)
class ModelSummary:
    """What a model is, in short."""

    name: str
    """Shown to people."""
    input: tuple[int, int, int]
    """Channels, height and width of one sample."""
    classes: int
    """Width of the last unit's output."""
    units: int
    """Units of the chain."""
    parameters: int
    """Trainable numbers."""


@dataclass(frozen=True)
class ProfileDevice:
    """Where a profile was measured."""

    name: str
    """What a person calls the device."""
    fingerprint: str
    """sha256 of the facts that decide costs."""
    total_bytes: int
    """Its memory; 0 where the profile does not say it."""


@dataclass(frozen=True)
class ProfileItem:
    """A profile in short."""

    id: str
    """sha256 of its content."""
    model: ModelSummary
    """What was measured."""
    model_id: str
    """Its id."""
    device: ProfileDevice
    """Where."""
    optimizer: str
    """The optimizer whose state was measured."""
    batch: int
    """The largest batch it answers for."""
    created_at: str
    """When it was stored (UTC)."""


@dataclass(frozen=True)
class ProfilePage:
    """Profiles, newest first."""

    items: tuple[ProfileItem, ...]
    """The profiles."""
    next_cursor: str | None
    """Ask with this `cursor` for the next page; null: this was the last one."""


@dataclass(frozen=True)
class PlanItem:
    """A plan in short."""

    id: str
    """sha256 of its content."""
    model: str
    """The model's name."""
    device: str
    """The device's name."""
    profile_id: str
    """What it was made from."""
    strategy: Strategy
    """The rule that chose it."""
    budget: BudgetItem
    """What must not be exceeded."""
    peak_bytes: int
    """Predicted peak."""
    seconds_total: float
    """Predicted time."""
    blocks: int
    """Blocks."""
    cuts: int
    """Boundaries where gradient stops."""
    created_at: str
    """When it was stored (UTC)."""


@dataclass(frozen=True)
class PlanPage:
    """Plans, newest first."""

    items: tuple[PlanItem, ...]
    """The plans."""
    next_cursor: str | None
    """Ask with this `cursor` for the next page; null: this was the last one."""


@dataclass(frozen=True)
class Alternatives:
    """What else there is for a plan's request."""

    plan_id: str
    """The plan."""
    alternatives: tuple[Alternative, ...]
    """Every strategy that fits, and the frontier of time against cuts."""


@dataclass(frozen=True)
class Frontier:
    """What a budget buys."""

    plan_id: str
    """The plan whose model, device, training and strategy these plans share."""
    frontier: tuple[Point, ...]
    """Rising budgets, each plan faster than the one before."""


@dataclass(frozen=True)
class PlanUnits:
    """A plan, unit by unit."""

    plan_id: str
    """The plan."""
    units: tuple[UnitBytes, ...]
    """Every unit in order, each head behind the unit it reads."""


@dataclass(frozen=True)
class SessionItem:
    """Who asks."""

    authentication: bool
    """Whether this service asks for tokens."""
    kind: Literal["admin", "device", "session", "enrolment"]
    """What kind of token came; `admin` where none is needed."""


@dataclass(frozen=True)
class Compared:
    """One row of a comparison."""

    budget: BudgetItem
    """The budget."""
    strategy: Strategy
    """The rule that chose."""
    plan_id: str | None
    """The plan; null where nothing fits."""
    peak_bytes: int | None
    """Predicted peak."""
    seconds_total: float | None
    """Predicted time."""
    blocks: int | None
    """Blocks."""
    cuts: int | None
    """Boundaries where gradient stops."""
    minimum_bytes: int | None
    """Where nothing fits: the smallest budget (or storage) that does."""
    binding_term: str | None
    """Where nothing fits: what most of that consists of."""


@dataclass(frozen=True)
class Comparison:
    """Several plans beside each other."""

    rows: tuple[Compared, ...]
    """Budget by budget, and within it strategy by strategy."""


@dataclass(frozen=True)
class JobItem:
    """A job."""

    id: str
    """Its id."""
    kind: Literal["profile"]
    """What is done."""
    state: Literal["queued", "running", "cancelling", "done", "failed", "cancelled"]
    """How far it is."""
    model: str
    """The model's name."""
    batch: int
    """Micro-batches up to this are measured."""
    phase: str
    """What is going on."""
    done: int
    """Parts that are done."""
    total: int
    """Parts in all; 0 while that is unknown."""
    eta_seconds: float | None
    """Time to its end; null while that is unknown."""
    attempts: int
    """How often it was begun."""
    error: str | None
    """Why it failed."""
    profile_id: str | None
    """What came out."""
    created_at: str
    """When it was asked for (UTC)."""
    started_at: str | None
    """When it was begun last (UTC)."""
    finished_at: str | None
    """When it ended (UTC)."""


@dataclass(frozen=True)
class JobPage:
    """Jobs, newest first."""

    items: tuple[JobItem, ...]
    """The jobs."""
    next_cursor: str | None
    """Ask with this `cursor` for the next page; null: this was the last one."""


@dataclass(frozen=True)
class Enrolment:
    """A token that one device may enrol with. It is shown once."""

    token: str
    """For `neuroflux enroll URL --token …`."""
    expires_at: str
    """Until when it is good (UTC)."""


@dataclass(frozen=True)
class DeviceItem:
    """A device."""

    id: str
    """Its id; `server` is the machine that measures for this service."""
    kind: Literal["device", "server"]
    """An enrolled device, or the machine that measures for this service."""
    name: str
    """What a person calls it."""
    fingerprint: str
    """sha256 of the facts that decide costs."""
    machine: Machine
    """What it is."""
    created_at: str
    """When it was enrolled (UTC)."""
    revoked_at: str | None
    """When its tokens were revoked (UTC)."""
    last_seen_at: str | None
    """When a request came with its token, within half a minute (UTC); null: never."""


@dataclass(frozen=True)
class EnrolledDevice:
    """A device that has just enrolled. Its token is shown once."""

    device: DeviceItem
    """The device."""
    token: str
    """What it authenticates with from now on."""


@dataclass(frozen=True)
class DevicePage:
    """Devices, newest first."""

    items: tuple[DeviceItem, ...]
    """The devices."""
    next_cursor: str | None
    """Ask with this `cursor` for the next page; null: this was the last one."""


@dataclass(frozen=True)
class RunItem:
    """A run in short."""

    id: str
    """Its id."""
    name: str
    """What a person calls it."""
    plan_id: str
    """What it executes."""
    device_id: str | None
    """The device that reports it; null where it came without a device's token."""
    model: str
    """The model's name."""
    budget: BudgetItem
    """What must not be exceeded."""
    blocks: int
    """Blocks of the plan."""
    state: Literal["running", "finished"]
    """Whether its report is there."""
    last_sample: Sample | None
    """The newest sample."""
    peak_bytes: int | None
    """The highest of its samples; null before the first. A report may know a higher one, of caches and validation."""
    created_at: str
    """When it began (UTC)."""
    finished_at: str | None
    """When its report came (UTC)."""


@dataclass(frozen=True)
class Run(RunItem):
    """A run."""

    report: Report | None
    """What it did; null while it runs."""


@dataclass(frozen=True)
class RunPage:
    """Runs, newest first."""

    items: tuple[RunItem, ...]
    """The runs."""
    next_cursor: str | None
    """Ask with this `cursor` for the next page; null: this was the last one."""


@dataclass(frozen=True)
class Health:
    """Whether this service works."""

    status: Literal["ok"]
    """It does."""
