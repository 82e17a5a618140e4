"""What a person says of a plan, the rest left out: every default is here, for command line, Python, REST and page.

`PlanTerms.request` is the one way from there to a `Request`. No torch here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from planner.errors import InfeasibleError, InputError
from planner.heads.base import HeadChoice
from planner.schema.common import (
    USUAL_BATCH,
    CacheDtype,
    DecayScope,
    Dtype,
    OptimizerConfig,
    OptimizerKind,
    Policy,
    usual_optimizer,
)
from planner.schema.preprocessing import Normalisation, Resize
from planner.schema.request import Augment, Budget, Overlap, Preference, Request, Schedule, Scope, Strategy, Training
from planner.units import format_bytes

USUAL_VIEWS = 4
"""Default number of augmented passes that a cache holds."""


def usual_views(augment: Augment, epochs: int, early_epochs: int | None = None) -> int:
    """Default number of augmented passes in a cache: 1 without augmentation, otherwise 4, or fewer epochs."""
    return 1 if augment == "none" else min(USUAL_VIEWS, epochs, early_epochs or epochs)


_LARGEST_BATCH = 256
"""The largest batch that needs no warm-up."""

_WARMING_SHARE = 18
"""Of so many epochs one is warm-up, for larger ones: 5 of 90."""


def usual_warmup(batch: int, epochs: int) -> int:
    """Default number of epochs over which the learning rate rises (docs/training.md has the source)."""
    return 0 if batch <= _LARGEST_BATCH else -(-epochs // _WARMING_SHARE)


def left_for_caches(storage_bytes: int | None, prepared_bytes: int) -> int | None:
    """What data, as it lies there for a run, leaves of the storage. Raises InfeasibleError where it has no room."""
    if storage_bytes is None:
        return None
    if storage_bytes < prepared_bytes:
        raise InfeasibleError(
            f"storage of {format_bytes(storage_bytes)} does not hold the data: {prepared_bytes} bytes prepared",
            prepared_bytes,
            "data",
        )
    return storage_bytes - prepared_bytes


@dataclass(frozen=True)
class OptimizerTerms:
    """How parameters move; what is left out is as usual for the optimizer."""

    kind: OptimizerKind = "sgd"
    """SGD with momentum, Adam, or AdamW."""
    lr: float | None = None
    """Learning rate at the start; null: 0.1 × batch / 256 for SGD, else 0.001 × √(batch / 128)."""
    momentum: float | None = None
    """SGD's momentum (0.9)."""
    nesterov: bool | None = None
    """Whether SGD's momentum is Nesterov's (yes, where there is momentum)."""
    weight_decay: float | None = None
    """Weight decay (5e-4 for SGD, 0.01 for AdamW, else 0)."""
    weight_decay_on: DecayScope = "weights"
    """Whether `all` parameters decay, or `weights` alone: kernels and matrices, no norms and biases."""

    def __post_init__(self) -> None:
        self.optimizer()

    @classmethod
    def of(cls, optimizer: OptimizerConfig) -> OptimizerTerms:
        """Terms that leave nothing of `optimizer` out."""
        return cls(**asdict(optimizer))

    def optimizer(self, batch: int = USUAL_BATCH) -> OptimizerConfig:
        """In full, for steps of so many samples. Raises ValueError where a value lies outside its range."""
        usual = usual_optimizer(self.kind, self.lr, batch)
        momentum = usual.momentum if self.momentum is None else self.momentum
        nesterov = usual.nesterov and momentum > 0 if self.nesterov is None else self.nesterov
        decay = usual.weight_decay if self.weight_decay is None else self.weight_decay
        return OptimizerConfig(self.kind, usual.lr, momentum, nesterov, decay, self.weight_decay_on)


