"""What a plan is asked for, in full. What a person may leave out of it is in `planner.schema.terms`. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from planner.heads.base import HeadChoice
from planner.limits import MAX_BATCH, MAX_BYTES, MAX_EPOCHS, MAX_OVERLAP, MAX_SAMPLES, MAX_UNITS
from planner.schema.codec import added
from planner.schema.common import CacheDtype, Dtype, OptimizerConfig, Policy, check_range
from planner.schema.inputs import InputDtype, show_input
from planner.schema.preprocessing import Normalisation, Resize, check_shorter_side
from planner.units import MIB

Strategy = Literal["auto", "backprop", "checkpoint", "classic-local", "neuroflux"]
"""The rules that choose; `auto` is the best of all."""

STRATEGY_WORDS: Mapping[Strategy, str] = {
    "auto": "the best of all",
    "backprop": "one block, no cuts",
    "checkpoint": "the same with recomputation",
    "classic-local": "a cut behind every unit, all in memory",
    "neuroflux": "the same, grouped into blocks",
}
"""What each is, for people who choose: on the command line and the page."""

Preference = Literal["balanced", "speed", "fidelity"]
"""What `auto` may prefer among the plans that fit."""

Overlap = int | Literal["auto"]
"""Units behind its own that a segment may train as well, or that the planner chooses at which cuts it does."""

Scope = Literal["process", "training"]
"""What a budget may count."""

Augment = Literal["none", "crop", "flip", "crop-flip"]
"""What may happen to training images."""

Schedule = Literal["constant", "cosine"]
"""How a learning rate may move."""


POLISH_RATE_DIVISOR = 10
"""A polish begins at this fraction of the learning rate, where nothing else is said: it mends what is nearly right."""


@dataclass(frozen=True)
class Budget:
    """The user's memory limit: bytes, and whether they count the whole process or only training."""

    bytes: int
    """The most memory, in bytes."""
    scope: Scope
    """`process`: resident bytes of child and supervisor. `training`: bytes above the child's baseline."""

    def __post_init__(self) -> None:
        check_range("bytes", self.bytes, 1, MAX_BYTES)


@dataclass(frozen=True)
class Training:
    """How training goes, whatever the plan."""

    batch: int
    """Samples of one optimizer step."""
    epochs: int
    """Passes over the data, for each block."""
    samples: int
    """Training samples of one pass."""
    optimizer: OptimizerConfig
    """How parameters move."""
    schedule: Schedule = "cosine"
    """How the learning rate moves over a block's training."""
    augment: Augment = "none"
    """What happens to training images, otherwise in every pass: `crop`: they move by up to an eighth of their height
    and width; `flip`: half of them are mirrored left to right."""
    views: int = 1
    """Distinct augmented passes that caches hold; a block's epochs take them in turn. 1 without augmentation."""
    freeze: int = 0
    """First units that are not trained: they keep the weights they begin with, and are run once if there is a cache."""
    dtype: Dtype = "float32"
    """What units compute in, and the type of activations; parameters, gradients and optimizer state are float32."""
    seed: int = 0
    """Every random stream is a function of this, the epoch and the sample's index."""
    normalisation: Normalisation | None = added(None)
    """How samples are normalised; null: as the model's description says, else (value / 255 - 0.5) / 0.25 of images, and
    anything else as it is."""
    resize: Resize | None = added(None)
    """How images of another size are brought to that of the model's input; null: as the model's description says, else
    those of arrays are refused, and pictures of a folder are resized all the same (`bilinear`)."""
    shorter_side: int | None = added(None)
    """The shorter side that every image is resized to, proportions kept, before the input is cut out of its middle;
    null: both sides are brought to the input's, and images that have them are left alone."""

    warmup: int = added(0)
    """Epochs of every block over which its learning rate rises from nothing to what the optimizer says."""
    early_epochs: int | None = added(None)
    """Epochs that a block would train for that ended before the first trained unit; one that ends with the last trains
    for `epochs`, others for so many between as their end lies deep (`epochs_of`). Null: every block for `epochs`."""
    polish: int = added(0)
    """Epochs of end-to-end training of the whole network behind the blocks; 0: none."""
    polish_lr: float | None = added(None)
    """Learning rate at the start of that; null: a tenth of the optimizer's."""

    def __post_init__(self) -> None:
        check_range("batch", self.batch, 1, MAX_BATCH)
        check_range("epochs", self.epochs, 1, MAX_EPOCHS)
        check_range("samples", self.samples, 1, MAX_SAMPLES)
        check_range("warmup", self.warmup, 0, self.epochs)
        if self.early_epochs is not None:
            check_range("early_epochs", self.early_epochs, 1, self.epochs)
        self._check_polish()
        self._check_views()
        check_range("freeze", self.freeze, 0, MAX_UNITS - 1)
        check_range("seed", self.seed, 0, 2**63 - 1)
        check_shorter_side(self.shorter_side, self.resize, ())

    def _check_polish(self) -> None:
        check_range("polish", self.polish, 0, MAX_EPOCHS)
        if self.polish_lr is not None and not 0 < self.polish_lr <= 1000:
            raise ValueError(f"polish_lr is {self.polish_lr}; it must lie above 0, at most 1000")
        if self.polish_lr is not None and self.polish == 0:
            raise ValueError(f"polish_lr is {self.polish_lr}, but polish is 0: say for how many epochs")

    @property
    def polish_rate(self) -> float:
        """The learning rate at the start of a polish."""
        return self.optimizer.lr / POLISH_RATE_DIVISOR if self.polish_lr is None else self.polish_lr

    def _check_views(self) -> None:
        if self.augment == "none" and self.views != 1:
            raise ValueError(f"views is {self.views}; it is 1 where augment is none: every pass is the same")
        least = self.epochs if self.early_epochs is None else self.early_epochs
        if not 1 <= self.views <= least:
            raise ValueError(f"views is {self.views}; it must lie between 1 and the epochs, {least}: each is read")

    def epochs_of(self, end: int, units: int) -> int:
        """Passes over the data of a block that ends before unit `end` of so many, to the nearest whole one."""
        if self.early_epochs is None:
            return self.epochs
        trained, depth = units - self.freeze, end - self.freeze
        return self.early_epochs + ((self.epochs - self.early_epochs) * depth * 2 + trained) // (2 * trained)

    def check_images(self, shape: tuple[int, ...], dtype: InputDtype) -> None:
        """Raise ValueError where something is asked for that is done with images alone, and samples are none."""
        here = f"(channels, height, width): here they are {show_input(shape, dtype)}"
        for name, value in (("augment", self.augment), ("resize", self.resize or "none")):
            if value != "none" and (len(shape) != 3 or dtype != "uint8"):
                raise ValueError(f"{name} is {value}; it is none where samples are no images of 8-bit values {here}")
        check_shorter_side(self.shorter_side, self.resize, shape)
        if self.normalisation is not None and dtype == "int64":
            raise ValueError(
                f"mean and std are for numbers; here samples are {show_input(shape, dtype)}, which go in as they are"
            )

    @property
    def cached_samples(self) -> int:
        """Records of a cache of training samples."""
        return self.samples * self.views

    def check_freeze(self, units: int) -> None:
        """Raise ValueError where no unit of a network of so many would be trained."""
        if self.freeze >= units:
            raise ValueError(
                f"freeze is {self.freeze}; it must lie between 0 and {units - 1}: the network has {units} "
                f"{'unit' if units == 1 else 'units'}, and the last one is always trained"
            )


