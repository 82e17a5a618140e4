"""`plan/2`: a network in blocks, how each is trained, and the memory and time predicted for that. No torch here.

`predicted` is what the solver computes; it is never altered after a measurement. `plan/1`, which earlier releases
wrote, is read as well: it lacks the `request`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from planner.heads.kinds import AuxiliaryHead, ExitHead
from planner.limits import MAX_BATCH, MAX_BYTES, MAX_EPOCHS, MAX_OVERLAP, MAX_UNITS
from planner.schema.codec import added, content_id
from planner.schema.common import CacheDtype, Device, Machine, Policy, TorchStart, check_class_names, check_range
from planner.schema.model import Model
from planner.schema.prediction import BlockPrediction, LossPoints, PlanPrediction
from planner.schema.preprocessing import Normalisation, Resize
from planner.schema.request import Budget, Preference, Request, Strategy, Training

PLAN_SCHEMA: Literal["plan/2"] = "plan/2"
"""What plans are written in."""

_ASKED = (
    "budget",
    "training",
    "storage_bytes",
    "strategy",
    "prefer",
    "reserve_bytes",
    "max_cuts",
    "linear_segments",
)
"""Fields that a plan and its request have in common."""


def _check_span(name: str, span: tuple[int, int]) -> None:
    if not 0 <= span[0] < span[1] <= MAX_UNITS:
        raise ValueError(f"{name} is {list(span)}; it is [first, last_exclusive] with 0 ≤ first < last ≤ {MAX_UNITS}")


def check_calibration(seconds: float | None) -> None:
    """Raise ValueError where a field `calibration_seconds` holds what no clock can say."""
    if seconds is not None and not 1e-9 <= seconds <= 1e9:
        raise ValueError(f"calibration_seconds is {seconds}; it must lie between 1e-9 and 1e9")


@dataclass(frozen=True)
class Segment:
    """Units trained against one loss."""

    units: tuple[int, int]
    """First unit, and the one behind the last."""
    head: AuxiliaryHead | None
    """The auxiliary head; none behind the model's own classifier."""
    recompute: tuple[tuple[int, int], ...] = ()
    """Spans of units that keep only their input and run forward again before backward."""
    window: int = added(0)
    """Units behind these, 0 or 1, that are trained with them and lie in front of the head; the next segment begins with
    them all the same, and trains them again."""

    @property
    def head_behind(self) -> int:
        """Units before the head."""
        return self.units[1] + self.window

    def __post_init__(self) -> None:
        _check_span("units", self.units)
        check_range("window", self.window, 0, MAX_OVERLAP)
        edges = [self.units[0], *(edge for span in self.recompute for edge in span), self.units[1]]
        if edges != sorted(edges) or any(first == last for first, last in self.recompute):
            spans = [list(span) for span in self.recompute][:20]
            raise ValueError(f"recompute is {spans}; spans rise, lie apart, and inside the units {list(self.units)}")


@dataclass(frozen=True)
class BlockInput:
    """Where a block's samples come from."""

    kind: Literal["data", "cache", "recompute"]
    """The data set; the activation cache that the block before has written, or for the first trained block a pass of
    the frozen units before it; or the data set run through the units before."""
    from_unit: int
    """The unit whose input the records are."""
    sample_bytes: int
    """Bytes of one record on storage."""
    dtype: CacheDtype
    """Type of the stored numbers; a cache's uint8 ones have a scale for every sample."""

    def __post_init__(self) -> None:
        check_range("from_unit", self.from_unit, 0, MAX_UNITS)
        check_range("sample_bytes", self.sample_bytes, 1, MAX_BYTES)


@dataclass(frozen=True)
class BatchSetting:
    """A smaller complete setting to fall back to."""

    micro_batch: int
    """Samples in one forward and backward."""
    accumulate: int
    """Micro-batches in one optimizer step."""
    predicted: BlockPrediction
    """What the solver says of it."""


