"""What to change where nothing fits, and what strategies that do not fit would need. Nothing is measured for it.

Changes are computed from the profile at hand, the smallest one first. What another optimizer or input needs is an
estimate, since neither was measured; everything else is exact.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from math import prod
from typing import get_args

from planner.errors import InfeasibleError, ModelError, PlannerError
from planner.limits import MAX_BYTES
from planner.model.shapes import Sizes, model_sizes
from planner.schema.common import NUMBER_BYTES, OptimizerConfig, usual_optimizer
from planner.schema.explain import Need
from planner.schema.plan import Plan
from planner.schema.profile import ComponentProfile, Costs, Profile, Trace, Traces
from planner.schema.request import Request, Strategy
from planner.solver.infeasible import STORAGE
from planner.solver.plan import least_memory, make_plan
from planner.units import counted_cuts, exact, format_bytes

_EVEN = 8
"""A batch that is a multiple of this has the micro-batches that matter."""


@dataclass(frozen=True)
class Change:
    """Something that the person could ask for instead."""

    words: str
    """What, and how it is said on the command line."""
    budget_bytes: int
    """The smallest budget that is feasible with it."""
    is_estimate: bool = False
    """Whether that was worked out from something else than what was measured."""


def advice(profile: Profile, request: Request, error: InfeasibleError, fixed_input: bool = False) -> str:
    """The smallest change that lets a plan fit, as a sentence, after `make_plan` raised `error`.

    `fixed_input` keeps the input as it is, for instance because the data set decides it.
    """
    if request.budget.bytes < _floor(profile, request):
        return _below_the_runtime(profile, request)
    best: Change | None = None
    for change in _changes(profile, request, error, fixed_input):
        if change.budget_bytes <= request.budget.bytes:
            return f"The smallest change that fits: {_in_words(change)}"
        if best is None or change.budget_bytes < best.budget_bytes:
            best = change
    if best is None or (error.term != STORAGE and best.budget_bytes >= error.minimum_bytes):
        return "No single change that can be computed from this profile lowers that"
    return f"No single change is enough; the one that lowers it most: {_in_words(best)}"


def _in_words(change: Change) -> str:
    return f"{change.words}. It then needs {'about ' if change.is_estimate else ''}{exact(change.budget_bytes)}"


def _start(profile: Profile, request: Request) -> int:
    """What starting the processes takes, where the scope counts it."""
    runtime = profile.runtime
    return runtime.start_peak_bytes + runtime.supervisor_bytes if request.budget.scope == "process" else 0


def _floor(profile: Profile, request: Request) -> int:
    """What the processes take before any sample, where the scope counts it."""
    runtime = profile.runtime
    if request.budget.scope == "training":
        return 0
    baseline = min([runtime.baseline_bytes, *(policy.baseline_bytes for policy in profile.policies)])
    return max(_start(profile, request), baseline + runtime.supervisor_bytes + runtime.run_bytes)


def _below_the_runtime(profile: Profile, request: Request) -> str:
    """The one thing left is to count differently; that takes no less memory, and is said to."""
    text = (
        f"The runtime alone (Python, torch and the supervisor) takes {exact(_floor(profile, request))}, whatever is "
        "trained"
    )
    above = _least(profile, replace(request, budget=replace(request.budget, scope="training")))
    if above is None:
        return text
    return f"{text}. If the budget shall count only what lies above it: --scope training, from {exact(above)}"


def _changes(profile: Profile, request: Request, error: InfeasibleError, fixed_input: bool) -> Iterator[Change]:
    """What could be tried, by how much it changes; each is computed only when those before it did not do."""
    if error.term == STORAGE and error.minimum_bytes <= MAX_BYTES:
        larger = replace(request, storage_bytes=error.minimum_bytes)
        yield from _measured(profile, larger, f"storage of {exact(error.minimum_bytes)} for caches (--storage)")
    elif error.term != STORAGE:
        yield from _smaller_reserve(profile, request, error.minimum_bytes)
    if request.training.polish:
        plain = replace(request, training=replace(request.training, polish=0, polish_lr=None))
        yield from _measured(profile, plain, "no polish at the end (no --polish)")
    if request.allocator not in (None, "tight"):
        yield from _measured(profile, replace(request, allocator="tight"), "the other allocator (--allocator tight)")
    yield from _other_batches(profile, request)
    yield from _other_strategies(profile, request)
    if request.max_cuts is not None:
        yield from _more_cuts(profile, request)
    if request.max_accuracy_loss is not None:
        yield from _more_loss(profile, request)
    if not request.linear_segments:
        words = "segments that extract no features, such as the classifier alone (--linear-segments)"
        yield from _measured(profile, replace(request, linear_segments=True), words)
    yield from _lighter_optimizers(profile, request)
    if not fixed_input:
        yield from _smaller_inputs(profile, request)


def _least(profile: Profile, request: Request) -> int | None:
    """The smallest feasible budget; none where there is none."""
    try:
        return least_memory(profile, request)
    except PlannerError:
        return None


def _measured(profile: Profile, request: Request, words: str) -> Iterator[Change]:
    least = _least(profile, request)
    if least is not None:
        yield Change(words, least)


def _smaller_reserve(profile: Profile, request: Request, minimum: int) -> Iterator[Change]:
    """The reserve is added to what the plan takes, so arithmetic is enough."""
    budget, reserve = request.budget.bytes, request.reserve_bytes
    left = reserve - (minimum - budget)
    if left >= 0 and budget >= _start(profile, request):
        yield Change(
            f"a reserve of {exact(left)} instead of {format_bytes(reserve)}, left free for what no profile foresees "
            f"(--reserve {left})",
            budget,
        )


def _other_batches(profile: Profile, request: Request) -> Iterator[Change]:
    """The nearest batch with more divisors; else the largest half, quarter, … that fits, or the smallest of them."""
    batch = request.training.batch
    if batch > _EVEN and batch % _EVEN:
        yield from _batch(profile, request, (batch + _EVEN // 2) // _EVEN * _EVEN)
    sizes = [2**power for power in range(1, batch.bit_length()) if 2**power < batch]
    changes = lru_cache(maxsize=None)(lambda size: tuple(_batch(profile, request, size)))

    def misses(size: int) -> bool:
        return not any(change.budget_bytes <= request.budget.bytes for change in changes(size))

    if sizes and misses(sizes[0]):
        yield from changes(sizes[0])
    elif sizes:
        yield from changes(sizes[bisect(sizes, False, key=misses) - 1])


def _batch(profile: Profile, request: Request, batch: int) -> Iterator[Change]:
    training = replace(request.training, batch=batch)
    words = f"a batch of {batch} instead of {request.training.batch} (--batch {batch})"
    yield from _measured(profile, replace(request, training=training), words)


def _other_strategies(profile: Profile, request: Request) -> Iterator[Change]:
    """Recomputation for backpropagation, which trains the same; then whatever is best."""
    others: dict[Strategy, tuple[Strategy, ...]] = {"auto": (), "backprop": ("checkpoint", "auto")}
    for strategy in others.get(request.strategy, ("auto",)):
        words = f"strategy {strategy} instead of {request.strategy} (--strategy {strategy})"
        yield from _measured(profile, replace(request, strategy=strategy), words)


def _more_cuts(profile: Profile, request: Request) -> Iterator[Change]:
    """The fewest cuts that fit; where none do, what any number would need."""
    free = replace(request, max_cuts=None, prefer="fidelity")
    try:
        cuts = make_plan(profile, free).cuts
    except PlannerError:
        yield from _measured(profile, free, "any number of cuts (no --max-cuts)")
    else:
        words = f"{counted_cuts(cuts)} instead of {request.max_cuts} (--max-cuts {cuts})"
        yield from _measured(profile, replace(request, max_cuts=cuts), words)


def _more_loss(profile: Profile, request: Request) -> Iterator[Change]:
    """The least predicted loss that fits; where none does, what any loss would need."""
    free = replace(request, max_accuracy_loss=None, prefer="fidelity")
    try:
        plan = make_plan(profile, free)
        windows = sum(segment.window for block in plan.blocks for segment in block.segments)
        if request.overlap == "auto" and windows < plan.cuts:  # a bound is kept without the windows that are bought
            plan = make_plan(profile, replace(free, overlap=0))
        lost = plan.predicted.accuracy_loss_points
    except PlannerError:
        lost = None
    if lost is None:
        yield from _measured(profile, free, "any loss of accuracy (no --max-accuracy-loss)")
    else:
        points = f"{lost.expected:g}"
        words = f"{points} points of accuracy instead of {request.max_accuracy_loss:g} (--max-accuracy-loss {points})"
        yield from _measured(profile, replace(request, max_accuracy_loss=lost.expected), words)


def _lighter_optimizers(profile: Profile, request: Request) -> Iterator[Change]:
    """SGD with momentum, then without. Bytes of state are scaled by the number of copies."""
    own = request.training.optimizer
    plain = OptimizerConfig("sgd", own.lr if own.kind == "sgd" else usual_optimizer("sgd").lr)
    for optimizer, how in ((usual_optimizer("sgd"), "--optimizer sgd"), (plain, "--optimizer sgd --momentum 0")):
        if optimizer.state_copies < own.state_copies:
            training = replace(request.training, optimizer=optimizer)
            least = _least(_with_optimizer(profile, optimizer), replace(request, training=training))
            words = (
                f"sgd with{'' if optimizer.momentum else 'out'} momentum, {optimizer.state_copies} instead of "
                f"{own.state_copies} copies of the parameters as state ({how}; an estimate: state scaled by copies)"
            )
            if least is not None:
                yield Change(words, least, is_estimate=True)


def _with_optimizer(profile: Profile, optimizer: OptimizerConfig) -> Profile:
    copies, measured = optimizer.state_copies, profile.optimizer.state_copies

    def adapted(component: ComponentProfile) -> ComponentProfile:
        return replace(component, optimizer_bytes=-(-component.optimizer_bytes * copies // measured))

    heads = tuple(replace(head, cost=adapted(head.cost)) for head in profile.heads)
    return replace(profile, optimizer=optimizer, units=tuple(map(adapted, profile.units)), heads=heads)


def _smaller_inputs(profile: Profile, request: Request) -> Iterator[Change]:
    """Half the height and width, then a quarter, where the network takes that. Levels are scaled by the area."""
    if len(profile.model.input) != 3:
        return
    channels, height, width = profile.model.input
    for divisor in (2, 4):
        shape = (channels, height // divisor, width // divisor)
        try:
            smaller = with_input(profile, shape)
        except (ModelError, ValueError):
            return
        least = _least(smaller, request)
        if least is not None:
            words = (
                f"an input of {'x'.join(map(str, shape))} instead of {'x'.join(map(str, profile.model.input))} "
                "(--input; an estimate: activations scaled by the area)"
            )
            yield Change(words, least, is_estimate=True)


def with_input(profile: Profile, shape: tuple[int, ...]) -> Profile:
    """The profile as it may be at another input. Raises ModelError or ValueError where the network takes none such."""
    model = replace(profile.model, input=shape)
    share = (prod(shape), prod(profile.model.input))
    number_bytes = NUMBER_BYTES[profile.dtype]
    pairs = zip(profile.units, model_sizes(model), strict=True)
    units = tuple(_resized(unit, sizes, number_bytes, share) for unit, sizes in pairs)
    heads = tuple(replace(head, cost=_scaled(head.cost, share)) for head in profile.heads)
    return replace(profile, model=model, units=units, heads=heads)


def _resized(unit: ComponentProfile, sizes: Sizes, number_bytes: int, share: tuple[int, int]) -> ComponentProfile:
    """The output, and what normalisation needs, are known from the shapes."""
    minimum = sizes.minimum_micro_batch
    output_bytes = number_bytes * sizes.output_numbers
    return replace(_scaled(unit, share), output_bytes=output_bytes, minimum_micro_batch=minimum)


def _scaled(component: ComponentProfile, share: tuple[int, int]) -> ComponentProfile:
    """What depends on the micro-batch, by `share`; a level may contain the parameters' gradients, which stay."""

    def level(count: int, fixed: int) -> int:
        return min(count, fixed) - (-max(count - fixed, 0) * share[0] // share[1])

    def trace(one: Trace) -> Trace:
        return Trace(
            **{field.name: level(getattr(one, field.name), component.parameter_bytes) for field in fields(Trace)}
        )

    def costs(one: Costs) -> Costs:
        cases = {field.name: trace(getattr(one.traces, field.name)) for field in fields(Traces)}
        return replace(
            one,
            traces=Traces(**cases),
            inference_peak_bytes=level(one.inference_peak_bytes, 0),
            inference_kept_bytes=level(one.inference_kept_bytes, 0),
            detached_peak_bytes=level(one.detached_peak_bytes, 0),
        )

    return replace(component, costs=tuple(map(costs, component.costs)))


def needs_of(profile: Profile, request: Request, plan: Plan) -> tuple[Need, ...]:
    """Every strategy that the plan does not list among its alternatives, so that it does not fit the budget."""
    fitting = {other.strategy for other in plan.alternatives}
    return tuple(_need(profile, replace(request, strategy=name)) for name in get_args(Strategy) if name not in fitting)


def _need(profile: Profile, request: Request) -> Need:
    try:
        return Need(request.strategy, least_memory(profile, request), "")
    except PlannerError as error:
        return Need(request.strategy, None, str(error))