@dataclass(frozen=True)
class Request:
    """One question to the solver: what a plan is asked for, whole."""

    budget: Budget
    """What must not be exceeded."""
    training: Training
    """How training goes."""
    storage_bytes: int | None = None
    """Storage the activation caches may take; none: not limited."""
    strategy: Strategy = "auto"
    """The rule that chooses."""
    prefer: Preference = "balanced"
    """What `auto` prefers among the plans that fit."""
    reserve_bytes: int = 4 * MIB
    """Part of the budget left free."""
    head_time_share: float = 0.05
    """Most time a head may add to a typical segment, as a share of it."""
    grouping_threshold: float = 0.4
    """NeuroFlux: largest relative difference of feasible micro-batches within one block."""
    max_cuts: int | None = None
    """Most boundaries where gradient stops; none: any number."""
    allocator: Policy | None = None
    """The allocator policy; none: whichever is faster of those that fit."""
    cache_dtype: CacheDtype | None = None
    """How caches hold activations; none: in what units compute in, or in bfloat16 where the storage asked for does not
    hold the two largest caches so."""

    linear_segments: bool = False
    """Whether segments may do without a unit that extracts features, such as a last one of the classifier alone."""
    head: HeadChoice | None = added(None)
    """What stands at cuts; `auto`: one kind of those that the profile has measured; none: the usual heads."""
    overlap: Overlap = added(0)
    """How many units behind its own a segment trains as well, up to its head: 0 or 1, its window; `auto`: as the
    planner chooses."""
    max_accuracy_loss: float | None = added(None)
    """Most points of accuracy that the plan is predicted to lose to backpropagation; none: any number."""

    def __post_init__(self) -> None:
        check_range("storage_bytes", self.storage_bytes or 0, 0, MAX_BYTES)
        check_range("reserve_bytes", self.reserve_bytes, 0, MAX_BYTES)
        check_range("head_time_share", self.head_time_share, 0, 1)
        check_range("grouping_threshold", self.grouping_threshold, 0, 1)
        check_range("max_cuts", self.max_cuts or 0, 0, MAX_UNITS)
        if self.overlap != "auto":
            check_range("overlap", self.overlap, 0, MAX_OVERLAP)
        check_range("max_accuracy_loss", self.max_accuracy_loss or 0, 0, 100)
