"""A profile and a request as one problem: what cuts and micro-batches exist, what they cost, what a budget leaves."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Literal

from planner.errors import InputError
from planner.heads.kinds import AuxiliaryHead, may_stand
from planner.heads.pooled import PooledHead
from planner.model.shapes import Shape, unit_sizes
from planner.model.skips import carried_numbers
from planner.schema.common import CHECKSUM_BYTES, NUMBER_BYTES, CacheDtype, Dtype, Policy, stored_bytes
from planner.schema.profile import ComponentProfile, Profile
from planner.schema.request import Request
from planner.solver.accuracy import LossModel
from planner.solver.costs import (
    NANOSECONDS,
    SAME_SCALE,
    ComponentCost,
    ComponentTable,
    TimeScale,
)
from planner.solver.policies import step_ns
from planner.solver.process_memory import ProcessMemory
from planner.solver.request import check_freeze, check_heads, check_images, check_measured, check_normalisation, settled
from planner.units import KIB

CLASSIFIER: None = None
"""In place of a head: the model's own classifier."""

CACHE_WRITER_BYTES = 64 * KIB
"""Constant part of the activation cache's writer; a sample of the micro-batch adds `CACHE_WRITER_SAMPLE_BYTES`."""

CACHE_WRITER_SAMPLE_BYTES = 16

DECODED: Mapping[tuple[Dtype, CacheDtype], int] = {
    ("float32", "bfloat16"): 1, ("float32", "uint8"): 1, ("bfloat16", "float32"): 1, ("bfloat16", "uint8"): 3,
}  # fmt: skip
"""How often a micro-batch is in memory beside the buffers it was read into, by what units compute in and how caches
hold it; not at all where these are the same."""

ENCODED: Mapping[tuple[Dtype, CacheDtype], int] = {
    ("float32", "bfloat16"): 1, ("float32", "uint8"): 3, ("bfloat16", "float32"): 4, ("bfloat16", "uint8"): 7,
}  # fmt: skip
"""How often one sample is in memory while it is made what a cache holds, the one before included."""

RETENTION_FACTOR = 2
"""How often bytes that come and go count under a policy that keeps what is freed.

glibc's default keeps what is freed for whatever comes next, and how much it keeps differs from step to step (0 to 26 MB
on vgg11), so that no few steps show the most. What it keeps was freed: at most it is everything that is taken and given
back at the highest moment, once more. A plan chooses such a policy only where that fits, on top of the growth that was
seen.
"""

MAX_CHAIN_BYTES = 2**56
"""Most that all units and heads of a profile may take together; no device has a thousandth of it."""

MAX_SECONDS = 2.0**58 / NANOSECONDS
"""Longest training that is planned: nine years."""

Source = Literal["data", "cache", "recompute"]
"""Where a block's samples come from: data set, the cache before it, or the data set run through the units before it.

The first trained block's cache, where units before it are frozen, is written by these alone before it begins."""

EXTRAPOLATION = 4
"""Micro-batches are planned up to this multiple of the largest profiled one."""


@dataclass(frozen=True)
class BlockChoice:
    """One block of a plan."""

    first: int
    """First unit."""
    micro_batch: int
    """Samples in one forward and backward."""
    ends: tuple[int, ...]
    """Where its segments end; the last is the block's end."""
    heads: tuple[AuxiliaryHead | None, ...]
    """The head at each end or behind its window, `CLASSIFIER` for the model's own."""
    recompute: tuple[tuple[int, int], ...] = ()
    """Spans of units, each inside a segment, that keep only their input and run forward again before backward."""
    optimizer_in_backward: bool = False
    """Whether parameters step within backward, as soon as their gradients exist."""
    source: Source = "data"
    """Where samples come from; only a block that begins with the first unit takes them straight from the data set."""
    caches: bool = False
    """Whether the outputs are written for the next block to read."""
    windows: tuple[int, ...] = ()
    """Those of the ends whose segment trains the unit behind as well: its window. The head stands behind that."""

    @property
    def leaves(self) -> bool:
        """Whether the last segment's window is a unit of the next block."""
        return self.last in self.windows

    @property
    def placed_heads(self) -> tuple[tuple[int, AuxiliaryHead | None], ...]:
        """By boundary where it stands: every head, in order."""
        return tuple((end + (end in self.windows), head) for end, head in zip(self.ends, self.heads, strict=True))

    @property
    def last(self) -> int:
        """The unit behind the block."""
        return self.ends[-1]


