"""What surrounds tensors: worked out by hand from made-up accounts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from planner.heads.base import HeadKind
from planner.heads.kinds import measured_heads
from planner.model.zoo import from_zoo
from planner.profiler import calibrate as calibrate_module
from planner.profiler.bounded import Bounds
from planner.profiler.calibrate import (
    Calibrated,
    head_kernel_bytes,
    policy_profile,
    split_overhead,
    step_sizes,
    timed_sizes,
)
from planner.profiler.child.account import Accounts
from planner.profiler.job import Job
from planner.schema.codec import to_json
from planner.schema.common import OptimizerConfig, Policy
from planner.schema.model import Activation, BatchNorm2d, Conv2d, Flatten, Layer, Linear, Model, Unit
from planner.schema.runtime import Account, Finishing, StepTime, UnitFinishing
from planner.system.allocator import offered_policies
from planner.units import MIB
from tests.heads import conv_heads
from tests.unit.system.support import run_child, with_read_only_proc

HEADS = 2 * MIB
"""What the kernels of auxiliary heads are allowed."""


def _accounts(peak: int, baseline: int, live: int, growing: int, untouched: int = 0) -> Accounts:
    account = Account(8, peak, *[0] * 12)
    return Accounts(baseline, live, untouched, growing, (StepTime(8, 0.1),), 0.001, account, Finishing(0, 0, 0, 0))


@pytest.mark.parametrize(
    ("kind", "mixing"),
    [(None, 2), ("pooled-conv", 2), ("mlp", 6), ("lookahead", 6), ("reconstruct", 4)],
)
def test_heads_of_a_kind_that_is_asked_for_have_room_for_the_kernels_of_all_their_layers(
    kind: HeadKind | None, mixing: int
) -> None:
    """A MiB for every layer that mixes channels beyond two. Behind cnn6's first unit a lookahead head has three copies
    of a convolution each, thinner ones one more in front and one where a unit is left out, and a linear layer."""
    model, optimizer = from_zoo("cnn6", (3, 32, 32), 10), OptimizerConfig("sgd", 0.1)
    job = Job(model, optimizer, (1, 8), measured_heads(kind), "cpu", 1, "tight", 2**40)
    assert head_kernel_bytes(job) == HEADS + (mixing - 2) * MIB


def test_what_grows_is_a_share_of_what_is_live_and_the_rest_is_constant() -> None:
    found = _accounts(peak=1_000_000, baseline=300_000, live=600_000, growing=6_000)
    # 100,000 beyond what is live; 6,000 of 600,000 are 10 in a thousand.
    assert split_overhead(found) == (94_000 + HEADS, 10)
    # 6,001 are more than 10 in a thousand, so 11 are taken.
    assert split_overhead(_accounts(1_000_000, 300_000, 600_000, 6_001)) == (93_400 + HEADS, 11)


def test_a_share_found_elsewhere_can_be_applied() -> None:
    assert split_overhead(_accounts(1_000_000, 300_000, 600_000, 0), permille=50) == (70_000 + HEADS, 50)


@pytest.mark.parametrize(
    "beyond",
    [
        {8: 94_000, 2: 70_000, 1: 60_000},
        {8: 94_000, 2: 94_000, 1: 94_000},
        {8: 94_000, 2: 130_000, 1: 70_000},
        {8: 94_000, 2: 70_000, 1: 130_000},
    ],
)
def test_neither_small_nor_large_micro_batches_take_more_than_is_counted(
    monkeypatch: pytest.MonkeyPatch, beyond: dict[int, int]
) -> None:
    """Steps of few samples may well take more beside tensors than steps of 8: other kernels run."""

    def take(path: Path, policy: str, sizes: tuple[int, ...], *others: object) -> Accounts | None:
        return _accounts(900_000 + beyond[sizes[0]], 300_000, 600_000, 0) if policy == "tight" else None

    monkeypatch.setattr(calibrate_module, "_take_accounts", take)
    monkeypatch.setattr(calibrate_module, "_kept_by_kernels", lambda *others: ())
    found = calibrate_module.calibrate(_job((1, 2, 8, 32), False), Path("job"), Bounds.begin())
    assert (found.small_micro_batch, found.large_micro_batch) == (2, 8)
    assert found.growing_bytes >= 0
    assert found.overhead_bytes == max(beyond[1], beyond[2]) + HEADS
    assert found.overhead_bytes + found.growing_bytes == max(beyond.values()) + HEADS


def test_scratch_that_was_never_written_hides_nothing_else() -> None:
    # Of 600,000 allocated 150,000 never became resident: 50,000 beyond what is live were there all the same.
    found = _accounts(peak=800_000, baseline=300_000, live=600_000, growing=0, untouched=150_000)
    assert split_overhead(found) == (50_000 + HEADS, 0)


@pytest.mark.parametrize("keeping", ["fast", "huge"])
def test_what_a_policy_keeps_is_given_room_to_vary(keeping: Policy) -> None:
    accounts = _accounts(peak=1_000_000, baseline=300_000, live=600_000, growing=6_000)
    accounts = replace(accounts, start_peak_bytes=310_000)
    tight, found = policy_profile("tight", accounts), policy_profile(keeping, accounts)
    assert (tight.overhead_bytes, tight.overhead_permille, tight.start_peak_bytes) == (94_000 + HEADS, 10, 0)
    # Three tenths of what is live on top.
    assert (found.overhead_bytes, found.overhead_permille, found.start_peak_bytes) == (94_000 + HEADS, 310, 310_000)


def test_a_constant_part_is_never_negative() -> None:
    assert split_overhead(_accounts(900_000, 300_000, 600_000, 6_000)) == (HEADS, 10)


def _job(micro_batches: tuple[int, ...], norm: bool) -> Job:
    layers: tuple[Layer, ...] = (Conv2d("conv2d", 4, 3), Activation("relu"))
    if norm:
        layers = (*layers, BatchNorm2d("batchnorm2d"))
    top = Unit("top", (Flatten("flatten"), Linear("linear", 2)))
    model = Model("model/1", "tiny", (1, 3, 3), 2, (Unit("conv", layers), top))
    return Job(model, OptimizerConfig("sgd", 0.1), micro_batches, conv_heads(8), "cpu", 1, "tight", 2**30)


@pytest.mark.parametrize(
    ("sizes", "norm", "expected"),
    [
        ((1, 2, 8, 32, 128), False, (2, 8)),
        ((1, 2, 16, 64), True, (2, 16)),  # a 3×3 image leaves one value per channel: normalisation needs two images
        ((1, 16, 64), False, (1, 16)),
        ((1,), False, (1, 1)),
        ((1,), True, (2, 2)),
        ((32,), False, (32, 32)),
    ],
)
def test_whole_steps_are_tried_small_and_not_large(
    sizes: tuple[int, ...], norm: bool, expected: tuple[int, int]
) -> None:
    assert step_sizes(_job(sizes, norm)) == expected


@pytest.mark.parametrize(
    ("sizes", "norm", "expected"),
    [
        ((1, 2, 8, 32, 128), True, (2, 32, 128)),
        ((1, 2, 8, 32), True, (2, 32)),
        ((1, 3), False, (1, 3)),
        ((48,), False, (48,)),
        ((1,), True, (2,)),
    ],
)
def test_steps_are_timed_at_both_ends_and_in_the_middle(
    sizes: tuple[int, ...], norm: bool, expected: tuple[int, ...]
) -> None:
    assert timed_sizes(_job(sizes, norm)) == expected


CALIBRATE = """
    import json, sys, time
    from pathlib import Path
    from planner.schema.codec import encode, read_document
    from planner.profiler.bounded import Bounds
    from planner.profiler.calibrate import calibrate
    from planner.profiler.job import Job
    print(json.dumps(encode(calibrate(read_document(Path(sys.argv[1]), Job), Path(sys.argv[1]), Bounds.begin()))))