@dataclass(frozen=True)
class Block:
    """Segments that are in memory at the same time."""

    units: tuple[int, int]
    """First unit, and the one behind the last."""
    micro_batch: int
    """Samples in one forward and backward."""
    accumulate: int
    """Micro-batches in one optimizer step."""
    optimizer_in_backward: bool
    """Whether each parameter steps as soon as its gradient exists; a fallback that accumulates does not."""
    input: BlockInput
    """Where samples come from."""
    segments: tuple[Segment, ...]
    """In order; together exactly the block's units."""
    predicted: BlockPrediction
    """What the solver predicts."""
    ladder: tuple[BatchSetting, ...]
    """Its fallbacks: smaller settings, largest first."""
    epochs: int | None = added(None)
    """Its passes over the data; null: those of `training`."""

    @property
    def settings(self) -> tuple[BatchSetting, ...]:
        """The block's own setting, then its fallbacks."""
        return (BatchSetting(self.micro_batch, self.accumulate, self.predicted), *self.ladder)

    def __post_init__(self) -> None:
        _check_span("units", self.units)
        check_range("micro_batch", self.micro_batch, 1, MAX_BATCH)
        check_range("accumulate", self.accumulate, 1, MAX_BATCH)
        if self.epochs is not None:
            check_range("epochs", self.epochs, 1, MAX_EPOCHS)
        if self.optimizer_in_backward and self.accumulate > 1:
            raise ValueError(f"optimizer_in_backward: not with accumulate {self.accumulate}: it would step too early")
        if (self.input.kind == "data") != (self.units[0] == 0):
            raise ValueError(
                f"input: kind is {self.input.kind}; the block that has the first unit reads data, every other does not"
            )
        _check_chain("segments", self.units, [segment.units for segment in self.segments])


def _check_chain(name: str, whole: tuple[int, int], spans: list[tuple[int, int]]) -> None:
    ends = [whole[0], *(span[1] for span in spans)]
    if not spans or [span[0] for span in spans] != ends[:-1] or ends[-1] != whole[1]:
        raise ValueError(f"{name}: their units {[list(span) for span in spans][:20]} do not join up to {list(whole)}")


@dataclass(frozen=True)
class Polish:
    """End-to-end training of the whole network behind its blocks: one more stage."""

    epochs: int
    """Passes over the data."""
    lr: float
    """Learning rate at its start."""
    block: Block
    """All units that are trained as one segment, which reads no cache."""

    def __post_init__(self) -> None:
        check_range("epochs", self.epochs, 1, MAX_EPOCHS)
        if len(self.block.segments) != 1 or self.block.input.kind == "cache":
            raise ValueError("block: a polish is one segment, and reads no cache")
        if self.block.epochs != self.epochs:
            raise ValueError(f"block: its epochs are {self.block.epochs}; those of its polish are {self.epochs}")

    @property
    def seconds(self) -> float:
        """What it adds to the time of training, as predicted."""
        return self.epochs * self.block.predicted.seconds_per_epoch + self.block.predicted.finish_seconds


@dataclass(frozen=True)
class Exit:
    """Where a smaller model may end."""

    unit: int
    """Units before it."""
    head: ExitHead | None
    """Its head: at a cut the auxiliary one; none for the model's own classifier."""


@dataclass(frozen=True)
class Alternative:
    """Another plan for the same request."""

    strategy: Strategy
    """The rule that chose it."""
    blocks: int
    """Blocks."""
    cuts: int
    """Boundaries where gradient stops."""
    peak_bytes: int
    """Predicted peak."""
    seconds_total: float
    """Predicted time."""
    cache_bytes: int
    """Storage for caches."""
    accuracy_loss_points: LossPoints | None = added(None)
    """What cuts cost; null: an earlier release did not tell, or the task's metric is no share."""


