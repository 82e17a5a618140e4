"""Bytes and seconds as people write and read them, against exact fractions."""

from __future__ import annotations

import re
from contextlib import suppress
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import InputError
from planner.units import GIB, KIB, MIB, TIB, counted_cuts, exact, format_bytes, format_seconds, parse_bytes

POWERS = {"": 1, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40, "k": 10**3, "m": 10**6, "g": 10**9}
POWERS |= {"t": 10**12, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}

any_case = st.sampled_from(sorted(POWERS)).flatmap(
    lambda unit: st.tuples(*(st.sampled_from((letter, letter.upper())) for letter in unit)).map("".join)
)


def test_the_named_sizes_are_powers_of_1024() -> None:
    assert (KIB, MIB, GIB, TIB) == (1024, 1024**2, 1024**3, 1024**4)


@given(st.from_regex(r"[0-9]{1,18}(\.[0-9]{1,9})?", fullmatch=True), any_case, st.sampled_from(("", " ", "\t ")))
def test_a_size_is_read_exactly_and_rounded_down(number: str, unit: str, space: str) -> None:
    exact = Fraction(number) * POWERS[unit.lower()]
    text = f" {number}{space}{unit}\n"
    if 1 <= exact < 2**63:
        assert parse_bytes(text) == exact.numerator // exact.denominator
    else:
        with pytest.raises(InputError, match=r"is not above zero|is beyond 2\^63 bytes"):
            parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("300MiB", 314_572_800),
        ("300 Mib ", 314_572_800),
        ("1.5GiB", 1_610_612_736),
        ("0.1KiB", 102),
        ("250M", 250_000_000),
        ("1", 1),
        ("1.9B", 1),
        ("8388607.999999999TiB", 2**63 - 1100),
        ("007", 7),
    ],
)
def test_sizes_people_write(text: str, count: int) -> None:
    assert parse_bytes(text) == count


BAD = [
    "", " ", "MiB", "nan", "inf", "0", "0.0GiB", "0.5", "0.9B", "-1", "+1", "1e400", "1e6", "1,5GiB", "1_000", "0x10",
    "300MiBB", "300PiB", "300ki", "300 M iB", "300MiB 1", "1.GiB", ".5GiB", "1.0000000001GiB", "1\x00", "1MiB\u200b",
    "٣MiB", "3٣MiB", "\uff11MiB", "300\u017f", "8388608TiB", "999999999999999999TiB", "9223372036854775807",
]  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_size_is_refused_by_name_and_value(text: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_bytes(text, "--budget")
    assert str(refused.value).startswith("--budget: ")
    assert repr(text) in str(refused.value)
    assert "300MiB" in str(refused.value)


@given(st.text(max_size=12))
def test_no_text_brings_anything_but_a_size_or_an_input_error(text: str) -> None:
    with suppress(InputError):
        assert 1 <= parse_bytes(text) < 2**63


def test_an_endless_text_is_shown_by_its_start() -> None:
    with pytest.raises(InputError) as refused:
        parse_bytes("9" * 10_000)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (MIB - 1, "1.0 MiB"),
        (int(231.4 * MIB), "231.4 MiB"),
        (GIB - 1, "1.00 GiB"),
        (2 * GIB, "2.00 GiB"),
        (TIB - 1, "1.00 TiB"),
        (2 * 10**12, "1.82 TiB"),
        (-1536, "-1.5 KiB"),
    ],
)
def test_bytes_are_shown_in_the_unit_that_fits(count: int, text: str) -> None:
    assert format_bytes(count) == text


@given(st.integers(0, 2**63 - 1))
def test_shown_bytes_are_right_to_the_last_digit_shown(count: int) -> None:
    match = re.fullmatch(r"(\d+(?:\.(\d+))?) ([KMGT]i)?B", format_bytes(count))
    assert match is not None
    factor = POWERS[f"{(match[3] or '').lower()}b"]
    assert abs(Fraction(match[1]) * factor - count) <= Fraction(factor, 2 * 10 ** len(match[2] or ""))
    assert factor == TIB or Fraction(match[1]) < 1024


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 ms"),
        (0.0013, "1.3 ms"),
        (0.99994, "999.9 ms"),
        (0.99996, "1.0 s"),
        (4.2, "4.2 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (7620, "2 h 07 min"),
        (100 * 3600, "100 h 00 min"),
        (float("nan"), "unknown"),
        (float("inf"), "unknown"),
    ],
)
def test_durations_are_shown_as_people_say_them(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_bytes_are_said_exactly() -> None:
    assert exact(3 * 2**19) == "1.5 MiB (1572864 bytes)"
    assert (counted_cuts(0), counted_cuts(1), counted_cuts(2)) == ("0 cuts", "1 cut", "2 cuts")
