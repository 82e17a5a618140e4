"""The limits' options, and the line that says what they left out."""

from __future__ import annotations

import argparse
from dataclasses import replace

import pytest

from planner.cli.profile import add_arguments, left_out_note
from planner.schema.profile import LeftOut, Limits
from planner.units import MIB
from tests.unit.solver.chains import zoo_profile


def _parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(["--model", "cnn6", *words])


def test_limits_are_bytes_and_seconds_and_have_defaults_elsewhere() -> None:
    given = _parse("--max-bytes", "300MiB", "--max-seconds", "60")
    assert (given.max_bytes, given.max_seconds) == (300 * MIB, 60)
    assert (_parse().max_bytes, _parse().max_seconds) == (None, None)


@pytest.mark.parametrize("words", [("--max-bytes", "0"), ("--max-seconds", "0"), ("--max-seconds", "1e3")])
def test_limits_that_are_none_are_refused(words: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        _parse(*words)
    assert caught.value.code == 2
    assert words[0][2:] in capsys.readouterr().err


def test_what_was_left_out_is_said_in_one_line() -> None:
    profile = zoo_profile("cnn6", (1, 2, 8, 32))
    left = (
        LeftOut("conv1_1", 128, "does not fit"),
        LeftOut("conv1_2", 128, "does not fit"),
        LeftOut("conv2_1", 128, "out of time"),
    )
    note = left_out_note(replace(profile, limits=Limits(300 * MIB, 60.0, left)))
    assert note == (
        "3 micro-batches were left out (2 do not fit in 300.0 MiB; 1 did not come to it within 1 min 00 s): "
        "every part was measured up to 32 samples of 128, larger ones are extrapolated"
    )


def test_nothing_is_said_where_nothing_was_left_out() -> None:
    profile = zoo_profile("cnn6", (1, 2))
    assert left_out_note(profile) is None
    assert left_out_note(replace(profile, limits=Limits(300 * MIB, 60.0))) is None
