from __future__ import annotations

from unicodedata import east_asian_width

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.report.text import clean, columns, fields, indices, names, note
from tests.unit.report.documents import make_model


def unicode_columns(text: str) -> int:
    return sum(2 if east_asian_width(character) in {"W", "F"} else 1 for character in text)


@pytest.mark.parametrize("code", [0, 7, 0x1B, 0x7F, 0x9B, 0x2028, 0x202E, 0x200B, 0xFFFE])
def test_clean_shows_no_character_that_a_terminal_or_xml_would_obey(code: int) -> None:
    assert clean(f"a{chr(code)}b") == "a\ufffdb"


def test_clean_keeps_every_printable_character() -> None:
    assert clean("conv1_1 <é 日本>") == "conv1_1 <é 日本>"


@given(st.text(), st.integers(1, 40))
def test_clean_text_is_printable_and_no_longer_than_asked(text: str, width: int) -> None:
    shown = clean(text, width)
    assert shown.isprintable()
    assert unicode_columns(shown) <= width
    assert shown == "".join(character if character.isprintable() else "\ufffd" for character in text) or (
        shown.endswith("…") and unicode_columns(shown) >= width - 1
    )


@pytest.mark.parametrize(("span", "shown"), [((4, 5), "4"), ((0, 2), "0–1"), ((7, 12), "7–11")])
def test_indices_include_both_ends(span: tuple[int, int], shown: str) -> None:
    assert indices(span) == shown


@pytest.mark.parametrize(
    ("span", "width", "shown"),
    [
        ((1, 2), 20, "beta"),
        ((0, 3), 20, "alpha..gamma-long"),
        ((0, 3), 16, "alpha..gamma-lo…"),
        ((2, 4), 13, "gamm…..delta…"),
        ((2, 5), 15, "gamma-long..end"),
        ((0, 1), 3, "al…"),
    ],
)
def test_names_give_first_and_last_unit(span: tuple[int, int], width: int, shown: str) -> None:
    model = make_model(("alpha", "beta", "gamma-long", "delta-long", "end"))
    assert names(model, span, width) == shown


@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60), st.integers(8, 40))
def test_names_keep_to_their_width(first: str, last: str, width: int) -> None:
    model = make_model((f"a{first}", "between", f"b{last}"))
    assert unicode_columns(names(model, (0, 3), width)) <= width


def test_columns_align_headings_of_several_lines_and_wide_characters() -> None:
    table = columns(("n", "peak\nMiB"), [("ab", "1.0"), ("日本", "12.0")], "<>")
    assert table.splitlines() == [
        "      peak",
        "n      MiB",
        "----  ----",
        "ab     1.0",
        "日本  12.0",
    ]


def test_fields_align_values_and_wrap_them_under_each_other() -> None:
    lines = fields([("a", "x"), ("longer", "word " * 40)]).splitlines()
    assert lines[0] == "a       x"
    assert len(lines) == 4
    assert all(text.startswith("        word") for text in lines[2:])
    assert max(map(len, lines)) <= 100


def test_note_wraps() -> None:
    assert max(map(len, note("word " * 60).splitlines())) <= 100
