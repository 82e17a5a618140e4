"""Measuring a process's overhead beside tensors: by whole training steps where they fit, else by the units' kernels."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from pathlib import Path

from planner.errors import InfeasibleError, InputError
from planner.heads.kinds import AuxiliaryHead, may_stand
from planner.model.heads import heads_at
from planner.model.shapes import Shape, model_sizes, walk
from planner.profiler.bounded import Bounds
from planner.profiler.child.account import AccountResult, Accounts
from planner.profiler.child.kernels import Overhead
from planner.profiler.job import Job
from planner.profiler.schedule import first_line
from planner.schema.codec import decode, parse_json
from planner.schema.common import Policy
from planner.schema.runtime import Finishing, PolicyProfile
from planner.system.allocator import offered_policies
from planner.units import KIB, MIB

_INSTEAD: dict[Policy, str] = {
    "tight": "; what surrounds tensors is known from single units, with room for what they do not show",
    "fast": "; plans do not choose it",
    "huge": "; plans do not choose it",
}
"""What follows where no whole step under a policy is known."""

_SMALL_STEP = 2
"""Largest micro-batch at which libraries multiply matrices without room of their own."""

_LARGEST_STEP = 16
"""Largest micro-batch of a whole step: enough to see what grows, and quick."""

_MIDDLE_TIMED = 32
"""Beside the smallest and the largest micro-batch, whole steps are timed at the largest up to this one. Policies cost
different shares at all three: at small ones calls count, at large ones `fast` no longer keeps what is freed, for glibc
gives blocks of 32 MiB and more their own mappings whatever it is told."""

_TIME_SHARE = 0.3
"""Most of the time left that whole steps may take."""

_HEAD_KERNEL_BYTES = 2 * MIB
"""Kernels of auxiliary heads, of which the account's step has none: 0.8 to 1.2 MiB for a head behind every unit."""

_KERNEL_BYTES = MIB
"""The same for each layer that mixes channels, of heads of a kind that was asked for, beyond the usual ones' two: in
cnn6, cut everywhere, heads with six (`mlp`) took 1.9 MiB more than the usual ones."""

_USUAL_MIXING = 2

_KEPT_VARIES_PERMILLE = 300
"""Added to what a policy that keeps what is freed was seen to keep, in thousandths of what is live. A guess, not a
bound: it grows over a hundred steps, of which a few are watched, and with a tenth one block of VGG-11 took 10 MiB more
than predicted, of 90 above the runtime. A run that comes near its budget gives back what is free
(`planner.runner.train.guard`)."""

_WINDOW_BYTES = 64 * KIB
"""What the kernel maps of a library where one page is touched (fault_around_bytes), and so what it costs when code runs
that nothing has run since library pages were given back."""

_PASS_BYTES = 8 * _WINDOW_BYTES
_COMMON_BYTES = 44 * _WINDOW_BYTES
_FIT_BYTES = 24 * _WINDOW_BYTES
_HEADS_BYTES = 36 * _WINDOW_BYTES
_STILL_BYTES = 56 * _WINDOW_BYTES
"""Beyond what the account's process does behind training, a run does: read samples in a thread of its own; time and
count what heads answer; name, describe, write and rename files. In cnn6 the interpreter's and torch's code for saving
was 37 windows, for measuring 23, for a pass up to 5, for fitting 10; a third more or so is for other networks' runs.
Where units are looked at one by one, some windows of a pass are only there in others': in runs of cnn6 and MobileNetV2
a pass through one unit took up to 31 windows more than that unit here."""

_KEPT_PERMILLE = 900
"""Of what a unit's kernels keep by small steps, so much is taken to be lacking in blocks before it."""

_AGAIN = 3
"""A run meets other micro-batches than its steps' behind training: samples that are left over, and what outputs are
measured and caches are filled with. Libraries keep code anew for each: of a unit's kernels 0.8 to 1 for a whole step
(0.02 at a micro-batch that was there before), about a third of that for a pass without gradients."""

