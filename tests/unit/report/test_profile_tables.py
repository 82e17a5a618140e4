from __future__ import annotations

import re
from dataclasses import fields, replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from planner.report.profile_tables import profile_table
from planner.schema.common import Machine
from planner.schema.disturbance import Disturbance, Samples
from planner.schema.profile import ComponentProfile, Costs, LayerProfile, Layers, LeftOut, Limits, Profile, Traces
from planner.schema.runtime import Account, PolicyProfile, StepTime
from tests.unit.report.cells import cells, flat
from tests.unit.report.test_tables import NASTY
from tests.unit.solver.two_units import HEAD, tiny_profile, trace

KIB = 2**10
MIB = 2**20

HEADS = ("parameters", "gradients", "optimizer", "buffers", "saved", "output", "forward", "backward", "scratch")
NAMES = (*HEADS, "flops", "forward_ms", "backward_ms", "step_ms")
"""Figures of a row, from left to right."""


def layer(name: str, mib: tuple[float, ...], flops: int, milliseconds: tuple[float, float, float]) -> LayerProfile:
    """Parameters, buffers, optimizer state, saved, output, transients forward and backward, and scratch in MiB."""
    parameters, buffers, optimizer, saved, output, forward, backward, scratch = (round(size * MIB) for size in mib)
    sizes = (parameters, buffers, optimizer, saved, output, forward, backward, scratch)
    there, back, step = (time / 1e3 for time in milliseconds)
    return LayerProfile(name, *sizes, flops, there, back, step)


CONV = layer("conv2d", (1.5, 0, 3, 8, 16, 20, 40, 2.25), 7_500_000, (4, 9, 0.5))
NORM = layer("batchnorm2d", (0.5, 0.25, 1, 16, 0, 1, 33, 0), 0, (2, 3, 0.25))


def costs(micro_batch: int, scale: int) -> Costs:
    """First and inner cases apart; `scale` MiB a sample, forward 1 ms a sample, backward 2, as first of a segment 1.5.

    An inner case saves scale, keeps twice that, reaches 3 in forward and 7 in backward; a first case 10 times that.
    """
    unit = micro_batch * scale * MIB
    inner = replace(trace(3 * unit, 2 * unit, 7 * unit), saved_bytes=unit)
    first = replace(trace(30 * unit, 20 * unit, 70 * unit), saved_bytes=10 * unit)
    other = trace(2**40, 2**40, 2**40)
    times = (micro_batch * 1e-3, micro_batch * 2e-3, micro_batch * 1.5e-3, 99.0)
    return Costs(micro_batch, Traces(inner, other, first, other, other, other), 0, 0, 0, *times)


def unit(scale: int, sizes: tuple[int, ...] = (2, 4), layers: Layers | None = None) -> ComponentProfile:
    """2 `scale` MiB of parameters, 4 of state, a quarter of buffers, 1 a sample of output."""
    return ComponentProfile(
        parameters=scale * MIB // 2,
        parameter_bytes=scale * 2 * MIB,
        buffer_bytes=scale * MIB // 4,
        optimizer_bytes=scale * 4 * MIB,
        step_transient_bytes=0,
        step_seconds=scale * 0.75e-3,
        flops=scale * 7_500_000,
        output_bytes=scale * MIB,
        minimum_micro_batch=1,
        costs=tuple(costs(size, scale) for size in sizes),
        layers=layers,
    )


def profile_of(*units: ComponentProfile) -> Profile:
    return tiny_profile(units)


LAYERED = profile_of(unit(1, layers=Layers(4, (CONV, NORM), 0)), unit(2))


def account(peak: int, **others: int) -> Account:
    """Parts of 1, 2, 3 … MiB in the order of the fields, the rest what is missing to `peak` MiB."""
    parts = [field.name for field in fields(Account) if field.name not in ("micro_batch", "peak_bytes", "rest_bytes")]
    sizes = {name: others.get(name, size * MIB) for size, name in enumerate(parts, start=1)}
    return Account(8, peak * MIB, **sizes, rest_bytes=peak * MIB - sum(sizes.values()))