"""


def test_where_no_peak_can_be_read_single_units_stand_in_and_the_profile_says_why(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_text(to_json(_job((1, 8), norm=False)))
    found = run_child(CALIBRATE, str(path), wrapper=with_read_only_proc())
    assert found["policies"] == []
    assert found["overhead_bytes"] > HEADS
    why = "no whole step could be measured (at micro-batch 8 and 1: the kernel lets no process begin its peak anew here"
    policies = offered_policies()
    assert len(found["notes"]) == len(policies)
    for policy, note in zip(policies, found["notes"], strict=True):
        assert note.startswith(f"{policy}: {why}")
        assert note.endswith("plans do not choose it") is (policy != "tight")


def test_what_is_resident_behind_training_is_moved_to_the_runs_baseline_and_is_no_more_than_in_training() -> None:
    found = replace(
        _accounts(1_000_000, 300 * MIB, 600_000, 0),
        finishing=Finishing(310 * MIB, 310 * MIB, 0, 280 * MIB, uint8_bytes=3 * MIB, common_bytes=300 * MIB),
    )
    calibrated = Calibrated(20 * MIB, 0, 1, 8, 4 * MIB, 0.001, (), found)
    behind = calibrated.finishing(301 * MIB, 0)
    assert behind is not None
    # One MiB more of baseline, four less that come on top at large micro-batches.
    assert 307 * MIB <= behind.pass_bytes < behind.heads_bytes <= 321 * MIB
    assert 297 * MIB < behind.common_bytes < behind.pass_bytes
    assert 277 * MIB < behind.still_bytes <= 282 * MIB
    # What a run holds beyond its steps was there when this was measured, and plans count it on top.
    beside = calibrated.finishing(301 * MIB, 2 * MIB)
    assert beside is not None and beside.pass_bytes == behind.pass_bytes - 2 * MIB
    assert beside.uint8_bytes == behind.uint8_bytes == 3 * MIB
    # Of what single units' kernels keep, no more than a whole step's were seen to take is lacking before them, less a
    # tenth, and a third again for other micro-batches: 900 of 1000 are 1200.
    alone = replace(found.finishing, units=(UnitFinishing(1, 2),) * 3)
    seen = replace(found, finishing=alone, account=replace(found.account, code_bytes=2000))
    kept = Calibrated(20 * MIB, 0, 1, 8, 4 * MIB, 0.001, (), seen, kept_bytes=(1000, 0, 3000)).finishing(301 * MIB, 0)
    assert kept is not None and [unit.kernel_bytes for unit in kept.units] == [600, 0, 1800]
    assert kept.still_bytes == behind.still_bytes + 600
    most = Calibrated(MIB, 0, 1, 8, 0, 0.001, (), found).finishing(301 * MIB, 0)
    assert most is not None and most.pass_bytes == 302 * MIB
    assert Calibrated(20 * MIB, 0, 1, 8, 0, 0.001, (), None).finishing(301 * MIB, 0) is None