class Problem:
    """What the search ranges over. Raises InputError where the profile cannot answer the request."""

    def __init__(self, profile: Profile, request: Request, policy: Policy = "tight") -> None:
        """The profile has to have measured a policy other than `tight`, and `tight` as well (`policies_of`)."""
        check_measured(profile, request.training)
        check_freeze(profile.model, request.training)
        check_normalisation(profile.model, request.training)
        check_images(profile.model, request.training)
        check_heads(profile, request)
        self.kind, self.overlap = settled(request)
        self.profile = profile
        self.request = request
        self.policy = policy
        measured = {found.policy: found for found in profile.policies}
        self._keeping = measured[policy] if policy != "tight" else None
        self._tight = measured["tight"] if policy != "tight" else None
        self.training = request.training
        self.cache_dtype: CacheDtype = request.cache_dtype or self._usual_cache()
        converts = self.cache_dtype != request.training.dtype
        self.process = ProcessMemory(
            profile,
            request.budget.scope,
            request.reserve_bytes,
            self._keeping,
            self.cache_dtype if converts else None,
            request.training.batch,
        )
        self.start = request.training.freeze
        """The first unit that is trained."""
        self.count = len(profile.units)
        self.steps = -(-self.training.samples // self.training.batch)
        self._components: dict[tuple[Hashable, int], ComponentCost] = {}
        self._tables: dict[Hashable, ComponentTable] = {}
        self._check_micro_batches()
        self._check_sums()

    def _usual_cache(self) -> CacheDtype:
        """Default type of cached activations. It does not depend on the budget, so a larger one is never slower."""
        storage = self.request.storage_bytes
        binds = storage is not None and storage < self.ample_storage_bytes
        return "bfloat16" if binds else self.training.dtype

    @property
    def ample_storage_bytes(self) -> int:
        """Storage that holds any two caches of what units compute in."""
        largest = sorted(unit.output_bytes + self.trailer_bytes for unit in self.profile.units[:-1])[-2:]
        return self.training.cached_samples * sum(largest)

    @cached_property
    def loss(self) -> LossModel:
        """What cuts cost in accuracy."""
        return LossModel(self.profile.model, self.request)

    def points(self, segments: int) -> float:
        """What plans of so many segments are ranked by among those of other heads, and with or without windows."""
        return self.loss.points(segments, segments - 1 if self.overlap else 0)

    def most_segments(self, points: float) -> int:
        """Most segments that lose no more than so many points. Raises InputError where nothing is known of that."""
        inside = self.boundaries[:-1]
        without = len(inside) - len(self.windows(inside)) if self.overlap else None
        return self.loss.most_segments(points, self.count, without)

    @cached_property
    def micro_batches(self) -> tuple[int, ...]:
        """Divisors of the batch within reach of the profile, falling."""
        heads = (found for found in self.profile.heads if found.head is None or may_stand(found.head, self.kind))
        tables = [*self.profile.units, *(found.cost for found in heads)]
        reach = EXTRAPOLATION * min(component.costs[-1].micro_batch for component in tables)
        batch = self.training.batch
        return tuple(size for size in range(min(batch, reach), 0, -1) if batch % size == 0)

    def epochs_of(self, end: int) -> int:
        """Passes over the data of a block that ends at a boundary."""
        return self.training.epochs_of(end, self.count)

    def _check_micro_batches(self) -> None:
        trained = (*self.profile.units[self.start :], self.head(self.count, CLASSIFIER))
        needed = max(component.minimum_micro_batch for component in trained)
        if self.micro_batches[0] < needed:
            raise InputError(
                f"batch is {self.training.batch}: its largest micro-batch within the profile's reach is "
                f"{self.micro_batches[0]}, but batch normalisation needs at least {needed}; "
                f"choose a batch that is a multiple of {needed}, or profile larger micro-batches"
            )

    def _check_sums(self) -> None:
        """The search adds up 64-bit integers: bytes and times of the whole chain have to stay far below 2^63."""
        for size in self.micro_batches:
            components = [self.unit_cost(unit, size) for unit in range(self.count)]
            components += [self.head_cost(end, narrowest(heads), size) for end, heads in self.heads.items()]
            together = sum(component.most_bytes for component in components)
            if together > MAX_CHAIN_BYTES:
                raise InputError(
                    f"units and heads of the profile take {together} bytes together at micro-batch {size}; at most "
                    f"{MAX_CHAIN_BYTES} can be planned with: are its numbers right?"
                )
            seconds = sum(component.train_ns for component in components) / NANOSECONDS
            if seconds * max(1, self.training.epochs * self.training.samples // size) > MAX_SECONDS:
                raise InputError(
                    f"{self.training.epochs} epochs of {self.training.samples} samples would take years by this "
                    f"profile, {seconds:.3g} seconds for a micro-batch of {size}; at most {MAX_SECONDS:.3g} seconds in "
                    "all can be planned: are its numbers right?"
                )

    @cached_property
    def heads(self) -> dict[int, dict[AuxiliaryHead | None, ComponentProfile]]:
        """By boundary and head: the auxiliary ones that may stand among trained units, the classifier at the end."""
        found: dict[int, dict[AuxiliaryHead | None, ComponentProfile]] = {}
        for measured in self.profile.heads:
            head, boundary = measured.head, measured.boundary
            if head is None:
                is_there = boundary == self.count
            else:
                is_there = self.start < boundary < self.count and may_stand(head, self.kind)
            if is_there:
                found.setdefault(boundary, {})[head] = measured.cost
        return found

    def head(self, boundary: int, head: AuxiliaryHead | None) -> ComponentProfile:
        """The profiled head at a boundary."""
        return self.heads[boundary][head]

    @cached_property
    def depths(self) -> tuple[int, ...]:
        """By boundary: units before it that extract features; in a network where none does, or on demand, all units."""
        extracting = [unit.extracts_features for unit in self.profile.model.units]
        is_every = self.request.linear_segments or not any(extracting)
        return tuple(accumulate((is_every or found for found in extracting), initial=0))

    def allows_segment(self, first: int, end: int) -> bool:
        """Whether units may be a segment: those that extract features of their own, or all that are trained."""
        return self.depths[first] < self.depths[end] or (first, end) == (self.start, self.count)

    @cached_property
    def boundaries(self) -> tuple[int, ...]:
        """Where a segment may end, rising."""
        start, count = self.start, self.count
        return tuple(
            end
            for end in sorted(self.heads)
            if end == count or (self.allows_segment(start, end) and self.allows_segment(end, count))
        )

    def has_window(self, end: int) -> bool:
        """Whether a segment that ends there trains the next unit as well.

        Where that was asked for, and a head stands behind that unit: none does behind the network's last one, and where
        several tensors pass.
        """
        return self.overlap > 0 and self.takes_window(end)

    def takes_window(self, end: int) -> bool:
        """Whether a segment that ends there could train the next unit as well."""
        return end + 1 < self.count and end + 1 in self.heads

    def windows(self, ends: Iterable[int]) -> tuple[int, ...]:
        """Of segments' ends, those with a window."""
        return tuple(filter(self.has_window, ends))

    def ending_cost(
        self, end: int, head: AuxiliaryHead | None, micro_batch: int, closes: bool = False
    ) -> ComponentCost:
        """What stands behind a segment's own units: its window, if it has one, and its head.

        `closes`: the block ends there, so that the window is no unit of it.
        """
        if not self.has_window(end):
            return self.head_cost(end, head, micro_batch)
        window = self.unit_cost(end, micro_batch)
        return self.head_cost(end + 1, head, micro_batch).behind_window(window, not closes)

    @cached_property
    def narrow_boundaries(self) -> tuple[int, ...]:
        """Where segments end that are as short as they may be, rising: what extracts no features joins those before."""
        return tuple(sorted({self.depths[end]: end for end in self.boundaries}.values()))

    @cached_property
    def block_boundaries(self) -> tuple[int, ...]:
        """Where a block may begin or end, rising: the first trained unit, and every boundary behind it."""
        return (self.start, *self.boundaries)

    def sources(self, first: int) -> tuple[Source, ...]:
        """Where a block that begins there may take its samples from."""
        return ("cache", "recompute") if first else ("data",)

    def fills(self, first: int, source: Source) -> bool:
        """Whether frozen units write the cache that a block reads, before it begins."""
        return source == "cache" and first == self.start > 0

    def accumulates(self, micro_batch: int) -> bool:
        """Whether a batch takes more than one micro-batch of this size."""
        return micro_batch != self.training.batch

    @cached_property
    def carried(self) -> tuple[tuple[int, ...], ...] | None:
        """See `carried_numbers`."""
        return carried_numbers(self.profile.model)

    def carried_number_bytes(self, micro_batch: int) -> int:
        """Bytes of one number that is carried along, of all samples of a micro-batch."""
        return (RETENTION_FACTOR if self._keeping else 1) * micro_batch * NUMBER_BYTES[self.training.dtype]

    def made_bytes(self, first: int, end: int, micro_batch: int) -> int:
        """Bytes that pass behind so many units, which are some, and were made by the units from `first` on."""
        if first >= end:
            return 0
        output = self.unit_cost(end - 1, micro_batch).output
        if self.carried is None:
            return output
        return max(0, output - self.carried_number_bytes(micro_batch) * self.carried[first][end])

    def unit_cost(self, unit: int, micro_batch: int) -> ComponentCost:
        """One unit at one micro-batch."""
        return self._cost(self.profile.units[unit], unit, micro_batch)

    def head_cost(self, boundary: int, head: AuxiliaryHead | None, micro_batch: int) -> ComponentCost:
        """One head at one micro-batch."""
        return self._cost(self.head(boundary, head), (boundary, head), micro_batch)

    def _cost(self, component: ComponentProfile, key: Hashable, micro_batch: int) -> ComponentCost:
        cost = self._components.get((key, micro_batch))
        if cost is None:
            table = self._tables.get(key)
            if table is None:
                table = self._tables[key] = ComponentTable(component)
            cost = table.at(micro_batch, self.accumulates(micro_batch), self._time_scale(micro_batch))
            cost = cost.counted(RETENTION_FACTOR) if self._keeping else cost
            self._components[key, micro_batch] = cost
        return cost

    def _time_scale(self, micro_batch: int) -> TimeScale:
        """How times under the policy compare with the profile's, by whole steps at this micro-batch."""
        if self._keeping is None or self._tight is None:
            return SAME_SCALE
        return TimeScale(step_ns(self._keeping, micro_batch), step_ns(self._tight, micro_batch))

    def label_bytes(self, source: Source) -> int:
        """A sample's label in a micro-batch, beside what it was read into."""
        return self._label_bytes[source == "cache"]

    @cached_property
    def _label_bytes(self) -> tuple[int, int]:
        model, elsewhere = self.profile.model, self._elsewhere
        return model.label_bytes(cached=False, elsewhere=elsewhere), model.label_bytes(cached=True, elsewhere=elsewhere)

    @cached_property
    def trailer_bytes(self) -> int:
        """What stands behind an activation in a cache: label and checksum."""
        return self.profile.model.label_form.stored_bytes + CHECKSUM_BYTES

    def fit_bytes(self, unit: int, micro_batch: int) -> int:
        """The most that fitting a pooled exit behind so many units takes."""
        model = self.profile.model
        return model.task.fit_bytes(self.features[unit - 1], model.classes, micro_batch)

    def record_bytes(self, boundary: int) -> int:
        """One sample on storage: as the data has it or an activation, and its label."""
        if boundary == 0:
            model = self.profile.model
            return model.sample_bytes + model.label_form.bytes_behind(cached=False) + CHECKSUM_BYTES
        output = self.profile.units[boundary - 1].output_bytes
        if self.cache_dtype == self.training.dtype:
            return output + self.trailer_bytes
        numbers = -(-output // NUMBER_BYTES[self.training.dtype])
        tensors = 1 + len(self.profile.model.units[boundary - 1].further_results)
        return stored_bytes(self.cache_dtype, numbers, tensors) + self.trailer_bytes

    def cache_bytes(self, boundary: int) -> int:
        """Storage of the cache at a boundary inside the chain."""
        return self.training.cached_samples * self.record_bytes(boundary)

    def stored_bytes(self, first: int, last: int, source: Source, caches: bool) -> int:
        """Storage of the caches a block reads and writes."""
        read = self.cache_bytes(first) if source == "cache" else 0
        return read + (self.cache_bytes(last) if caches else 0)

    def storage_allows(self, first: int, last: int, source: Source, caches: bool) -> bool:
        """Whether a block's caches fit the storage asked for."""
        storage = self.request.storage_bytes
        return storage is None or self.stored_bytes(first, last, source, caches) <= storage

    def data_bytes(self, first: int, source: Source, micro_batch: int) -> int:
        """Two read buffers, the labels, of data the micro-batch as the first unit is given it, and what a prefix makes.

        On an accelerator the micro-batch as it arrives there: buffers and conversions are in the processor's memory.
        """
        buffers = 0 if self._elsewhere else 2 * self.record_bytes(first if source == "cache" else 0)
        label = self.label_bytes(source)
        if source == "cache":
            arrived = 1 if self._elsewhere else self._times(DECODED)
            return micro_batch * (buffers + label + arrived * self.profile.units[first - 1].output_bytes)
        model = self.profile.model
        given = self.profile.units[first - 1].output_bytes if source == "recompute" else 0
        arrived = model.tensor_bytes if self._elsewhere else model.copied_bytes
        return micro_batch * (buffers + label + arrived + given)

    def writer_bytes(self, boundary: int, micro_batch: int) -> int:
        """Buffers of the writer of the cache at a boundary, and the sample that it makes what a cache holds.

        None of that is on an accelerator.
        """
        if self._elsewhere:
            return 0
        sample = self._times(ENCODED) * self.profile.units[boundary - 1].output_bytes
        return CACHE_WRITER_BYTES + CACHE_WRITER_SAMPLE_BYTES * micro_batch + sample

    @property
    def _elsewhere(self) -> bool:
        return self.profile.device.is_accelerator

    def _times(self, table: Mapping[tuple[Dtype, CacheDtype], int]) -> int:
        return table.get((self.training.dtype, self.cache_dtype), 0)

    @cached_property
    def features(self) -> tuple[int, ...]:
        """What a pooled exit sees behind every unit: so many numbers of a sample."""
        shape: Shape = self.profile.model.input
        found = []
        for unit in self.profile.model.units:
            shape = unit_sizes(unit, shape).output
            found.append(PooledHead.features(shape))
        return tuple(found)


def narrowest(heads: Iterable[AuxiliaryHead | None]) -> AuxiliaryHead | None:
    """The head that is preferred least of those at a place."""
    return min(heads, key=_rank)


def widest(heads: Iterable[AuxiliaryHead | None]) -> AuxiliaryHead | None:
    """The head that is preferred most of those at a place."""
    return max(heads, key=_rank)


def _rank(head: AuxiliaryHead | None) -> int:
    return 0 if head is None else head.rank
