"""What is measured next, judged with a stand-in for the measuring child whose memory and time are formulas."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from planner.errors import InfeasibleError, InputError, ModelError, RunError
from planner.profiler.bounded import Bounds, EndedError, OutOfTimeError
from planner.profiler.components import components_of
from planner.profiler.job import ComponentFailed, DoesNotFit, Facts, Job, Measured, Measurement
from planner.profiler.schedule import ComponentMeasurements, MeasurementRun, starting
from planner.schema.common import OptimizerConfig
from planner.schema.model import Activation, Conv2d, Flatten, Linear, Model, Unit
from planner.schema.profile import Costs, Layers, LeftOut, Trace, Traces
from planner.units import MIB
from tests.heads import conv_heads

MODEL = Model(
    schema="model/1",
    name="three",
    input=(1, 8, 8),
    classes=10,
    units=(
        Unit("first", (Conv2d("conv2d", 2, 3, padding=1), Activation("relu"))),
        Unit("second", (Conv2d("conv2d", 2, 3, padding=1), Activation("relu"))),
        Unit("last", (Flatten("flatten"), Linear("linear", 10))),
    ),
)
SIZES = (1, 4, 16, 64, 256)
JOB = Job(MODEL, OptimizerConfig("sgd", 0.1), SIZES, conv_heads(16), "cpu", 1, "tight", 2**40)
COMPONENTS = components_of(JOB)
SECOND = next(index for index, component in enumerate(COMPONENTS) if component.name == "second")
WANTED = [(index, size) for index, component in enumerate(COMPONENTS) for size in component.micro_batches]

Behaviour = Callable[[Measurement], Measured | DoesNotFit | ComponentFailed]


def measured(measurement: Measurement, sample_bytes: int = 1000) -> Measured:
    """Every level grows by `sample_bytes` a sample."""
    level = sample_bytes * measurement.micro_batch
    trace = Trace(level, level, level, level, level, level)
    traces = Traces(trace, trace, trace, trace, trace, trace)
    facts = Facts(0, 0, 0, 0, 0.0, 0) if measurement.with_facts else None
    layers = Layers(measurement.micro_batch, (), 0) if measurement.with_layers else None
    return Measured(
        "measured", Costs(measurement.micro_batch, traces, level, 0, level, 0.0, 0.0, 0.0, 0.0), facts, layers
    )


class Stage:
    """Children that behave as told, and what they were asked."""

    def __init__(self, behave: Behaviour) -> None:
        self.behave = behave
        self.asked: list[tuple[int, int]] = []
        self.looked_at: list[tuple[int, int]] = []
        """Components and micro-batches whose layers were asked for."""
        self.started = 0
        self.closed = 0

    def start(self) -> Child:
        self.started += 1
        return Child(self)

    def measure(self, max_bytes: int = 2**40, seconds: float = 1000.0) -> ComponentMeasurements:
        bounds = Bounds(max_bytes, seconds, time.monotonic() + seconds)
        return MeasurementRun(JOB, bounds, self.start, lambda done, total, name: None).run()


class Child:
    resident_bytes = 100 * MIB

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def send(self, measurement: Measurement) -> None:
        self._task = measurement
        self._stage.asked.append((measurement.component, measurement.micro_batch))
        if measurement.with_layers:
            self._stage.looked_at.append((measurement.component, measurement.micro_batch))

    def answer(self) -> Measured | DoesNotFit | ComponentFailed:
        return self._stage.behave(self._task)

    def close(self) -> None:
        self._stage.closed += 1


def sizes(found: ComponentMeasurements, unit: int) -> list[int]:
    return [cost.micro_batch for cost in found.units[unit].costs]


def killed(measurement: Measurement) -> Measured:
    raise EndedError(-signal.SIGKILL, "")


def test_everything_that_fits_is_measured_once_and_in_the_order_of_size() -> None:
    stage = Stage(measured)
    found = stage.measure()
    assert sorted(stage.asked) == sorted(WANTED)
    asked_sizes = [size for _, size in stage.asked]
    assert asked_sizes == sorted(asked_sizes)
    assert found.left_out == ()
    assert [head.kind for head in found.heads] == ["auxiliary", "auxiliary", "classifier"]
    assert (stage.started, stage.closed) == (1, 1)


def test_where_a_micro_batch_does_not_fit_halves_of_it_are_tried_and_larger_ones_are_not() -> None:
    def behave(measurement: Measurement) -> Measured | DoesNotFit:
        return (
            DoesNotFit("does not fit")
            if measurement.component == SECOND and measurement.micro_batch > 20
            else measured(measurement)
        )

    stage = Stage(behave)
    found = stage.measure()
    # 64 and 32 do not fit, 16 has been measured, and 256 is not tried.
    assert sizes(found, 1) == [1, 4, 16]
    assert sizes(found, 0) == sizes(found, 2) == list(SIZES)
    assert [size for component, size in stage.asked if component == SECOND] == [1, 4, 16, 64, 32]
    assert found.left_out == (LeftOut("second", 64, "does not fit"), LeftOut("second", 256, "does not fit"))
    assert stage.started == 1


def test_a_half_that_fits_takes_the_place_of_what_does_not() -> None:
    def behave(measurement: Measurement) -> Measured | DoesNotFit:
        return (
            DoesNotFit("does not fit")
            if measurement.component == SECOND and measurement.micro_batch > 200
            else measured(measurement)
        )

    found = Stage(behave).measure()
    assert sizes(found, 1) == [1, 4, 16, 64, 128]
    assert found.left_out == (LeftOut("second", 256, "does not fit"),)


def test_layers_are_looked_at_once_early_and_at_the_largest_micro_batch_that_fits() -> None:
    def behave(measurement: Measurement) -> Measured | DoesNotFit:
        return (
            DoesNotFit("does not fit")
            if measurement.component == SECOND and measurement.micro_batch > 200
            else measured(measurement)
        )

    stage = Stage(behave)
    found = stage.measure()
    assert [unit.layers and unit.layers.micro_batch for unit in found.units] == [256, 128, 256]
    # The middle unit's half took the place of what did not fit; heads have no layers of interest.
    assert [size for component, size in stage.looked_at if component == SECOND] == [4, 256, 128]
    assert {component for component, _ in stage.looked_at} == {
        i for i, component in enumerate(COMPONENTS) if not component.is_head
    }


def test_layers_stay_known_where_nothing_larger_is_measured() -> None:
    stage = Stage(
        lambda measurement: DoesNotFit("does not fit") if measurement.micro_batch > 4 else measured(measurement)
    )
    assert {unit.layers and unit.layers.micro_batch for unit in stage.measure().units} == {4}


def test_what_is_foreseen_not_to_fit_is_not_tried() -> None:
    sample = MIB

    def behave(measurement: Measurement) -> Measured:
        return measured(measurement, sample if measurement.component == SECOND else 1)

    stage = Stage(behave)
    found = stage.measure(Child.resident_bytes + 40 * sample)
    # Growth from 16 samples says that 64 take at least 64 MiB, and 32 fit.
    assert sizes(found, 1) == [1, 4, 16, 32]
    assert (SECOND, 64) not in stage.asked
    assert found.left_out == (LeftOut("second", 64, "does not fit"), LeftOut("second", 256, "does not fit"))


def test_a_killed_child_is_an_answer_and_another_one_takes_over() -> None:
    def behave(measurement: Measurement) -> Measured:
        return (
            killed(measurement)
            if measurement.component == SECOND and measurement.micro_batch > 100
            else measured(measurement)
        )

    stage = Stage(behave)
    found = stage.measure()
    assert sizes(found, 1) == [1, 4, 16, 64]
    assert sizes(found, 0) == sizes(found, 2) == list(SIZES)
    assert found.left_out == (LeftOut("second", 256, "does not fit"),)
    # Killed at 256 and at 128; every child is closed.
    assert stage.started == stage.closed == 3


def test_a_child_killed_over_the_smallest_is_given_a_second_chance() -> None:
    deaths: list[Measurement] = []

    def behave(measurement: Measurement) -> Measured:
        if measurement.component == SECOND and not deaths:
            deaths.append(measurement)
            killed(measurement)
        return measured(measurement)

    found = Stage(behave).measure()
    assert found.left_out == ()
    assert sizes(found, 1) == list(SIZES)


def test_a_unit_that_does_not_fit_at_all_is_named_with_the_limit_and_its_need() -> None:
    stage = Stage(lambda measurement: killed(measurement) if measurement.component == SECOND else measured(measurement))
    with pytest.raises(
        InfeasibleError, match=r"unit 1: second: does not fit in 200\.0 MiB .* micro-batch, 1"
    ) as caught:
        stage.measure(200 * MIB)
    assert caught.value.exit_code == 3
    assert caught.value.minimum_bytes >= 200 * MIB
    assert stage.started == stage.closed == 2


def test_a_unit_whose_weights_alone_do_not_fit_is_not_tried() -> None:
    wide = Model("model/1", "wide", (65536, 1, 1), 4096, (Unit("wide", (Flatten("flatten"), Linear("linear", 4096))),))
    job = Job(wide, JOB.optimizer, (1,), conv_heads(16), "cpu", 1, "tight", 2**40)
    stage = Stage(measured)
    bounds = Bounds(2**30, 100.0, time.monotonic() + 100)
    with pytest.raises(InfeasibleError, match="unit 0: wide") as caught:
        MeasurementRun(job, bounds, stage.start, lambda done, total, name: None).run()
    weights = 4 * (65536 * 4096 + 4096)
    images = 4 * (65536 + 4096)
    # Weights and gradients; this optimizer keeps no state.
    assert caught.value.minimum_bytes == Child.resident_bytes + 2 * weights + images
    assert stage.asked == []


def test_a_child_that_takes_all_there_is_before_it_begins_is_an_error() -> None:
    with pytest.raises(InfeasibleError, match=r"too little to measure in .* takes 100\.0 MiB before any layer"):
        Stage(measured).measure(Child.resident_bytes)


def test_a_unit_that_fails_is_named() -> None:
    stage = Stage(
        lambda measurement: (
            ComponentFailed("failed", "no such kernel") if measurement.component == SECOND else measured(measurement)
        )
    )
    with pytest.raises(ModelError, match="unit 1: second: fails while measured: no such kernel") as caught:
        stage.measure()
    assert caught.value.unit == 1
    assert stage.closed == 1


def test_a_child_that_ends_by_itself_is_an_error_with_its_last_words() -> None:
    def behave(measurement: Measurement) -> Measured:
        raise EndedError(1, "ImportError: no module")

    with pytest.raises(RunError, match="ImportError: no module"):
        Stage(behave).measure()


def test_a_fault_in_a_library_counts_as_too_large_and_is_told_as_what_it_is() -> None:
    def behave(measurement: Measurement) -> Measured:
        if measurement.micro_batch > 1 and measurement.component == SECOND:
            raise EndedError(-signal.SIGSEGV, "it said nothing")
        return measured(measurement)

    found = Stage(behave).measure()
    assert sizes(found, 1) == [1]
    assert found.notes and all("ended (SIGSEGV) by a fault in a library" in text for text in found.notes)
    assert found.notes[0].startswith("second at micro-batch ")
    assert (
        Stage(lambda measurement: killed(measurement) if measurement.micro_batch > 1 else measured(measurement))
        .measure()
        .notes
        == ()
    )


def test_where_the_smallest_does_not_fit_it_is_said_how_that_showed() -> None:
    with pytest.raises(InfeasibleError, match=r"does not fit in .*; the measuring process was killed \(SIGKILL\) most"):
        Stage(killed).measure()


def test_a_processor_that_lacks_instructions_is_no_lack_of_memory() -> None:
    def behave(measurement: Measurement) -> Measured:
        raise EndedError(-signal.SIGILL, "it said nothing")

    with pytest.raises(RunError, match=r"ended \(SIGILL\) for an instruction that this processor lacks"):
        Stage(behave).measure()


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGKILL, InfeasibleError), (signal.SIGILL, RunError), (signal.SIGBUS, RunError)]
)
def test_a_child_ended_before_it_has_measured_is_told_by_its_signal(
    number: signal.Signals, kind: type[Exception]
) -> None:
    with pytest.raises(kind, match=number.name), starting(Bounds.begin()):
        raise EndedError(-number, "it said nothing")


def test_children_are_not_started_without_end() -> None:
    stage = Stage(lambda measurement: killed(measurement) if measurement.micro_batch > 1 else measured(measurement))
    found = stage.measure()
    assert stage.started == 8
    assert all(len(unit.costs) == 1 for unit in found.units)
    assert len(found.left_out) == sum(size > 1 for _, size in WANTED)


class Clock:
    """Time that passes only while a child measures."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr("planner.profiler.schedule.time", found_module(found))
    monkeypatch.setattr("planner.profiler.bounded.time", found_module(found))
    return found