_AGAIN_IN_BFLOAT16 = 2
"""In bfloat16 they keep more at larger micro-batches as well: 4 MB in cnn6 at 2 samples, 7 MB at 8; in training, too,
a block behind others takes so much more than by itself."""

_VARIES_BYTES = 12 * _WINDOW_BYTES
"""What blocks of the same plan were seen to differ by, run for run and from the units' sum, behind training."""

_UNSEEN_BYTES = 2 * MIB
_UNSEEN_PERMILLE = 5
"""Added to the kernels' growth where no whole step fitted: what it would have shown beyond."""


@dataclass(frozen=True)
class Calibrated:
    """Resident bytes beside tensors under the policy `tight`, and the costs of every policy."""

    overhead_bytes: int
    """Constant part."""
    overhead_permille: int
    """Part that grows with live bytes, in thousandths of them."""
    small_micro_batch: int
    """The micro-batch at which the constant part was measured."""
    large_micro_batch: int
    """From this micro-batch on `growing_bytes` are added; between the two, a part of them."""
    growing_bytes: int
    """What libraries allocate in addition at large micro-batches."""
    calibration_seconds: float
    """Time of the calibration kernel (`planner.training.calibration`)."""
    policies: tuple[PolicyProfile, ...]
    """A profile of every policy under which a whole step fitted."""
    tight: Accounts | None
    """The accounts under `tight`; None where no whole step fitted."""
    notes: tuple[str, ...] = ()
    """What could not be measured as intended, and why."""
    kept_bytes: tuple[int, ...] = ()
    """By unit: resident bytes that its kernels keep, by small steps of single units; empty where not measured."""

    def finishing(self, baseline_bytes: int, run_bytes: int) -> Finishing | None:
        """Resident bytes of a run's child after training, at most those of training itself.

        Args:
            baseline_bytes: resident bytes of a run's child before its first block.
            run_bytes: what a run holds beyond its training steps. The measuring process holds as much of its own, so
                they are taken out here, as is what libraries allocate at large micro-batches; both are added elsewhere.

        Returns:
            Overheads by phase; None where no whole step fitted.
        """
        if self.tight is None:
            return None
        found, most = self.tight.finishing, baseline_bytes + self.overhead_bytes
        moved = baseline_bytes - self.tight.baseline_bytes - self.growing_bytes - run_bytes

        kept = self._kept(self.tight.account.code_bytes)
        again = [size // _AGAIN for size in kept]
        moved += _VARIES_BYTES + sum(again)

        def at(size: int) -> int:
            return max(0, min(size + moved, most))

        return replace(
            found,
            pass_bytes=at(found.pass_bytes + _PASS_BYTES),
            heads_bytes=at(found.heads_bytes + _HEADS_BYTES),
            fit_bytes=at(found.fit_bytes + _FIT_BYTES),
            still_bytes=at(found.still_bytes + _STILL_BYTES),
            common_bytes=at(found.common_bytes + _COMMON_BYTES),
            common_heads_bytes=at(found.common_heads_bytes + _HEADS_BYTES),
            units=tuple(
                replace(unit, kernel_bytes=sum(sizes)) for unit, *sizes in zip(found.units, kept, again, strict=True)
            ),
        )

    def _kept(self, seen_bytes: int) -> tuple[int, ...]:
        """By unit: the part of `seen_bytes`, kept by all kernels, that blocks before it lack; rather too little."""
        assert self.tight is not None
        total = sum(self.kept_bytes)
        if total == 0:
            return (0,) * len(self.tight.finishing.units)
        share = min(max(0, seen_bytes), total) * _KEPT_PERMILLE
        return tuple(kept * share // (1000 * total) for kept in self.kept_bytes)


def calibrate(job: Job, path: Path, bounds: Bounds) -> Calibrated:
    """Measure the overhead of training a job's model on the CPU.

    Args:
        job: what is profiled.
        path: a file that holds the same job, for the measuring children.
        bounds: limits of the whole measurement; whole steps take at most 30 % of the time left.

    Raises:
        InfeasibleError, InputError, RunError: as `first_line`, where not even a single unit's kernels can be measured.
    """
    small, large = step_sizes(job)
    timed = timed_sizes(job)
    heads_bytes = head_kernel_bytes(job)
    notes: list[str] = []
    found = {
        policy: _take_accounts(path, policy, (large, small), bounds, notes, timed) for policy in offered_policies()
    }
    policies = tuple(
        policy_profile(policy, accounts, heads_bytes) for policy, accounts in found.items() if accounts is not None
    )
    tight = found["tight"]
    if tight is None:
        kernels = decode(Overhead, parse_json(first_line(bounds, "planner.profiler.child.kernels", str(path))))
        constant = kernels.growth_bytes + _UNSEEN_BYTES + heads_bytes
        notes += [f"its kernels are not among those that a step is taken to need: {text}" for text in kernels.problems]
        seconds = kernels.calibration_seconds
        return Calibrated(constant, _UNSEEN_PERMILLE, small, small, 0, seconds, policies, None, tuple(notes))
    kept = _kept_by_kernels(path, bounds, notes)
    constant, permille = split_overhead(tight, heads_bytes)
    again = sum(kept) // _AGAIN_IN_BFLOAT16 if job.dtype == "bfloat16" else 0
    seconds, size = tight.calibration_seconds, tight.account.micro_batch
    smaller = [
        accounts
        for each in dict.fromkeys((small, least_step(job)))
        if each < size and (accounts := _take_accounts(path, "tight", (each,), bounds, notes)) is not None
    ]
    if not smaller:
        return Calibrated(constant + again, permille, size, size, 0, seconds, policies, tight, tuple(notes), kept)
    # Few samples may take more: kernels are others, and blocks are rounded up to pages whatever their size. What they
    # take then holds for all.
    base = max(split_overhead(accounts, heads_bytes, permille)[0] for accounts in smaller)
    growing = max(0, constant - base)
    # Taken in processes as young as a run's: in one that has measured for long the same kernel is up to twice as fast.
    seconds = (seconds + smaller[0].calibration_seconds) / 2
    return Calibrated(base + again, permille, small, size, growing, seconds, policies, tight, tuple(notes), kept)


def _kept_by_kernels(path: Path, bounds: Bounds, notes: list[str]) -> tuple[int, ...]:
    """By unit: resident bytes that its kernels keep; empty, with a note, where that cannot be measured."""
    try:
        line = first_line(bounds, "planner.profiler.child.kernels", str(path))
    except (InfeasibleError, InputError) as error:
        notes.append(f"what kernels keep is not known unit by unit: {error}")
        return ()
    return decode(Overhead, parse_json(line)).kept_bytes


def _legal_steps(job: Job) -> list[int]:
    """Micro-batches of the job that every unit allows, rising."""
    least = max(sizes.minimum_micro_batch for sizes in model_sizes(job.model))
    return [size for size in job.micro_batches if size >= least] or [least]


def least_step(job: Job) -> int:
    """The smallest micro-batch that a plan may have."""
    return _legal_steps(job)[0]


def step_sizes(job: Job) -> tuple[int, int]:
    """Micro-batches of whole steps: a small one that every unit allows, and one large enough to tell parts apart."""
    legal = _legal_steps(job)
    small = max([legal[0], *(size for size in legal if size <= _SMALL_STEP)])
    return small, max(size for size in legal if size <= max(_LARGEST_STEP, small))


def timed_sizes(job: Job) -> tuple[int, ...]:
    """Micro-batches at which whole steps are timed as well, rising: the smallest, one in the middle, the largest."""
    small, large = step_sizes(job)
    middle = max([large, *(size for size in job.micro_batches if size <= _MIDDLE_TIMED)])
    return tuple(sorted({small, middle, max(middle, job.micro_batches[-1])}))


def _take_accounts(
    path: Path,
    policy: Policy,
    sizes: tuple[int, ...],
    bounds: Bounds,
    notes: list[str],
    timed: tuple[int, ...] = (),
) -> Accounts | None:
    """The accounts of a whole step at the first of `sizes` that fits in memory and time; None where none does.

    `timed` are micro-batches at which steps are timed as well. `notes` gets what did not fit, and why.
    """
    problems: list[tuple[int, str]] = []
    share = dataclasses.replace(bounds, deadline=bounds.deadline - (1 - _TIME_SHARE) * bounds.seconds_left)
    for size in dict.fromkeys(sizes):
        try:
            line = first_line(share, "planner.profiler.child.account", str(path), policy, str(size), *map(str, timed))
        except (InfeasibleError, InputError) as error:  # killed, or no time: what follows measures in smaller pieces
            problems.append((size, str(error)))
            continue
        taken = decode(AccountResult, parse_json(line))
        if taken.accounts is not None:
            if problems:
                why = "; ".join(_grouped(problems))
                notes.append(f"{policy}: a whole step of {size} was measured instead of a larger one ({why})")
            return taken.accounts
        problems.append((size, str(taken.problem)))
    notes.append(f"{policy}: no whole step could be measured ({'; '.join(_grouped(problems))}){_INSTEAD[policy]}")
    return None


def _grouped(problems: list[tuple[int, str]]) -> list[str]:
    """(micro-batch, reason) pairs as phrases, one for each reason."""
    reasons = dict.fromkeys(reason for _, reason in problems)
    sizes = {reason: [str(size) for size, other in problems if other == reason] for reason in reasons}
    return [f"at micro-batch {' and '.join(sizes[reason])}: {reason}" for reason in reasons]


def head_kernel_bytes(job: Job) -> int:
    """Room for the kernels of a job's auxiliary heads: those of the kind that was asked for may be many."""
    shapes = (job.model.input, *(sizes.output for sizes in model_sizes(job.model)))
    most = max(
        (
            _mixing(head, shapes[boundary], job.model.output)
            for boundary in range(1, len(job.model.units))
            for head in heads_at(job.heads, job.model, boundary, shapes)
            if not may_stand(head, None)
        ),
        default=0,
    )
    return _HEAD_KERNEL_BYTES + max(0, most - _USUAL_MIXING) * _KERNEL_BYTES


def _mixing(head: AuxiliaryHead, shape: Shape, output: Shape) -> int:
    """How many of a head's tensors mix channels: those of convolutions and linear layers."""
    chains = head.layers(shape, output), head.decoder(shape)
    tensors = (weight for chain in chains for _, layer, given in walk(chain, shape) for weight in layer.weights(given))
    return sum(len(tensor.shape) > 1 and tensor.kind == "parameter" for tensor in tensors)


def policy_profile(policy: Policy, found: Accounts, heads_bytes: int = _HEAD_KERNEL_BYTES) -> PolicyProfile:
    """A policy's accounts as `profile/1` holds them."""
    constant, permille = split_overhead(found, heads_bytes)
    if policy == "tight":
        return PolicyProfile(policy, found.baseline_bytes, constant, permille, found.steps, found.account)
    permille += _KEPT_VARIES_PERMILLE
    start = found.start_peak_bytes
    return PolicyProfile(policy, found.baseline_bytes, constant, permille, found.steps, found.account, start)


def split_overhead(
    found: Accounts, heads_bytes: int = _HEAD_KERNEL_BYTES, permille: int | None = None
) -> tuple[int, int]:
    """Split what a step has resident beyond its live bytes into a constant and a part that grows with these.

    What the allocator rounds up or retains grows with live bytes; code and compiled kernels do not.

    Args:
        found: the accounts of a whole step.
        heads_bytes: room for heads' kernels (`head_kernel_bytes`).
        permille: the growing part, where it is known already.

    Returns:
        The constant in bytes, and the growing part in thousandths of live bytes.
    """
    beyond = found.account.peak_bytes - found.baseline_bytes - (found.live_bytes - found.untouched_bytes)
    if permille is None:
        permille = -(-found.growing_bytes * 1000 // found.live_bytes)
    return max(0, beyond - found.live_bytes * permille // 1000) + heads_bytes, permille