POLICIES = (
    PolicyProfile("tight", 40 * MIB, MIB, 20, (StepTime(2, 0.100), StepTime(8, 0.250)), account(80)),
    PolicyProfile("fast", 41 * MIB, MIB, 90, (StepTime(8, 0.125),), account(100, retention_bytes=40 * MIB)),
)


def row(table: str, first: str, occurrence: int = 0) -> dict[str, str]:
    """A row's figures by name."""
    return dict(zip(NAMES, cells(table, first, occurrence)[-len(NAMES) :], strict=True))


def said(table: str, name: str) -> str:
    """A wrapped field's value."""
    return re.split(r"\n\n|\n(?=\S)", f"\n{table}".split(f"\n{name} ", 1)[1], maxsplit=1)[0].replace("\n", " ")


def test_a_unit_is_shown_with_all_its_figures() -> None:
    """Unit 1 at micro-batch 4 and 2 MiB a sample: 8 saved, 24 above its start in forward, 56 - 16 in backward."""
    table = profile_table(LAYERED)
    assert "at micro-batch 4\n" in table
    assert cells(table, "1")[:2] == ["1", "unit1"]
    sizes = ("4.000", "4.000", "8.000", "0.500", "8.000", "8.000", "24.00", "40.00", "–")
    assert tuple(row(table, "1").values()) == (*sizes, "15.000", "4.000", "8.000", "1.500")


def test_the_first_units_input_is_data_which_needs_no_gradient() -> None:
    """Its first cases apply: 10 × 4 saved, 120 in forward, 280 - 80 in backward, 6 ms back."""
    found = row(profile_table(LAYERED), "0")
    assert [found[name] for name in ("saved", "forward", "backward", "backward_ms")] == [
        "40.000",
        "120.00",
        "200.00",
        "6.000",
    ]
    assert found["scratch"] == "2.250"  # the most of its layers


def test_layers_stand_below_their_unit() -> None:
    table = profile_table(LAYERED)
    lines = [line.split()[0] for line in table.splitlines() if line.split()]
    at = lines.index("0")
    assert lines[at : at + 4] == ["0", "conv2d", "batchnorm2d", "1"]
    assert "\n        conv2d " in table
    sizes = ("1.500", "1.500", "3.000", "0", "8.000", "16.000", "20.00", "40.00", "2.250")
    assert tuple(row(table, "conv2d").values()) == (*sizes, "7.500", "4.000", "9.000", "0.500")
    sizes = ("0.500", "0.500", "1.000", "0.250", "16.000", "0", "1.00", "33.00", "0")
    assert tuple(row(table, "batchnorm2d").values()) == (*sizes, "0", "2.000", "3.000", "0.250")


def test_totals_count_units_once_and_only_what_adds_up() -> None:
    """Scales 1 and 2: three times what one sample of scale 1 costs, and what the first unit saves as first."""
    found = row(profile_table(LAYERED), "total")
    assert found == {
        "parameters": "6.000",
        "gradients": "6.000",
        "optimizer": "12.000",
        "buffers": "0.750",
        "saved": "48.000",
        "output": "–",
        "forward": "–",
        "backward": "–",
        "scratch": "–",
        "flops": "22.500",
        "forward_ms": "8.000",
        "backward_ms": "14.000",
        "step_ms": "2.250",
    }


def test_nothing_is_a_zero_and_little_is_not() -> None:
    small = replace(unit(1), parameter_bytes=1000, buffer_bytes=0, step_seconds=4e-7)
    found = row(profile_table(profile_of(small, small)), "1")
    assert (found["parameters"], found["buffers"], found["step_ms"]) == ("<0.001", "0", "<0.001")


def test_rows_are_at_the_micro_batch_of_the_layers() -> None:
    table = profile_table(profile_of(unit(1, layers=Layers(2, (CONV,), 0)), unit(2)))
    assert "at micro-batch 2\n" in table
    assert row(table, "1")["forward_ms"] == "2.000"
    assert "another micro-batch" not in table


