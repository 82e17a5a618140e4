"""What the solver predicts for chosen blocks, as `plan/2` holds it."""

from __future__ import annotations

from dataclasses import fields, replace

from planner.heads.pooled import PooledHead
from planner.schema.model import Model
from planner.schema.plan import BatchSetting, Block, BlockInput, Exit, Segment
from planner.schema.prediction import BlockPrediction, Breakdown, PhasePeaks, PlanPrediction
from planner.solver.costs import NANOSECONDS
from planner.solver.memory_model import (
    DynamicLevel,
    Live,
    is_legal,
    live_bytes,
    runs_from,
    spans_within,
    time_ns,
)
from planner.solver.problem import RETENTION_FACTOR, BlockChoice, Problem


def predict_block(problem: Problem, choice: BlockChoice) -> BlockPrediction:
    """Peaks, their parts, and times of one block."""
    live = live_bytes(problem, choice)
    time = time_ns(problem, choice)
    peak = problem.process.resident(live.peak)
    images = choice.source != "cache"
    units = range(0 if choice.source == "recompute" else choice.first, choice.last + choice.leaves)
    room = max(0, peak - problem.process.resident_behind(live.running, "fit", units, images))
    fits = _fits(problem, choice, room)
    phases = PhasePeaks(
        train=problem.process.resident(live.train),
        cache=_cache_peak(problem, live, units, images),
        # Test samples go to the cache as they are measured.
        validate=problem.process.resident_behind(max(live.validate, live.cache), "heads", units, images, choice.caches),
        save=problem.process.resident_behind(live.weights, "still", units),
        fit=min(peak, problem.process.resident_behind(live.running + fits, "fit", units, images)) if fits else 0,
    )
    parts = _breakdown(problem, live)
    return BlockPrediction(
        peak_bytes=peak,
        peak_bytes_by_phase=phases,
        breakdown=parts,
        seconds_per_epoch=time.epoch / NANOSECONDS,
        finish_seconds=time.finish / NANOSECONDS,
        binding=max((field.name for field in fields(parts)), key=lambda name: int(getattr(parts, name))),
        extrapolated_from=_extrapolated_from(problem, choice),
        untouched_bytes=_untouched(problem, choice),
        fit_room_bytes=room,
    )


def _cache_peak(problem: Problem, live: Live, units: range, images: bool) -> int:
    """Of writing the caches behind the block and, where frozen units fill it, before: those read images."""
    behind = problem.process.resident_behind(live.cache, "pass", units, images, True) if live.cache else 0
    frozen = range(problem.start)
    return max(behind, problem.process.resident_behind(live.fill, "pass", frozen, True, True) if live.fill else 0)


def _fits(problem: Problem, choice: BlockChoice, room: int) -> int:
    """What fitting pooled exits takes, as many of them from the first on as have room."""
    found = 0
    if not problem.profile.model.task.fits_exits:
        return found
    heads = set(choice.ends) - set(choice.windows)
    for unit in range(choice.first + 1, choice.last + 1):
        if unit not in heads and problem.profile.model.may_end(unit):
            size = problem.fit_bytes(unit, choice.micro_batch)
            if found + size > room:
                break
            found += size
    return found


def _extrapolated_from(problem: Problem, choice: BlockChoice) -> int | None:
    components = problem.profile.units[runs_from(problem, choice) : choice.last + choice.leaves]
    heads = (problem.head(*placed) for placed in choice.placed_heads)
    measured = min(component.costs[-1].micro_batch for component in (*components, *heads))
    return measured if choice.micro_batch > measured else None


def _untouched(problem: Problem, choice: BlockChoice) -> int:
    first = runs_from(problem, choice)
    units = (problem.unit_cost(unit, choice.micro_batch) for unit in range(first, choice.last + choice.leaves))
    heads = (problem.head_cost(*placed, choice.micro_batch) for placed in choice.placed_heads)
    return max(component.untouched for component in (*units, *heads))