@dataclass(frozen=True)
class Plan:
    """A complete order of work."""

    schema: Literal["plan/1", "plan/2"]
    id: str
    """sha256 of the canonical content."""
    model: Model
    """What is trained."""
    device: Device
    """What it was planned for."""
    strategy: Strategy
    """The rule that chose it."""
    prefer: Preference
    """What was preferred among feasible plans."""
    budget: Budget
    """What must not be exceeded."""
    storage_bytes: int | None
    """Storage the caches may take; none: not limited."""
    reserve_bytes: int
    """Part of the budget left free."""
    allocator: Policy
    """Allocator policy of the training child."""
    profile_id: str
    """The profile it was made from."""
    training: Training
    """How training goes."""
    baseline_bytes: int
    """Predicted resident bytes of the child before the first block."""
    blocks: tuple[Block, ...]
    """Trained one after another; the first begins behind the frozen units."""
    exits: tuple[Exit, ...]
    """Where smaller models may end; the last is the full model. Behind a polish, heads of cuts are none of them: they
    were trained before it."""
    predicted: PlanPrediction
    """What the solver predicts."""
    minimum_budget_bytes: int
    """The smallest budget any plan of this strategy fits."""
    optimality_gap: float
    """Upper bound on how far the plan's time is from the best, as a share; 0 is proven optimal."""
    alternatives: tuple[Alternative, ...]
    """Every strategy that fits, and the frontier of time against cuts."""
    calibration_seconds: float | None = None
    """The calibration kernel's time in the profile: how fast the device was then; null: not timed."""
    max_cuts: int | None = None
    """Most cuts that were asked for; null: any number."""
    machine: Machine | None = added(None)
    """What the profile's device was, so that a run can say what differs; null: an earlier release told it not."""
    linear_segments: bool = added(True)
    """Whether segments without a unit that extracts features (convolution) were allowed; before there was this field
    they were."""
    request: Request | None = added(None)
    """What was asked, whole; null in plan/1, which does not say it."""
    class_names: tuple[str, ...] = added(())
    """What the classes of the data that it was made for are called, by label; empty: their numbers, or no data was
    named."""
    polish: Polish | None = added(None)
    """The end-to-end training that ends it; null: none."""
    start: TorchStart = added("plain")
    """How the training child imports torch: as the profile's children did."""

    def __post_init__(self) -> None:
        self._check_request()
        check_class_names(self.class_names, self.model.classes)
        check_calibration(self.calibration_seconds)
        self.training.check_freeze(len(self.model.units))
        self.normalisation.check(self.model.input)
        self.training.check_images(self.model.input, self.model.input_dtype)
        whole = (self.training.freeze, len(self.model.units))
        _check_chain("blocks", whole, [block.units for block in self.blocks])
        self._check_polish()
        for block in self.stages:
            if block.micro_batch * block.accumulate != self.training.batch:
                raise ValueError(
                    f"blocks: micro_batch {block.micro_batch} × accumulate {block.accumulate} is not "
                    f"the batch of {self.training.batch}"
                )
            for segment in block.segments:
                self._check_segment(segment)
        for found in self.exits:
            self.model.check_end(found.unit, "exits")
        last = self.blocks[-1].segments[-1]
        if any((segment.head is None) != (segment is last) for block in self.blocks for segment in block.segments):
            raise ValueError("segments: exactly the last of the plan ends in the model's own classifier (head null)")

    def _check_segment(self, segment: Segment) -> None:
        self.model.check_end(segment.units[1], "segments")
        count = len(self.model.units)
        if not segment.window:
            return
        if segment.head_behind >= count:
            raise ValueError(
                f"segments: the window behind the units {list(segment.units)} has unit {segment.units[1]}; the last of "
                f"the {count} units, number {count - 1}, is in no window: its answer the last segment alone trains"
            )
        self.model.check_end(segment.head_behind, "segments: window")

    def _check_polish(self) -> None:
        asked = (self.training.polish, self.training.polish_rate)
        found = (0, asked[1]) if self.polish is None else (self.polish.epochs, self.polish.lr)
        if found != asked:
            raise ValueError(
                f"polish: {found[0]} epochs at {found[1]:g} are not the {asked[0]} at {asked[1]:g} asked for"
            )
        if self.polish is None:
            return
        _check_chain("polish", (self.training.freeze, len(self.model.units)), [self.polish.block.units])
        if self.polish.block.segments[0].head is not None:
            raise ValueError("polish: it ends in the model's own classifier (head null)")

    @property
    def stages(self) -> tuple[Block, ...]:
        """What is trained one after another: the blocks, and the polish as one more."""
        return self.blocks if self.polish is None else (*self.blocks, self.polish.block)

    def stage_name(self, stage: int) -> str:
        """What people call a stage: `block 2`, `the polish`."""
        return f"block {stage}" if stage < len(self.blocks) else "the polish"

    def exits_of(self, stage: int) -> tuple[Exit, ...]:
        """The exits that are there once a stage is done. Blocks before a polish have those alone that they train."""
        if stage == len(self.blocks):
            return self.exits
        block = self.blocks[stage]
        trained = tuple(Exit(segment.units[1], segment.head) for segment in block.segments if not segment.window)
        if self.polish is not None:
            return trained
        return tuple(found for found in self.exits if block.units[0] < found.unit <= block.units[1])

    @property
    def normalisation(self) -> Normalisation:
        """How images are normalised, said or not."""
        return self.training.normalisation or self.model.normalised_by

    @property
    def resize(self) -> Resize | None:
        """How images of another size are brought to the model's, where that was asked for."""
        return self.training.resize or self.model.resize

    @property
    def shorter_side(self) -> int | None:
        """The shorter side that images are resized to before the middle is cut out, where that was asked for."""
        return self.training.shorter_side if self.training.resize else self.model.shorter_side

    @property
    def cache_dtype(self) -> CacheDtype | None:
        """How its caches hold activations; none without any."""
        return next((block.input.dtype for block in self.blocks if block.input.kind == "cache"), None)

    @property
    def cuts(self) -> int:
        """Boundaries where gradient stops."""
        return sum(len(block.segments) for block in self.blocks) - 1

    def _check_request(self) -> None:
        """Refuse a request that the plan cannot be the answer to."""
        request = self.request
        if request is None or self.schema == "plan/1":
            if request is not None or self.schema != "plan/1":
                raise ValueError("request: plan/1 has none (null), plan/2 says what was asked")
            return
        others = [name for name in _ASKED if getattr(request, name) != getattr(self, name)]
        if request.allocator not in (None, self.allocator):
            others.append("allocator")
        if request.cache_dtype is not None and self.cache_dtype not in (None, request.cache_dtype):
            others.append("cache_dtype")
        if self._has_windows and not request.overlap:
            others.append("overlap")
        if others:
            raise ValueError(f"request: differs from the plan in {', '.join(others)}")

    @property
    def _has_windows(self) -> bool:
        return any(segment.window for block in self.blocks for segment in block.segments)

    @property
    def asked(self) -> Request:
        """What it was made for. plan/1 does not say whether its allocator and the type of its caches were asked for."""
        return self.request or Request(
            budget=self.budget,
            training=self.training,
            storage_bytes=self.storage_bytes,
            strategy=self.strategy,
            prefer=self.prefer,
            reserve_bytes=self.reserve_bytes,
            max_cuts=self.max_cuts,
            cache_dtype=self.cache_dtype,
            linear_segments=self.linear_segments,
            overlap=int(self._has_windows),
        )


def with_class_names(plan: Plan, names: tuple[str, ...]) -> Plan:
    """The same plan, which says what the data's classes are called."""
    named = replace(plan, class_names=names)
    return replace(named, id=content_id(named))