def test_layers_at_a_micro_batch_of_their_own_are_marked() -> None:
    two = profile_of(unit(1, layers=Layers(2, (CONV,), 0)), unit(2, layers=Layers(4, (CONV,), 0)))
    table = profile_table(two)
    assert "at micro-batch 4\n" in table
    assert "Those of units 0 (at 2) were measured at another micro-batch." in flat(table)
    assert "Layers" not in profile_table(tiny_profile())


@pytest.mark.parametrize(
    ("sizes", "shared"),
    [(((1, 2, 8), (1, 2, 4)), 2), (((4,), (4, 8)), 4), (((1, 8), (2, 4)), 4)],
    ids=["largest common", "one common", "none common"],
)
def test_units_are_compared_at_the_largest_micro_batch_they_share(
    sizes: tuple[tuple[int, ...], ...], shared: int
) -> None:
    assert profile_of(*(unit(1, found) for found in sizes)).shared_micro_batch == shared


def test_units_that_share_no_micro_batch_name_theirs() -> None:
    assert "at micro-batch 4 or 8\n" in profile_table(profile_of(unit(1, (1, 8)), unit(1, (2, 4))))


def audited(component: ComponentProfile, *residuals: int | None) -> ComponentProfile:
    pairs = zip(component.costs, residuals, strict=True)
    return replace(component, costs=tuple(replace(found, unexplained_bytes=rest) for found, rest in pairs))


def test_an_audit_that_agrees_says_for_what() -> None:
    found = said(profile_table(profile_of(audited(unit(1), 0, 0), audited(unit(2), 0, 0))), "audit")
    assert flat(found).endswith("agree to the byte in all 2 units (2 micro-batches)")
    heads = tiny_profile().heads
    profile = replace(LAYERED, units=(audited(unit(1), None, 0), unit(2)))
    profile = replace(profile, heads=(replace(heads[0], cost=audited(HEAD, None, 0)), heads[1]))
    found = said(profile_table(profile), "audit")
    assert flat(found).endswith("agree to the byte in 1 unit of 2 and 1 head (2 micro-batches)")


def test_an_audit_that_disagrees_says_where_and_by_how_much() -> None:
    heads = tiny_profile().heads
    profile = profile_of(audited(unit(1), 0, 4 * KIB), audited(unit(2), -16, 0))
    profile = replace(profile, heads=(replace(heads[0], cost=audited(HEAD, 0, 512)), heads[1]))
    found = flat(said(profile_table(profile), "audit"))
    assert "agree" not in found
    assert "unit 0 (unit0) +4.0 KiB at micro-batch 4; unit 1 (unit1) −16 B at micro-batch 2" in found
    assert found.endswith("head behind unit 0 (8 filters) +512 B at micro-batch 2")


def test_a_long_list_of_residuals_is_cut() -> None:
    sizes = tuple(range(1, 11))
    found = flat(said(profile_table(profile_of(audited(unit(1, sizes), *[8] * 10))), "audit"))
    assert found.count("+8 B") == 6
    assert found.endswith("and 4 more")


def test_no_audit_is_not_agreement() -> None:
    found = said(profile_table(tiny_profile()), "audit")
    assert "none" in found
    assert "agree" not in found


def test_what_lies_in_no_layer_is_named() -> None:
    table = profile_table(profile_of(unit(1, layers=Layers(4, (CONV,), 3 * KIB)), unit(2, layers=Layers(4, (), 0))))
    assert flat(said(table, "in no layer")) == "held at one time, at most: unit 0 (unit0) 3.0 KiB"
    assert "nothing" in said(profile_table(LAYERED), "in no layer")
    assert "in no layer" not in profile_table(tiny_profile())


def test_uncounted_operators_are_named() -> None:
    table = profile_table(replace(LAYERED, uncounted_operators=("aten::x", "aten::y")))
    assert cells(table, "not counted") == ["not counted", "aten::x, aten::y (missing in multiply-adds)"]
    assert "not counted" not in profile_table(LAYERED)