def _breakdown(problem: Problem, live: Live) -> Breakdown:
    highest = live.highest
    if problem.policy != "tight":
        highest = DynamicLevel(
            highest.level, highest.activations // RETENTION_FACTOR, highest.gradients // RETENTION_FACTOR
        )
    overhead = problem.process.resident(live.train) - problem.process.runtime_bytes - live.train
    return Breakdown(
        runtime=problem.process.runtime_bytes,
        data=live.data,
        parameters=live.weights,
        gradients=live.static_gradients + highest.gradients,
        optimizer=live.optimizer,
        activations=highest.activations,
        transient=highest.level - highest.activations - highest.gradients + live.kernels + overhead,
        cache=0,
    )


def make_block(problem: Problem, choice: BlockChoice) -> Block:
    """The block, with its fallbacks."""
    predicted = predict_block(problem, choice)
    starts = (choice.first, *choice.ends)
    cached = choice.source == "cache"
    segments = tuple(
        Segment((first, end), head, spans_within(choice, first, end), window=int(end in choice.windows))
        for first, end, head in zip(starts, choice.ends, choice.heads, strict=False)
    )
    return Block(
        units=(choice.first, choice.last),
        micro_batch=choice.micro_batch,
        accumulate=problem.training.batch // choice.micro_batch,
        optimizer_in_backward=choice.optimizer_in_backward,
        input=BlockInput(
            kind=choice.source,
            from_unit=choice.first if cached else 0,
            sample_bytes=problem.record_bytes(choice.first if cached else 0),
            dtype=problem.cache_dtype if cached else "uint8",
        ),
        segments=segments,
        predicted=predicted,
        ladder=_fallbacks(problem, choice, predicted.peak_bytes),
        epochs=None if problem.training.early_epochs is None else problem.epochs_of(choice.last),
    )


def _fallbacks(problem: Problem, choice: BlockChoice, peak: int) -> tuple[BatchSetting, ...]:
    """The same segments at smaller micro-batches, as far as each step down lowers the peak."""
    fallbacks: list[BatchSetting] = []
    for micro_batch in problem.micro_batches:
        smaller = replace(choice, micro_batch=micro_batch, optimizer_in_backward=False)  # a fallback accumulates
        if micro_batch < choice.micro_batch and is_legal(problem, smaller):
            predicted = predict_block(problem, smaller)
            if predicted.peak_bytes < peak:
                peak = predicted.peak_bytes
                fallbacks.append(BatchSetting(micro_batch, problem.training.batch // micro_batch, predicted))
    return tuple(fallbacks)


def make_exits(choices: tuple[BlockChoice, ...], model: Model) -> tuple[Exit, ...]:
    """One exit behind every unit that a network may end with: its head where a segment without a window ends, elsewhere
    a pooled one, where such can be fitted."""
    heads = {
        end: head
        for choice in choices
        for end, head in zip(choice.ends, choice.heads, strict=True)
        if end not in choice.windows
    }
    first, last = choices[0].first, choices[-1].last
    return tuple(
        Exit(unit, heads.get(unit, PooledHead("pooled")))
        for unit in range(first + 1, last + 1)
        if unit in heads or (model.task.fits_exits and model.may_end(unit))
    )


def predict_plan(problem: Problem, stages: tuple[BlockChoice, ...], nanoseconds: int) -> PlanPrediction:
    """Peak, storage and lost accuracy of blocks and polish, which take so long."""
    return PlanPrediction(
        peak_bytes=max(problem.process.resident(live_bytes(problem, choice).peak) for choice in stages),
        seconds_total=nanoseconds / NANOSECONDS,
        cache_bytes=max(
            problem.stored_bytes(choice.first, choice.last, choice.source, choice.caches) for choice in stages
        ),
        accuracy_loss_points=problem.loss.of(
            len({end for choice in stages for end in choice.ends}), sum(len(choice.windows) for choice in stages)
        ),
    )
