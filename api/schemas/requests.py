"""What is asked of the service, or sent to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from api.limits import (
    ENROLMENT_SECONDS,
    JOB_SECONDS,
    MAX_COMPARED,
    MAX_ENROLMENT_SECONDS,
    MAX_LABEL_LENGTH,
    MAX_LABELS,
    MAX_NOTES_LENGTH,
    MAX_REASON_LENGTH,
    MAX_SAMPLES_PER_POST,
    MAX_SAMPLES_PER_RUN,
    MAX_TOKEN_DAYS,
)
from planner.heads.base import HeadChoice
from planner.limits import MAX_BATCH, MAX_BYTES, MAX_NAME_LENGTH
from planner.schema.common import Dtype, Machine, check_range
from planner.schema.model import Model, ZooReference
from planner.schema.request import Strategy
from planner.schema.terms import OptimizerTerms, PlanTerms, TrainingTerms


def _check_name(name: str) -> None:
    check_range("name: its length", len(name), 1, MAX_NAME_LENGTH)
    if not name.isprintable():
        raise ValueError("name: only printable characters are allowed")
    if not name.strip():
        raise ValueError("name: is blank")


@dataclass(frozen=True, kw_only=True)
class ServiceTerms(PlanTerms):
    """What a plan is asked for, and what it is made for; the model left out."""

    device: str | None = None
    """Id of the device to plan for, `server` for the machine that measures for this service (the default)."""
    profile: str | None = None
    """Id of the profile to plan with, in place of a device."""

    def __post_init__(self) -> None:
        if self.device is not None and self.profile is not None:
            raise ValueError("device and profile: name one of them")


@dataclass(frozen=True, kw_only=True)
class PlanRequest(ServiceTerms):
    """One question to the solver."""

    model: str | Model | ZooReference
    """A name of the zoo, the id of a stored model, or a description."""


@dataclass(frozen=True, kw_only=True)
class CompareTerms(ServiceTerms):
    """Several questions that differ in budget or strategy, the model left out."""

    budgets_bytes: tuple[int, ...] = ()
    """Budgets to compare, in place of the one in `budget`; its scope holds for all."""
    strategies: tuple[Strategy, ...] = ()
    """Strategies to compare, in place of the one in `strategy`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        count = max(1, len(self.budgets_bytes)) * max(1, len(self.strategies))
        check_range("budgets_bytes × strategies: their number", count, 1, MAX_COMPARED)
        for value in self.budgets_bytes:
            check_range("budgets_bytes", value, 1, MAX_BYTES)


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
    batch: int = TrainingTerms.batch
    """Measure micro-batches up to this."""
    optimizer: OptimizerTerms = TrainingTerms.optimizer
    """The optimizer whose state and step are measured."""
    dtype: Dtype = TrainingTerms.dtype
    """What units compute in while they are measured."""
    max_seconds: int = 600
    """Longest measurement; what it leaves out is extrapolated."""
    max_bytes: int | None = None
    """Most memory of each measuring process; null: 80 % of what is available."""
    head: HeadChoice | None = PlanTerms.head
    """A kind of head to measure behind every unit besides the usual ones; `auto`: all kinds."""

    def __post_init__(self) -> None:
        check_range("batch", self.batch, 1, MAX_BATCH)
        check_range("max_seconds", self.max_seconds, 1, JOB_SECONDS)
        check_range("max_bytes", self.max_bytes or 1, 1, MAX_BYTES)


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
        check_range("seconds", self.seconds, 1, MAX_ENROLMENT_SECONDS)


@dataclass(frozen=True)
class TokenRequest:
    """A token for a person or a program."""

    name: str
    """What it is called, in lists and in who changed what."""
    role: Literal["admin", "read", "metrics"] = "read"
    """What it may do: everything, look at everything, or read /metrics."""
    days: int | None = None
    """It ends after so many; null: when it is ended."""

    def __post_init__(self) -> None:
        _check_name(self.name)
        check_range("days", 1 if self.days is None else self.days, 1, MAX_TOKEN_DAYS)

    @property
    def seconds(self) -> int | None:
        """How long it is good."""
        return None if self.days is None else self.days * 24 * 3600


@dataclass(frozen=True)
class DeviceRequest:
    """A device that enrols."""

    name: str
    """What a person calls it."""
    machine: Machine
    """The device as `neuroflux doctor` sees it."""
    threads: int
    """Threads for arithmetic of profiles taken there."""
    earlier_token: str | None = None
    """A token that this device had here before, still good or not: it is the same device again."""

    def __post_init__(self) -> None:
        _check_name(self.name)
        check_range("threads", self.threads, 1, 4096)


@dataclass(frozen=True)
class RunRequest:
    """A run that begins."""

    plan_id: str
    """What it executes."""
    name: str = "run"
    """What a person calls it."""

    def __post_init__(self) -> None:
        _check_name(self.name)


@dataclass(frozen=True, kw_only=True)
class MarkRequest:
    """What a person writes on a thing. What is left out, or null, stays as it is."""

    labels: tuple[str, ...] | None = None
    """Words to find it by, in place of those it has: letters, digits and `. _ : / = + @ -`."""
    notes: str | None = None
    """Text in place of the one it has; empty: none."""
    archived: bool | None = None
    """Whether it is kept out of lists."""

    def __post_init__(self) -> None:
        check_range("labels: their number", len(self.labels or ()), 0, MAX_LABELS)
        for label in self.labels or ():
            check_range("labels: the length of one", len(label), 1, MAX_LABEL_LENGTH)
            if not re.fullmatch(r"[\w.:/=+@-]+", label, re.ASCII):
                raise ValueError("labels: a label has letters, digits and . _ : / = + @ -, and no space")
        if len({label.lower() for label in self.labels or ()}) < len(self.labels or ()):
            raise ValueError("labels: one is there twice")
        check_range("notes: their length", len(self.notes or ""), 0, MAX_NOTES_LENGTH)


@dataclass(frozen=True, kw_only=True)
class NamedMarkRequest(MarkRequest):
    """What a person writes on a run or a device. What is left out, or null, stays as it is."""

    name: str | None = None
    """What it is called from now on."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name is not None:
            _check_name(self.name)


@dataclass(frozen=True)
class RunStateRequest:
    """How a run is that has no report."""

    state: Literal["running", "failed", "interrupted"]
    """`running`: it goes on; `failed`: it has ended without a report; `interrupted`: so, and it can be resumed."""
    reason: str | None = None
    """Why it ended."""

    def __post_init__(self) -> None:
        check_range("reason: its length", len(self.reason or ""), 0, MAX_REASON_LENGTH)


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
        check_range("sequence", self.sequence, 0, MAX_SAMPLES_PER_RUN)
        check_range("seconds", self.seconds, 0, 1e9)
        for name in ("block", "epoch", "step"):
            check_range(name, getattr(self, name), 0, 2**31 - 1)
        for name in ("resident_bytes", "peak_bytes"):
            check_range(name, getattr(self, name), -MAX_BYTES, MAX_BYTES)


@dataclass(frozen=True)
class SampleBatch:
    """Samples of one run. One that was sent before (the same `sequence`) changes nothing."""

    samples: tuple[Sample, ...]
    """In any order."""

    def __post_init__(self) -> None:
        check_range("samples: their number", len(self.samples), 1, MAX_SAMPLES_PER_POST)