def found_module(clock: Clock) -> object:
    return type("FakeTime", (), {"monotonic": staticmethod(clock)})


def test_when_time_runs_out_the_largest_micro_batches_are_left_out(clock: Clock) -> None:
    def behave(measurement: Measurement) -> Measured:
        clock.now += measurement.micro_batch
        return measured(measurement)

    stage = Stage(behave)
    # All components at 1, 4 and 16 take less than this, and no one can take 64 afterwards.
    limit = sum(size for _, size in WANTED if size <= 16) + 50.0
    found = MeasurementRun(JOB, Bounds(2**40, limit, limit), stage.start, lambda done, total, name: None).run()
    assert max(size for _, size in stage.asked) == 16
    assert {left.micro_batch for left in found.left_out} == {64, 256}
    assert {left.reason for left in found.left_out} == {"out of time"}
    assert clock.now <= limit


def test_a_child_over_the_deadline_leaves_out_what_it_was_at(clock: Clock) -> None:
    def behave(measurement: Measurement) -> Measured:
        if measurement.micro_batch == 16:
            raise OutOfTimeError
        return measured(measurement)

    found = Stage(behave).measure()
    assert {left.reason for left in found.left_out} == {"out of time"}
    assert sizes(found, 0) == [1, 4]


def test_time_that_ends_before_every_piece_was_measured_once_is_an_error_that_names_more() -> None:
    def behave(measurement: Measurement) -> Measured:
        if measurement.component > 0:
            raise OutOfTimeError
        return measured(measurement)

    stage = Stage(behave)
    with pytest.raises(
        InputError, match=r"within 50\.0 s \(--max-seconds\): 1 of 6 parts .* allow (\d+) s or more"
    ) as e:
        stage.measure(seconds=50.0)
    assert e.value.exit_code == 2
    assert int(str(e.value).rpartition("allow ")[2].split()[0]) >= 100
    assert stage.closed == 1
