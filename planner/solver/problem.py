"""A profile and a request as one problem: what cuts and micro-batches exist, what they cost, what a budget leaves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from planner.errors import InputError
from planner.profiler.schema import PieceProfile, Profile
from planner.solver.costs import PieceCost, interpolate, piece_cost
from planner.solver.request import Request, check_optimizer
from planner.units import KIB

CLASSIFIER = 0
"""In place of filters: the model's own classifier."""

CACHE_WRITER_BYTES = 64 * KIB
"""Constant part of the activation cache's writer; a sample of the micro-batch adds `CACHE_WRITER_SAMPLE_BYTES`."""

CACHE_WRITER_SAMPLE_BYTES = 16

LABEL_BYTES = 8
"""One label, in a batch and in a record."""

EXTRAPOLATION = 4
"""Micro-batches are planned up to this multiple of the largest profiled one."""


@dataclass(frozen=True)
class Choice:
    """One block of a plan."""

    first: int
    """First unit."""
    micro_batch: int
    """Samples in one forward and backward."""
    ends: tuple[int, ...]
    """Where its segments end; the last is the block's end."""
    filters: tuple[int, ...]
    """Filters of the head at each end, `CLASSIFIER` for the model's own."""
    recompute: tuple[tuple[int, int], ...] = ()
    """Spans of units, each inside a segment, that keep only their input and run forward again before backward."""
    optimizer_in_backward: bool = False
    """Whether parameters step within backward, as soon as their gradients exist."""

    @property
    def last(self) -> int:
        """The unit behind the block."""
        return self.ends[-1]


