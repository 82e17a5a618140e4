"""What the supervisor tells its training child."""

from __future__ import annotations

from dataclasses import dataclass

from planner.schema.codec import formerly


@dataclass(frozen=True)
class TrainingJob:
    """One run."""

    out: str
    """The output folder; its plan.json is the plan."""
    data: str
    """Name or path of the data set."""
    epochs: int | None = None
    """Passes over the data instead of the plan's."""
    max_steps: int | None = None
    """Most optimizer steps of each block; the caches then hold only the samples that these steps can use."""
    seed: int | None = None
    """Seed instead of the plan's."""
    allowed_bytes: int | None = None
    """Resident bytes the child may reach; none leaves the guard off."""
    above_baseline: bool = False
    """Whether `allowed_bytes` is above the child's resident bytes before training (budget scope `training`)."""
    first_block: int = 0
    """Blocks before this one are done."""
    first_fallback: int = formerly("first_rung", 0)
    """The largest setting of that block that may still be tried: 0 is the plan's own, then its fallbacks."""
    checkpoint_seconds: float = 60.0
    """Minimum interval between two checkpoints within a block, in seconds; 0 checkpoints after every step."""
    exit_tolerance: float | None = None
    """Points of accuracy that a smaller exit may lose to the best; none holds no samples out to choose by."""
    plan_id: str | None = None
    """The plan's `id`; none in files of earlier releases."""
    init_checksum: str | None = None
    """Checksum of `init.safetensors` in the output folder; none where training begins with random weights."""
    any_device: bool = False
    """Whether the plan is another device's; its settings are then checked against what starting takes here."""
    data_fingerprint: str | None = None
    """Of the prepared data; none: an earlier release held out other samples of it."""
    stored_bytes: int = 0
    """What the output folder takes of the budget, at most; 0 where it is on storage."""
    holds_out: bool = False
    """Whether samples to choose an exit by are held out although the plan has no choice, as a run that it is compared
    with has done."""


@dataclass(frozen=True)
class RunLength:
    """How long to train, and from which seed: the plan's values, or the job's where it overrides them."""

    epochs: int
    """Passes over the data."""
    max_steps: int | None
    """Most optimizer steps of each block."""
    seed: int
    """Seed of initial weights, order of samples, augmentation and dropout."""


@dataclass(frozen=True)
class EvaluationJob:
    """One evaluation of an exported model."""

    weights: str
    """Its safetensors file; the description lies beside it."""
    records: str
    """The file of prepared data; its test part is measured on."""
    threads: int
    """Threads to compute with."""
    allowed_bytes: int | None = None
    """Resident bytes the child may reach; none leaves the guard off."""