def test_multiply_adds_that_nobody_counted_are_no_zeros() -> None:
    units = tuple(
        replace(
            unit,
            flops=None,
            layers=unit.layers
            and replace(unit.layers, rows=tuple(replace(row, flops=None) for row in unit.layers.rows)),
        )
        for unit in LAYERED.units
    )
    table = profile_table(replace(LAYERED, units=units))
    said = "multiply-adds: fvcore, which counted them then, was not installed"
    assert cells(table, "not counted") == ["not counted", said]
    column = NAMES.index("flops") - len(NAMES)
    assert {cells(table, name)[column] for name in ("conv2d", "total")} == {"–"}


def test_an_account_names_every_part_and_adds_up_to_the_peak() -> None:
    """The parts of `tight` are 1 … 11 MiB, 66 together, so 14 of 80 are unexplained; `fast` retains 40."""
    table = profile_table(replace(LAYERED, policies=POLICIES))
    assert "Why is this process at 80.0 MiB (tight) or 100.0 MiB (fast)?" in table
    assert "at micro-batch 8:" in flat(table)
    block = table[table.index("Why is") :]
    names = [field.name.removesuffix("_bytes") for field in fields(Account) if field.name.endswith("_bytes")]
    parts = {name: cells(block, name)[1:5] for name in names}
    assert parts.pop("peak") == ["80.0", "100.0%", "100.0", "100.0%"]
    assert parts["rest"] == ["14.0", "17.5%", "5.0", "5.0%"]
    assert parts["interpreter"] == ["1.0", "1.2%", "1.0", "1.0%"]
    assert parts["retention"] == ["11.0", "13.8%", "40.0", "40.0%"]
    assert sum(float(cell[0]) for cell in parts.values()) == 80
    assert sum(float(cell[2]) for cell in parts.values()) == 100
    assert cells(block, "at rest")[1:3] == ["40.0", "41.0"]
    assert cells(block, "step of 8")[1:3] == ["250.0 ms", "125.0 ms"]
    assert cells(block, "step of 2")[1:3] == ["100.0 ms", "–"]


def test_parts_that_explain_too_much_leave_a_negative_rest() -> None:
    table = profile_table(replace(LAYERED, policies=(replace(POLICIES[0], account=account(64)),)))
    assert cells(table, "rest")[1:3] == ["-2.0", "-3.1%"]


def test_without_an_account_nothing_is_asked() -> None:
    assert "Why is" not in profile_table(LAYERED)


def test_what_was_left_out_is_one_line() -> None:
    left = (
        LeftOut("conv2", 64, "does not fit"),
        LeftOut("conv1", 32, "does not fit"),
        LeftOut("conv1", 64, "out of time"),
    )
    table = profile_table(replace(LAYERED, limits=Limits(2**31, 90.0, left)))
    assert flat(said(table, "limits")) == (
        "2.00 GiB a process, 1 min 30 s in all; left out: 2 × does not fit, 1 × out of time, in 2 components, "
        "from micro-batch 32 (conv1) on; larger ones are extrapolated"
    )
    table = profile_table(replace(LAYERED, limits=Limits(2**31, 90.0)))
    assert "nothing was left out" in said(table, "limits")
    assert "limits" not in profile_table(LAYERED)


def test_what_could_not_be_measured_is_said() -> None:
    why = "fast: no whole step could be measured (at micro-batch 2: no kernel for this); plans do not choose it"
    table = profile_table(replace(LAYERED, notes=(why,)))
    assert flat(said(table, "note")) == why
    assert "\nnote" not in profile_table(LAYERED)


MACHINE = Machine(
    "Board 5", "aarch64", "Cortex-A76", 4, (), 2**33, 2**32, 2**31, 0, "glibc", "6.1", "3.12.1", None, False
)


def test_the_machine_and_its_speed_are_shown_where_they_are_known() -> None:
    table = profile_table(replace(LAYERED, machine=MACHINE, calibration_seconds=0.0123))
    assert flat(said(table, "machine")) == (
        "Board 5: Cortex-A76 (aarch64), 4 cores, 8.00 GiB of memory, limited to 2.00 GiB"
    )
    assert said(table, "calibration").strip().startswith("12.3 ms")
    unlimited = profile_table(replace(LAYERED, machine=replace(MACHINE, limit_bytes=None)))
    assert "limited" not in said(unlimited, "machine")
    assert "machine" not in profile_table(LAYERED)
    assert "calibration" not in profile_table(LAYERED)