class Problem:
    """What the search ranges over. Raises InputError where the profile cannot answer the request."""

    def __init__(self, profile: Profile, request: Request) -> None:
        check_optimizer(profile, request.training)
        self.profile = profile
        self.request = request
        self.training = request.training
        self.count = len(profile.units)
        self.steps = -(-self.training.samples // self.training.batch)
        self._pieces: dict[tuple[int, int, int], PieceCost] = {}
        self._check_micro_batches()

    @cached_property
    def micro_batches(self) -> tuple[int, ...]:
        """Divisors of the batch within reach of the profile, falling."""
        tables = [*self.profile.units, *(head.cost for head in self.profile.heads)]
        reach = EXTRAPOLATION * min(piece.costs[-1].micro_batch for piece in tables)
        batch = self.training.batch
        return tuple(size for size in range(min(batch, reach), 0, -1) if batch % size == 0)

    def _check_micro_batches(self) -> None:
        needed = max(piece.minimum_micro_batch for piece in (*self.profile.units, self.head(self.count, CLASSIFIER)))
        if self.micro_batches[0] < needed:
            raise InputError(
                f"batch is {self.training.batch}: its largest micro-batch within the profile's reach is "
                f"{self.micro_batches[0]}, but batch normalisation needs at least {needed}; "
                f"choose a batch that is a multiple of {needed}, or profile larger micro-batches"
            )

    @cached_property
    def heads(self) -> dict[int, dict[int, PieceProfile]]:
        """By boundary and filters: the auxiliary heads inside the chain, and the classifier at its end."""
        found: dict[int, dict[int, PieceProfile]] = {}
        for head in self.profile.heads:
            if head.kind == "auxiliary" and head.boundary < self.count:
                found.setdefault(head.boundary, {})[head.filters] = head.cost
            elif head.kind == "classifier" and head.boundary == self.count:
                found[self.count] = {CLASSIFIER: head.cost}
        return found

    def head(self, boundary: int, filters: int) -> PieceProfile:
        """The profiled head at a boundary."""
        return self.heads[boundary][filters]

    @cached_property
    def boundaries(self) -> tuple[int, ...]:
        """Where a segment may end, rising."""
        return tuple(sorted(self.heads))

    def accumulates(self, micro_batch: int) -> bool:
        """Whether a batch takes more than one micro-batch of this size."""
        return micro_batch != self.training.batch

    def unit_cost(self, unit: int, micro_batch: int) -> PieceCost:
        """One unit at one micro-batch."""
        return self._cost(self.profile.units[unit], (unit, -1, micro_batch))

    def head_cost(self, boundary: int, filters: int, micro_batch: int) -> PieceCost:
        """One head at one micro-batch."""
        return self._cost(self.head(boundary, filters), (boundary, filters, micro_batch))

    def _cost(self, piece: PieceProfile, key: tuple[int, int, int]) -> PieceCost:
        cost = self._pieces.get(key)
        if cost is None:
            cost = self._pieces[key] = piece_cost(piece, key[2], self.accumulates(key[2]))
        return cost

    def record_bytes(self, boundary: int) -> int:
        """One sample on storage: uint8 image or float32 activation, and its label."""
        if boundary == 0:
            channels, height, width = self.profile.model.input
            return channels * height * width + LABEL_BYTES
        return self.profile.units[boundary - 1].output_bytes + LABEL_BYTES

    def cache_bytes(self, first: int, last: int) -> int:
        """Storage of the caches a block reads and writes."""
        read = self.record_bytes(first) if first > 0 else 0
        written = self.record_bytes(last) if last < self.count else 0
        return self.training.samples * (read + written)

    def storage_allows(self, first: int, last: int) -> bool:
        """Whether a block's two caches fit the storage asked for."""
        storage = self.request.storage_bytes
        return storage is None or self.cache_bytes(first, last) <= storage

    def data_bytes(self, first: int, micro_batch: int) -> int:
        """Two read buffers, the labels, and for images the micro-batch as float32."""
        buffers = 2 * micro_batch * self.record_bytes(first) + LABEL_BYTES * micro_batch
        if first > 0:
            return buffers
        channels, height, width = self.profile.model.input
        return buffers + 4 * micro_batch * channels * height * width

    def kernel_bytes(self, micro_batch: int) -> int:
        """What libraries hold beside torch's allocator at this micro-batch, above what they do at a small one."""
        runtime = self.profile.runtime
        sizes, values = (runtime.small_micro_batch, runtime.large_micro_batch), (0, runtime.growing_bytes)
        if micro_batch >= sizes[1]:
            return values[1]
        return interpolate(sizes, values, micro_batch)

    def writer_bytes(self, last: int, micro_batch: int) -> int:
        """Buffers of the activation cache's writer; 0 behind the last block."""
        return CACHE_WRITER_BYTES + CACHE_WRITER_SAMPLE_BYTES * micro_batch if last < self.count else 0

    @cached_property
    def runtime_bytes(self) -> int:
        """Interpreter, libraries and supervisor, where the scope counts them."""
        runtime = self.profile.runtime
        return runtime.baseline_bytes + runtime.supervisor_bytes if self.request.budget.scope == "process" else 0

    @cached_property
    def start_bytes(self) -> int:
        """What the processes take while they start, where the scope counts it."""
        runtime = self.profile.runtime
        return runtime.start_peak_bytes + runtime.supervisor_bytes if self.request.budget.scope == "process" else 0

    def resident(self, live: int) -> int:
        """Resident bytes where `live` bytes are allocated."""
        runtime = self.profile.runtime
        constant = self.runtime_bytes + runtime.run_bytes + runtime.overhead_bytes
        return constant + live - (-live * runtime.overhead_permille // 1000)

    def live_limit(self, budget: int) -> int:
        """The most live bytes that fit a budget; negative where nothing does."""
        if budget < self.start_bytes:
            return -1
        runtime = self.profile.runtime
        constant = self.runtime_bytes + runtime.run_bytes + runtime.overhead_bytes
        room = budget - self.request.reserve_bytes - constant
        return room * 1000 // (1000 + runtime.overhead_permille)

    def budget_for(self, live: int) -> int:
        """The smallest budget in which `live` bytes fit; inverse of `live_limit`."""
        return max(self.resident(live) + self.request.reserve_bytes, self.start_bytes)