@dataclass(frozen=True)
class TrainingTerms:
    """How training goes."""

    batch: int = USUAL_BATCH
    """Samples of one optimizer step."""
    epochs: int = 10
    """Passes over the data."""
    samples: int = 50_000
    """Training samples of one pass."""
    optimizer: OptimizerTerms = OptimizerTerms()
    """How parameters move."""
    schedule: Schedule = Training.schedule
    """How the learning rate moves over a block's training."""
    augment: Augment = Training.augment
    """What happens to images while training, otherwise in every pass: `crop`: they move by up to an eighth of their
    height and width; `flip`: half of them are mirrored left to right."""
    views: int | None = None
    """Augmented passes that a cache between blocks holds; null: 4, or the epochs where these are fewer."""
    dtype: Dtype = Training.dtype
    """What units compute in, as the profile measured. `bfloat16` halves activations and caches; weights are float32."""
    seed: int = Training.seed
    """Of every random stream."""
    freeze: int = Training.freeze
    """First units that are not trained and keep the weights that `neuroflux run --init` gives them: less than the model
    has."""
    normalisation: Normalisation | None = Training.normalisation
    """How samples are normalised: images as (value / 255 - mean) / std, float32 as (value - mean) / std, by one number
    or one for each channel; null: as the model's description says, else images with mean 0.5 and std 0.25."""
    resize: Resize | None = Training.resize
    """How images of another size are brought to that of the model's input; null: as the model's description says, else
    those of arrays are refused, and pictures of a folder are resized all the same (`bilinear`)."""
    shorter_side: int | None = Training.shorter_side
    """The shorter side that every image is resized to, proportions kept, before the input is cut out of its middle;
    null: both sides are brought to the input's, and images that have them are left alone."""

    warmup: int | None = None
    """Epochs of every block over which its learning rate rises evenly, before the schedule begins; null: none for
    batches of at most 256, else an eighteenth of all, rounded up."""
    early_epochs: int | None = Training.early_epochs
    """Epochs of a block that ends early: with the depth of its end they grow evenly from this, before the first unit,
    to `epochs`, behind the last; null: every block trains for `epochs`."""
    polish: int = Training.polish
    """Epochs of end-to-end training of the whole network behind the blocks, under the same budget; 0: none."""
    polish_lr: float | None = Training.polish_lr
    """Learning rate at the start of that; null: a tenth of the optimizer's."""

    def __post_init__(self) -> None:
        self.training()

    def training(self) -> Training:
        """In full. Raises ValueError where a value lies outside its range."""
        return Training(
            batch=self.batch,
            epochs=self.epochs,
            samples=self.samples,
            optimizer=self.optimizer.optimizer(self.batch),
            schedule=self.schedule,
            augment=self.augment,
            views=usual_views(self.augment, self.epochs, self.early_epochs) if self.views is None else self.views,
            freeze=self.freeze,
            early_epochs=self.early_epochs,
            warmup=usual_warmup(self.batch, self.epochs) if self.warmup is None else self.warmup,
            polish=self.polish,
            polish_lr=self.polish_lr,
            dtype=self.dtype,
            seed=self.seed,
            normalisation=self.normalisation,
            resize=self.resize,
            shorter_side=self.shorter_side,
        )


@dataclass(frozen=True)
class BudgetTerms:
    """What must not be exceeded."""

    bytes: int
    """The most memory, in bytes."""
    scope: Scope = "process"
    """`process`: everything resident, Python and torch included; `training`: bytes above what these take."""

    def __post_init__(self) -> None:
        self.budget()

    def budget(self) -> Budget:
        """In full. Raises ValueError where it is out of range."""
        return Budget(self.bytes, self.scope)


@dataclass(frozen=True, kw_only=True)
class PlanTerms:
    """What a plan is asked for. The `request` of a plan says the same, with nothing left out."""

    budget: BudgetTerms
    """What must not be exceeded."""
    training: TrainingTerms = TrainingTerms()
    """How training goes."""
    storage_bytes: int | None = Request.storage_bytes
    """Storage the activation caches may take; null: not limited."""
    cache_dtype: CacheDtype | None = Request.cache_dtype
    """How caches hold activations; null: as units compute, or in bfloat16 where the storage does not hold the two
    largest so."""
    strategy: Strategy = Request.strategy
    """The rule that chooses."""
    prefer: Preference = Request.prefer
    """What `auto` prefers among the plans that fit."""
    max_cuts: int | None = Request.max_cuts
    """Most boundaries where gradient stops; null: any number."""
    linear_segments: bool = Request.linear_segments
    """Whether segments may do without a convolution, such as a last one of the classifier alone."""
    allocator: Policy | None = Request.allocator
    """The allocator policy; null: whichever is faster of those that fit."""
    reserve_bytes: int | None = Request.reserve_bytes
    """Part of the budget left free; null: the usual 4 MiB."""
    head_time_share: float = Request.head_time_share
    """Most time that a head may add to a typical segment, as a share of it: what decides how wide heads are."""
    grouping_threshold: float = Request.grouping_threshold
    """Under `neuroflux`: largest relative difference of feasible micro-batches within one block."""
    head: HeadChoice | None = Request.head
    """What stands at cuts, as the profile measured it; `auto`: the kind of those it measured that suits `prefer` best;
    null: the usual heads."""
    overlap: Overlap = Request.overlap
    """How many units behind its own a segment trains as well, 0 or 1: it learns what the next one can use; `auto`: as
    suits `prefer` best."""
    max_accuracy_loss: float | None = Request.max_accuracy_loss
    """Most points of accuracy that the plan is predicted to lose to backpropagation; null: any number."""

    def request(self) -> Request:
        """In full. Raises InputError, which begins with the field's name, where a value lies outside its range."""
        try:
            return Request(
                budget=self.budget.budget(),
                training=self.training.training(),
                storage_bytes=self.storage_bytes,
                strategy=self.strategy,
                prefer=self.prefer,
                reserve_bytes=Request.reserve_bytes if self.reserve_bytes is None else self.reserve_bytes,
                head_time_share=self.head_time_share,
                grouping_threshold=self.grouping_threshold,
                max_cuts=self.max_cuts,
                allocator=self.allocator,
                cache_dtype=self.cache_dtype,
                linear_segments=self.linear_segments,
                head=self.head,
                overlap=self.overlap,
                max_accuracy_loss=self.max_accuracy_loss,
            )
        except ValueError as error:
            raise InputError(str(error)) from None