def test_the_process_and_the_storage_are_shown() -> None:
    profile = tiny_profile()
    storage = replace(profile.storage, write_bytes_per_second=30 * 2**20, read_bytes_per_second=2**31)
    runtime = replace(profile.runtime, baseline_bytes=170 * 2**20, start_peak_bytes=180 * 2**20, overhead_permille=12)
    table = profile_table(replace(profile, storage=storage, runtime=runtime))
    assert cells(table, "child") == ["child", "170.0 MiB at rest, 180.0 MiB to start"]
    assert cells(table, "supervisor") == ["supervisor", "200 B"]
    assert cells(table, "overhead") == ["overhead", "5 B + 1.2% of a step's peak"]
    assert cells(table, "allocator") == ["allocator", "tight"]
    assert cells(table, "storage") == ["storage", "writes 30.0 MiB/s, reads 2.00 GiB/s"]
    kept = replace(profile, storage=replace(storage, file_system="tmpfs"))
    assert cells(profile_table(kept), "storage") == ["storage", "writes 30.0 MiB/s, reads 2.00 GiB/s (tmpfs)"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("residual.body.conv2d", "residual.body.conv2d"),
        ("residual.shortcut.batchnorm2d", "…shortcut.batchnorm2d"),
        ("residual.body.residual.body.relu", "…residual.body.relu"),
        ("x" * 30, "x" * 20 + "…"),
    ],
)
def test_the_end_of_a_long_way_to_a_layer_is_kept(name: str, shown: str) -> None:
    table = profile_table(profile_of(unit(1, layers=Layers(4, (replace(CONV, name=name),), 0))))
    assert cells(table, shown)[0] == shown


def hostile(name: str, size: int, seconds: float) -> Profile:
    """A profile that says `name` wherever it may, and `size` and `seconds` in its layers."""
    odd = LayerProfile(name, size, size, size, size, size, size, size, size, size, seconds, seconds, seconds)
    units = (audited(unit(1, layers=Layers(2, (odd,), size)), 1, -size), unit(2))
    profile = replace(profile_of(*units), uncounted_operators=(name, name), policies=POLICIES)
    model = profile.model
    named = tuple(replace(found, name=f"{name[:190]}{index}") for index, found in enumerate(model.units))
    return replace(
        profile,
        model=replace(model, name=name, units=named),
        device=replace(profile.device, name=name, fingerprint=name),
        machine=replace(MACHINE, name=name, cpu_model=name, architecture=name),
        limits=Limits(size, seconds, (LeftOut(name, 1, "does not fit"),)),
        notes=(name,),
    )


def test_no_name_commands_the_terminal() -> None:
    table = profile_table(hostile(NASTY, 2**40, 1e6))
    assert all(line.isprintable() for line in table.split("\n"))
    assert "\ufffd[2J" in table


@settings(max_examples=40)
@example("W" * 200, 2**33, 30.0)
@given(st.text(min_size=1, max_size=200), st.integers(0, 2**33), st.floats(0, 30.0))
def test_no_line_is_wider_than_150(name: str, size: int, seconds: float) -> None:
    assert max(map(len, profile_table(hostile(name, size, seconds)).split("\n"))) <= 150


def test_what_else_the_device_did_is_told() -> None:
    quiet = Disturbance(Samples(200, 3, 0), 12, 0, 5)
    table = profile_table(replace(LAYERED, disturbance=quiet))
    told = "processes waited for a processor 1% of the time; of 200 timings 0 were disturbed (3 taken again)"
    assert flat(said(table, "meanwhile")) == told
    busy = Disturbance(Samples(200, 300, 50), None, 45, 5)
    table = profile_table(replace(LAYERED, disturbance=busy))
    assert flat(said(table, "meanwhile")) == (
        "4.5% of the processors' time was stolen by the machine below; of 200 timings 50 were disturbed (300 taken "
        "again); times are those without waiting, and may be off: profile again when the device is quiet"
    )
    assert "meanwhile" not in profile_table(LAYERED)
